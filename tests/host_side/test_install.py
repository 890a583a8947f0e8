"""install.sh into the file systems of the three families: what it puts where, with which rights, and what it says."""

from __future__ import annotations

import stat
import subprocess
from pathlib import Path

import pytest

from tests.host_side.conftest import _needed
from tests.host_side.support import BUSYBOX, DASH, DEPLOY, SECRET

URL = "https://panicroom.example.org/a\\b&c"
RELEASES = {
    "debian": 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\n',
    "ubuntu": "ID=ubuntu\nID_LIKE=debian\n",
    "rocky": 'ID="rocky"\nID_LIKE="rhel centos fedora"\n',
    "fedora": "ID=fedora\n",
    "leap": 'ID="opensuse-leap"\nID_LIKE="suse opensuse"\n',
    "sles": 'ID="sles"\nID_LIKE="suse"\n',
    "arch": "ID=arch\n",
}
FAMILIES = {
    "debian": "debian", "ubuntu": "debian", "rocky": "rhel", "fedora": "rhel", "leap": "suse", "sles": "suse",
    "arch": "other",
}  # fmt: skip
CONFIGURED = {
    "debian": ("etc/default/kdump-tools", "KDUMP_COREDIR=/srv/crash\n", "kdump-tools"),
    "rhel": ("etc/kdump.conf", "path /srv/crash\n", "kexec-tools"),
    "suse": ("etc/sysconfig/kdump", 'KDUMP_SAVEDIR="file:///srv/crash"\n', "zypper install kdump"),
}
PUT = {
    "etc/panicroom/report.conf": 0o600,
    "etc/panicroom/secret": 0o600,
    "usr/local/sbin/panicroom-host": 0o755,
    "usr/local/sbin/panicroom-report": 0o755,
    "etc/systemd/system/panicroom-report.service": 0o644,
    "etc/systemd/system/panicroom-report.timer": 0o644,
}


def install(
    root: Path, *words: str, shell: str = "dash", secret: str = SECRET + "\n"
) -> subprocess.CompletedProcess[str]:
    _needed(shell)
    command = [BUSYBOX or "", "sh"] if shell == "busybox" else [DASH or ""]
    given = words if words else ("--root", str(root), URL)
    return subprocess.run(
        [*command, DEPLOY / "install.sh", *given],
        input=secret, capture_output=True, text=True, timeout=60, cwd="/", check=False,
    )  # fmt: skip


def system(folder: Path, name: str) -> Path:
    root = folder / name
    (root / "etc").mkdir(parents=True)
    (root / "etc/os-release").write_text(RELEASES[name])
    return root


def files(root: Path) -> dict[str, int]:
    found = {}
    for path in root.rglob("*"):
        if path.is_file() and not path.is_symlink():
            found[str(path.relative_to(root))] = stat.S_IMODE(path.stat().st_mode)
    return found


@pytest.mark.parametrize("name", sorted(RELEASES))
def test_what_goes_where_and_what_is_said(tmp_path: Path, name: str, shell: str) -> None:
    root, family = system(tmp_path, name), FAMILIES[name]
    done = install(root, shell=shell)
    assert (done.returncode, done.stderr) == (0, "")
    assert files(root) == {"etc/os-release": files(root)["etc/os-release"], **PUT}
    for path, mode in PUT.items():
        assert f"installed: /{path}\n" in done.stdout
        source = DEPLOY / Path(path).name
        if mode != 0o600:
            assert (root / path).read_bytes() == source.read_bytes()
    for folder in ("etc/panicroom", "usr/local/sbin", "etc/systemd/system"):
        assert stat.S_IMODE((root / folder).stat().st_mode) == 0o755
    assert (root / "etc/panicroom/secret").read_text() == SECRET + "\n"
    conf = (root / "etc/panicroom/report.conf").read_text()
    assert f"\nurl = {URL}\n" in conf
    assert conf.count("\nurl = ") == 1
    enabled = root / "etc/systemd/system/timers.target.wants/panicroom-report.timer"
    assert enabled.is_symlink()
    assert enabled.resolve() == (root / "etc/systemd/system/panicroom-report.timer").resolve()
    assert f"family: {family}\n" in done.stdout
    assert ("restorecon" in done.stdout) == (family == "rhel")
    if family == "other":
        assert "kdump: this distribution is not known here" in done.stdout
    else:
        place, _, remedy = CONFIGURED[family]
        assert f"kdump: /{place} is missing; install it: " in done.stdout
        assert remedy in done.stdout
    assert SECRET not in done.stdout


@pytest.mark.parametrize("name", ["debian", "rocky", "leap"])
def test_the_crash_directory_is_the_one_of_the_familys_kdump(tmp_path: Path, name: str) -> None:
    """The scripts as they were put there look where that family's own configuration says."""
    root = system(tmp_path, name)
    place, text, _ = CONFIGURED[FAMILIES[name]]
    (root / place).parent.mkdir(parents=True, exist_ok=True)
    (root / place).write_text(text)
    done = install(root)
    assert f"kdump: its crash directory is taken from /{place}\n" in done.stdout
    saved = root / "srv/crash/202611230532"
    saved.mkdir(parents=True)
    (saved / "dmesg.202611230532").write_text("[    1.000000] Kernel panic - not syncing: test\n")
    conf = tmp_path / "report.conf"
    conf.write_text(
        (root / "etc/panicroom/report.conf").read_text()
        + f"root = {root}\nsecret_file = {root}/etc/panicroom/secret\nspool = {root}/spool\nrun_dir = {root}/run\n"
        "settle = 0\nfirst_run_days = 36500\nhost = web-17\n"
    )
    sent = subprocess.run(
        [DASH or "", root / "usr/local/sbin/panicroom-report", "--config", conf, "--dry-run"],
        capture_output=True, text=True, timeout=60, cwd="/", check=False,
    )  # fmt: skip
    assert sent.returncode == 0, sent.stderr
    assert "Kernel panic - not syncing: test" in sent.stdout


def test_again_it_brings_scripts_and_leaves_settings_and_secret(tmp_path: Path) -> None:
    root = system(tmp_path, "rocky")
    assert install(root).returncode == 0
    (root / "etc/panicroom/report.conf").write_text("url = https://other.example.org\n")
    (root / "usr/local/sbin/panicroom-host").write_text("old\n")
    done = install(root, secret="another secret\n")
    assert done.returncode == 0
    assert "kept: /etc/panicroom/secret\nkept: /etc/panicroom/report.conf\n" in done.stdout
    assert (root / "etc/panicroom/secret").read_text() == SECRET + "\n"
    assert (root / "etc/panicroom/report.conf").read_text() == "url = https://other.example.org\n"
    assert (root / "usr/local/sbin/panicroom-host").read_bytes() == (DEPLOY / "panicroom-host").read_bytes()


def test_a_bad_call_changes_nothing(tmp_path: Path) -> None:
    root = system(tmp_path, "debian")
    before = files(root)
    for words in (
        (), ("--root",), ("--root", str(root)), ("--root", str(tmp_path / "none"), URL), ("--root", "/", URL),
        ("panicroom.example.org", "more"), ("--root", str(root), "ftp://x"),
    ):  # fmt: skip
        done = install(root, *(words or ("",)))
        assert done.returncode == 64, words
        assert done.stderr.startswith("usage, as root: sh install.sh [--root DIR] URL")
    assert files(root) == before
    done = install(root, secret="")
    assert (done.returncode, "there is no secret" in done.stderr) == (64, True)
    assert files(root) == before
