from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.demo.hosts.timeline import Timeline, captured_times, span

CRASH = datetime(2026, 11, 23, 5, 31, 37, tzinfo=UTC).timestamp()
END = CRASH + 200
MOVED = datetime(2027, 1, 1, 0, 0, 3, tzinfo=UTC).timestamp()
LINE = Timeline.of_crash(crash=CRASH, end=END, crashed_at=MOVED, back_at=MOVED + 10)


def test_before_the_crash_times_are_shifted_and_after_it_squeezed() -> None:
    assert LINE.at(CRASH - 60) == MOVED - 60
    assert LINE.at(CRASH + 100) == MOVED + 5
    assert LINE.at(END) == MOVED + 10


def test_every_way_of_writing_a_time_is_rewritten_and_keeps_its_form() -> None:
    captured = (
        "2026-11-23T05:30:37+0000 h kernel: x\n"
        "Mon 2026-11-23 05:30:37 UTC\n"
        "Start-Date: 2026-11-23  05:30:37\n"
        "Nov 23 05:30:37 h systemd[1]: x\n"
        "reboot   system boot  6.1.0 Mon Nov 23 05:30:37 2026   still running\n"
        "CRASHTIME=1795411837\n"
    )
    assert LINE.rewrite(captured) == (
        "2026-12-31T23:59:03+0000 h kernel: x\n"
        "Thu 2026-12-31 23:59:03 UTC\n"
        "Start-Date: 2026-12-31  23:59:03\n"
        "Dec 31 23:59:03 h systemd[1]: x\n"
        "reboot   system boot  6.1.0 Thu Dec 31 23:59:03 2026   still running\n"
        "CRASHTIME=1798761543\n"
    )


@pytest.mark.parametrize(
    ("captured", "start"),
    [
        ("2026-11-23 05:30:37.826087014 +0000", "2026-12-31 23:59:03.82608"),
        ("audit(1795411837.060:1)", "audit(1798761543.0"),
        ('"first_entry":1795411837981529,', '"first_entry":17987615439815'),
        ("1795411837.6239977310", "1798761543.62399"),
    ],
)
def test_fractions_of_seconds_keep_their_length(captured: str, start: str) -> None:
    assert LINE.rewrite(captured).startswith(start)
    assert len(LINE.rewrite(captured)) == len(captured)


def test_what_is_no_captured_time_stays() -> None:
    text = (
        "Linux version 6.1.0-56 Debian 6.1.192-2 (2026-11-16)\n[  152.167119] PGD 0\nBIOS 04/01/2014\n"
        "99:99:99 Nov 23 99:99:99 0x1795411837 ffff8a9e7f820260 202611230532 2025-01-01T00:00:00Z\n"
    )
    assert LINE.rewrite(text) == text


@given(st.text(alphabet=st.sampled_from("0123456789-: .TNovMon23T051795\n"), max_size=200))
def test_any_text_can_be_rewritten(text: str) -> None:
    rewritten = LINE.rewrite(text)
    assert rewritten.count("\n") == text.count("\n")
    if not list(captured_times(text)):
        assert rewritten == text


@given(
    st.lists(st.floats(min_value=CRASH - 2000, max_value=END, allow_nan=False), min_size=2, max_size=20),
    st.floats(min_value=0.01, max_value=10_000),
)
def test_the_order_of_events_never_changes(moments: list[float], away: float) -> None:
    line = Timeline.of_crash(crash=CRASH, end=END, crashed_at=MOVED, back_at=MOVED + away)
    moved = [line.at(moment) for moment in sorted(moments)]
    assert moved == sorted(moved)
    assert moved[-1] <= MOVED + away + 1e-3


def test_spans_are_written_as_systemd_writes_them() -> None:
    assert [span(s) for s in (0, 47, 104, 7500, 86400 * 3 + 60)] == [
        "0s",
        "47s",
        "1min 44s",
        "2h 5min",
        "3 days 1min",
    ]
