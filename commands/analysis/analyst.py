"""The analyst: finds what a dump needs, reads it, and says in plain words what came of it. Used by the desk and the
command line alike."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlmodel import Session, col, select

from commands.analysis.config import AnalysisConfig
from commands.debuginfo import installing
from commands.hosts.crashdump import size_words
from integrations.crashtool import Analysis, Bounds, Tools
from integrations.debuginfo import (
    Cache,
    Debuginfod,
    DebuginfoError,
    NotServed,
    NoVmlinux,
    WrongFile,
    find_vmlinux,
    read_elf,
)
from integrations.debuginfo.local import unfit
from integrations.kernel.vmcoreinfo import VmcoreInfo
from storage import Panic, RunbookRun, StepResult

Line = tuple[str, str]  # (state, plain text), as in StepFinding


@dataclass(frozen=True)
class Distribution:
    """What a host runs, by what was read of its os-release."""

    family: str | None = None
    os_id: str = ""


class Analyst:
    """Knows where debug information is, and which program reads a dump."""

    def __init__(self, config: AnalysisConfig, store_dir: Path, tools: Tools | None = None) -> None:
        self.config = config
        self.work_dir = config.work_dir or store_dir / "analysis"
        self.tools = tools or Tools(bounds_of(config), prefer=config.tool)
        self.cache = Cache(config.cache_dir or store_dir / "debuginfo", config.cache_limit)

    async def vmlinux_of(self, info: VmcoreInfo, where: Distribution) -> Path:
        """The vmlinux of the kernel that died. Raises a DebuginfoError that says which package has it."""
        problems: list[DebuginfoError] = []
        try:
            return await asyncio.to_thread(
                find_vmlinux, self.config.debuginfo_dirs, info.build_id, info.release
            )
        except (NoVmlinux, WrongFile) as error:
            problems.append(error)
        if info.build_id is not None and self.config.debuginfod_urls:
            server = Debuginfod(
                self.config.debuginfod_urls,
                self.cache,
                limit=self.config.download_limit,
                timeout=self.config.download_timeout,
            )
            try:
                return await server.fetch(info.build_id)
            except DebuginfoError as error:
                problems.append(error)
        worst = next((p for p in problems if not p.permanent), problems[-1])
        told = " ".join(_facts_of(p) for p in problems)
        raise type(worst)(f"{told} {package_words(info.release, where)}".strip())

    async def check(self, vmlinux: Path, info: VmcoreInfo) -> None:
        """A vmlinux that a person named. Raises WrongFile when it is of another build."""
        why = unfit(await asyncio.to_thread(read_elf, vmlinux), info.build_id)
        if why is not None:
            raise WrongFile(f"{vmlinux} {why}.")

    async def read(
        self, vmcore: Path, vmlinux: Path, *, work: Path, stop: asyncio.Event | None = None
    ) -> Analysis:
        """Raises a CrashToolError."""
        directories = [d for d in self.config.debuginfo_dirs if d.is_dir()]
        return await self.tools.analyse(vmcore, vmlinux, directories=directories, work=work, stop=stop)


def bounds_of(config: AnalysisConfig) -> Bounds:
    return Bounds(
        memory=config.memory_limit,
        cpu=config.cpu_limit,
        wall=config.time_limit,
        output=config.output_limit,
    )


def _facts_of(error: DebuginfoError) -> str:
    """What happened, without the remedy of its kind: one remedy follows for all."""
    remedy = " ".join((type(error).__doc__ or "").split())
    said = str(error).removesuffix(remedy).strip()
    return said if not isinstance(error, NoVmlinux | NotServed) else said or remedy


def package_words(release: str | None, where: Distribution) -> str:
    """`linux-image-…-dbg has it: apt-get install …`, with where to install it."""
    how = installing(release, where.family, where.os_id) if release else None
    if how is None:
        return f"No package with debug information is known for kernel {release or '?'}: it may be built in-house."
    return (
        f"{how.told}. Install it where the bot runs, or unpack it below one of `[analysis] debuginfo_dirs`."
    )


def distribution_of(session: Session, panic: Panic) -> Distribution:
    """By what the newest triage or evidence run read on the host."""
    rows = session.exec(
        select(StepResult.facts)
        .join(RunbookRun, col(RunbookRun.id) == StepResult.run_id)
        .where(RunbookRun.panic_id == panic.id)
        .order_by(col(StepResult.id).desc())
        .limit(60)
    )
    family: str | None = None
    for facts in rows:
        facts = facts or {}
        if facts.get("os_id"):
            return Distribution(facts.get("family"), str(facts["os_id"]))
        family = family or facts.get("family")
    # Debian and Ubuntu are one family: without the id, the release says which.
    return Distribution(family if family != "debian" else None)


def info_lines(info: VmcoreInfo, panic: Panic | None = None) -> list[Line]:
    """VMCOREINFO in plain words: when, which kernel, which build, the size of a page."""
    lines: list[Line] = []
    if info.crash_time is not None:
        lines.append(("ok", f"it crashed at {info.crash_time:%Y-%m-%d %H:%M:%S} UTC (VMCOREINFO)"))
    release = info.release
    if release is None:
        lines.append(("warn", "the dump tells no kernel release"))
    elif panic is not None and panic.kernel and panic.kernel != release:
        lines.append(("warn", f"it is of kernel {release}, and {panic.kernel} was reported"))
    else:
        lines.append(("ok", f"kernel {release}"))
    if info.build_id is not None:
        lines.append(("ok", f"build id {info.build_id}"))
    else:
        lines.append(
            ("warn", "it tells no build id (kernels before 5.9): the vmlinux is found by the release")
        )
    if info.page_size is not None:
        lines.append(("ok", f"pages of {info.page_size} bytes"))
    return lines


def summary_lines(done: Analysis) -> list[Line]:
    """What a reader wants to know before the report is opened."""
    facts: dict[str, Any] = done.facts
    lines: list[Line] = []
    if facts.get("panic"):
        lines.append(("ok", str(facts["panic"])))
    if facts.get("task"):
        lines.append(("ok", f"it died in {facts['task']} (pid {facts.get('pid', '?')})"))
    if facts.get("tasks") is not None:
        blocked = int(facts.get("blocked") or 0)
        told = f"{facts.get('cpus', '?')} CPUs, {facts['tasks']} tasks, {blocked} blocked (D)"
        lines.append(("warn" if blocked else "ok", told))
    if facts.get("memory_total"):
        free = facts.get("memory_free")
        told = f"memory: {size_words(facts['memory_total'])}"
        lines.append(("ok", told + (f", {size_words(free)} free" if free is not None else "")))
    if done.cut:
        lines.append(("warn", f"the report is not whole: {done.cut}"))
    lines.append(("ok", f"read by {done.tool} in {done.seconds:.0f} s"))
    return lines
