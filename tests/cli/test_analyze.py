"""`panicroom analyze`: a real dump where there is one, and plain words where something is missing."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import select

from storage import Artefact, Database, Incident, Panic, SlackMessage, migrations
from tests.cli.test_cli import LEAST
from tests.debuginfo.elves import elf
from tests.forks import panicroom

ID = "3b43fad5034874490492495d552c0af6a5fab235"
RELEASE = "5.14.0-503.11.1.el9_5.x86_64"
HEAD = b"makedumpfile\x00" + bytes(83) + f"\nOSRELEASE={RELEASE}\nBUILD-ID={ID}\nPAGESIZE=4096\n".encode()


@pytest.fixture
def where(tmp_path: Path) -> Path:
    """Settings, a panic, a dump, and a program called crash that reads it."""
    (tmp_path / "debug").mkdir()
    (tmp_path / "panicroom.toml").write_text(
        f'{LEAST}\n[analysis]\ndebuginfo_dirs = ["{tmp_path}/debug"]\ntool = "crash"\nmemory_limit = "1GiB"\n'
    )
    migrations.upgrade(f"sqlite:///{tmp_path}/panicroom.db")
    db = Database(f"sqlite:///{tmp_path}/panicroom.db")

    def fill(session: Any) -> None:
        incident = Incident(signature_key="s", title="t", channel="C0INCIDENTS")
        session.add(incident)
        session.flush()
        session.add(
            Panic(host="web-17", occurred_at=datetime(2026, 11, 23, tzinfo=UTC), title="t", signature_key="s",
                  kernel=RELEASE, incident_id=incident.id)
        )  # fmt: skip

    db.write_now(fill)
    db.close()
    (tmp_path / "vmcore").write_bytes(HEAD)
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    (bin_ / "crash").write_text("#!/bin/sh\ncat <<'EOF'\nfrom 10.1.2.3 password=geheimnis\nEOF\n")
    (bin_ / "crash").chmod(0o755)
    return tmp_path


def run(where: Path, *words: str) -> Any:
    return panicroom("analyze", *words, cwd=where, PATH=f"{where}/bin:/usr/bin:/bin")


def test_the_report_is_printed_and_goes_into_the_thread(where: Path) -> None:
    (where / "debug" / f"vmlinux-{RELEASE}").write_bytes(elf(ID))
    done = run(where, "P-1", "--vmcore", "vmcore")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "from 10.1.2.3 password=geheimnis\n"
    for words in (
        f"kernel {RELEASE}",
        f"build id {ID}",
        "pages of 4096 bytes",
        "read by crash",
        "thread of P-1",
    ):
        assert words in done.stderr
    db = Database(f"sqlite:///{where}/panicroom.db")
    try:
        message, artefact = db.read_now(
            lambda s: (
                s.exec(select(SlackMessage).where(SlackMessage.key.startswith("analysis-by-hand:"))).one(),  # type: ignore[attr-defined]
                s.exec(select(Artefact)).one(),
            )
        )
    finally:
        db.close()
    assert (where / "store" / artefact.path).read_text() == done.stdout
    told = (where / "store" / message.file_path).read_text()
    assert "10.1.2.3" not in told
    assert "geheimnis" not in told
    assert list((where / "store" / "analysis").iterdir()) == []


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        ((), 2, "say which: a panic (P-41), or --vmcore FILE"),
        (("web-17",), 2, "is no panic id"),
        (("P-9",), 1, "there is no panic P-9"),
        (("P-1",), 1, "no central store is set: give the dump by --vmcore FILE"),
        (("--vmcore", "panicroom.toml"), 1, "it begins as no dump"),
        (("--vmcore", "none"), 1, "none: No such file or directory"),
        (("--vmcore", "vmcore"), 1, f"dnf debuginfo-install kernel-{RELEASE}"),
        (("--vmcore", "vmcore", "--vmlinux", "other"), 1, f"has build id {'11' * 20}, not {ID}"),
        (("--vmcore", "vmcore", "--vmlinux", "vmcore"), 1, "it is no ELF file"),
    ],
)
def test_what_is_missing_is_said(where: Path, words: tuple[str, ...], status: int, said: str) -> None:
    (where / "other").write_bytes(elf("11" * 20))
    done = run(where, *words)
    assert (done.returncode, done.stdout) == (status, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_no_program_is_there(where: Path) -> None:
    if shutil.which("crash", path="/usr/bin:/bin"):
        pytest.skip("crash is installed on this machine")
    (where / "debug" / f"vmlinux-{RELEASE}").write_bytes(elf(ID))
    (where / "bin" / "crash").unlink()
    done = run(where, "--vmcore", "vmcore")
    assert done.returncode == 1
    assert "crash, which the settings ask for, is not there" in done.stderr
