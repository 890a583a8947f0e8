"""No emoji that the bot or the demo sends is left to a font: each short name in the source is a picture of the page."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import bot
import commands
import integrations
from bot.demo.page import STATIC

SHORT_NAME = re.compile(r"(?<![\w:/?])(?::)([a-z0-9+-][a-z0-9_+-]*):(?![\w:])")
#: SQLite's name for a database in memory looks like a short name.
NOT_EMOJI = {"memory"}


def _texts(tree: ast.Module) -> Iterator[str]:
    """String literals, those inside f-strings too, without docstrings."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, documented) and node.body and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.value


def _sent() -> dict[str, set[str]]:
    """Short name -> the files that hold it."""
    found: dict[str, set[str]] = {}
    for package in (bot, commands, integrations):
        assert package.__file__ is not None
        for path in Path(package.__file__).parent.rglob("*.py"):
            for text in _texts(ast.parse(path.read_text("utf-8"))):
                for name in set(SHORT_NAME.findall(text)) - NOT_EMOJI:
                    found.setdefault(name, set()).add(path.name)
    return found


def test_every_emoji_that_can_be_sent_is_drawn() -> None:
    sent = _sent()
    assert {"red_circle", "warning", "test_tube", "wave"} <= sent.keys()
    symbols = set(re.findall(r'<symbol id="([^"]+)"', (STATIC / "emoji.svg").read_text("utf-8")))
    missing = {name: files for name, files in sent.items() if name.replace("+", "plus") not in symbols}
    assert missing == {}
