"""The filter language: what is understood, what is refused, and that nothing else can happen."""

from __future__ import annotations

import string
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from commands.errors import BadArguments
from commands.filters import KEYS, parse_filters
from storage import Database, Incident, IncidentState, Panic
from storage.queries import Filters, Match, Pattern, count_panics, list_rows

NOW = datetime(2026, 11, 23, 9, 14, tzinfo=UTC)


def parse(line: str) -> Filters:
    return parse_filters(line, NOW)


def test_nothing_typed_is_no_condition() -> None:
    assert parse("") == parse("   ") == Filters()


def test_prefix_glob_exact_and_alternatives() -> None:
    assert parse("host:web").host == (Pattern("web", Match.PREFIX),)
    assert parse("kernel:6.1.*").kernel == (Pattern("6.1.*", Match.GLOB),)
    assert parse("host:=web-1").host == (Pattern("web-1", Match.EXACT),)
    assert parse("host:web-1,db-* host:lb").host == (
        Pattern("web-1"),
        Pattern("db-*", Match.GLOB),
        Pattern("lb"),
    )


@pytest.mark.parametrize(
    "line", ['hw:"PowerEdge R640"', "hw:'PowerEdge R640'", "hw:“PowerEdge R640”", 'HW: "PowerEdge R640"']
)
def test_quotes_of_all_sorts_and_a_blank_after_the_colon(line: str) -> None:
    assert parse(line).hardware == (Pattern("PowerEdge R640", Match.CONTAINS),)


@pytest.mark.parametrize(
    ("typed", "moment"),
    [
        ("7d", NOW - timedelta(days=7)),
        ("24H", NOW - timedelta(hours=24)),
        ("2w", NOW - timedelta(weeks=2)),
        ("30m", NOW - timedelta(minutes=30)),
        ("today", datetime(2026, 11, 23, tzinfo=UTC)),
        ("yesterday", datetime(2026, 11, 22, tzinfo=UTC)),
        ("2026-11-20", datetime(2026, 11, 20, tzinfo=UTC)),
        ("2026-11-20T14:00", datetime(2026, 11, 20, 14, tzinfo=UTC)),
        ("2026-11-20T14:00+02:00", datetime(2026, 11, 20, 12, tzinfo=UTC)),
        ("2026-11-20t14:00z", datetime(2026, 11, 20, 14, tzinfo=UTC)),
    ],
)
def test_moments(typed: str, moment: datetime) -> None:
    assert parse(f"since:{typed}").since == moment


def test_until_a_date_includes_its_day() -> None:
    assert parse("until:2026-11-20").until == datetime(2026, 11, 21, tzinfo=UTC)
    assert parse("until:2026-11-20T08:00").until == datetime(2026, 11, 20, 8, tzinfo=UTC)


def test_words_search_titles_and_quotes_keep_a_colon() -> None:
    assert parse('nvme "irq: timeout" kind:null-deref').words == ("nvme", "irq: timeout")


def test_what_slack_makes_of_the_text_is_undone() -> None:
    line = "host:<http://web-17.example.org|web-17.example.org> a&amp;b"
    assert parse(line) == Filters(host=(Pattern("web-17.example.org"),), words=("a&b",))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("hots:web-1", "did you mean `host:`"),
        ("since:tomorrow", "no time I can read"),
        ("since:99999999999d", "no time I can read"),
        ("until:0001-13-01", "no time I can read"),
        ("kind:nul_dreef", "null_deref"),
        ("kind:xyzzy", "no kind of panic"),
        ("state:broken", "no state"),
        ("host:", "no value"),
        ("host:,", "no value"),
        ("host: kernel:6.1", "no value"),
        ('hw:"Dell', "not closed"),
        ("since:7d until:14d", "not before"),
        ("x" * 501, "characters of filters"),
        ("host:" + "x" * 121, "too long"),
    ],
)
def test_errors_say_what_is_wrong_and_how_it_would_be_right(line: str, said: str) -> None:
    with pytest.raises(BadArguments) as caught:
        parse(line)
    assert said in str(caught.value)
    assert caught.value.example is not None
    parse(caught.value.example.removeprefix("/panic list"))


def test_an_error_does_not_mention_anybody() -> None:
    with pytest.raises(BadArguments) as caught:
        parse("since:<!channel>`*")
    assert "<!" not in str(caught.value)


HOSTILE = st.text(
    alphabet=st.one_of(st.sampled_from("\"'“”‘’*?%_\\:,=<>|&;` \t\n\x00\ud800"), st.characters())
)
LINES = st.lists(
    st.one_of(HOSTILE, st.builds("{}:{}".format, st.sampled_from([*KEYS, "release", "Status"]), HOSTILE)),
    max_size=6,
).map(" ".join)


@settings(max_examples=100, deadline=None)
@given(LINES)
@example("since:9999-12-31 until:9999-12-31")
@example("since:0001-01-01T00:00+14:00")
@example("kind:" + "*?" * 50 + "#")
@example("sig:P-99999999999999999999")
@example("sig:P-999999999999")
@example("kernel:\ud800")
def test_any_line_parses_or_is_refused_kindly(line: str) -> None:
    refusal = None
    try:
        parse(line)
    except BadArguments as error:
        refusal = error
    assert refusal is None or (str(refusal) and refusal.example)


@settings(max_examples=75, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(LINES)
@example("sig:P-999999999999")
@example("host:\x00a")
def test_whatever_parses_can_be_asked_of_the_database(db: Database, line: str) -> None:
    try:
        filters = parse(line)
    except BadArguments:
        return
    assert db.read_now(lambda s: (count_panics(s, filters), list_rows(s, filters))) == (0, [])


ODD = st.text(alphabet="aB%_\\*?[.-1", min_size=1, max_size=6)


def glob_matches(glob: str, value: str) -> bool:
    """The meaning of a glob, by definition rather than by speed."""
    if not glob:
        return not value
    if glob[0] == "*":
        return any(glob_matches(glob[1:], value[i:]) for i in range(len(value) + 1))
    return bool(value) and glob[0] in ("?", value[0]) and glob_matches(glob[1:], value[1:])


@settings(max_examples=75, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(hosts=st.lists(ODD, min_size=1, max_size=6, unique=True), wanted=ODD, how=st.sampled_from(Match))
def test_patterns_mean_to_sql_what_they_mean_to_people(
    db: Database, panic: Callable[..., Panic], hosts: list[str], wanted: str, how: Match
) -> None:
    def fill(session: Any) -> None:
        session.connection().exec_driver_sql("DELETE FROM panic")
        session.add_all([panic(h) for h in hosts])

    db.write_now(fill)
    low = wanted.lower()
    means: dict[Match, Callable[[str], bool]] = {
        Match.PREFIX: lambda h: h.startswith(low),
        Match.EXACT: lambda h: h == low,
        Match.CONTAINS: lambda h: low in h,
        Match.GLOB: lambda h: glob_matches(low, h),
    }
    expected = {h for h in hosts if means[how](h.lower())}
    filters = Filters(host=(Pattern(wanted, how),))
    rows = db.read_now(lambda s: list_rows(s, filters))
    assert {r.host for r in rows} == expected
    assert db.read_now(lambda s: count_panics(s, filters)) == len(expected)


def ids(db: Database, line: str) -> list[int]:
    return [r.id for r in db.read_now(lambda s: list_rows(s, parse(line)))]


def test_each_filter_finds_what_it_says(
    db: Database, panic: Callable[..., Panic], store: Callable[..., None]
) -> None:
    incidents = [
        Incident(signature_key="k", title="t", channel="C0INCIDENTS", state=state)
        for state in (IncidentState.OPEN, IncidentState.ACKNOWLEDGED, IncidentState.RESOLVED)
    ]
    unknown = {"kind": "unknown", "signature_key": "unknown", "title": "cause unknown"}
    store(*incidents)
    store(
        panic("web-1", days=-3, incident_id=incidents[0].id, ring="prod-1", hardware="Dell Inc. PowerEdge R640"),
        panic("web-2", days=-2, incident_id=incidents[1].id, ring="prod-2", kernel="6.1.0-30-amd64"),
        panic("db-1", days=-1, incident_id=incidents[2].id, **unknown),
        panic("DB-2", kernel=None, **unknown),
    )  # fmt: skip
    assert ids(db, "") == [4, 3, 2, 1]
    assert ids(db, "host:db") == [4, 3]
    assert ids(db, "HOST:WEB-* ring:prod-2") == [2]
    assert ids(db, "host:*-1") == [3, 1]
    assert ids(db, "kernel:6.1.0-3?-amd64") == [3, 2, 1]
    assert ids(db, "kernel:6.1.0-30") == [2]
    assert ids(db, "kind:null-deref") == [2, 1]
    assert ids(db, "kind:null*") == [2, 1]
    assert ids(db, "hw:r640") == [1]
    assert ids(db, "state:active") == [2, 1]
    assert ids(db, "state:resolved state:open") == [3, 1]
    assert ids(db, "state:none") == [4]
    assert ids(db, "sig:P-1") == [2, 1]
    assert ids(db, "sig:null_deref|nvme") == [2, 1]
    assert ids(db, "sig:P-3") == [3], "unreadable causes have nothing in common"
    assert ids(db, "since:36h") == [4, 3]
    assert ids(db, "until:2026-11-20") == [1]
    assert ids(db, "NVME pointer") == [2, 1]
    assert ids(db, "n_me") == [], "an underscore is an underscore"
    assert set(string.ascii_lowercase) >= {k[0] for k in KEYS}


def test_rows_know_their_thread(
    db: Database, panic: Callable[..., Panic], store: Callable[..., None]
) -> None:
    from storage import SlackMessage

    incident = Incident(signature_key="k", title="t", channel="C0INCIDENTS")
    store(incident)
    store(
        panic(incident_id=incident.id),
        SlackMessage(key=f"incident:{incident.id}", channel="C0INCIDENTS", ts="17.5"),
    )
    row = db.read_now(lambda s: list_rows(s, Filters()))[0]
    assert (row.state, row.channel, row.ts) == (IncidentState.OPEN, "C0INCIDENTS", "17.5")
