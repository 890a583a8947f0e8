"""A picture of trends as PNG, by matplotlib."""

from __future__ import annotations

import io
from datetime import UTC, datetime, time, timedelta
from typing import Any

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
from commands.trends.picture import OTHER, Picture


def draw(picture: Picture) -> bytes:
    """The PNG's bytes. Takes half a second of a processor, and seconds the first time: never in the event loop."""
    with ONE_AT_A_TIME:
        return _draw(picture)


def _draw(picture: Picture) -> bytes:
    from matplotlib import dates
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(WIDTH, HEIGHT), dpi=DPI, facecolor=GROUND, layout="constrained")
    FigureCanvasAgg(figure)
    axes: Any = figure.add_subplot()
    axes.set_facecolor(GROUND)
    under = [0] * len(picture.starts)
    half = timedelta(days=picture.width / 2)
    centres = [datetime.combine(start, time(), UTC) + half for start in picture.starts]
    for number, series in enumerate(picture.series):
        is_rest = series.label.startswith(f"{OTHER} (") and number == len(picture.series) - 1
        axes.bar(
            centres,
            series.panics,
            width=picture.width * 0.9,
            bottom=under,
            color=GREY if is_rest else PALETTE[number % len(PALETTE)],
            hatch="" if is_rest else HATCHES[number % len(HATCHES)],
            edgecolor=GROUND,
            linewidth=0.3,
            label=f"{plain(series.label, 60)}  {sum(series.panics):,}",
        )
        under = [low + more for low, more in zip(under, series.panics, strict=True)]
    top = max([*under, 1])
    axes.set_ylim(0, top * 1.15)
    for mark in picture.marks:
        axes.axvline(mark.rollout.started, color=INK, linewidth=1.0, linestyle=(0, (4, 3)))
        axes.text(
            mark.rollout.started, top * 1.14, mark.letter, ha="center", va="top", fontsize=10, fontweight="bold",
            color=GROUND, bbox={"boxstyle": "round,pad=0.25", "facecolor": INK, "edgecolor": "none"},
        )  # fmt: skip
    ticks: Any = dates  # its functions have no types
    locator = ticks.AutoDateLocator(minticks=4, maxticks=12, tz=UTC)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ticks.ConciseDateFormatter(locator, tz=UTC))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axes.set_ylabel("panics a day" if picture.width == 1 else "panics a week", color=INK)
    axes.set_title(
        plain(picture.title, 110), loc="left", color=INK, fontsize=13, fontweight="bold", parse_math=False
    )
    axes.tick_params(colors=INK)
    axes.grid(axis="y", color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(INK)
    if picture.starts:
        axes.set_xlim(centres[0] - half, centres[-1] + half)
    if picture.series:
        legend = axes.legend(
            loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=9, labelcolor=INK
        )
        for text in legend.get_texts():
            text.set_parse_math(False)
    made = io.BytesIO()
    figure.savefig(made, format="png", facecolor=GROUND)
    return made.getvalue()
