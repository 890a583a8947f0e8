"""Whatever a host says, every message that is drawn from it is one that Slack takes, and does nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlmodel import Session, select

from bot.demo.workspace import check_message, check_view
from commands.incident import life, placing, thread
from commands.incident.config import IncidentConfig, RoutingConfig
from commands.incident.modals import note_modal, resolve_modal
from commands.incident.rendering import draw
from commands.incident.wording import listing, span
from storage import Database, DumpState, Incident, Panic, SlackMessage, TimelineEntry
from tests.incident.floor import open_database
from tests.slack.test_text import HOSTILE

NOW = datetime(2026, 11, 23, 9, 14, 7, tzinfo=UTC)
ROUTING = RoutingConfig(channel="C0INCIDENTS", mention_group="S0SREONCALL")
ALLOWED = re.compile(r"<(?:!date\^\d+\^[^<>|]*\|[^<>]*|@[UW][A-Z0-9]+|!subteam\^S0SREONCALL)>")


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    database = open_database(Path(tmp_path_factory.mktemp("drawn")))
    yield database
    database.close()


def words(limit: int = 400) -> st.SearchStrategy[str]:
    """As stored: NUL and lone surrogates are replaced at the door."""
    return HOSTILE.map(lambda t: re.sub("[\x00\ud800-\udfff]", "�", t)[:limit])


HOST_TEXT = st.fixed_dictionaries(
    {
        "host": words(255).map(lambda t: t or "h"),
        "title": words(),
        "kernel": st.none() | words(200),
        "hardware": st.none() | words(200),
        "ring": st.none() | words(60),
        "running_kernel": st.none() | words(200),
        "dump_path": st.none() | words(1000),
        "dump_note": st.none() | words(),
        "frames": st.lists(words(80), max_size=8),
        "taint": st.lists(words(80), max_size=8),
        "text": words(5000),
        "crash_lines": st.one_of(words(5000), st.just("&" * 6000), st.just("<`\n" * 3000)),
    }
)


def takes(drawn: tuple[str, list[dict[str, Any]]]) -> None:
    """Slack takes it, and nothing in it does anything that we did not mean."""
    text, blocks = drawn
    assert check_message({"channel": "C0INCIDENTS", "text": text, "blocks": blocks}) == []
    for said in [text, *mrkdwn_of(blocks)]:
        rest = ALLOWED.sub("", said)
        assert "<" not in rest, said
    json.dumps(blocks).encode()


def mrkdwn_of(thing: Any) -> Iterator[str]:
    if isinstance(thing, dict):
        if thing.get("type") == "mrkdwn":
            yield thing["text"]
        for value in thing.values():
            yield from mrkdwn_of(value)
    elif isinstance(thing, list):
        for value in thing:
            yield from mrkdwn_of(value)


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(said=st.lists(HOST_TEXT, min_size=1, max_size=3), typed=words())
def test_every_message_drawn_from_host_text_is_taken_and_does_nothing(
    db: Database, said: list[dict[str, Any]], typed: str
) -> None:
    def play(session: Session) -> None:
        for number, columns in enumerate(said):
            panic = Panic(
                occurred_at=NOW + timedelta(seconds=number),
                signature_key="null_deref|nvme_irq",
                kind="null_deref",
                criticality="critical",
                uptime_seconds=12345.0,
                down_since=NOW,
                back_at=NOW + timedelta(minutes=3),
                dump_state=DumpState.COMPLETE,
                dump_size=312_000_000,
                **columns,
            )
            session.add(panic)
            session.flush()
            incident = placing.place(session, panic, IncidentConfig(), ROUTING, NOW).incident
            for name, subject in (("incident", incident.id), ("panic_text", panic.id)):
                drawn = draw(name, session, subject or 0)
                assert drawn is not None
                takes((drawn.text, drawn.blocks))
            if typed.strip():
                life.note(session, incident, typed, "U0ONCALL", NOW)
        life.resolve(session, incident, typed, typed, "U0ONCALL", NOW)
        drawn = draw("incident", session, incident.id or 0)
        assert drawn is not None
        takes((drawn.text, drawn.blocks))
        for view in (resolve_modal("I-1", incident.title), note_modal("I-1", incident.title)):
            assert check_view(view) == []
        session.flush()
        for message in session.exec(select(SlackMessage)).all():
            if message.payload:
                takes((message.payload["text"], message.payload["blocks"]))
        for entry in session.exec(select(TimelineEntry)).all():
            assert "<" not in ALLOWED.sub("", entry.text)
        session.rollback()

    with Session(db.engine) as session:
        play(session)


def test_an_incident_of_two_thousand_hosts_fits(db: Database) -> None:
    with Session(db.engine) as session:
        incident = Incident(signature_key="s", title="t" * 400, channel="C0INCIDENTS")
        session.add(incident)
        session.flush()
        for n in range(2000):
            session.add(
                Panic(
                    host=f"{'&' * 200}{n}",
                    occurred_at=NOW,
                    title="t" * 400,
                    kernel=f"6.1.{n}",
                    signature_key="s",
                    incident_id=incident.id,
                )
            )
        session.flush()
        drawn = draw("incident", session, incident.id or 0)
        assert drawn is not None
        takes((drawn.text, drawn.blocks))
        assert "2,000 hosts panicked" in drawn.text
        session.rollback()


def test_wording() -> None:
    assert [span(s) for s in (None, 0, 42, 303, 1051200, timedelta(hours=1))] == [
        "unknown", "0 s", "42 s", "5 min 3 s", "12 d 4 h", "1 h",
    ]  # fmt: skip
    assert listing(["a", "<b>", "c"], 2) == "a, &lt;b&gt; and 1 more"
    assert thread.parent_key(7) == "incident:7"


def test_a_hostile_title_does_nothing_in_the_notification_either(db: Database) -> None:
    with Session(db.engine) as session:
        incident = Incident(
            signature_key="s", title="<!channel> & <https://evil.example|x>", channel="C0INCIDENTS"
        )
        session.add(incident)
        session.flush()
        session.add(
            Panic(host="web-1", occurred_at=NOW, title="<!here>", signature_key="s", incident_id=incident.id)
        )
        session.flush()
        drawn = draw("incident", session, incident.id or 0)
        assert drawn is not None
        takes((drawn.text, drawn.blocks))
        assert drawn.text.startswith("web-1 panicked: &lt;!channel&gt; &amp; ")
        session.rollback()
