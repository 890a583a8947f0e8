"""What `panicroom doctor` finds of the analysis: programs, debug information, debuginfod, and room to work in."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from bot.machine import Finding, store_findings
from bot.settings import Settings
from commands.analysis.config import AnalysisConfig
from integrations.crashtool import Bounds, run_bounded
from integrations.debuginfo import Cache, Debuginfod, DebuginfodDown, DebuginfoError, NotServed

_NO_BUILD = "0" * 40  # a build id that no server has
_ASK_SECONDS = 8.0
_BOUNDS = Bounds(memory=1024**3, cpu=20, wall=20.0, output=65536)
_KERNELS = ("boot/vmlinux-*", "vmlinux-*", "lib/modules/*/vmlinux*", "usr/lib/debug/boot/vmlinux-*")


async def analysis_findings(
    settings: Settings, *, python: str = sys.executable, find: Callable[[str], str | None] = shutil.which
) -> list[Finding]:
    """`python` is the one that drgn is asked of; `find` looks a program up, as shutil.which does.

    Where nothing is set that an analysis needs, one finding says what it would need.
    """
    config = settings.analysis
    drgn, problem = await _drgn(python)
    crash, makedumpfile = find("crash"), find("makedumpfile")
    if settings.central.url is None and not config.model_fields_set:
        there = [name for name, has in (("drgn", drgn), ("crash", crash)) if has]
        said = f"not set up: without [central] only `panicroom analyze --vmcore FILE` reads dumps; {_list(there)}"
        return [Finding("analysis", "ok", said)]
    findings = [_tool(config, drgn, problem, crash), _dmesg(makedumpfile)]
    usable, of_directories = await asyncio.to_thread(_directories, config)
    findings += of_directories
    servers = await asyncio.gather(*(_server(url) for url in config.debuginfod_urls))
    findings += servers
    if not usable and not any(server.verdict != "fail" for server in servers):
        findings.append(
            Finding(
                "debuginfo",
                "fail",
                "there is no source of debug information: of a dump only VMCOREINFO and the kernel's log are told, no "
                "backtraces, blocked tasks or memory",
                "Install the kernel's debug package here (the thread of a panic names it), or set "
                "analysis.debuginfod_urls.",
            )
        )
    return findings + await asyncio.to_thread(_room, settings)


def _list(names: list[str]) -> str:
    return (
        f"{' and '.join(names)} {'are' if len(names) > 1 else 'is'} there"
        if names
        else "drgn and crash are missing"
    )


# -- programs ---------------------------------------------------------------------------------------------


async def _drgn(python: str) -> tuple[str | None, str]:
    """(version, "") or (None, why not): imported for real, beside this process."""
    code = "import drgn; print(drgn.__version__)"
    try:
        with tempfile.TemporaryDirectory(prefix="panicroom-doctor-") as folder:
            done = await run_bounded([python, "-I", "-c", code], _BOUNDS, cwd=Path(folder))
    except OSError as error:
        return None, f"{python}: {error.strerror or error}"
    if done.status == 0:
        return done.out.decode("utf-8", "replace").strip()[:40] or "?", ""
    return (
        None,
        f"it took more than {_BOUNDS.wall:.0f} s" if done.timed_out else done.last_words or "it ended badly",
    )


def _tool(config: AnalysisConfig, drgn: str | None, problem: str, crash: str | None) -> Finding:
    name = "analysis tool"
    has = {"drgn": drgn, "crash": crash}
    if config.tool != "auto" and has[config.tool] is None:
        why = f"cannot be imported ({problem})" if config.tool == "drgn" else "is not installed"
        other = next((tool for tool, found in has.items() if found), None)
        remedy = _INSTALL[config.tool] + (
            f", or set analysis.tool to auto: {other} is there." if other else "."
        )
        said = f"analysis.tool is {config.tool}, which {why}: no dump is read"
        return Finding(name, "fail", said, remedy)
    if drgn is None and crash is None:
        said = f"drgn cannot be imported ({problem}) and crash is not installed: no dump is read"
        return Finding(name, "fail", said, f"{_INSTALL['drgn']}, or {_INSTALL['crash'].lower()}.")
    if drgn is not None and config.tool != "crash":
        second = f"; crash ({crash}) stands by" if crash is not None and config.tool == "auto" else ""
        return Finding(name, "ok", f"drgn {drgn} reads dumps{second}")
    if config.tool == "crash":
        return Finding(name, "ok", f"crash ({crash}) reads dumps, as analysis.tool says")
    said = f"drgn cannot be imported ({problem}): crash ({crash}) reads dumps, which is several times slower"
    return Finding(name, "warn", said, f"{_INSTALL['drgn']}, or set analysis.tool to crash.")


_INSTALL = {
    "drgn": "Install drgn into the bot's environment (`pip install drgn`)",
    "crash": "Install the package `crash`",
}


def _dmesg(makedumpfile: str | None) -> Finding:
    if makedumpfile is not None:
        return Finding("makedumpfile", "ok", f"{makedumpfile} reads the kernel's log out of dumps")
    return Finding(
        "makedumpfile",
        "warn",
        "is not installed: a panic without a text stays without one, although its dump holds the kernel's log",
        "Install the package `makedumpfile` where the bot runs.",
    )


# -- debug information ------------------------------------------------------------------------------------


def _directories(config: AnalysisConfig) -> tuple[int, list[Finding]]:
    """How many can be used. One that is missing is no fault where it is only the default."""
    usable, findings = 0, []
    written = "debuginfo_dirs" in config.model_fields_set
    for directory in config.debuginfo_dirs:
        shown = f"analysis.debuginfo_dirs: {directory}"
        if not directory.exists():
            if written:
                remedy = "Make it, or mount it, or take it out of analysis.debuginfo_dirs."
                findings.append(Finding("debuginfo", "fail", f"{shown} does not exist", remedy))
            continue
        if not directory.is_dir():
            remedy = "Name the directory, which is laid out as /usr/lib/debug is."
            findings.append(Finding("debuginfo", "fail", f"{shown} is no directory", remedy))
            continue
        if not os.access(directory, os.R_OK | os.X_OK):
            remedy = f"Give the bot's user access: chmod o+rx {directory}, or an ACL."
            findings.append(Finding("debuginfo", "fail", f"{shown} cannot be read by this user", remedy))
            continue
        usable += 1
        findings.append(_kernels(directory))
    return usable, findings


def _kernels(directory: Path) -> Finding:
    found = {path for pattern in _KERNELS for path in directory.glob(pattern) if path.is_file()}
    if found:
        noun = "kernel" if len(found) == 1 else "kernels"
        return Finding("debuginfo", "ok", f"{directory} has the vmlinux of {len(found)} {noun} by release")
    if (directory / ".build-id").is_dir():
        return Finding("debuginfo", "ok", f"{directory} has debug information by build id")
    return Finding("debuginfo", "ok", f"{directory} can be read, and holds no vmlinux yet")


async def _server(url: str) -> Finding:
    """Asked for a build that nobody has: a server that says so is one."""
    found = await _asked(url)
    user, at, _ = url.partition("//")[2].partition("/")[0].rpartition("@")
    return replace(found, said=found.said.replace(f"{user}{at}", "") if at else found.said)


async def _asked(url: str) -> Finding:
    problem = _url_problem(url)
    if problem:
        remedy = (
            "Write analysis.debuginfod_urls as https://debuginfod.example.org, without query and fragment."
        )
        return Finding("debuginfod", "fail", f"{url}: {problem}", remedy)
    with tempfile.TemporaryDirectory(prefix="panicroom-doctor-") as folder:
        server = Debuginfod((url,), Cache(Path(folder), 1024**2), limit=65536, timeout=_ASK_SECONDS)
        try:
            await server.fetch(_NO_BUILD)
        except NotServed:
            return Finding("debuginfod", "ok", f"{url} answers")
        except DebuginfodDown as error:
            cost = "until it does, its kernels are read without debug information"
            silent = isinstance(error.__cause__, TimeoutError)
            why = f"gives no answer within {_ASK_SECONDS:.0f} s" if silent else f"fails: {_facts(error)}"
            said = f"{url} {why}: {cost}"
            remedy = "Look at the network between it and the bot, and at its server."
            return Finding("debuginfod", "fail", said[:400], remedy)
        except DebuginfoError as error:
            said = f"{url} does not answer as debuginfod does: {_facts(error)}"
            remedy = "Check analysis.debuginfod_urls: it is the address before /buildid; a proxy must let us through."
            return Finding("debuginfod", "fail", said[:400], remedy)
    return Finding("debuginfod", "fail", f"{url} has a build that does not exist", "Check the address.")


def _url_problem(url: str) -> str:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        return str(error)
    if not parts.hostname or port == 0:
        return "names no host"
    if parts.query or parts.fragment:
        return "has a query or a fragment, which the path of a build id cannot follow"
    return ""


def _facts(error: DebuginfoError) -> str:
    """What happened, without the remedy that the error carries for a thread."""
    return str(error).removesuffix(" ".join((type(error).__doc__ or "").split())).strip().rstrip(".")


# -- room -------------------------------------------------------------------------------------------------


def _room(settings: Settings) -> list[Finding]:
    config, store = settings.analysis, settings.store.dir
    findings = []
    work = config.work_dir or store / "analysis"
    free = store_findings(work)[0]
    if free.verdict == "fail":
        remedy = "Give the bot's user a directory it may write: analysis.work_dir."
        findings.append(Finding("analysis room", "fail", f"{free.said}: no dump can be put together", remedy))
    else:
        said = f"{free.said}: a copied dump is put together there, and needs its whole size"
        findings.append(
            Finding("analysis room", free.verdict, said, "Set analysis.work_dir." * (free.verdict != "ok"))
        )
    cache = config.cache_dir or store / "debuginfo"
    kept = store_findings(cache)[0]
    if config.debuginfod_urls and kept.verdict == "fail":
        remedy = "Give the bot's user a directory it may write: analysis.cache_dir."
        findings.append(
            Finding("analysis room", "fail", f"{kept.said}: nothing is fetched from debuginfod", remedy)
        )
    return findings
