"""Three forms of one feed, and what is refused."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlmodel import select

from commands.changes import records
from integrations.changes import BadFeed, Scope
from integrations.changes.feed import FeedChange, read_feed
from storage import ChangeRecord, ChangeTouch, Database

AT = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
TOLD = {"key": "r-31", "summary": "rollout of 6.1.0-31 to ring prod-2", "kind": "kernel", "ring": "prod-2",
        "started": "2026-11-23T09:00:00Z"}  # fmt: skip
TOML = b"""
source = "deploys"

[[change]]
key = "r-31"
summary = "rollout of 6.1.0-31 to ring prod-2"
kind = "kernel"
rings = ["prod-2"]
started = 2026-11-23T09:00:00Z
"""
CSV = b"""source,key,summary,kind,rings,started
deploys,r-31,rollout of 6.1.0-31 to ring prod-2,kernel,prod-2,2026-11-23T10:00:00+01:00
"""


def test_three_forms_say_the_same() -> None:
    posted = json.dumps({"source": "deploys", "changes": [TOLD]}).encode()
    (one,), (two,), (three,) = read_feed(posted, "json"), read_feed(TOML, "toml"), read_feed(CSV, "csv")
    assert one == two == three
    assert (one.started, one.scope) == (AT, Scope(rings=("prod-2",)))
    assert read_feed(json.dumps(TOLD).encode(), "json", source="file")[0].source == "file"


@pytest.mark.parametrize(
    ("data", "form", "why"),
    [
        (b"{", "json", "no JSON"),
        (b"[1]", "json", "change 1 is no table"),
        (b'{"summary": "x"}', "json", "key is missing"),
        (b'{"key": "x", "rnig": "p"}', "json", "rnig is no field of a change"),
        (b'{"key": "x", "started": 5}', "json", "ISO 8601"),
        (b'{"key": "x", "started": "2026-11-23T09:00:00"}', "json", "timezone"),
        (b'{"key": "x", "source": "host:web-1"}', "json", "must not be"),
        (b'{"key": "x", "url": "javascript:alert(1)"}', "json", "an address"),
        (b'{"changes": [], "key": "x"}', "json", "not known beside"),
        (b'{"key":"x","started":"2026-11-23T09:00:00Z","ended":"2026-11-22T09:00:00Z"}', "json", "must not be before"),
        (b"[[changes]]", "toml", "not known beside"),
        (b"summary\nx", "csv", '"key" among them'),
        (b"key\nx,y", "csv", "line 2 has more cells"),
        (b"\xff", "csv", "not UTF-8"),
        (b"[" * 100_000, "json", "nested too deeply"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_place(data: bytes, form: str, why: str) -> None:
    with pytest.raises(BadFeed, match=why):
        read_feed(data, form)  # type: ignore[arg-type]


@settings(max_examples=50, deadline=None)
@given(
    st.binary(max_size=200) | st.text(max_size=200).map(lambda t: f'[{{"key": {json.dumps(t)}}}]'.encode())
)
def test_whatever_is_sent_is_read_or_refused(data: bytes) -> None:
    for form in ("json", "toml", "csv"):
        try:
            found = read_feed(data, form)  # type: ignore[arg-type]
        except BadFeed:
            continue
        assert all(c.key == " ".join(c.key.split()) and c.key for c in found)


def _told(**said: object) -> FeedChange:
    return FeedChange.model_validate({"source": "deploys", "key": "r-31", **said})


def test_a_later_telling_updates_and_what_it_does_not_say_stays(db: Database) -> None:
    def take(minutes: int, **said: object) -> str:
        now = AT + timedelta(minutes=minutes)
        return db.write_now(lambda s: records.take(s, _told(**said), now))

    assert take(0, summary="rollout", rings=["prod-2"]) == records.NEW
    assert take(5, summary="rollout", rings=["prod-2"]) == records.UNCHANGED
    assert take(30, ended="2026-11-23T09:30:00Z", status="done") == records.UPDATED
    record, touches = db.read_now(
        lambda s: (s.exec(select(ChangeRecord)).one(), s.exec(select(ChangeTouch)).all())
    )
    assert (record.started, record.ended, record.summary) == (AT, AT + timedelta(minutes=30), "rollout")
    assert [(t.what, t.name, t.started, t.ended) for t in touches] == [("ring", "prod-2", AT, record.ended)]
    assert take(60, started="2026-11-24T09:00:00Z") == records.UPDATED, "begun anew"
    record = db.read_now(lambda s: s.exec(select(ChangeRecord)).one())
    assert record.ended is None


def test_an_end_before_the_beginning_we_assumed_moves_the_beginning(db: Database) -> None:
    db.write_now(lambda s: records.take(s, _told(), AT))
    db.write_now(lambda s: records.take(s, _told(ended="2026-11-23T08:00:00Z"), AT))
    record = db.read_now(lambda s: s.exec(select(ChangeRecord)).one())
    assert record.started == record.ended == AT - timedelta(hours=1)
