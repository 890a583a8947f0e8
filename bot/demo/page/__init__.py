"""The page of the demo workspace: static files (HTML, CSS, ES modules), served as they are, no build step.

`STATIC` is the directory that holds them; `STATIC / "index.html"` is the page, and every path in it starts
with `/static/`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

STATIC: Final = Path(__file__).resolve().parent / "static"

__all__ = ["STATIC"]
