"""The picture of a storm: hosts over time, stacked by kernel or by ring, as data and as PNG."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from commands.incident.wording import span
from commands.plotting import (
    DPI,
    FAINT,
    GREY,
    GROUND,
    HATCHES,
    HEIGHT,
    INK,
    ONE_AT_A_TIME,
    PALETTE,
    WIDTH,
    plain,
)

SHOWN = 6  # values; the rest is one bar, "other"
MARKED = 6  # rollouts
_BARS = 60
_WIDTHS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21600, 86400)


@dataclass(frozen=True)
class Died:
    """A host's first panic in the storm."""

    at: datetime
    kernel: str | None
    ring: str | None


@dataclass(frozen=True)
class Marked:
    """A rollout: before the first bar it is told beside the picture, not in it."""

    key: str
    started: datetime


@dataclass(frozen=True)
class Wave:
    """`starts`: when each bar begins; `width`: seconds that a bar counts; `series`: (value, hosts a bar)."""

    title: str
    by: str
    starts: tuple[datetime, ...]
    width: int
    series: tuple[tuple[str, tuple[int, ...]], ...]
    marks: tuple[Marked, ...]

    @property
    def hosts(self) -> int:
        return sum(sum(bars) for _, bars in self.series)

    @property
    def alt_text(self) -> str:
        """The picture in words, for who cannot see it."""
        if not self.starts:
            return f"Bar chart, {self.title}: no hosts"
        totals = [sum(bars[i] for _, bars in self.series) for i in range(len(self.starts))]
        peak = max(range(len(totals)), key=totals.__getitem__)
        began, most = (
            f"{self.starts[0]:%Y-%m-%d %H:%M:%S} UTC",
            f"{self.starts[peak]:%H:%M:%S}: {totals[peak]}",
        )
        words = f"Bar chart, {self.title}: {self.hosts} hosts, a bar each {span(self.width)}, from {began}"
        words += f"; most at {most}. By {self.by}: "
        words += "; ".join(f"{value}: {sum(bars)}" for value, bars in self.series)
        if self.marks:
            words += ". Rollouts: " + "; ".join(self.mark_words())
        return words[:999]

    def mark_words(self) -> list[str]:
        first = self.starts[0] if self.starts else None
        return [
            f"{mark.key}, {span(first - mark.started)} before the first"
            if first is not None and mark.started < first
            else f"{mark.key} at {mark.started:%H:%M:%S}"
            for mark in self.marks
        ]


def compose(title: str, died: Sequence[Died], rollouts: Sequence[Marked]) -> Wave:
    """Stacked by kernel where there are several, else by ring. Hosts at one moment are one bar."""
    kernels = {host.kernel for host in died}
    by = "kernel" if len(kernels) > 1 or not any(host.ring for host in died) else "ring"
    if not died:
        return Wave(title, by, (), 1, (), ())
    first, last = min(host.at for host in died), max(host.at for host in died)
    length = (last - first).total_seconds()
    width = next((w for w in _WIDTHS if length / w < _BARS), _WIDTHS[-1])
    while length / width >= _BARS:
        width *= 2
    number = int(length // width) + 1
    starts = tuple(first + timedelta(seconds=width * n) for n in range(number))
    values = [(host.kernel if by == "kernel" else host.ring) or "not known" for host in died]
    named = [v for v, _ in sorted(Counter(values).items(), key=lambda item: (-item[1], item[0]))][:SHOWN]
    bars: dict[str, list[int]] = {value: [0] * number for value in named}
    rest = [0] * number
    for host, value in zip(died, values, strict=True):
        bars.get(value, rest)[int((host.at - first).total_seconds() // width)] += 1
    series = [(value, tuple(counts)) for value, counts in bars.items()]
    if any(rest):
        series.append((f"other ({len(set(values)) - len(named)})", tuple(rest)))
    marks = sorted(rollouts, key=lambda mark: mark.started)[-MARKED:]
    return Wave(title, by, starts, width, tuple(series), tuple(marks))


def draw(wave: Wave) -> bytes:
    """The PNG's bytes. Takes half a second of a processor, and seconds the first time: never in the event loop."""
    with ONE_AT_A_TIME:
        return _draw(wave)


def _draw(wave: Wave) -> bytes:
    from matplotlib import dates
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(WIDTH, HEIGHT), dpi=DPI, facecolor=GROUND, layout="constrained")
    FigureCanvasAgg(figure)
    axes: Any = figure.add_subplot()
    axes.set_facecolor(GROUND)
    bar = timedelta(seconds=wave.width)
    centres = [start.astimezone(UTC) + bar / 2 for start in wave.starts]
    under = [0] * len(centres)
    for number, (value, counts) in enumerate(wave.series):
        is_rest = number == SHOWN
        axes.bar(
            centres, counts, width=bar * 0.9, bottom=under, edgecolor=GROUND, linewidth=0.3,
            color=GREY if is_rest else PALETTE[number % len(PALETTE)],
            hatch="" if is_rest else HATCHES[number % len(HATCHES)],
            label=f"{plain(value, 60)}  {sum(counts):,}",
        )  # fmt: skip
        under = [low + more for low, more in zip(under, counts, strict=True)]
    top = max([*under, 1])
    axes.set_ylim(0, top * 1.15)
    for mark in wave.marks:
        if mark.started >= wave.starts[0]:
            axes.axvline(mark.started, color=INK, linewidth=1.0, linestyle=(0, (4, 3)))
            axes.text(
                mark.started, top * 1.14, plain(mark.key, 30), ha="left", va="top", fontsize=9, color=INK
            )
    ticks: Any = dates  # its functions have no types
    locator = ticks.AutoDateLocator(minticks=3, maxticks=10, tz=UTC)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ticks.ConciseDateFormatter(locator, tz=UTC))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axes.set_ylabel(f"hosts each {span(wave.width)}", color=INK)
    axes.set_title(
        plain(wave.title, 100), loc="left", color=INK, fontsize=13, fontweight="bold", parse_math=False
    )
    told = "; ".join(plain(words, 90) for words in wave.mark_words())
    axes.set_xlabel(
        f"UTC{'. Rollouts: ' + told if told else ''}"[:160], color=INK, fontsize=9, parse_math=False
    )
    axes.tick_params(colors=INK)
    axes.grid(axis="y", color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(INK)
    if centres:
        axes.set_xlim(centres[0] - bar, centres[-1] + bar)
        legend = axes.legend(
            loc="upper left",
            bbox_to_anchor=(1.0, 1.0),
            frameon=False,
            fontsize=9,
            labelcolor=INK,
            title=wave.by,
        )
        for text in legend.get_texts():
            text.set_parse_math(False)
    made = io.BytesIO()
    figure.savefig(made, format="png", facecolor=GROUND)
    return made.getvalue()
