"""The judges: each looks at a host's answers and says one thing. Pure; whatever a host says, none of them raises."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from integrations.readiness.answers import Outputs, mebibytes, whole
from integrations.readiness.finding import Finding, State
from integrations.readiness.mending import link, mend
from integrations.readiness.ranges import wanted
from integrations.readiness.target import DIRECTORY, Target, estimate, target_of

_CLOCKS = 30  # seconds that a host's clock may be off
_RELEASE = re.compile(r"vmlinu[xz]-(\S+)")
_INITRD = re.compile(r"initrd\.img-(\S+)")
_OPEN = re.compile(r"^([0-7]{3,4}) ([^\n]{1,300})$", re.MULTILINE)
_CALIBRATED = re.compile(r"^(Low|High): *(\d{1,8})$", re.MULTILINE)
_RAM = re.compile(r"^MemTotal: +(\d{1,15}) kB$", re.MULTILINE)


@dataclass(frozen=True)
class Known:
    """What the bot knows besides. `asked_at`: seconds since the epoch when the host was asked, with `seconds` for the
    answer; `drill`: facts of the last drill that passed (`at`, and the keys of `Verdict.facts`); `central`: how the
    central copies of this host's dumps went."""

    family: str | None
    el9: bool = False
    asked_at: float = 0.0
    seconds: float = 0.0
    drill: Mapping[str, str] | None = None
    central: tuple[State, str] | None = None


@dataclass(frozen=True)
class Verdict:
    """All findings, and the facts that a later drill is compared with: kernel, ram, config, initrd."""

    findings: tuple[Finding, ...]
    facts: Mapping[str, str]


@dataclass(frozen=True)
class _Case:
    out: Outputs
    known: Known

    @property
    def kernel(self) -> str | None:
        return _line(self.out, "release")

    @property
    def ram(self) -> int | None:
        """Bytes of RAM, with what is reserved, which MemTotal leaves out."""
        found = _RAM.search(self.out.text("meminfo") or "")
        size = self.out.number("crash_size")
        return int(found[1]) * 1024 + (size or 0) if found else None

    @property
    def target(self) -> Target | None:
        return target_of(self.known.family, self.out)

    def say(self, check: str, state: State, told: str, why: str = "", *, size: str = "SIZE") -> Finding:
        good = state is State.READY
        target = self.target
        where = target.directory if target is not None else DIRECTORY
        commands = () if good else mend(check, self.known.family, size=size, directory=where)
        return Finding(check, state, told[:400], "" if good else why, commands, link(check))


def judge(out: Outputs, known: Known) -> Verdict:
    """Every check once, in the order in which they are read."""
    case = _Case(out, known)
    findings = [look(case) for look in CHECKS.values()]
    if known.central is not None:
        state, told = known.central
        findings.append(
            case.say("central", state, told, "A dump that lies on its host alone is lost with its disk.")
        )
    facts = _facts(case)
    findings.append(_drill(case, facts))
    return Verdict(tuple(findings), facts)


def _reservation(case: _Case) -> Finding:
    why = "Without memory set aside at boot there is no capture kernel: the next panic leaves no dump."
    size = case.out.number("crash_size")
    line = case.out.text("cmdline")
    asked = [w for w in (line or "").split() if w.startswith("crashkernel=")]
    if size is None:
        told = f"kexec_crash_size is not known ({case.out.why_not('crash_size')})"
        return case.say("reservation", State.UNKNOWN, told, why)
    if size > 0:
        return case.say("reservation", State.READY, f"{mebibytes(size)} reserved")
    told = "nothing is reserved"
    if line is not None:
        told += (
            f" though the kernel was started with {asked[-1][:80]}"
            if asked
            else ": no crashkernel= on the kernel's command line"
        )
    return case.say("reservation", State.NOT_READY, told, why, size=_size(case) or "SIZE")


def _enough(case: _Case) -> Finding:
    why = "A capture kernel that runs out of memory dies in the middle of the dump, and leaves none."
    size, ram, needed = case.out.number("crash_size"), case.ram, _wanted(case)
    if size is None or ram is None or case.known.family is None:
        missing = "crash_size" if size is None else "meminfo" if ram is None else "os"
        return case.say(
            "enough", State.UNKNOWN, f"cannot be told ({missing}: {case.out.why_not(missing)})", why
        )
    if needed is None:
        if case.known.family == "suse":
            return case.say(
                "enough", State.UNKNOWN, "what this host needs is not known (kdumptool calibrate)", why
            )
        return case.say(
            "enough", State.READY, f"{mebibytes(ram)} of RAM: nothing particular is recommended for it"
        )
    told = f"{mebibytes(size)} for {mebibytes(ram)} of RAM, recommended {mebibytes(needed[0])} ({needed[1]})"
    if size >= needed[0]:
        return case.say("enough", State.READY, told)
    return case.say("enough", State.AT_RISK, told, why, size=_size(case) or "SIZE")


def _wanted(case: _Case) -> tuple[int, str] | None:
    if case.known.family == "suse":
        told = {m[1]: int(m[2]) for m in _CALIBRATED.finditer(case.out.text("calibrate") or "")}
        return (sum(told.values()) * 2**20, "kdumptool calibrate") if sum(told.values()) else None
    if case.ram is None:
        return None
    modules = [line.split()[0] for line in (case.out.text("lsmod") or "").splitlines() if line.split()]
    return wanted(
        case.known.family,
        (_line(case.out, "arch") or "").strip(),
        case.ram,
        el9=case.known.el9,
        kernel=case.kernel or "",
        modules=modules,
        encrypted="dm_crypt" in modules,
    )


def _size(case: _Case) -> str | None:
    needed = _wanted(case)
    return f"{needed[0] // 2**20}M" if needed is not None else None


def _loaded(case: _Case) -> Finding:
    why = 'The unit\'s "active" proves nothing: only /sys/kernel/kexec_crash_loaded tells whether a kernel waits.'
    loaded = case.out.number("crash_loaded")
    if loaded is None or loaded not in (0, 1):
        return case.say(
            "loaded",
            State.UNKNOWN,
            f"kexec_crash_loaded is not known ({case.out.why_not('crash_loaded')})",
            why,
        )
    if loaded:
        return case.say("loaded", State.READY, "the capture kernel is loaded")
    return case.say("loaded", State.NOT_READY, "no capture kernel is loaded (kexec_crash_loaded is 0)", why)


def _initrd(case: _Case) -> Finding:
    why = "A capture initrd of another kernel has none of its modules: it may find neither disk nor network."
    kernel, family = case.kernel, case.known.family
    if kernel is None:
        return case.say(
            "initrd", State.UNKNOWN, f"the running kernel is not known ({case.out.why_not('release')})", why
        )
    if family == "debian":
        text = case.out.text("kdump_show", even_failed=True) or ""
        made = [*_RELEASE.findall(text), *_INITRD.findall(text)]
        kinds = (bool(_RELEASE.search(text)), bool(_INITRD.search(text)))
        if not all(kinds):
            return case.say(
                "initrd",
                State.UNKNOWN,
                f"kdump-config names no kernel and initrd ({case.out.why_not('kdump_show')})",
                why,
            )
        other = next((release for release in made if release != kernel), None)
        if other is not None:
            return case.say("initrd", State.AT_RISK, f"made for {other[:80]}, {kernel[:80]} runs", why)
        return case.say("initrd", State.READY, f"made for {kernel[:80]}, which runs")
    names = {w.rsplit("/", 1)[-1] for w in (case.out.text("boot", even_failed=True) or "").split()}
    wanted_names = {"rhel": (f"initramfs-{kernel}kdump.img",), "suse": (f"initrd-{kernel}-kdump",)}.get(
        family or ""
    )
    if wanted_names is None or not names:
        return case.say("initrd", State.UNKNOWN, f"cannot be told ({case.out.why_not('boot')})", why)
    if names & set(wanted_names):
        return case.say("initrd", State.READY, f"{wanted_names[0][:120]} is there")
    if (
        family == "suse"
        and "initrd" in names
        and f"vmlinuz-{kernel}" in (case.out.text("boot", even_failed=True) or "")
    ):
        return case.say(
            "initrd", State.UNKNOWN, "kdump keeps one initrd, which does not name its kernel", why
        )
    return case.say("initrd", State.AT_RISK, f"there is no {wanted_names[0][:120]}", why)


def _space(case: _Case) -> Finding:
    why = "A dump that does not fit is cut off, and says nothing of it."
    target, ram = case.target, case.ram
    if target is None:
        return case.say(
            "space", State.UNKNOWN, f"kdump's configuration was not read ({case.out.why_not('config')})", why
        )
    if target.remote:
        told = f"dumps go to {target.remote[:120]}"
        if case.known.drill is not None and not _changed(case, _facts(case)):
            return case.say("space", State.READY, f"{told}, where the last drill's arrived")
        return case.say("space", State.AT_RISK, f"{told}: only a drill proves that it is reached", why)
    if target.directory.rstrip("/") != DIRECTORY:
        return case.say(
            "space", State.UNKNOWN, f"dumps go to {target.directory}; only {DIRECTORY} is asked of", why
        )
    words = (case.out.text("space") or "").split()
    numbers = [whole(word) for word in words[:4]]
    if ram is None or len(numbers) < 4 or any(n is None or n < 0 for n in numbers):
        missing = "meminfo" if ram is None else "space"
        return case.say(
            "space", State.UNKNOWN, f"cannot be told ({missing}: {case.out.why_not(missing)})", why
        )
    block, _total, free, _users = (n or 0 for n in numbers)
    room, need = block * free, estimate(ram, target.level)
    told = f"{mebibytes(room)} free for root in {target.directory}, "
    told += f"about {mebibytes(need)} needed (level {target.level})"
    state = State.NOT_READY if room < need else State.AT_RISK if room < 2 * need else State.READY
    return case.say("space", state, told, why)


def _sysctl(case: _Case) -> Finding:
    why = "A host that neither panics on an oops nor reboots by itself stays damaged, or down, until somebody comes."
    known = case.out.settings("sysctl", even_failed=True)
    reboot, oops = whole(known.get("kernel.panic")), whole(known.get("kernel.panic_on_oops"))
    if reboot is None or oops is None:
        return case.say("sysctl", State.UNKNOWN, f"cannot be told ({case.out.why_not('sysctl')})", why)
    others = [
        f"{name} {value}"
        for name in ("hung_task_panic", "softlockup_panic", "sysrq")
        if (value := whole(known.get(f"kernel.{name}"))) is not None
    ]
    told = ", ".join([f"panic {reboot}", f"panic_on_oops {oops}", *others])
    return case.say("sysctl", State.AT_RISK if reboot == 0 or oops == 0 else State.READY, told, why)


def _permissions(case: _Case) -> Finding:
    why = "A dump holds the kernel's memory, keys among it: whoever can log in can read it."
    target = case.target
    if target is not None and not target.remote and target.directory.rstrip("/") != DIRECTORY:
        told = f"dumps go to {target.directory}; only {DIRECTORY} is asked of"
        return case.say("permissions", State.UNKNOWN, told, why)
    mode = _line(case.out, "dir_mode")
    if mode is None or not re.fullmatch(r"[0-7]{3,4}", mode, re.ASCII):
        return case.say("permissions", State.UNKNOWN, f"cannot be told ({case.out.why_not('dir_mode')})", why)
    if not int(mode, 8) & 0o001:
        return case.say("permissions", State.READY, f"the directory is closed to others (mode {mode})")
    listed = case.out.text("dump_modes", even_failed=True)
    if listed is None:
        return case.say(
            "permissions", State.UNKNOWN, f"cannot be told ({case.out.why_not('dump_modes')})", why
        )
    open_to_all = [m[2] for m in _OPEN.finditer(listed) if int(m[1], 8) & 0o004 and _is_dump(m[2])]
    if open_to_all:
        return case.say(
            "permissions",
            State.AT_RISK,
            f"{len(open_to_all)} readable by all, first {open_to_all[0][:120]}",
            why,
        )
    return case.say("permissions", State.READY, "no dump is readable by all")


def _journal(case: _Case) -> Finding:
    why = "A journal in memory is gone with the panic: what led to it cannot be read afterwards."
    if case.out.text("journal") is not None and "/var/log/journal" in (case.out.text("journal") or ""):
        return case.say("journal", State.READY, "kept on disk")
    if case.out.why_not("journal") == "exit 2":
        return case.say("journal", State.AT_RISK, "kept in memory only: there is no /var/log/journal", why)
    return case.say("journal", State.UNKNOWN, f"cannot be told ({case.out.why_not('journal')})", why)


def _console(case: _Case) -> Finding:
    why = "Where kdump fails, netconsole or pstore is all that is left of a panic."
    modules, backend = case.out.text("lsmod"), case.out.text("pstore", even_failed=True)
    if modules is None:
        return case.say("console", State.UNKNOWN, f"cannot be told ({case.out.why_not('lsmod')})", why)
    loaded = {line.split()[0] for line in modules.splitlines() if line.split()}
    line = case.out.text("cmdline") or ""
    net = "netconsole" in loaded or "netconsole=" in line
    store = (backend or "").strip()
    has_store = bool(re.fullmatch(r"[a-z][a-z0-9_-]{0,39}", store, re.ASCII))
    told = f"netconsole: {'yes' if net else 'no'}, pstore: {store if has_store else 'no'}"
    return case.say("console", State.READY if net or has_store else State.AT_RISK, told, why)


def _reporter(case: _Case) -> Finding:
    why = "Without its report the bot learns of a panic only by a sweep, or from somebody."
    text = case.out.text("reporter", even_failed=True) or ""
    told = next((line for line in text.splitlines() if line.startswith("secret=")), "")
    if told == "secret=valid" and case.out.text("reporter") is not None:
        return case.say("reporter", State.READY, "installed, and the bot takes its secret")
    if told.startswith("secret=refused"):
        return case.say("reporter", State.AT_RISK, f"the bot refuses its secret: {told[7:200]}", why)
    if case.out.why_not("reporter") == "exit 69":
        return case.say("reporter", State.AT_RISK, "the reporter is not installed", why)
    return case.say(
        "reporter", State.UNKNOWN, f"cannot be told ({told[7:200] or case.out.why_not('reporter')})", why
    )


def _clock(case: _Case) -> Finding:
    why = "Reports with a clock that is off are refused, and times of different hosts cannot be compared."
    there = case.out.number("clock")
    if there is None or not case.known.asked_at:
        return case.say("clock", State.UNKNOWN, f"cannot be told ({case.out.why_not('clock')})", why)
    begun, ended = case.known.asked_at - _CLOCKS, case.known.asked_at + case.known.seconds + _CLOCKS
    if begun <= there <= ended:
        return case.say("clock", State.READY, "in step with the bot's")
    off = abs(there - case.known.asked_at)
    side = "ahead of" if there > ended else "behind"
    return case.say("clock", State.AT_RISK, f"{off:.0f} s {side} the bot's", why)


def _drill(case: _Case, facts: Mapping[str, str]) -> Finding:
    drill = case.known.drill
    if drill is None:
        return case.say("drill", State.READY, "never drilled: that a dump comes is not proved")
    changed = _changed(case, facts)
    at = drill.get("at", "")[:40]
    if changed:
        why = "What was drilled is not what runs now."
        return case.say("drill", State.AT_RISK, f"since the drill of {at} changed: {', '.join(changed)}", why)
    return case.say("drill", State.READY, f"passed {at}, nothing changed since")


def _changed(case: _Case, facts: Mapping[str, str]) -> list[str]:
    drill = case.known.drill or {}
    return [key for key in ("kernel", "ram", "config", "initrd") if facts.get(key, "") != drill.get(key, "")]


def _facts(case: _Case) -> dict[str, str]:
    config = case.out.text("config")
    initrd = case.out.text("initrd_file", even_failed=True)
    return {
        "kernel": (case.kernel or "")[:200],
        # In steps of 64 MiB: firmware takes a little more or less from boot to boot.
        "ram": str(round(case.ram / 2**26) * 64) if case.ram is not None else "",
        "config": _digest(config),
        "initrd": _digest(initrd),
    }


def _digest(text: str | None) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:16] if text else ""


def _is_dump(path: str) -> bool:
    return path.rsplit("/", 1)[-1].startswith(("dump", "vmcore"))


def _line(out: Outputs, key: str) -> str | None:
    lines = (out.text(key) or "").strip().splitlines()
    return lines[0].strip() if lines else None


CHECKS: Mapping[str, Callable[[_Case], Finding]] = {
    "reservation": _reservation,
    "enough": _enough,
    "loaded": _loaded,
    "initrd": _initrd,
    "space": _space,
    "sysctl": _sysctl,
    "permissions": _permissions,
    "journal": _journal,
    "console": _console,
    "reporter": _reporter,
    "clock": _clock,
}
