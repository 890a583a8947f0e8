from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.demo.tracker import seed
from bot.demo.tracker.jql import JqlError, parse, search

NOW = 1795435200.0


def keys(query: str) -> list[str]:
    return [ticket.key for ticket in search(query, seed(NOW), NOW)]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("key = OPS-1182", ["OPS-1182"]),
        ("key in (OPS-1182, 'KERN-77')", ["OPS-1182", "KERN-77"]),
        ('text ~ "\\"web-17\\""', ["OPS-1179"]),
        ("text ~ web-17", ["OPS-1179"]),
        ('summary ~ "kernel prod"', ["OPS-1182"]),
        ('summary ~ "\\"kernel prod\\""', []),
        ("summary ~ 'kern*'", ["OPS-1182"]),
        ("description ~ microcode", ["OPS-1171"]),
        ("labels = kernel AND project = OPS", ["OPS-1182"]),
        ("labels in (nic, drill) ORDER BY key", ["OPS-1150", "OPS-1179"]),
        ("labels is EMPTY AND project = OPS", ["OPS-1102"]),
        ("project = OPS AND updated >= -3h ORDER BY updated DESC", ["OPS-1182", "OPS-1150", "OPS-1179"]),
        ('project = OPS AND updated >= "-20m"', ["OPS-1182"]),
        ("project = OPS AND created < -30d", ["OPS-1102"]),
        ("project = OPS AND statusCategory = Done AND resolved >= '-1d'", ["OPS-1176"]),
        ("project = OPS AND NOT status = Done AND assignee != kernel-engineer ORDER BY created ASC",
         ["OPS-1102", "OPS-1171", "OPS-1179"]),
        ("project = OPS AND (labels = nic OR labels = bios) ORDER BY key DESC", ["OPS-1179", "OPS-1171"]),
        ("key = OPS-1182 OR key = OPS-1179 AND labels = none", ["OPS-1182"]),
        ("resolution is not EMPTY AND project = OPS", ["OPS-1176", "OPS-1102"]),
        ("project not in (OPS, SEC, ARCHIVE)", ["KERN-77"]),
        ("summary !~ kernel AND updated >= -1h", ["OPS-1150"]),
        ("updated >= '2026-11-23 09:00' AND project = OPS AND labels = memory", []),
    ],
)  # fmt: skip
def test_a_query_finds_what_it_says(query: str, found: list[str]) -> None:
    assert keys(query) == found


@pytest.mark.parametrize(
    "query",
    [
        "project", "project =", "= OPS", "project = OPS AND", "(project = OPS", "project = OPS)", "project ~ OPS",
        "text = x", "text ~ ''", "nosuch = 1", "project = OPS ORDER BY", "ORDER BY nosuch", "project = OPS ORDER key",
        "updated > soon", "labels is x", "project = OPS extra", "project not = OPS", "summary ~ \"a\\qb\"",
        "key in ()", "key in (a", "project = and", "(" * 2000,
    ],
)  # fmt: skip
def test_what_is_not_understood_is_refused(query: str) -> None:
    with pytest.raises(JqlError):
        search(query, seed(NOW), NOW)


@given(st.text(alphabet=st.sampled_from("abt~=<>!()\"'\\, -19d%\nANDORNTprojectext"), max_size=60))
def test_any_text_is_a_query_or_a_jql_error(query: str) -> None:
    try:
        parse(query)
    except JqlError:
        return
    search(query, seed(NOW), NOW)
