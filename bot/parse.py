"""`panicroom parse`: what killed the kernel that left these files, for people or as JSON lines."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from integrations.kernel import Crash, Kind, read_stream
from integrations.kernel.summary import summary

CRASH, NONE, UNREADABLE = 0, 1, 2
_CHUNK = 1024 * 1024
_FRAMES = 12


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    while chunk := file.read(_CHUNK):
        yield chunk


def _read(path: Path) -> Crash:
    """Reads one file, or standard input for `-`, in bounded memory. Raises OSError."""
    if str(path) == "-":
        return read_stream(_chunks(sys.stdin.buffer))
    with path.open("rb") as file:
        return read_stream(_chunks(file))


def parse_command(files: list[Path], *, json_lines: bool, explain: bool) -> int:
    """Prints one crash a file (`-`, or no file at all: standard input).

    Returns the exit status: 0 if any input holds a crash, 1 if none does, 2 if any could not be read; the
    others are processed all the same.
    """
    out = Console(soft_wrap=True, highlight=False)
    errors = Console(stderr=True, soft_wrap=True, highlight=False)
    crashed = unreadable = False
    for path in files or [Path("-")]:
        try:
            crash = _read(path)
        except OSError as error:
            unreadable = True
            errors.print(
                f"{escape(printable(str(path)))}: {escape(error.strerror or str(error))}", style="red"
            )
            continue
        crashed = crashed or crash.crash
        if json_lines:
            sys.stdout.write(json.dumps(summary(crash, str(path), explain=explain)) + "\n")
            sys.stdout.flush()
        else:
            _show(out, path, crash, explain)
    if unreadable:
        return UNREADABLE
    return CRASH if crashed else NONE


def printable(text: str) -> str:
    """Text of a log for a terminal: no control characters, no lone surrogates."""
    shown = "".join(c if c.isprintable() or c == "\t" else "\N{REPLACEMENT CHARACTER}" for c in text)
    return shown.encode("utf-8", "replace").decode("utf-8")


def _facts(crash: Crash) -> Iterator[tuple[str, str]]:
    """(name, value) of what is known, in the order a kernel engineer asks."""
    yield "signature", crash.signature.key
    where = crash.function or "-"
    yield "function", f"{where} [{crash.module}]" if crash.module else where
    if crash.process is not None:
        cpu = f", CPU {crash.cpu}" if crash.cpu is not None else ""
        yield "process", f"{crash.process} ({crash.pid}){cpu}"
    if crash.kernel:
        yield "kernel", " ".join(filter(None, (crash.kernel, crash.kernel_build, crash.arch)))
    for name, value in (("hardware", crash.hardware), ("command line", crash.command_line)):
        if value:
            yield name, value
    if crash.taint_flags:
        yield "taint", f"{crash.taint_flags} ({', '.join(crash.taint) or 'nothing'})"
    if crash.uptime is not None:
        yield "uptime", f"{crash.uptime:.6f} s"
    if crash.signature.detail:
        yield "then", " < ".join(crash.signature.detail)
    if crash.modules:
        yield (
            "modules",
            f"{len(crash.modules)}: {' '.join(crash.modules[:20])}{' ...' if len(crash.modules) > 20 else ''}",
        )


def _show(out: Console, path: Path, crash: Crash, explain: bool) -> None:
    mark = (
        "[bold red]crash[/]"
        if crash.crash
        else "[yellow]no crash[/]"
        if crash.kind is not Kind.UNKNOWN
        else "[dim]-[/]"
    )
    remarks = [
        text
        for text, holds in (
            ("deliberate", crash.deliberate),
            ("the head of the report is lost", crash.head_lost),
        )
        if holds
    ]
    remark = f"  [italic]({', '.join(remarks)})[/]" if remarks else ""
    out.print(
        f"[bold]{escape(printable(str(path)))}[/]  {mark}  [bold]{escape(printable(crash.title))}[/]{remark}"
    )
    if crash.kind is Kind.UNKNOWN:
        return
    table = Table.grid(padding=(0, 2))
    for name, value in _facts(crash):
        table.add_row(f"  [dim]{name}[/]", escape(printable(value)))
    for index, frame in enumerate(crash.frames[:_FRAMES]):
        module = f" [{frame.module}]" if frame.module else ""
        table.add_row(
            "  [dim]frames[/]" if index == 0 else "", escape(printable(f"{frame.function}{module}"))
        )
    for index, other in enumerate(crash.others[:5]):
        table.add_row(
            "  [dim]also[/]" if index == 0 else "", escape(printable(f"{other.title} ({other.kind})"))
        )
    if explain:
        for index, reason in enumerate(crash.explain):
            table.add_row("  [dim]because[/]" if index == 0 else "", escape(printable(reason)))
    out.print(table)
