"""What the bot's pictures have in common.

Readable on Slack's light and dark themes: a picture has a ground of its own. The colours are Okabe's and Ito's, which
people with any colour vision tell apart; hatches tell them apart without colour.
"""

from __future__ import annotations

import threading
from functools import cache

from integrations.slack.text import clean, shorten

WIDTH, HEIGHT, DPI = 11.0, 5.2, 130
GROUND, INK, FAINT, GREY = "#ffffff", "#1d1c1d", "#c9c9cc", "#8d8d92"
PALETTE = ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#f0e442")
HATCHES = ("", "//", "", "\\\\", "..", "", "xx")
# matplotlib's caches of fonts and text are not made for several threads.
ONE_AT_A_TIME = threading.Lock()


def plain(text: str, width: int) -> str:
    """A stranger's text as a picture can have it: one line, and a box for what the font has no sign for."""
    line = shorten(" ".join(clean(text).split()), width).lstrip("_") or "-"
    known = _signs()
    return "".join(sign if ord(sign) in known else "□" for sign in line)


@cache
def _signs() -> frozenset[int]:
    """The code points of the font that matplotlib brings along."""
    from matplotlib import font_manager

    return frozenset(font_manager.get_font(font_manager.findfont("DejaVu Sans")).get_charmap())
