"""The helper that runs as root on hosts, run by this machine's sh (and dash) over a crash directory of the test's."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

SCRIPT = Path(__file__).parents[2] / "deploy" / "host" / "panicroom-host"
Help = Callable[..., subprocess.CompletedProcess[bytes]]
SHELLS = [s for s in ("sh", "dash", "bash", "busybox") if shutil.which(s)]


@pytest.fixture(params=SHELLS)
def helper(request: pytest.FixtureRequest, tmp_path: Path) -> Help:
    """The script word for word, but for the one configuration file that tells where the crash directory is."""
    crash = tmp_path / "crash"
    (crash / "202611230532").mkdir(parents=True)
    (crash / "202611230532" / "dump.202611230532").write_bytes(bytes(range(256)) * 16)
    (crash / "202611230532" / "dmesg.202611230532").write_text("[    0.0] Linux version\n")
    (crash / "202611230532" / "empty").write_bytes(b"")
    (crash / "kexec_cmd").write_text("kexec -p\n")
    (tmp_path / "secret").write_text("secret")
    (crash / "link").symlink_to(tmp_path / "secret")
    (crash / "out").symlink_to(tmp_path)
    os.mkfifo(crash / "pipe")
    source = SCRIPT.read_text()
    assert source.count("/etc/default/kdump-tools") == 1
    (tmp_path / "kdump-tools").write_text(f'USE_KDUMP=1\nKDUMP_COREDIR="{crash}"\n#KDUMP_COREDIR=/nowhere\n')
    script = tmp_path / "panicroom-host"
    script.write_text(source.replace("/etc/default/kdump-tools", str(tmp_path / "kdump-tools")))
    shell = [request.param, "sh"] if request.param == "busybox" else [request.param]

    def run(*arguments: str | bytes, **environment: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [*shell, script, *arguments],
            capture_output=True,
            timeout=20,
            env={"PATH": "/nowhere", **environment},
            cwd="/",
            check=False,
        )

    # An absolute path: the script's PATH is its own, ours is not passed on.
    shell[0] = shutil.which(shell[0]) or shell[0]
    return run


DUMP = "202611230532/dump.202611230532"


def test_list_is_what_the_bot_reads(helper: Help) -> None:
    done = helper("list")
    assert done.returncode == 0
    rows = {line.split("\t")[0]: line.split("\t") for line in done.stdout.decode().splitlines()}
    assert rows[DUMP][1:3] == ["f", "4096"]
    assert float(rows[DUMP][3]) > 1.7e9
    assert rows["202611230532"][1] == "d"
    assert rows["link"][1] == "l"
    assert not any("secret" in name for name in rows)  # find does not walk through links


@pytest.mark.parametrize(
    ("arguments", "start", "end"),
    [
        (("read", DUMP), 0, 4096),
        (("head", DUMP, "300"), 0, 300),
        (("head", DUMP, "99999"), 0, 4096),
        (("tail", DUMP, "16"), 4080, 4096),
        (("tail", DUMP, "99999"), 0, 4096),
        (("bytes", DUMP, "100", "50"), 100, 150),
        (("bytes", DUMP, "010", "010"), 10, 20),
        (("bytes", DUMP, "4090", "50"), 4090, 4096),
        (("bytes", DUMP, "9000", "50"), 4096, 4096),
        (("head", DUMP, "0"), 0, 0),
        (("read", "202611230532/empty"), 0, 0),
    ],
)
def test_the_bytes_asked_for(helper: Help, arguments: tuple[str, ...], start: int, end: int) -> None:
    done = helper(*arguments)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == (bytes(range(256)) * 16)[start:end]


@pytest.mark.parametrize(
    "path",
    [
        "../secret", "202611230532/../../secret", "/etc/passwd", "..", ".", "", "./kexec_cmd", "a/./b", "link",
        "out/secret", "pipe", "202611230532", "-n", "202611230532//dmesg.202611230532", "kexec_cmd/", "a/b/c",
        "$(id)", "`id`", "kexec_cmd\n", "a\nkexec_cmd", "kexec_cmd;id", "*", "kexec?cmd", "[k]exec_cmd", "a b",
        "if=/etc/passwd", "missing",
    ],
)  # fmt: skip
@pytest.mark.parametrize("verb", ["read", "head", "bytes"])
def test_nothing_else_is_read(helper: Help, verb: str, path: str) -> None:
    done = helper(verb, path, *["1", "1"][: {"read": 0, "head": 1, "bytes": 2}[verb]])
    assert done.returncode in (1, 64)
    assert done.stdout == b""
    assert done.stderr.startswith(b"panicroom-host: ")


@pytest.mark.parametrize(
    "arguments",
    [
        (), ("",), ("write", "x"), ("list", "x"), ("read",), ("read", "kexec_cmd", "1"), ("head", "kexec_cmd"),
        ("head", "kexec_cmd", "-1"), ("head", "kexec_cmd", "1+1"), ("head", "kexec_cmd", "0x10"),
        ("head", "kexec_cmd", "9" * 16), ("bytes", "kexec_cmd", "1", "a[$(id>&2)]"), ("--help",),
        ("bytes", "kexec_cmd", "1", ""), ("head", DUMP, "1 2"), ("head", "kexec_cmd", "1\n2"),
    ],
)  # fmt: skip
def test_a_bad_call_is_refused(helper: Help, arguments: tuple[str, ...]) -> None:
    done = helper(*arguments)
    assert done.returncode == 64
    assert done.stdout == b""
    assert b"uid=" not in done.stderr


def test_the_environment_leads_nowhere(helper: Help, tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    trap.mkdir()
    for name in ("find", "dd", "sed", "stat", "timeout", "readlink"):
        (trap / name).write_text("#!/bin/sh\necho trapped\n")
        (trap / name).chmod(0o755)
    done = helper("read", "kexec_cmd", PATH=str(trap), CDPATH="/etc", IFS="e", ENV=str(trap / "dd"))
    assert done.stdout == b"kexec -p\n"


@pytest.mark.parametrize("configured", ["/", "/etc", "/root/x", "/var/crash/../../etc", "/proc/1"])
def test_a_configured_directory_that_is_none_is_refused(
    helper: Help, tmp_path: Path, configured: str
) -> None:
    (tmp_path / "kdump-tools").write_text(f"KDUMP_COREDIR={configured}\n")
    done = helper("list")
    assert done.returncode == 69
    assert done.stdout == b""


def test_the_configuration_is_text_and_never_run(helper: Help, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    (tmp_path / "kdump-tools").write_text(f'KDUMP_COREDIR="$(touch {mark})"\ntouch {mark}\n')
    helper("list")
    assert not mark.exists()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    verb=st.sampled_from(["list", "read", "head", "tail", "bytes"]),
    words=st.lists(
        st.one_of(
            st.sampled_from(["link", "out/secret", "../secret", DUMP, "0", "5", ".."]),
            st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=12),
        ),
        max_size=3,
    ),
)
def test_no_call_gets_at_the_secret(helper: Help, verb: str, words: list[str]) -> None:
    done = helper(verb, *words)
    assert b"secret" not in done.stdout.replace(b"out/secret", b"")
    assert done.returncode in (0, 1, 64)
