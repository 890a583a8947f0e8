"""What needs neither Slack nor a tracker: lines, keys, which change is likeliest, and how cards look."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.demo.workspace import check_message, check_view
from commands.changes.blocks import change_card, link_modal, suggestion
from commands.changes.config import ChangesConfig
from commands.changes.desk import ChangeDesk
from commands.changes.likely import most_likely
from commands.changes.problems import Telling, description
from commands.changes.slack import split_line
from commands.changes.telling import Job, comment_body
from commands.errors import BadArguments
from integrations.changes import Change
from storage import ChangeLink, Incident, IncidentState, Panic, ProblemTicket

DIED = datetime(2026, 11, 23, 9, 14, tzinfo=UTC)
PANIC = Panic(
    id=41,
    host="web-17",
    ring="prod-2",
    hardware="Dell R640",
    occurred_at=DIED,
    title="NULL pointer",
    signature_key="k",
)


def change(
    key: str, *, started: float | None, ended: float | None = None, names: tuple[str, ...] = ("host",)
) -> Change:
    """`started` and `ended` in hours before the panic."""
    begun, over = (None if h is None else DIED - timedelta(hours=h) for h in (started, ended))
    address = f"https://j.example/browse/{key}"
    return Change(key, "summary", "Open", "Change", None, begun, over, begun, address, "jira", names)


def keys(*changes: Change) -> list[str]:
    return [c.key for c in most_likely(changes, DIED)]


def test_the_likeliest_change_names_the_host_and_was_in_progress() -> None:
    assert keys(
        change("A-1", started=2, names=("ring",)),
        change("B-2", started=3, ended=2),
        change("C-3", started=20),
        change("D-4", started=1, names=("host", "ring")),
        change("E-5", started=None),
    ) == ["D-4", "C-3", "B-2", "E-5", "A-1"]


def test_what_began_after_the_panic_or_names_only_the_hardware_is_no_suspect() -> None:
    assert keys(change("A-1", started=-1), change("B-2", started=1, names=("hardware",))) == []


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        ("P-41 OPS-1182", ("P-41", "OPS-1182", "")),
        ("p41 ops-1182 it's the NIC", ("p41", "OPS-1182", "it's the NIC")),
        ('I-7 OPS-1182 "rolled out at nine"', ("I-7", "OPS-1182", "rolled out at nine")),
        ("OPS-1182\nfirst line\nsecond", (None, "OPS-1182", "first line\nsecond")),
        ("https://j.example/browse/OPS-1182?x=1", (None, "OPS-1182", "")),
    ],
)
def test_lines(line: str, parts: tuple[Any, ...]) -> None:
    assert split_line(line) == parts


@given(st.text(max_size=120))
def test_any_line_is_read_or_refused(line: str) -> None:
    try:
        _panic, key, _note = split_line(line)
    except BadArguments:
        return
    assert key == key.upper()
    assert "-" in key


TEXT = st.text(max_size=400)
MOMENT = st.none() | st.just(DIED - timedelta(hours=2))


@settings(max_examples=50, deadline=None)
@given(
    st.builds(
        ChangeLink,
        id=st.just(1), panic_id=st.just(41), key=st.just("OPS-1182"), automatic=st.booleans(),
        state=st.sampled_from(["pending", "linked", "failed", "removed"]),
        linked_by=st.sampled_from(["U0ONCALL", "panicroom"]), linked_at=st.just(DIED),
        note=TEXT, summary=TEXT, status=TEXT, assignee=st.none() | TEXT, started=MOMENT, ended=MOMENT,
        url=TEXT | st.just("https://j.example/browse/OPS-1182"), told_at=MOMENT, attempts=st.integers(0, 99),
        next_at=MOMENT, error=st.none() | TEXT,
    )
)  # fmt: skip
def test_a_card_fits_slack_and_means_nothing_whatever_stands_in_it(link: ChangeLink) -> None:
    card = change_card(link, PANIC)
    assert card.text.strip()
    assert check_message({"text": card.text, "blocks": card.blocks}) == []
    shown = json.dumps(card.blocks, ensure_ascii=False)
    for text in (link.note, link.summary, link.status, link.assignee or "", link.error or ""):
        for mark in ("<!", "<@", "<http"):
            assert mark not in text or text not in shown
            assert mark not in card.text, "the fallback text is mrkdwn, too"


def test_hostile_texts_of_a_ticket_do_nothing() -> None:
    bad = "<!channel> <https://evil.example|x> *b*"
    link = ChangeLink(
        id=1, panic_id=41, key="OPS-1182", state="linked", linked_by="U0ONCALL", summary=bad, status=bad, assignee=bad,
        note=bad, error=bad, url="https://j.example/|x>",
    )  # fmt: skip
    card = change_card(link, PANIC)
    shown = card.text + json.dumps(card.blocks)
    assert "<!channel" not in shown
    assert "<https" not in shown


@settings(max_examples=60, deadline=None)
@given(st.lists(st.builds(Change, st.from_regex(r"[A-Z]{2,5}-[1-9][0-9]{0,5}", fullmatch=True), TEXT, TEXT, TEXT,
                          st.none(), MOMENT, MOMENT, MOMENT, TEXT, st.just("jira")), max_size=40))  # fmt: skip
def test_the_form_fits_slack_whatever_the_tickets_say(found: list[Change]) -> None:
    assert check_view(link_modal(PANIC, channel="C0", thread_ts="1.2")) == []
    assert all(0 < len(suggestion(c)) <= 75 for c in found)


def job(**more: Any) -> Job:
    link = ChangeLink(id=1, panic_id=41, key="OPS-1182", linked_by="U0ONCALL")
    incident = Incident(id=7, signature_key="k", title="t", channel="C0")
    told: dict[str, Any] = {
        "link": link, "panic": PANIC, "incident": incident, "mark": "I-7-1", "parent": None, "lead": PANIC,
        "automatic": False, "notes": (), "hosts": ("web-17",), "host_count": 1, "bundles": (), "bundle_count": 0,
        "artefact": 0,
    }  # fmt: skip
    return Job(**(told | more))


def test_the_comment_is_plain_lines() -> None:
    body = comment_body(job(notes=("one\ntwo",)), "https://slack.example/p1")
    assert body.splitlines() == [
        "Kernel panic P-41 (I-7) on web-17: NULL pointer",
        "Kernel unknown, 2026-11-23 09:14:00 UTC.",
        "Note: one two",
        "Thread: https://slack.example/p1",
    ]


def test_a_ticket_and_the_form_are_told_no_more_of_host_text_than_slack() -> None:
    title = "hung task: mount -o password=hunter22 //192.0.2.77/share"
    panic = PANIC.model_copy(update={"title": title})
    row = ProblemTicket(id=1, signature_key="k", wanted_at=DIED, next_at=DIED)
    told = Telling(row, ((panic, None),), 1)
    for text in (
        comment_body(job(lead=panic), "https://slack.example/p1"),
        description(told),
        json.dumps(link_modal(panic, channel="C0", thread_ts="1.2")),
    ):
        assert "hunter22" not in text
        assert "192.0.2.77" not in text
        assert "hung task: mount" in text
        assert "web-17" in text


def test_the_comment_says_hosts_bundles_and_how_it_ended() -> None:
    over = Incident(
        id=7, signature_key="k", title="t", channel="C0", state=IncidentState.RESOLVED, resolved_at=DIED,
        resolved_by="U0ONCALL", cause="a bad\ndriver", fixed_by="rolled back",
    )  # fmt: skip
    body = comment_body(
        job(
            incident=over,
            hosts=("web-17", "web-18"),
            host_count=99,
            bundles=((41, "ab" * 32),),
            bundle_count=3,
        ),
        "https://slack.example/p1",
    )
    assert body.splitlines()[2:] == [
        "99 hosts: web-17, web-18 and 97 more.",
        f"Evidence bundle of P-41: sha256 {'ab' * 32}",
        "2 earlier bundles are named in the thread.",
        "Resolved 2026-11-23 09:14:00 UTC.",
        "Cause: a bad driver",
        "Fixed by: rolled back",
        "Thread: https://slack.example/p1",
    ]
    assert "U0ONCALL" not in body, "who did what is nothing for the tracker"


@given(st.integers(0, 5000))
def test_pauses_grow_to_a_limit_and_end(failures: int) -> None:
    desk = ChangeDesk.__new__(ChangeDesk)
    desk.config = ChangesConfig()
    assert desk.config.retry_first <= desk._pause(failures) <= desk.config.retry_longest
    assert desk._pause(failures) <= desk._pause(failures + 1)
    assert desk._paused_in_all(800) >= desk.config.give_up_after
