from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import example, given
from hypothesis import strategies as st

from bot.demo.tracker.jql import Both, Clause, Either, Node, parse
from integrations.changes import JiraConfig
from integrations.changes.query import changes_queries, named, phrase, quoted, typed_query

NOW = datetime(2026, 11, 23, 12, 0, 30, tzinfo=UTC)
CONFIG = JiraConfig.model_validate(
    {"url": "https://j.example", "email": "a@b.c", "token": "t", "projects": ["OPS", "AND"]}
)
HOSTILE = st.text(max_size=40) | st.text(
    alphabet=st.sampled_from("ab-1.\"\\'()~ \n\u2028\x00ORANDtext=%{}*?"), max_size=60
)


def clauses(node: Node | None) -> list[Clause]:
    if isinstance(node, Both | Either):
        return clauses(node.left) + clauses(node.right)
    assert isinstance(node, Clause)
    return [node]


def test_the_query_reads_as_meant() -> None:
    terms = {"host": "web-17", "ring": "prod-2", "hardware": "Dell PowerEdge R640", "service": None}
    (query,) = changes_queries(CONFIG, terms, NOW - timedelta(hours=3, seconds=1), NOW)
    assert query == (
        'project in ("OPS", "AND") AND (updated >= "-181m" OR statusCategory != Done) AND '
        '(text ~ "\\"web-17\\"" OR text ~ "\\"prod-2\\"" OR text ~ "\\"Dell PowerEdge R640\\"") ORDER BY updated DESC'
    )


@given(st.lists(HOSTILE, min_size=1, max_size=4))
@example(['") OR project = SEC OR text ~ ("'])
@example(["\\"])
@example(['web-17\\" OR key = SEC-1 OR text ~ \\"x'])
def test_no_name_gets_out_of_its_quotes(names: list[str]) -> None:
    terms: dict[str, str | None] = {str(n): name for n, name in enumerate(names)}
    config = JiraConfig.model_validate(CONFIG.model_dump() | {"projects": ["OPS"]})
    queries = changes_queries(config, terms, NOW - timedelta(hours=1), NOW)
    if not queries:
        assert not any(phrase(name) for name in names if name)
        return
    parsed = clauses(parse(queries[0]).where)
    assert parsed[:3] == [
        Clause("project", "in", ("OPS",)),
        Clause("updated", ">=", ("-60m",)),
        Clause("statuscategory", "!=", ("Done",)),
    ]
    assert {(clause.field, clause.op) for clause in parsed[3:]} == {("text", "~")}
    assert len(parsed) - 3 <= len(names)
    for clause in parsed[3:]:
        value = clause.values[0]
        assert value[0] == value[-1] == '"'
        assert not set(value[1:-1]) & set('"\\~*?()[]{}:^!+')


@given(st.text(max_size=60))
def test_a_quoted_value_is_one_value_and_the_same(value: str) -> None:
    where = parse(f"status = {quoted(value)}").where
    assert isinstance(where, Clause)
    told = where.values[0]
    assert [c for c in told if c != " "] == [
        c for c in value if (c.isprintable() and c != " ") or (ord(c) > 0x9F and c not in "\u2028\u2029")
    ]


def test_a_name_without_a_word_is_not_looked_for() -> None:
    assert phrase("--- !!") is None
    assert changes_queries(CONFIG, {"host": "...", "ring": ""}, NOW, NOW) == []
    assert named({"host": " ", "ring": "-"}, "a - b") == ()


def test_names_are_whole_names() -> None:
    terms: dict[str, str | None] = {"host": "web-17", "service": None, "ring": "prod-2", "hardware": "R640"}
    assert named(terms, "WEB-17: new NIC") == ("host",)
    assert named(terms, "web-17.example.com, (prod-2)") == ("host", "ring")
    assert named(terms, "web-171 web-17-old xweb-17 preprod-2 prod-21 R640x") == ()
    assert named(terms, "all R640 of prod-2.") == ("ring", "hardware")


def test_a_future_or_long_past_start_is_a_period_all_the_same() -> None:
    assert '"-1m"' in str(changes_queries(CONFIG, {"host": "a"}, NOW + timedelta(days=1), NOW))
    assert '"-525600m"' in str(changes_queries(CONFIG, {"host": "a"}, NOW - timedelta(days=365), NOW))


def test_a_project_with_its_own_template_is_searched_by_itself() -> None:
    own = 'project in ({projects}) AND "Change type" = Network AND created >= {since} AND ({names})'
    config = JiraConfig.model_validate(
        CONFIG.model_dump() | {"projects": ["OPS", "NET", "KERN"], "project_jql": {"NET": own}}
    )
    first, second = changes_queries(config, {"host": "web-17"}, NOW - timedelta(hours=1), NOW)
    assert first.startswith('project in ("OPS", "KERN") AND (updated')
    assert second == (
        'project in ("NET") AND "Change type" = Network AND created >= "-60m" AND (text ~ "\\"web-17\\"")'
    )


@given(HOSTILE)
def test_what_is_typed_in_a_box_is_words_of_the_summary_and_nothing_else(typed: str) -> None:
    config = JiraConfig.model_validate(CONFIG.model_dump() | {"projects": ["OPS"]})
    query = typed_query(config, typed)
    if query is None:
        assert not any(letter.isalnum() for letter in typed)
        return
    first, *rest = clauses(parse(query).where)
    assert first == Clause("project", "in", ("OPS",))
    assert rest
    assert {(clause.field, clause.op) for clause in rest} == {("summary", "~")}
    assert all(clause.values[0].rstrip("*").isalnum() for clause in rest)
