"""`panicroom parse` as a user meets it: output, exit status."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bot.parse import parse_command, printable
from tests.kernel import samples


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    texts = {
        "crash": samples.X86_64,
        "calm": samples.CALM[0],
        "warning": samples.NAMED_BUT_NO_CRASH["warning"],
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    return {name: tmp_path / name for name in (*texts, "absent")}


def test_json_lines_and_status(files: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert parse_command([files["calm"], files["crash"]], json_lines=True, explain=False) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(row["file"], row["crash"], row["kind"]) for row in rows] == [
        (str(files["calm"]), False, "unknown"),
        (str(files["crash"]), True, "null_deref"),
    ]
    assert parse_command([files["calm"], files["warning"]], json_lines=True, explain=False) == 1


def test_what_cannot_be_read_does_not_stop_the_others(
    files: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        parse_command([files["absent"], files["crash"].parent, files["crash"]], json_lines=True, explain=True)
        == 2
    )
    out, err = capsys.readouterr()
    (row,) = (json.loads(line) for line in out.splitlines())
    assert row["function"] == "labcrash_read_cookie"
    assert row["explain"]
    assert "absent" in err


def test_for_people(files: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    files["crash"].write_text(samples.X86_64.replace("Comm: sh", "Comm: [red]\x1b[31m"), encoding="utf-8")
    assert parse_command([files["crash"]], json_lines=False, explain=True) == 0
    out = capsys.readouterr().out
    for told in (
        "NULL pointer dereference in labcrash_read_cookie",
        "null_deref|labcrash_read_cookie|labcrash",
        "head rule",
    ):
        assert told in out
    assert "[red]" in out
    assert "\x1b" not in out


def test_printable() -> None:
    assert printable("a\x1b[31m\ud800\tb") == "a\N{REPLACEMENT CHARACTER}[31m\N{REPLACEMENT CHARACTER}\tb"
