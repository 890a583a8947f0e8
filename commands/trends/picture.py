"""What a picture of trends shows, as data: bars by day or by week, the values most seen, the rollouts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from storage.trend import Rollout, Trend

SHOWN = 7  # values; the rest is one bar, "other"
MARKED = 12  # rollouts
_BY_DAY = 120  # days; more are shown by the week
OTHER = "other"


@dataclass(frozen=True)
class Series:
    """One value's panics a bar, in the order of the bars."""

    label: str
    panics: tuple[int, ...]


@dataclass(frozen=True)
class Mark:
    letter: str
    day: date
    rollout: Rollout


@dataclass(frozen=True)
class Picture:
    """`starts` are the bars' first days; `width` is how many days each of them counts."""

    title: str
    starts: tuple[date, ...]
    width: int
    series: tuple[Series, ...]  # most panics first, "other" last
    marks: tuple[Mark, ...]
    unmarked: int  # rollouts beyond those that are marked

    @property
    def total(self) -> int:
        return sum(sum(s.panics) for s in self.series)

    @property
    def alt_text(self) -> str:
        """The picture in words, for who cannot see it."""
        totals = [sum(s.panics[i] for s in self.series) for i in range(len(self.starts))]
        each = "day" if self.width == 1 else "week"
        words = f"Bar chart, {self.title}: {self.total} panics, a bar a {each}"
        if self.starts:
            words += f", {self.starts[0]} to {self.starts[-1] + timedelta(days=self.width - 1)}"
        if self.total:
            peak = max(range(len(totals)), key=totals.__getitem__)
            words += f"; most in the {each} of {self.starts[peak]}: {totals[peak]}" if self.width > 1 else (
                f"; most on {self.starts[peak]}: {totals[peak]}"
            )  # fmt: skip
            words += ". " + "; ".join(f"{s.label}: {sum(s.panics)}" for s in self.series)
        if self.marks:
            words += ". Rollouts: " + "; ".join(f"{m.rollout.key} on {m.day}" for m in self.marks)
        return words[:999]


def compose(
    title: str,
    found: Trend,
    first: date,
    last: date,
    rollouts: Sequence[Rollout],
    labels: Mapping[str, str],
) -> Picture:
    """Of `found` the SHOWN values with most panics have bars of their own. `labels`: value -> what the reader is shown;
    other values show themselves, an empty one "not known"."""
    width = 1 if (last - first).days < _BY_DAY else 7
    starts = tuple(first + timedelta(days=n) for n in range(0, (last - first).days + 1, width))
    totals: Counter[str] = Counter()
    for row in found.days:
        totals[row.value] += row.panics
    named = [value for value, _n in sorted(totals.items(), key=lambda item: (-item[1], item[0]))[:SHOWN]]
    bars: dict[str, list[int]] = {value: [0] * len(starts) for value in named}
    rest = [0] * len(starts)
    counted = [(row.day, bars.get(row.value, rest), row.panics) for row in found.days]
    for day, bar, panics in counted + [(day, rest, panics) for day, panics in found.rest]:
        at = (day - first).days // width
        if 0 <= at < len(starts):
            bar[at] += panics
    series = [Series(labels.get(v) or v or "not known", tuple(bars[v])) for v in named]
    if any(rest):
        series.append(Series(f"{OTHER} ({found.values - len(named)})", tuple(rest)))
    marked = _marked(rollouts)
    marks = tuple(Mark(chr(ord("A") + n), r.started.date(), r) for n, r in enumerate(marked))
    return Picture(title, starts, width, tuple(series), marks, len(rollouts) - len(marked))


def _marked(rollouts: Sequence[Rollout]) -> list[Rollout]:
    """Kernels first and of those the newest, where not all can be marked; in the order of time."""
    best = sorted(rollouts, key=lambda r: (r.kind != "kernel", -r.started.timestamp(), r.key))[:MARKED]
    return sorted(best, key=lambda r: (r.started, r.key))
