"""The part of JQL that finds change tickets: comparisons, AND, OR, NOT, parentheses, IN, IS EMPTY, ORDER BY.

Anything else is refused, as Jira refuses what it does not understand: a query accepted here means what it says.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from bot.demo.tracker.tickets import PROJECTS, Ticket

_TOKEN = re.compile(
    r"""\s*(?:(?P<quoted>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')"""
    r"""|(?P<op>!=|!~|>=|<=|=|~|>|<|\(|\)|,)"""
    r"""|(?P<word>[\w.\-]+))""",
    re.DOTALL,
)
_UNITS = {"w": 604800, "d": 86400, "h": 3600, "m": 60}
_RELATIVE = re.compile(r"^(?P<sign>[+-]?)(?P<parts>\d+[wdhm](?: \d+[wdhm])*)$")
_DATES = ("%Y-%m-%d %H:%M", "%Y/%m/%d %H:%M", "%Y-%m-%d", "%Y/%m/%d")
_KEYWORDS = {"and", "or", "not", "in", "is", "order", "by", "empty", "null", "asc", "desc", "was", "changed"}


class JqlError(ValueError):
    """Error in the JQL Query: it is not understood."""


@dataclass(frozen=True)
class Clause:
    """One comparison; `values` has one element but for IN."""

    field: str
    op: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class Both:
    left: Node
    right: Node


@dataclass(frozen=True)
class Either:
    left: Node
    right: Node


@dataclass(frozen=True)
class Not:
    node: Node


Node = Clause | Both | Either | Not


@dataclass(frozen=True)
class Query:
    """A parsed query: `where` is None when it restricts nothing; `order` as (field, descending)."""

    where: Node | None
    order: tuple[tuple[str, bool], ...]


def parse(text: str) -> Query:
    """Parse a query. `JqlError` says what is wrong with it."""
    try:
        return _Parser(text).query()
    except RecursionError:
        raise JqlError("Error in the JQL Query: it is nested too deeply.") from None


def search(text: str, tickets: list[Ticket], now: float) -> list[Ticket]:
    """The tickets that a query finds, in its order; `now` in seconds since the epoch. `JqlError`."""
    query = parse(text)
    found = [t for t in tickets if query.where is None or _matches(query.where, t, now)]
    for name, descending in reversed(query.order):
        found.sort(key=_sort_key(name), reverse=descending)
    return found


class _Parser:
    def __init__(self, text: str) -> None:
        self._tokens: list[tuple[str, str]] = []
        place = 0
        text = text.rstrip()
        while place < len(text):
            match = _TOKEN.match(text, place)
            if match is None:
                raise JqlError(f"Error in the JQL Query: unexpected character '{text[place]}' at {place}.")
            kind = str(match.lastgroup)
            value = match[kind]
            if kind == "quoted":
                value = _unquoted(value)
            self._tokens.append((kind, value))
            place = match.end()
        self._next = 0

    def query(self) -> Query:
        where = None if self._word("order") or not self._tokens else self._either()
        order: list[tuple[str, bool]] = []
        if self._word("order"):
            self._next += 1
            self._expect("by")
            while True:
                name = self._take()[1].lower()
                if name not in _SORTS:
                    raise JqlError(f"Field '{name}' does not exist or cannot be sorted on here.")
                descending = self._word("desc")
                if descending or self._word("asc"):
                    self._next += 1
                order.append((name, descending))
                if not self._op(","):
                    break
                self._next += 1
        if self._next < len(self._tokens):
            raise JqlError(
                f"Error in the JQL Query: expecting the end but got '{self._tokens[self._next][1]}'."
            )
        return Query(where, tuple(order))

    def _either(self) -> Node:
        node = self._both()
        while self._word("or"):
            self._next += 1
            node = Either(node, self._both())
        return node

    def _both(self) -> Node:
        node = self._unary()
        while self._word("and"):
            self._next += 1
            node = Both(node, self._unary())
        return node

    def _unary(self) -> Node:
        if self._word("not"):
            self._next += 1
            return Not(self._unary())
        if self._op("("):
            self._next += 1
            node = self._either()
            self._expect(")")
            return node
        return self._clause()

    def _clause(self) -> Node:
        kind, name = self._take()
        name = name.lower()
        if kind == "op" or name not in _FIELDS:
            raise JqlError(f"Field '{name}' does not exist or you do not have permission to view it.")
        if self._word("is"):
            self._next += 1
            negated = self._word("not")
            self._next += negated
            if not (self._word("empty") or self._word("null")):
                raise JqlError("Error in the JQL Query: IS takes EMPTY.")
            self._next += 1
            empty = Clause(name, "empty", ())
            return Not(empty) if negated else empty
        negated = self._word("not")
        self._next += negated
        if self._word("in"):
            self._next += 1
            clause = _checked(Clause(name, "in", self._values()))
            return Not(clause) if negated else clause
        op = self._take()
        if op[0] != "op" or op[1] not in _FIELDS[name] or negated:
            raise JqlError(f"The operator '{op[1]}' is not supported by the '{name}' field.")
        return _checked(Clause(name, op[1], (self._value(),)))

    def _values(self) -> tuple[str, ...]:
        self._expect("(")
        values = [self._value()]
        while self._op(","):
            self._next += 1
            values.append(self._value())
        self._expect(")")
        return tuple(values)

    def _value(self) -> str:
        kind, value = self._take()
        if kind == "op" or (kind == "word" and value.lower() in _KEYWORDS):
            raise JqlError(f"Error in the JQL Query: expecting a value but got '{value}'.")
        return value

    def _take(self) -> tuple[str, str]:
        if self._next >= len(self._tokens):
            raise JqlError("Error in the JQL Query: it ends too early.")
        self._next += 1
        return self._tokens[self._next - 1]

    def _expect(self, wanted: str) -> None:
        kind, value = self._take()
        if kind == "quoted" or value.lower() != wanted:
            raise JqlError(f"Error in the JQL Query: expecting '{wanted}' but got '{value}'.")

    def _word(self, wanted: str) -> bool:
        return self._peek() == ("word", wanted)

    def _op(self, wanted: str) -> bool:
        return self._peek() == ("op", wanted)

    def _peek(self) -> tuple[str, str]:
        if self._next >= len(self._tokens):
            return "", ""
        kind, value = self._tokens[self._next]
        return kind, value.lower() if kind == "word" else value


def _unquoted(quoted: str) -> str:
    escapes = {"n": "\n", "t": "\t", "r": "\r"}

    def plain(match: re.Match[str]) -> str:
        if match[1] not in {'"', "'", "\\", " ", *escapes}:
            raise JqlError(f"Error in the JQL Query: '\\{match[1]}' is an illegal JQL escape sequence.")
        return escapes.get(match[1], match[1])

    return re.sub(r"\\(.)", plain, quoted[1:-1], flags=re.DOTALL)


def _checked(clause: Clause) -> Clause:
    """What Jira checks before it searches: that projects exist and that dates are dates."""
    if clause.field == "project":
        for value in clause.values:
            if value.upper() not in PROJECTS:
                raise JqlError(f"The value '{value}' does not exist for the field 'project'.")
    if clause.field in {"created", "updated", "resolved"}:
        for value in clause.values:
            _instant(value, 0.0, clause.field)
    if clause.op in {"~", "!~"} and not _words(clause.values[0]):
        raise JqlError(
            f"The text query '{clause.values[0]}' for field '{clause.field}' is not allowed to be empty."
        )
    return clause


def _instant(value: str, now: float, name: str) -> float:
    relative = _RELATIVE.match(value.strip())
    if relative:
        seconds = sum(int(part[:-1]) * _UNITS[part[-1]] for part in relative["parts"].split())
        return now + (seconds if relative["sign"] != "-" else -seconds)
    for form in _DATES:
        try:
            return datetime.strptime(value, form).replace(tzinfo=UTC).timestamp()
        except ValueError:
            continue
    raise JqlError(
        f"Date value '{value}' for field '{name}' is invalid. Valid formats include: 'yyyy/MM/dd HH:mm', "
        "'yyyy-MM-dd HH:mm', 'yyyy/MM/dd', 'yyyy-MM-dd', or a period format e.g. '-5d', '4w 2d'."
    )


def _words(text: str) -> list[str]:
    return re.findall(r"\w+\*?", text.lower().replace("_", " "))


def _text_matches(query: str, text: str) -> bool:
    """All words of the query are in the text; of a query in double quotes, one after another."""
    words = _words(text)
    if len(query) > 2 and query[0] == query[-1] == '"':
        phrase = [word.rstrip("*") for word in _words(query[1:-1])]
        return any(words[n : n + len(phrase)] == phrase for n in range(len(words) - len(phrase) + 1))
    return all(
        any(word.startswith(wanted[:-1]) if wanted.endswith("*") else word == wanted for word in words)
        for wanted in _words(query)
    )


def _matches(node: Node, ticket: Ticket, now: float) -> bool:
    match node:
        case Both(left, right):
            return _matches(left, ticket, now) and _matches(right, ticket, now)
        case Either(left, right):
            return _matches(left, ticket, now) or _matches(right, ticket, now)
        case Not(inner):
            return not _matches(inner, ticket, now)
        case Clause():
            return _clause_matches(node, ticket, now)


def _clause_matches(clause: Clause, ticket: Ticket, now: float) -> bool:
    if clause.op in {"~", "!~"}:
        text = {
            "summary": ticket.summary,
            "description": ticket.description,
            "text": " \n".join([ticket.summary, ticket.description, *(c.body for c in ticket.comments)]),
        }[clause.field]
        return _text_matches(clause.values[0], text) == (clause.op == "~")
    if clause.field in {"created", "updated", "resolved"}:
        moment: float | None = getattr(ticket, clause.field)
        if clause.op == "empty" or moment is None:
            return moment is None and clause.op == "empty"
        limit = _instant(clause.values[0], now, clause.field)
        return _COMPARE[clause.op](moment, limit)
    have = {value.lower() for value in _values(clause.field, ticket)}
    if clause.op == "empty":
        return not have
    hit = bool(have & {value.lower() for value in clause.values})
    return not hit if clause.op == "!=" else hit


def _values(name: str, ticket: Ticket) -> list[str]:
    return {
        "project": [ticket.project],
        "key": [ticket.key, ticket.id],
        "issuekey": [ticket.key, ticket.id],
        "labels": ticket.labels,
        "status": [ticket.status],
        "statuscategory": [ticket.category],
        "issuetype": [ticket.kind],
        "type": [ticket.kind],
        "assignee": [ticket.assignee] if ticket.assignee else [],
        "resolution": ["Done"] if ticket.resolved else [],
    }[name]


def _sort_key(name: str) -> Callable[[Ticket], float | tuple[str, int]]:
    return _SORTS[name]


def _by_key(ticket: Ticket) -> tuple[str, int]:
    return ticket.project, int(ticket.key.rpartition("-")[2])


_COMPARE: dict[str, Callable[[float, float], bool]] = {
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    "=": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
}
_FIELDS: dict[str, set[str]] = {
    **{name: {"~", "!~"} for name in ("text", "summary", "description")},
    **{name: set(_COMPARE) for name in ("created", "updated", "resolved")},
    **{name: {"=", "!="} for name in ("project", "key", "issuekey", "labels", "status", "statuscategory")},
    **{name: {"=", "!="} for name in ("issuetype", "type", "assignee", "resolution")},
}
_SORTS: dict[str, Callable[[Ticket], float | tuple[str, int]]] = {
    "created": lambda ticket: ticket.created,
    "updated": lambda ticket: ticket.updated,
    "key": _by_key,
    "issuekey": _by_key,
}
