"""The rule data of this room, read once: heads, skip lists, anchors, taint letters."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files

from integrations.kernel.crash import Kind

_RANK = {"die": 3, "hang": 3, "panic": 3, "tail": 3, "warn": 2, "debug": 2, "weak": 2, "note": 1}
_HANG_KINDS = frozenset({Kind.HUNG_TASK, Kind.RCU_STALL})


@dataclass(frozen=True, slots=True)
class HeadRule:
    """One table of `data/heads.toml`."""

    number: int
    kind: Kind
    weight: str
    needle: str
    match: re.Pattern[str]
    name: str
    pick: str
    key: str | None
    why: str

    @property
    def one_line(self) -> bool:
        """Whether all there is to say stands on the head line itself: other reports go on behind it."""
        return self.pick == "fixed" and self.rank < 3 and self.kind is not Kind.OOM

    @property
    def rank(self) -> int:
        """3 for what is a crash by itself, 2 for a warning or debug report, 1 for a note."""
        return 3 if self.weight == "weak" and self.kind in _HANG_KINDS else _RANK[self.weight]


def _text(name: str) -> str:
    return (files("integrations.kernel") / "data" / name).read_text(encoding="utf-8")


def _entries(name: str) -> list[str]:
    """The entries of a list file: one a line, the reason after `#`."""
    entries = []
    for line in _text(name).splitlines():
        entry = line.split(" #", 1)[0].rstrip()
        if entry and not entry.startswith("#"):
            entries.append(entry)
    return entries


@cache
def head_rules() -> tuple[HeadRule, ...]:
    tables = tomllib.loads(_text("heads.toml"))["head"]
    return tuple(
        HeadRule(
            number=number,
            kind=Kind(table["kind"]),
            weight=table["weight"],
            needle=table["needle"],
            match=re.compile(table["match"], re.ASCII),
            name=table["name"],
            pick=table.get("pick", "pc"),
            key=table.get("key"),
            why=table["why"],
        )
        for number, table in enumerate(tables, 1)
    )


@cache
def needles() -> tuple[str, ...]:
    return tuple(_entries("needles.txt"))


def _one_pattern(entries: list[str]) -> re.Pattern[str]:
    return re.compile("(?:" + "|".join(f"(?:{entry})" for entry in entries) + r")\Z")


@cache
def name_list(name: str) -> re.Pattern[str]:
    """A list file of function-name patterns (`frames-*.txt`) as one pattern to `match` a whole name with."""
    return _one_pattern(_entries(f"frames-{name}.txt"))


@cache
def taint_letters() -> dict[str, str]:
    """Letter -> name, from `data/taints.txt`."""
    return dict(entry.split(None, 1) for entry in _entries("taints.txt"))


@cache
def _parts() -> tuple[re.Pattern[str], tuple[float, ...]]:
    pairs = [entry.split(None, 1) for entry in _entries("parts.txt")]
    return (
        re.compile(r"\s{0,4}(?:" + "|".join(f"({pattern})" for _, pattern in pairs) + ")", re.ASCII),
        tuple(float(rank) for rank, _ in pairs),
    )


def part_rank(text: str) -> float | None:
    """Where in its report a line stands (`parts.txt`), None for lines that may stand anywhere."""
    pattern, ranks = _parts()
    match = pattern.match(text)
    return ranks[match.lastindex - 1] if match and match.lastindex else None


_SUFFIX = re.compile(r"\.(?:isra|constprop|part|cold|llvm|lto_priv|clone|str|resume|destroy|cleanup|\d).*\Z")
_WRAPPER = re.compile(
    r"\A(?:__pfx_|__cfi_)?"
    r"(?:__(?:x64|ia32|x32|arm64|arm|riscv|s390x?|se|do|powerpc|loongarch|mips|ia32_compat|se_compat|do_compat)"
    r"_(?:compat_)?sys_|(?:compat_)?SyS_|SYSC_|compat_SYSC_|compat_sys_|ksys_|sys_)(?=\w)"
)


def plain_name(symbol: str) -> str:
    """A function's name without what compilers, ftrace and ELF put around it (`.isra.0`, `.cold`, ppc's dot)."""
    name = symbol.lstrip(".").removeprefix("__pfx_").removeprefix("__cfi_")
    dot = name.find(".")
    return name[:dot] if dot > 0 else name


@cache
def _common_names() -> tuple[tuple[re.Pattern[str], str], ...]:
    pairs = (entry.rsplit(None, 1) for entry in _entries("names-common.txt"))
    return tuple((_one_pattern([pattern]), name) for pattern, name in pairs)


@lru_cache(maxsize=4096)
def common_name(name: str) -> str:
    """One name for what is one: a system call whatever arch or release wrapped it (`sys_futex`), the
    flavours of a grace period or of a cross call."""
    for pattern, common in _common_names():
        if pattern.match(name):
            return common
    return _WRAPPER.sub("sys_", name)
