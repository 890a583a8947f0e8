"""The root-owned scripts beside the reporter: panicroom-host's newer verbs, panicroom-host-delete and -drill."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.host_side.support import BUSYBOX, DASH, DEPLOY

STAMP = "202611230532"
DUMP, DMESG = f"{STAMP}/dump.{STAMP}", f"{STAMP}/dmesg.{STAMP}"
CONTENT = bytes(range(256)) * 40

Done = subprocess.CompletedProcess[bytes]


class Scripts:
    """The scripts word for word, but for the paths of files that only root may have."""

    def __init__(self, root: Path, shell: str) -> None:
        self.root = root
        self.crash = root / "crash"
        (self.crash / STAMP).mkdir(parents=True)
        (self.crash / DUMP).write_bytes(CONTENT)
        (self.crash / DMESG).write_text("[    0.0] Linux version\n")
        (root / "secret").write_text("secret")
        (root / "kdump-tools").write_text(f"KDUMP_COREDIR={self.crash}\n")
        for name in ("etc", "proc", "state"):
            (root / name).mkdir()
        (root / "proc/loaded").write_text("1\n")
        (root / "proc/boot_id").write_text("93114d55-1a0a-4b0c-b033-5a7c17b232f0\n")
        self.shell = [BUSYBOX, "sh"] if shell == "busybox" and BUSYBOX else [DASH or "sh"]
        self.replaced = {
            "/etc/default/kdump-tools": f"{root}/kdump-tools",
            "/etc/panicroom/": f"{root}/etc/",
            "/sys/kernel/kexec_crash_loaded": f"{root}/proc/loaded",
            "/proc/sys/kernel/random/boot_id": f"{root}/proc/boot_id",
            "/proc/sysrq-trigger": f"{root}/proc/default-trigger",
            "/var/lib/panicroom": f"{root}/state",
            "/usr/local/sbin/panicroom-report": f"{root}/panicroom-report",
        }

    def run(self, name: str, *words: str, stdin: bytes = b"") -> Done:
        text = (DEPLOY / name).read_text()
        for real, ours in self.replaced.items():
            text = text.replace(real, ours)
        assert "sysrq-trigger" not in text
        script = self.root / name
        script.write_text(text)
        return subprocess.run(
            [*self.shell, script, *words], input=stdin, capture_output=True, timeout=30, check=False,
            cwd="/", env={"PATH": "/nowhere", "ENV": "/nowhere"},
        )  # fmt: skip

    def help(self, *words: str) -> Done:
        return self.run("panicroom-host", *words)

    def delete(self, *words: str) -> Done:
        return self.run("panicroom-host-delete", *words)

    def drill(self, *words: str, stdin: bytes = b"") -> Done:
        return self.run("panicroom-host-drill", *words, stdin=stdin)


@pytest.fixture
def scripts(tmp_path: Path) -> Scripts:
    return Scripts(tmp_path / "root", "dash")


@pytest.fixture
def shell_scripts(tmp_path: Path, shell: str) -> Scripts:
    """By both shells: for one test of each script that goes through most of it."""
    return Scripts(tmp_path / "root", shell)


# -- panicroom-host -------------------------------------------------------------------------------------------------


def test_facts_are_lines_of_key_and_value(shell_scripts: Scripts) -> None:
    scripts = shell_scripts
    (scripts.root / "etc/secret").write_text("0123456789abcdef")
    (scripts.root / "etc/secret").chmod(0o600)
    (scripts.root / "panicroom-report").write_text("#!/bin/sh\n")
    (scripts.root / "panicroom-report").chmod(0o755)
    for name in ("out/a.json", "refused/a.json", "refused/b.json", "refused/b.answer"):
        (scripts.root / "state" / name).parent.mkdir(exist_ok=True)
        (scripts.root / "state" / name).touch()
    (scripts.root / "state/last").write_text("2026-11-23T05:38:40Z sent dump:1: R-1\x1b[31m\nmore\n")
    done = scripts.help("facts")
    assert (done.returncode, done.stderr) == (0, b"")
    facts = dict(line.split("=", 1) for line in done.stdout.decode().splitlines())
    assert facts["helper_version"] == "2"
    assert (facts["family"], facts["crash_dir"], facts["crash_dir_exists"]) == (
        "debian", str(scripts.crash), "yes",
    )  # fmt: skip
    assert int(facts["crash_dir_free"]) > 0
    assert facts["kexec_crash_loaded"] == "1"
    assert facts["boot_id"] == "93114d55-1a0a-4b0c-b033-5a7c17b232f0"
    assert facts["report_script"].endswith(" 755")
    assert facts["report_secret"].endswith(" 600")
    assert facts["report_last"] == "2026-11-23T05:38:40Z sent dump:1: R-1[31m"
    assert (facts["report_waiting"], facts["report_refused"]) == ("1", "2")


def test_facts_of_a_host_that_has_nothing(scripts: Scripts) -> None:
    (scripts.root / "kdump-tools").write_text(f"KDUMP_COREDIR={scripts.root}/none\n")
    (scripts.root / "proc/loaded").unlink()
    done = scripts.help("facts")
    assert (done.returncode, done.stderr) == (0, b"")
    facts = dict(line.split("=", 1) for line in done.stdout.decode().splitlines())
    assert (facts["crash_dir_exists"], facts["kexec_crash_loaded"], facts["report_script"]) == ("no", "", "")


def test_stat_tells_size_time_and_inode(scripts: Scripts) -> None:
    os.utime(scripts.crash / DUMP, (1_795_412_000.75, 1_795_412_000.75))
    status = (scripts.crash / DUMP).stat()
    done = scripts.help("stat", DUMP)
    assert done.stdout.decode() == f"{len(CONTENT)}\t1795412000\t{status.st_ino}\n"


@pytest.mark.parametrize(
    ("shell", "words", "start", "end"),
    [
        ("dash", (), 0, None), ("dash", ("0", "99999"), 0, None), ("dash", ("100", "50"), 100, 150),
        ("dash", ("10000", "999"), 10_000, None), ("dash", ("99999", "5"), 0, 0), ("dash", ("0", "0"), 0, 0),
        ("busybox", (), 0, None), ("busybox", ("100", "50"), 100, 150),
    ],
)  # fmt: skip
def test_hash_and_stream_are_of_the_same_bytes(
    shell_scripts: Scripts, words: tuple[str, ...], start: int, end: int | None
) -> None:
    wanted = CONTENT[start:end]
    scripts = shell_scripts
    hashed = scripts.help("hash", DUMP, *words)
    assert hashed.stdout.decode() == f"{hashlib.sha256(wanted).hexdigest()}  {DUMP}\n"
    if words:
        streamed = scripts.help("stream", DUMP, *words)
        assert (streamed.returncode, streamed.stdout) == (0, wanted)


def test_no_digest_is_told_of_a_file_that_cannot_be_read(scripts: Scripts) -> None:
    (scripts.root / "bin").mkdir()
    (scripts.root / "bin/dd").write_text("#!/bin/sh\nprintf half\nexit 1\n")
    (scripts.root / "bin/dd").chmod(0o755)
    scripts.replaced["PATH=/usr/sbin:"] = f"PATH={scripts.root}/bin:/usr/sbin:"
    done = scripts.help("hash", DUMP)
    assert (done.returncode, done.stdout) == (74, b"")


@pytest.mark.parametrize("verb", ["hash", "stream"])
@pytest.mark.parametrize(
    "rel", ["../secret", "link", "out/secret", "/etc/passwd", "pipe", STAMP, "", "a\nb", "missing"]
)
def test_the_new_verbs_go_nowhere_else(scripts: Scripts, verb: str, rel: str) -> None:
    (scripts.crash / "link").symlink_to(scripts.root / "secret")
    (scripts.crash / "out").symlink_to(scripts.root)
    os.mkfifo(scripts.crash / "pipe")
    done = scripts.help(verb, rel, *(["0", "5"] if verb == "stream" else []))
    assert done.returncode in (1, 64)
    assert done.stdout == b""


def test_report_check_runs_the_reporter_and_nothing_else(scripts: Scripts) -> None:
    assert scripts.help("report-check").returncode == 69
    reporter = scripts.root / "panicroom-report"
    reporter.write_text('#!/bin/sh\necho "$*"\nexit 2\n')
    reporter.chmod(0o755)
    done = scripts.help("report-check")
    assert (done.returncode, done.stdout) == ((2, b"--check\n") if os.geteuid() == 0 else (69, b""))
    assert scripts.help("report-check", "x").returncode == 64


# -- panicroom-host-delete -----------------------------------------------------------------------------------------


def test_delete_removes_one_file_then_the_empty_directory(shell_scripts: Scripts) -> None:
    scripts = shell_scripts
    (scripts.crash / "kexec_cmd").write_text("stays")
    blocks = (scripts.crash / DUMP).stat().st_blocks * 512
    stat = scripts.help("stat", DUMP).stdout.decode().split()
    done = scripts.delete(DUMP, *stat)
    assert (done.returncode, done.stdout.decode()) == (0, f"deleted\t{blocks}\t{DUMP}\n")
    assert (scripts.crash / DMESG).exists()
    assert scripts.delete(DUMP).stdout.decode() == f"gone\t0\t{DUMP}\n"
    full = scripts.delete(STAMP)
    assert (full.returncode, b"not empty" in full.stderr) == (1, True)
    assert scripts.delete(DMESG).returncode == 0
    assert scripts.delete(STAMP).stdout.decode().split("\t")[0] == "deleted"
    assert not (scripts.crash / STAMP).exists()
    assert scripts.delete(STAMP).stdout.decode() == f"gone\t0\t{STAMP}\n"
    assert scripts.delete(DUMP).stdout.decode() == f"gone\t0\t{DUMP}\n"
    assert os.listdir(scripts.crash) == ["kexec_cmd"]


def test_delete_leaves_a_file_that_has_become_another(scripts: Scripts) -> None:
    size, mtime, inode = scripts.help("stat", DUMP).stdout.decode().split()
    for other in ((str(int(size) + 1), mtime, inode), (size, "1", inode), (size, mtime, "1")):
        assert scripts.delete(DUMP, *other).returncode == 1
    assert (scripts.crash / DUMP).exists()


def test_delete_frees_nothing_of_a_file_with_another_name(scripts: Scripts) -> None:
    os.link(scripts.crash / DUMP, scripts.root / "kept")
    assert scripts.delete(DUMP).stdout.decode() == f"deleted\t0\t{DUMP}\n"
    assert (scripts.root / "kept").read_bytes() == CONTENT


def test_delete_follows_no_link_anywhere(scripts: Scripts) -> None:
    outside = scripts.root / "outside" / "202601010101"
    outside.mkdir(parents=True)
    (outside / "dump.202601010101").write_text("stays")
    (scripts.crash / "202601010101").symlink_to(outside)
    (scripts.crash / STAMP / "dump.1").symlink_to(outside / "dump.202601010101")
    (scripts.crash / "202601010102").symlink_to(scripts.root / "nowhere")
    for rel in ("202601010101/dump.202601010101", "202601010101", f"{STAMP}/dump.1", "202601010102"):
        done = scripts.delete(rel)
        assert (done.returncode, done.stdout) == (1, b""), rel
    assert (outside / "dump.202601010101").read_text() == "stays"
    assert (scripts.crash / STAMP / "dump.1").is_symlink()


@pytest.mark.parametrize(
    "words",
    [
        ("kexec_cmd",), ("kdump_lock",), ("../secret",), (f"{STAMP}/../../secret",), (f"{STAMP}/..",), (".",), ("",),
        ("*",), (f"{STAMP}/*",), (f"{STAMP}/notes",), (f"{STAMP}/",), (f"/{STAMP}",), (f"{STAMP}/a/b",), (f"-{STAMP}",),
        (f"{DUMP}\nx",), (f"x\n{DUMP}",), (f"{DUMP};id",), (f"{DUMP}", "1"), (DUMP, "a", "b", "c"),
        (STAMP, "1", "2", "3"),
        ("-rf", DUMP), (), ("lost+found",), ("kdump-test-1/vmcore",),
    ],
)  # fmt: skip
def test_delete_refuses_all_else(scripts: Scripts, words: tuple[str, ...]) -> None:
    (scripts.crash / "kexec_cmd").write_text("x")
    (scripts.crash / STAMP / "notes").write_text("x")
    (scripts.crash / "kdump-test-1").mkdir()
    (scripts.crash / "kdump-test-1/vmcore").write_text("x")
    before = sorted(scripts.root.rglob("*"))
    done = scripts.delete(*words)
    assert done.returncode in (1, 64)
    assert done.stdout == b""
    assert [p for p in before if not p.exists() and not p.is_symlink()] == []


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rel=st.one_of(
        st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=20),
        st.lists(st.sampled_from([STAMP, "dump.1", "..", ".", "", "secret", "*", "\n", "kdump-tools"]), max_size=4)
        .map("/".join),
    )
)  # fmt: skip
def test_nothing_outside_is_ever_deleted(scripts: Scripts, rel: str) -> None:
    scripts.delete(rel)
    assert (scripts.root / "secret").exists()
    assert (scripts.root / "kdump-tools").exists()
    assert (scripts.crash / DUMP).exists()


def test_both_scripts_find_the_crash_directory_with_the_same_words() -> None:
    """They are installed and allowed one by one, so neither can lean on the other."""

    def function(script: str, name: str) -> str:
        found = re.search(
            rf"^{name}\(\) \{{.*?^\}}$", (DEPLOY / script).read_text(), re.MULTILINE | re.DOTALL
        )
        assert found is not None
        return found[0]

    for name in ("setting", "crash_directory", "enter", "enter_crash_directory"):
        assert function("panicroom-host", name) == function("panicroom-host-delete", name)


# -- panicroom-host-drill -------------------------------------------------------------------------------------------

KEY = "drill-key-0123456789"


@pytest.fixture
def drills(scripts: Scripts) -> Scripts:
    """A drill host, whose trigger is a plain file."""
    if os.geteuid() != 0:
        pytest.skip("needs root: the drill's files must be root's")
    (scripts.root / "etc/drill.conf").write_text(f"drill = allowed\ntrigger = {scripts.root}/proc/trigger\n")
    (scripts.root / "etc/drill.key").write_text(KEY + "\n")
    (scripts.root / "etc/drill.key").chmod(0o600)
    (scripts.root / "bin").mkdir()
    (scripts.root / "bin/sleep").write_text("#!/bin/sh\n")
    (scripts.root / "bin/sleep").chmod(0o755)
    scripts.replaced["PATH=/usr/sbin:"] = f"PATH={scripts.root}/bin:/usr/sbin:"
    return scripts


def triggered(scripts: Scripts) -> bool:
    assert not (scripts.root / "proc/default-trigger").exists()
    return (scripts.root / "proc/trigger").exists()


def test_a_drill_leaves_its_mark_and_crashes(drills: Scripts) -> None:
    assert drills.drill("--check").stdout == b"ready\n"
    assert not triggered(drills)
    done = drills.drill("D-7", stdin=KEY.encode() + b"\n")
    assert (done.returncode, done.stderr) == (0, b"")
    assert (drills.root / "proc/trigger").read_text() == "c"
    mark = (drills.root / "state/drill").read_text()
    assert re.fullmatch(r"id=D-7 boot=93114d551a0a4b0cb0335a7c17b232f0 at=\S+Z\n", mark)


def test_a_drill_is_never_done_twice(drills: Scripts) -> None:
    assert drills.drill("D-7", stdin=KEY.encode() + b"\n").returncode == 0
    (drills.root / "proc/trigger").unlink()
    (drills.root / "proc/boot_id").write_text("00000000-1a0a-4b0c-b033-5a7c17b232f0\n")
    again = drills.drill("D-7", stdin=KEY.encode() + b"\n")
    assert (again.returncode, again.stdout) == (1, b"")
    assert b"not done twice" in again.stderr
    assert not triggered(drills)
    assert drills.drill("D-8", stdin=KEY.encode() + b"\n").returncode == 0
    (drills.root / "proc/trigger").unlink()
    assert drills.drill("D-7", stdin=KEY.encode() + b"\n").returncode == 1, "another drill came between"
    assert not triggered(drills)


def test_of_many_who_trigger_at_once_one_does(drills: Scripts) -> None:
    drills.drill("--check")  # writes the script
    command = [*drills.shell, str(drills.root / "panicroom-host-drill"), "D-9"]
    begun = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(8)
    ]
    for process in begun:
        assert process.stdin is not None
        process.stdin.write(KEY.encode() + b"\n")
        process.stdin.close()
    assert sorted(process.wait(30) for process in begun) == [0, *[1] * 7]
    for process in begun:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        process.stderr.close()


def test_the_mark_is_told_without_the_key_and_stays_over_boots(drills: Scripts) -> None:
    assert drills.drill("--mark", "D-7").stdout == b"boot=93114d551a0a4b0cb0335a7c17b232f0\n"
    drills.drill("D-7", stdin=KEY.encode() + b"\n")
    (drills.root / "proc/boot_id").write_text("00000000-1a0a-4b0c-b033-5a7c17b232f0\n")
    (drills.root / "etc/drill.conf").unlink()  # it is no drill host any more; what happened stays told
    now, mark = drills.drill("--mark", "D-7").stdout.decode().splitlines()
    assert now == "boot=000000001a0a4b0cb0335a7c17b232f0"
    assert mark.startswith("id=D-7 boot=93114d551a0a4b0cb0335a7c17b232f0 at=")
    assert drills.drill("--mark", "D-8").stdout.decode().splitlines() == [now]


def test_a_mark_that_cannot_be_written_refuses_the_drill(drills: Scripts) -> None:
    (drills.root / "state/drills").write_text("")
    done = drills.drill("D-7", stdin=KEY.encode() + b"\n")
    assert (done.returncode, done.stdout) == (74, b"")
    assert not triggered(drills)


@pytest.mark.parametrize(
    "given", [b"", b"\n", KEY.encode()[:-1], KEY.encode() + b"x\n", b"x\n" + KEY.encode()]
)
def test_a_drill_without_the_key_is_refused(drills: Scripts, given: bytes) -> None:
    done = drills.drill("D-7", stdin=given)
    assert (done.returncode, done.stdout) == (1, b"")
    assert not triggered(drills)
    assert not (drills.root / "state/drill").exists()


@pytest.mark.parametrize(
    "spoil",
    [
        "rm etc/drill.conf", "rm etc/drill.key", "echo 'drill = no' >etc/drill.conf", "chmod 0644 etc/drill.key",
        "echo '#drill = allowed' >etc/drill.conf", "chmod 0666 etc/drill.conf", "chown 65534 etc/drill.key",
        "chown 65534 etc/drill.conf", "echo 0 >proc/loaded", "rm proc/loaded", "echo short >etc/drill.key",
        ": >etc/drill.key", "mv etc/drill.key etc/k; ln -s k etc/drill.key", "echo drill = no >>etc/drill.conf",
    ],
)  # fmt: skip
def test_each_thing_that_is_missing_refuses_the_drill(drills: Scripts, spoil: str) -> None:
    subprocess.run(["sh", "-c", spoil], cwd=drills.root, check=True)
    checked = drills.drill("--check")
    assert (checked.returncode, checked.stdout) == (1, b"")
    assert checked.stderr
    done = drills.drill("D-7", stdin=KEY.encode() + b"\n")
    assert (done.returncode, done.stdout) == (1, b"")
    assert not triggered(drills)


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("a", "b"),
        ("",),
        ("-x",),
        ("a b",),
        ("$(id)",),
        ("a\nb",),
        ("x" * 65,),
        ("..",),
        ("--mark",),
        ("--mark", "../drill"),
        ("--mark", ".."),
    ],
)
def test_a_bad_call_of_the_drill(drills: Scripts, words: tuple[str, ...]) -> None:
    assert drills.drill(*words, stdin=KEY.encode() + b"\n").returncode == 64
    assert not triggered(drills)
