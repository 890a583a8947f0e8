"""Who died where: process, CPU, taint, release, hardware, modules, arch, as the report's own lines say."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from integrations.kernel.rules import taint_letters

_CPU_LINE = re.compile(
    r"\s*CPU: (?P<cpu>\d{1,5}) (?:UID: \d{1,10} )?PID: (?P<pid>\d{1,10}) Comm: (?P<comm>.{1,64}?)"
    r"(?: Kdump: loaded)?(?P<after> (?:Not tainted|Tainted: ).*)?\Z"
)
_OLD_LINE = re.compile(
    r"\s*Pid: (?P<pid>\d{1,10}),? comm: {1,16}(?P<comm>.{1,64}?)(?P<after> (?:Not tainted|Tainted: ).*)?\Z"
)
_ARM_LINE = re.compile(r"\s*CPU: (?P<cpu>\d{1,5}) {1,8}(?P<after>(?:Not tainted|Tainted: ).*)")
_TAINT = re.compile(
    r"\s*(?:Not tainted|Tainted:(?P<flags>(?: {1,24}[A-Z]{1,20}(?= |\Z)){0,20}))\s*(?P<rest>.*)"
)
_RELEASE = re.compile(
    r"\(?(?P<release>\d{1,3}\.\d{1,5}[\w.+~:-]{0,100}|[\w.+-]{3,64}(?= #\d))\)?(?: (?P<build>.{0,200}))?"
)
_VERSION = re.compile(r"Linux version (?P<release>\S{1,128})(?P<rest>.{0,600})")
_PROCESS = re.compile(r"\s*Process (?P<comm>.{1,32}?) \(pid: (?P<pid>\d{1,10}),")
_TASK = re.compile(r"INFO: task (?P<comm>.{1,64}):(?P<pid>\d{1,10}) (?:blocked|can't die|is blocked)")
_STUCK = re.compile(r"CPU#?(?P<cpu>\d{1,5}) stuck for \d{1,9}s! \[(?P<comm>.{1,64}):(?P<pid>\d{1,10})\]")
_SWAPPER_CPU = re.compile(r"\s*CPU:? {0,3}(?P<cpu>\d{1,5}) *\Z")
_ON_CPU = re.compile(r"(?:on cpu |self-detected stall on CPU *\{? *|CPU#?|CPU:)\s*(?P<cpu>\d{1,5})\b")
_AT_WARN = re.compile(r"WARNING: .{0,200}CPU#(?P<cpu>\d{1,5}): (?P<comm>.{1,64})/(?P<pid>\d{1,10})\s*\Z")
_COMMAND_LINE = re.compile(r"(?:Kernel command line|Command line): (?P<line>.{0,4096})")
_MODULES = re.compile(r"\s*Modules linked in: ?(?P<names>.*)")
_MODULE_NAME = re.compile(r"[A-Za-z_]\w{0,63}")

_RELEASE_ARCH = (
    (re.compile(r"(?:x86_64|amd64)\b"), "x86_64"),
    (re.compile(r"(?:aarch64|arm64)\b"), "arm64"),
    (re.compile(r"(?:ppc64le|ppc64el|powerpc64le)\b"), "ppc64le"),
    (re.compile(r"s390x\b"), "s390x"),
    (re.compile(r"riscv64\b"), "riscv64"),
    (re.compile(r"(?:loong64|loongarch64)\b"), "loongarch64"),
    (re.compile(r"(?:i[3-6]86|686-pae|686)\b"), "i386"),
    (re.compile(r"(?:armv\w+|armmp|armhf)\b"), "arm"),
    (re.compile(r"(?:mips64el|mips\w*)\b"), "mips"),
)
_TEXT_ARCH = (
    (re.compile(r"\s*(?:RIP:|R[A-D]X: [0-9a-f]{16}|RSP: )"), "x86_64"),
    (re.compile(r"\s*(?:EIP:|EAX: [0-9a-f]{8} )|\s*\*pdpt = "), "i386"),
    (
        re.compile(r"\s*(?:pstate: |x29: [0-9a-f]{16}|Mem abort info:|ESR = 0x)|.{0,40}el[01]_?|\s*el0t_64_"),
        "arm64",
    ),
    (
        re.compile(r"\s*(?:PC is at |pgd = |Exception stack\(|r10: [0-9a-f]{8} )|\[<[0-9a-f]{8}>\] \(\w+"),
        "arm",
    ),
    (re.compile(r"\s*(?:NIP:? |GPR\d\d: |LPAR|pSeries|PowerNV)"), "ppc64le"),
    (re.compile(r"\s*(?:Krnl PSW|Krnl GPRS|Last Breaking-Event)"), "s390x"),
    (re.compile(r"\s*(?:epc : |status: [0-9a-f]{16} badaddr)"), "riscv64"),
    (re.compile(r"\s*(?:epc {2,4}: [0-9a-f]+|Cause : [0-9a-f]+|PrId  )"), "mips"),
    (re.compile(r"\s*(?:ERA: |CRMD: |pc [0-9a-f]{16} ra )"), "loongarch64"),
)
_BIG_PPC = re.compile(r"\s*\[[0-9a-f]{16}\] \[[0-9a-f]{16}\] \.\w")


@dataclass(slots=True)
class Identity:
    process: str | None = None
    pid: int | None = None
    cpu: int | None = None
    taint_flags: str = ""
    kernel: str | None = None
    kernel_build: str | None = None
    hardware: str | None = None
    modules: tuple[str, ...] = ()
    arch: str | None = None

    @property
    def taint(self) -> tuple[str, ...]:
        letters = taint_letters()
        return tuple(letters[c] for c in self.taint_flags if c in letters)


def read_version(text: str) -> tuple[str, str | None] | None:
    """Release and build of a `Linux version ...` line: ("6.1.0-56-cloud-amd64", "#1 SMP ... (2026-11-16)")."""
    match = _VERSION.search(text)
    if not match:
        return None
    build = match["rest"].find("#")
    return match["release"], match["rest"][build:].strip() or None if build >= 0 else None


def read_command_line(text: str) -> str | None:
    match = _COMMAND_LINE.search(text)
    return match["line"].strip() if match else None


def _taints_and_release(found: Identity, after: str) -> None:
    match = _TAINT.match(after)
    if not match:
        return
    flags = match["flags"] or ""
    if not found.taint_flags:
        found.taint_flags = flags.replace(" ", "")
    release = _RELEASE.match(match["rest"])
    if release and found.kernel is None:
        found.kernel = release["release"]
        build = " ".join((release["build"] or "").split())
        found.kernel_build = (build if "(" in build else build.removesuffix(")")) or None


def _hung_or_on_cpu(text: str) -> re.Match[str] | None:
    if "INFO: task" in text:
        return _TASK.search(text)
    return _ON_CPU.search(text) if "on cpu" in text else None


def _take_process(found: Identity, match: re.Match[str]) -> None:
    groups = match.groupdict()
    if found.process is None and groups.get("comm"):
        found.process = match["comm"].strip()
        found.pid = int(match["pid"])
    if found.cpu is None and groups.get("cpu"):
        found.cpu = int(match["cpu"])


def arch_of_release(release: str) -> str | None:
    for pattern, arch in _RELEASE_ARCH:
        if pattern.search(release):
            return arch
    return None


def identify(texts: Iterable[str]) -> Identity:
    """Reads a report's lines once; the first statement of each fact counts."""
    found = Identity()
    modules: list[str] = []
    in_modules = False
    text_arch: str | None = None
    big_endian = False
    for text in texts:
        if in_modules:
            if text.startswith(" ") and "+0x" not in text and "CPU" not in text and ":" not in text:
                modules.extend(_MODULE_NAME.findall(re.sub(r"\([A-Z+-]*\)|\[last unloaded.*", " ", text)))
                continue
            in_modules = False
        if "CPU" in text:
            for pattern in (_CPU_LINE, _ARM_LINE, _STUCK, _AT_WARN, _SWAPPER_CPU, _ON_CPU):
                match = pattern.match(text) if pattern not in (_STUCK, _ON_CPU) else pattern.search(text)
                if match:
                    _take_process(found, match)
                    if match.groupdict().get("after"):
                        _taints_and_release(found, match["after"])
                    break
        elif "ainted" in text:
            match = _OLD_LINE.match(text)
            if match:
                _take_process(found, match)
            _taints_and_release(found, match["after"] or "" if match else text)
        elif match := _hung_or_on_cpu(text):
            _take_process(found, match)
        elif text.startswith("Hardware name: ") and found.hardware is None:
            found.hardware = text[15:].strip()
        elif "Modules linked in" in text and not modules and (match := _MODULES.match(text)):
            modules.extend(
                _MODULE_NAME.findall(re.sub(r"\([A-Z+-]*\)|\[last unloaded.*", " ", match["names"]))
            )
            in_modules = True
        elif "Process " in text and (match := _PROCESS.match(text)):
            _take_process(found, match)
        if text_arch is None:
            for pattern, arch in _TEXT_ARCH:
                if pattern.match(text):
                    text_arch = arch
                    break
        if not big_endian and text.startswith("[c0") and _BIG_PPC.match(text):
            big_endian = True
    found.modules = tuple(dict.fromkeys(modules))
    found.arch = arch_of_release(found.kernel or "") or ("ppc64" if big_endian else text_arch)
    return found
