"""drgn, crash and makedumpfile: what is there, how each is asked, and what its end means."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import structlog

from integrations.crashtool.bounded import Bounds, Ended, run_bounded
from integrations.crashtool.errors import (
    CrashToolError,
    OutOfMemory,
    OutOfTime,
    ToolFailed,
    ToolMissing,
    UnreadableDump,
    WrongVmlinux,
)

log = structlog.get_logger(__name__)
_REPORT = Path(__file__).with_name("drgn_report.py")
_FACT = "@fact "
_NOT_A_DUMP, _NOT_ITS_VMLINUX, _NO_DRGN = 3, 4, 5  # exit statuses of drgn_report.py
_CRASH_COMMANDS = (
    ("overview", "sys"),
    ("backtraces of all CPUs", "bt -a"),
    ("blocked tasks (D)", "foreach UN bt"),
    ("memory", "kmem -i"),
    ("kernel log", "log"),
)
# crash's words for a vmlinux and a dump that do not belong together, and for a dump that is none
_MISMATCH = ("do not match", "does not match", "version inconsistency")
_NO_DUMP = (
    "not a supported file format",
    "malformed",
    "invalid kdump header",
    "incomplete dump",
    "cannot read dump",
)


@dataclass(frozen=True)
class Analysis:
    """What a tool made of a dump: `report` is text for people, `facts` for a summary. `cut`: why it is not whole."""

    tool: str
    report: str
    facts: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    cut: str = ""


class Tools:
    """The programs of this machine. `find` looks a program up, as shutil.which does."""

    def __init__(
        self,
        bounds: Bounds,
        *,
        prefer: str = "auto",
        python: str = sys.executable,
        find: Callable[[str], str | None] = shutil.which,
        has_drgn: Callable[[], bool] = lambda: importlib.util.find_spec("drgn") is not None,
    ) -> None:
        self.bounds = bounds
        self.prefer = prefer
        self._python = python
        self._find = find
        self._has_drgn = has_drgn

    def chosen(self) -> str:
        """`drgn` or `crash`. Raises ToolMissing."""
        drgn, crash = self._has_drgn(), self._find("crash") is not None
        if self.prefer == "crash":
            drgn = False
        if self.prefer == "drgn":
            crash = False
        if drgn:
            return "drgn"
        if crash:
            return "crash"
        if self.prefer == "auto":
            raise ToolMissing("neither drgn nor crash is there.")
        raise ToolMissing(f"{self.prefer}, which the settings ask for, is not there.")

    async def analyse(
        self,
        vmcore: Path,
        vmlinux: Path,
        *,
        directories: Sequence[Path] = (),
        work: Path,
        stop: asyncio.Event | None = None,
    ) -> Analysis:
        """Read a dump with its vmlinux. `work` is an empty directory for the tool.

        A tool that was ended at a limit after it had said something is no error: `cut` says why the rest is missing.
        Raises a CrashToolError.
        """
        if self.chosen() == "drgn":
            argv = [self._python, "-I", str(_REPORT), str(vmcore), str(vmlinux), *map(str, directories)]
            done = await run_bounded(argv, self.bounds, cwd=work, stop=stop)
            report, facts = _read_drgn(done.out)
            return self._judge("drgn", done, report, facts)
        crash = self._find("crash") or "crash"
        script = (
            "".join(f"!echo '== {title} =='\n{command}\n" for title, command in _CRASH_COMMANDS) + "quit\n"
        )
        argv = [crash, "-s", "--no_scroll", "--no_crashrc", str(vmlinux), str(vmcore)]
        done = await run_bounded(argv, self.bounds, cwd=work, stdin=script.encode(), stop=stop)
        return self._judge("crash", done, done.out.decode("utf-8", "replace"), {})

    async def dmesg(self, vmcore: Path, *, work: Path, stop: asyncio.Event | None = None) -> str:
        """The kernel's log out of a dump, by makedumpfile: it needs no vmlinux. A flattened dump is rearranged first.

        Raises ToolMissing where there is no makedumpfile, else a CrashToolError.
        """
        program = self._find("makedumpfile")
        if program is None:
            raise ToolMissing("makedumpfile is not installed where the bot runs.")
        flattened, extent = await asyncio.to_thread(_looked_at, vmcore)
        source = vmcore
        bounds = replace(self.bounds, file_size=2 * extent + 64 * 1024**2)
        plain, text = work / "rearranged", work / "dmesg"
        try:
            if flattened:
                shell = ["/bin/sh", "-c", 'exec "$1" -R "$2" < "$3"', "sh", program, str(plain), str(vmcore)]
                _fine("makedumpfile", await run_bounded(shell, bounds, cwd=work, stop=stop), self.bounds)
                source = plain
            argv = [program, "--dump-dmesg", str(source), str(text)]
            _fine("makedumpfile", await run_bounded(argv, bounds, cwd=work, stop=stop), self.bounds)
            return await asyncio.to_thread(_beginning, text, self.bounds.output)
        except FileNotFoundError as error:
            raise UnreadableDump("makedumpfile wrote no log.") from error
        finally:
            plain.unlink(missing_ok=True)
            text.unlink(missing_ok=True)

    def _judge(self, tool: str, done: Ended, report: str, facts: dict[str, Any]) -> Analysis:
        said = str(facts.pop("error", "") or done.last_words)
        log.info("crashtool.ended", tool=tool, status=done.status, seconds=round(done.seconds, 1), said=said)
        if done.errors:
            log.debug("crashtool.errors", tool=tool, errors=done.errors[-4000:].decode("utf-8", "replace"))
        problem = _problem(tool, done, said, self.bounds)
        if problem is None:
            cut = (
                f"only the first {self.bounds.output} bytes of its answer are kept" if done.truncated else ""
            )
            return Analysis(tool, report, facts, done.seconds, cut)
        if isinstance(problem, OutOfTime | OutOfMemory) and report.count("\n") > 10:
            return Analysis(tool, report, facts, done.seconds, str(problem))
        raise problem


def _looked_at(vmcore: Path) -> tuple[bool, int]:
    """Whether a dump is flattened, and its size."""
    with vmcore.open("rb") as file:
        return file.read(12) == b"makedumpfile", vmcore.stat().st_size


def _beginning(path: Path, most: int) -> str:
    with path.open("rb") as file:
        return file.read(most).decode("utf-8", "replace")


def _fine(tool: str, done: Ended, bounds: Bounds) -> None:
    problem = _problem(tool, done, done.last_words, bounds)
    if problem is not None:
        raise UnreadableDump(f"{tool}: {done.last_words}.") if type(problem) is ToolFailed else problem


def _problem(tool: str, done: Ended, said: str, bounds: Bounds) -> CrashToolError | None:
    if done.timed_out:
        return OutOfTime(f"{tool} took more than {bounds.wall:.0f} s.")
    if done.out_of_cpu:
        return OutOfTime(f"{tool} took more than {bounds.cpu} s of CPU time.")
    if done.out_of_memory or (done.status != 0 and "Cannot allocate memory" in said):
        return OutOfMemory(f"{tool} took more than {bounds.memory / 1e9:.1f} GB.")
    if tool == "drgn" and done.status == _NOT_A_DUMP:
        return UnreadableDump(f"{said}.")
    if tool == "drgn" and done.status == _NOT_ITS_VMLINUX:
        return WrongVmlinux(f"{said}.")
    if tool == "drgn" and done.status == _NO_DRGN:
        return ToolMissing(f"{said}.")
    if tool == "crash" and done.status != 0:
        words = (done.errors + done.out[-8192:]).decode("utf-8", "replace").lower()
        if any(word in words for word in _MISMATCH):
            return WrongVmlinux(f"crash: {said}.")
        if any(word in words for word in _NO_DUMP):
            return UnreadableDump(f"crash: {said}.")
    if done.status != 0:
        how = f"signal {-done.status}" if done.status < 0 else f"exit status {done.status}"
        return ToolFailed(f"{tool} ended with {how}: {said or 'it said nothing'}.")
    return None


def _read_drgn(out: bytes) -> tuple[str, dict[str, Any]]:
    """The report, and the facts that stand between its lines."""
    facts: dict[str, Any] = {}
    lines = []
    for line in out.decode("utf-8", "replace").splitlines():
        if not line.startswith(_FACT):
            lines.append(line)
            continue
        try:
            told = json.loads(line[len(_FACT) :])
        except ValueError:
            continue  # the last line, cut at the limit of what is kept
        if isinstance(told, dict):
            facts.update(told)
    return "\n".join(lines).strip() + "\n", facts
