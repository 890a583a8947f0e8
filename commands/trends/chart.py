"""A picture of trends as PNG, by matplotlib.

Readable on Slack's light and dark themes: the picture has a ground of its own. The colours are Okabe's and Ito's, which
people with any colour vision tell apart; hatches tell them apart without colour.
"""

from __future__ import annotations

import io
import threading
from datetime import UTC, datetime, time, timedelta
from functools import cache
from typing import Any

from commands.trends.picture import OTHER, Picture
from integrations.slack.text import clean, shorten

WIDTH, HEIGHT, DPI = 11.0, 5.2, 130
GROUND, INK, FAINT = "#ffffff", "#1d1c1d", "#c9c9cc"
PALETTE = ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#f0e442")
_GREY = "#8d8d92"
_HATCHES = ("", "//", "", "\\\\", "..", "", "xx")
# matplotlib's caches of fonts and text are not made for several threads.
_ONE_AT_A_TIME = threading.Lock()


def draw(picture: Picture) -> bytes:
    """The PNG's bytes. Takes half a second of a processor, and seconds the first time: never in the event loop."""
    with _ONE_AT_A_TIME:
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
            color=_GREY if is_rest else PALETTE[number % len(PALETTE)],
            hatch="" if is_rest else _HATCHES[number % len(_HATCHES)],
            edgecolor=GROUND,
            linewidth=0.3,
            label=f"{_plain(series.label, 60)}  {sum(series.panics):,}",
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
        _plain(picture.title, 110), loc="left", color=INK, fontsize=13, fontweight="bold", parse_math=False
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


def _plain(text: str, width: int) -> str:
    """A stranger's text as a picture can have it: one line, and a box for what the font has no sign for."""
    line = shorten(" ".join(clean(text).split()), width).lstrip("_") or "-"
    known = _signs()
    return "".join(sign if ord(sign) in known else "□" for sign in line)


@cache
def _signs() -> frozenset[int]:
    """The code points of the font that matplotlib brings along."""
    from matplotlib import font_manager

    return frozenset(font_manager.get_font(font_manager.findfont("DejaVu Sans")).get_charmap())
