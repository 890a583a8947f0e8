"""What the questions at a terminal share: the database to read, the words as typed, how text is printed."""

from __future__ import annotations

import html
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import Session

from bot.parse import printable
from storage.database import make_engine
from storage.migrations import current, head

FOUND, NONE, WRONG = 0, 1, 2
_WIDE = 240  # columns, where the output is no terminal: nothing is folded


class NoMemory(Exception):
    """The database cannot be read."""


@contextmanager
def reading(url: str, shown_url: str) -> Iterator[Session]:
    """A session that only reads, also while the bot runs. Makes no file, and upgrades nothing. Raises NoMemory."""
    file = make_url(url).database
    if url.startswith("sqlite:") and file and not Path(file).exists():
        raise NoMemory(f"{shown_url}: there is no such file; the bot has not run with these settings yet")
    try:
        revision = current(url)
        if revision != head():
            raise NoMemory(
                f"{shown_url} has the schema {revision or 'of an empty database'}, this version needs {head()}: "
                "`panicroom db upgrade`, or use the version that wrote it"
            )
        engine = make_engine(url)
        try:
            with Session(engine, expire_on_commit=False) as session:
                yield session
        finally:
            engine.dispose()
    except SQLAlchemyError as error:
        raise NoMemory(f"{shown_url}: {str(error).splitlines()[0][:300]}") from error


def typed(words: Sequence[str]) -> str:
    """The line as it would be typed in Slack, of the words as the shell split them."""
    return " ".join(_quoted(word) for word in words)


def _quoted(word: str) -> str:
    """The shell took the quotes of `hw:"PowerEdge R640"` away; a filter with a space in it needs them."""
    if not re.search(r"\s", word) or '"' in word or re.search(r"\s[A-Za-z_]+:", word):
        return word
    key = re.match(r"[A-Za-z_]+:", word)
    head_, rest = (key.group(), word[key.end() :]) if key else ("", word)
    return f'{head_}"{rest}"'


def console() -> Console:
    made = Console(highlight=False)
    return made if made.is_terminal else Console(highlight=False, width=_WIDE)


def plain(text: str | None, otherwise: str = "-") -> str:
    """Text of a stranger: neither markup nor escape sequences reach the terminal."""
    return escape(printable(text)) if text else otherwise


def complain(message: str, example: str = "") -> None:
    hint = f" Example: {example}" if example else ""
    ending = "" if message.endswith((".", "?", "!")) else "."
    print(f"panicroom: {message}{ending}{hint}", file=sys.stderr)


def for_terminal(text: str) -> str:
    """What is said in Slack, as it is said here."""
    return printable(html.unescape(text).replace("/panic ", "panicroom ").replace("`", ""))
