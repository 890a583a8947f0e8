"""What does not change a bug, done to a log: other numbers, other framings, losses.

Each perturbation is `f(log, random) -> text`; the hypothesis strategies at the end draw one with its seed.
The lines are taken apart here by a reader of their own, so that a mistake of the code under test is not
repeated by the test.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from typing import NamedTuple

from hypothesis import strategies as st

Perturbation = Callable[[str, random.Random], str]


class Said(NamedTuple):
    """One printk line: time in seconds, caller id, words."""

    stamp: float
    caller: str
    text: str


_LOGGER = re.compile(r"^[A-Z][a-z]{2} +\d+ [\d:]{8} \S+ kernel: ")
_PRINTK = re.compile(r"^(?:<\d+>)?.{0,60}?\[ *(\d+\.\d+)\](?:\[ *([TC]\d+)\])? ?(.*)$")


def said(log: str) -> list[Said]:
    lines, stamp = [], 100.0
    for raw in log.replace("\r", "").split("\n"):
        raw = _LOGGER.sub("", raw)
        match = _PRINTK.match(raw)
        if match:
            stamp = float(match[1])
            lines.append(Said(stamp, match[2] or "", match[3]))
        else:
            lines.append(Said(stamp, "", raw))
    return lines


def console(lines: list[Said]) -> str:
    return "\n".join(f"[{s.stamp:12.6f}]{f'[{s.caller:>6}]' if s.caller else ''} {s.text}" for s in lines)


# ---- renumberings ----------------------------------------------------------------------------------
_HEX = re.compile(r"(?<![\w+/.-])(?:0x)?((?!0{4})[0-9a-f]{8}|(?!0{8})[0-9a-f]{16})(?![\w.])")


def other_addresses(log: str, rng: random.Random) -> str:
    memo: dict[str, str] = {}

    def other(match: re.Match[str]) -> str:
        word = match[1]
        if word.isdecimal() or word.isalpha():
            return match[0]
        if word not in memo:
            memo[word] = word[:3] + "".join(rng.choice("0123456789abcdef") for _ in word[3:])
        return match[0].replace(word, memo[word])

    return _HEX.sub(other, log)


def other_kaslr_base(log: str, rng: random.Random) -> str:
    shift = rng.randrange(1, 0x1FF) * 0x200000

    def other(match: re.Match[str]) -> str:
        return f"{(int(match[0], 16) + shift) % (1 << 64):016x}"

    return re.sub(r"\bffffffff[89a-c][0-9a-f]{7}\b", other, log)


def other_offsets(log: str, rng: random.Random) -> str:
    def other(match: re.Match[str]) -> str:
        size = rng.randrange(0x20, 0x3000)
        return f"+0x{rng.randrange(size):x}/0x{size:x}"

    return re.sub(r"\+0x[0-9a-f]+/0x[0-9a-f]+", other, log)


def other_cpu(log: str, rng: random.Random) -> str:
    cpu = rng.randrange(128)
    log = re.sub(r"\bCPU: \d+ (?=(?:UID: \d+ )?PID: )", f"CPU: {cpu} ", log)
    return re.sub(r"CPU#\d+", f"CPU#{cpu}", log)


def other_pid(log: str, rng: random.Random) -> str:
    pid = rng.randrange(300, 4_000_000)
    log = re.sub(r"\bPID: \d+ (?=Comm: )", f"PID: {pid} ", log)
    return re.sub(r"(INFO: task [^\n:]+:)\d+", rf"\g<1>{pid}", log)


def other_process(log: str, rng: random.Random) -> str:
    name = rng.choice(["systemd", "kworker/3:1", "java", "Web Content", "qemu-kvm", "ksoftirqd/7"])
    log = re.sub(r"\bComm: \S+ (?=(?:Not t|T)ainted)", f"Comm: {name} ", log)
    log = re.sub(r"INFO: task \S+:(\d+) blocked", rf"INFO: task {name}:\1 blocked", log)
    return re.sub(r"stuck for (\d+)s! \[\S+:(\d+)\]", rf"stuck for \1s! [{name}:\2]", log)


def other_times(log: str, rng: random.Random) -> str:
    shift = rng.uniform(10, 5_000_000)
    return console([s._replace(stamp=s.stamp + shift) for s in said(log)])


def other_callers(log: str, rng: random.Random) -> str:
    memo: dict[str, str] = {"": ""}
    for s in said(log):
        memo.setdefault(s.caller, s.caller[:1] + str(rng.randrange(10_000, 99_999) + len(memo)))
    return console([s._replace(caller=memo[s.caller]) for s in said(log)])


_SUFFIXES = (
    ".isra.0",
    ".constprop.3",
    ".cold",
    ".part.0",
    ".isra.5.part.6",
    ".llvm.1234567890",
    ".lto_priv.0",
)


def with_suffixes(log: str, rng: random.Random) -> str:
    memo: dict[str, str] = {}

    def other(match: re.Match[str]) -> str:
        name = match[1]
        if name not in memo:
            memo[name] = name + (rng.choice(_SUFFIXES) if rng.random() < 0.4 else "")
        return memo[name] + match[2]

    return re.sub(r"\b([A-Za-z_]\w+)(\+0x[0-9a-f]+/0x)", other, log)


_STRAY = (
    "mark_held_locks",
    "_raw_spin_unlock_irq",
    "lock_acquire",
    "update_load_avg",
    "kvm_sched_clock_read",
)


def with_stray_frames(log: str, rng: random.Random) -> str:
    lines = []
    for line in log.split("\n"):
        lines.append(line)
        found = re.match(
            r"^(.*?\] )( ?(?:\[<[0-9a-f]+>\] )?)([A-Za-z_][\w.]*)\+0x[0-9a-f]+/0x[0-9a-f]+", line
        )
        if found and ":" not in found[1][-4:] and rng.random() < 0.4 and found[2].startswith(" "):
            lines.append(f"{found[1]}{found[2]}? {rng.choice(_STRAY)}+0x{rng.randrange(99):x}/0x100")
    return "\n".join(lines)


RENUMBERINGS: dict[str, Perturbation] = {
    "addresses": other_addresses,
    "kaslr": other_kaslr_base,
    "offsets": other_offsets,
    "cpu": other_cpu,
    "pid": other_pid,
    "process": other_process,
    "timestamps": other_times,
    "caller ids": other_callers,
    "suffixes": with_suffixes,
    "? frames": with_stray_frames,
}


# ---- framings --------------------------------------------------------------------------------------
_HOSTS = ("web-17", "db-3.example.org", "node-0042", "10.1.2.3")


def as_printk_levels(log: str, rng: random.Random) -> str:
    return "\n".join(f"<{rng.randrange(7)}>{line}" for line in console(said(log)).split("\n"))


def as_syslog(log: str, rng: random.Random) -> str:
    host, second = rng.choice(_HOSTS), rng.randrange(60)
    return "\n".join(
        f"Feb  {rng.choice('123')} 04:05:{second:02d} {host} kernel: {line}"
        for line in console(said(log)).split("\n")
    )


def as_iso_syslog(log: str, rng: random.Random) -> str:
    host = rng.choice(_HOSTS)
    return "\n".join(
        f"2026-11-23T05:32:{s.stamp % 60:09.6f}+00:00 {host} kernel: {s.text}" for s in said(log)
    )


def as_journal_short(log: str, rng: random.Random) -> str:
    host = rng.choice(_HOSTS)
    return "\n".join(f"Nov 23 05:32:{int(s.stamp % 60):02d} {host} kernel: {s.text}" for s in said(log))


def as_journal_json(log: str, rng: random.Random) -> str:
    records = []
    for s in said(log):
        message: object = s.text if rng.random() < 0.95 else list(s.text.encode())
        records.append(
            json.dumps(
                {
                    "_TRANSPORT": "kernel",
                    "PRIORITY": "4",
                    "SYSLOG_IDENTIFIER": "kernel",
                    "_SOURCE_MONOTONIC_TIMESTAMP": str(int(s.stamp * 1e6)),
                    "MESSAGE": message,
                }
            )
        )
    return "\n".join(records)


def as_dmesg_t(log: str, rng: random.Random) -> str:
    return "\n".join(
        f"[Wed Jan {rng.randrange(1, 3):2d} 12:00:{int(s.stamp % 60):02d} 2025] {s.text}" for s in said(log)
    )


def as_dmesg_x(log: str, rng: random.Random) -> str:
    lines = console(said(log)).split("\n")
    return "\n".join(
        f"kern  :{rng.choice(['warn  ', 'emerg ', 'alert ', 'info  '])}: {line}" for line in lines
    )


def as_serial(log: str, rng: random.Random) -> str:
    out = []
    for line in console(said(log)).split("\n"):
        if rng.random() < 0.05:
            line = "web-17 login: " + line
        if rng.random() < 0.05:
            line = "\x1b[0m\x1b[1;31m" + line + "\x1b[0m"
        out.append(line + "\r\n")
    return "".join(out)


def as_bare(log: str, rng: random.Random) -> str:
    return "\n".join(s.text for s in said(log))


def as_kernelci(log: str, rng: random.Random) -> str:
    return "\n".join(
        f"2024-05-06T07:08:{int(s.stamp % 60):02d}.123456  {line}"
        for s, line in zip(said(log), console(said(log)).split("\n"), strict=True)
    )


def _extended(log: str, rng: random.Random) -> list[str]:
    seq, out = rng.randrange(100_000), []
    for s in said(log):
        head = f"{rng.randrange(7)},{seq},{int(s.stamp * 1e6)},-"
        if s.caller:
            head += f",caller={s.caller}"
        if len(s.text) > 60 and rng.random() < 0.3:
            cut, size = rng.randrange(20, 50), len(s.text)
            out += [f"{head},ncfrag=0/{size};{s.text[:cut]}", f"{head},ncfrag={cut}/{size};{s.text[cut:]}"]
        else:
            out.append(
                f"{head};{s.text}"
                + ("\n SUBSYSTEM=pci\n DEVICE=+pci:0000:00:01.0" if rng.random() < 0.02 else "")
            )
        seq += 1
    return out


def as_netconsole(log: str, rng: random.Random) -> str:
    return "\n".join(_extended(log, rng))


def as_netconsole_released(log: str, rng: random.Random) -> str:
    return "\n".join(f"6.9.0-rc1,{line}" for line in _extended(log, rng))


def as_netconsole_shuffled(log: str, rng: random.Random) -> str:
    """Order lost within a window of some datagrams, some told twice."""
    lines = _extended(log, rng)
    lines += [line for line in lines if rng.random() < 0.05]
    keyed = sorted(range(len(lines)), key=lambda i: (i if i < len(lines) else 0) + rng.uniform(0, 12))
    return "\n".join(lines[i] for i in keyed)


def as_pstore(log: str, rng: random.Random) -> str:
    lines = console(said(log)).split("\n")
    size = max(8, len(lines) // rng.randrange(1, 5))
    chunks = [lines[i : i + size] for i in range(0, len(lines), size)]
    parts = [
        f"Panic#1 Part{len(chunks) - i}\n" + "\n".join(f"<4>{line}" for line in c)
        for i, c in enumerate(chunks)
    ]
    return "\n".join(reversed(parts)) + "\n"


def as_ramoops(log: str, rng: random.Random) -> str:
    return f"====17{rng.randrange(10**8):08d}.123456-D\n" + as_printk_levels(log, rng)


def after_a_boot_log(log: str, rng: random.Random) -> str:
    start = said(log)[0].stamp if log else 0.0
    boot = [
        f"[{start * i / 400:12.6f}] usb 1-{i % 7}: new high-speed USB device number {i} using xhci_hcd"
        for i in range(400)
    ]
    return "\n".join(boot) + "\n" + log


FRAMINGS: dict[str, Perturbation] = {
    "levels": as_printk_levels,
    "syslog": as_syslog,
    "iso syslog": as_iso_syslog,
    "journal short": as_journal_short,
    "journal json": as_journal_json,
    "dmesg -T": as_dmesg_t,
    "dmesg -x": as_dmesg_x,
    "serial": as_serial,
    "bare": as_bare,
    "kernelci": as_kernelci,
    "netconsole": as_netconsole,
    "netconsole release": as_netconsole_released,
    "netconsole shuffled": as_netconsole_shuffled,
    "pstore": as_pstore,
    "ramoops": as_ramoops,
    "boot log before": after_a_boot_log,
}


# ---- losses ----------------------------------------------------------------------------------------
def _lose(log: str, rng: random.Random, share: float) -> str:
    return "\n".join(line for line in log.split("\n") if rng.random() >= share)


def lose_one_percent(log: str, rng: random.Random) -> str:
    return _lose(log, rng, 0.01)


def lose_five_percent(log: str, rng: random.Random) -> str:
    return _lose(log, rng, 0.05)


_HEAD = re.compile(r"BUG|WARNING: |INFO: |ault|panic|Internal error|divide error|UBSAN|unreferenced|cut here")
_TRACE = re.compile(r"[Cc]all [Tt]race|Backtrace")


def cut_after_trace(log: str, rng: random.Random) -> str:
    """The log ends 30 lines after the head's first trace began; of several callers, those of the head's count."""
    lines, spoken = log.split("\n"), said(log)
    first = next((i for i, line in enumerate(lines) if _HEAD.search(line)), 0)
    own = [i for i in range(first, len(lines)) if spoken[i].caller == spoken[first].caller]
    start = next((n for n, i in enumerate(own) if _TRACE.search(lines[i])), len(own))
    last = own[start + 30] if start + 30 < len(own) else len(lines)
    return "\n".join(lines[: last + 1])


def netconsole_with_losses(log: str, rng: random.Random) -> str:
    lines = [line for line in _extended(log, rng) if rng.random() >= 0.05]
    return "\n".join(
        sorted(lines, key=lambda line: lines.index(line) + rng.uniform(0, 12)) if len(lines) < 400 else lines
    )


LOSSES: dict[str, Perturbation] = {
    "1 % lost": lose_one_percent,
    "5 % lost": lose_five_percent,
    "cut after 30 lines of trace": cut_after_trace,
    "netconsole shuffled, 5 % lost": netconsole_with_losses,
}


# ---- strategies ------------------------------------------------------------------------------------
def applied(perturbations: dict[str, Perturbation]) -> st.SearchStrategy[tuple[str, Callable[[str], str]]]:
    """(name, log -> perturbed log) with a drawn seed."""

    def bind(pair: tuple[str, int]) -> tuple[str, Callable[[str], str]]:
        name, seed = pair
        return name, lambda log: perturbations[name](log, random.Random(seed))

    return st.tuples(st.sampled_from(sorted(perturbations)), st.integers(0, 2**32 - 1)).map(bind)


renumberings = applied(RENUMBERINGS)
framings = applied(FRAMINGS)
losses = applied(LOSSES)
