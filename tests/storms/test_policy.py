"""When a storm is told of, what is said to be common, and Slack's limits as the stand-in enforces them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from bot.demo.workspace.limits import RealLimits
from commands.incident.common import Elsewhere, share_of, share_words
from commands.incident.digest import Act, Progress, due, picture_due, rate, set_right
from commands.incident.wavepicture import Died, Marked, compose, draw

BEGAN = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
EVERY, QUIET = timedelta(seconds=30), timedelta(minutes=2)


@given(st.lists(st.tuples(st.integers(0, 90), st.integers(0, 40)), max_size=60))
def test_digests_keep_their_distance_and_the_last_one_tells_all(steps: list[tuple[int, int]]) -> None:
    """A storm looked at every second: seconds pass, hosts come."""
    now = grown = BEGAN
    hosts, told_hosts, told_at = 8, 0, None
    told: list[datetime] = []
    closed = 0
    for seconds, more in [*steps, (400, 0)]:
        hosts += more
        grown = now if more else grown
        for _ in range(seconds):
            now += timedelta(seconds=1)
            act = due(Progress(BEGAN, grown, hosts, told_at, told_hosts), now, every=EVERY, quiet=QUIET)
            if act is Act.DIGEST:
                assert hosts > told_hosts
                told.append(now)
                told_at, told_hosts = now, hosts
            elif act is Act.CLOSE:
                assert now - grown >= QUIET
                closed, told_hosts = closed + 1, hosts
                break
        if closed:
            break
    assert closed == 1
    assert told_hosts == hosts
    assert all(later - earlier >= EVERY for earlier, later in zip([BEGAN, *told], told, strict=False))


def test_a_picture_is_made_when_it_is_due_or_at_the_end_and_only_of_something_new() -> None:
    five = timedelta(minutes=5)
    now = BEGAN + timedelta(minutes=4)
    assert not picture_due(90, 0, BEGAN, now, every=five, act=Act.DIGEST)
    assert picture_due(90, 0, BEGAN, now, every=five, act=Act.CLOSE)
    assert picture_due(90, 0, BEGAN, BEGAN + five, every=five, act=Act.NOTHING)
    assert not picture_due(90, 90, BEGAN, BEGAN + five, every=five, act=Act.CLOSE)


def test_a_clock_that_was_set_back_holds_nothing_up_for_longer_than_it_takes_anew() -> None:
    later = BEGAN + timedelta(hours=1)
    assert set_right(later, BEGAN) == BEGAN
    assert set_right(BEGAN, later) == BEGAN


def test_the_rate_is_that_of_the_last_minute() -> None:
    assert rate([]) == 0
    assert rate([BEGAN + timedelta(seconds=s) for s in (0, 30, 61, 80, 90)]) == 3


@given(
    st.dictionaries(
        st.text("abc", min_size=1), st.one_of(st.none(), st.sampled_from(["x", "y"])), max_size=30
    )
)
def test_a_share_counts_each_host_once_and_says_no_more_than_is_known(values: dict[str, str | None]) -> None:
    share = share_of("ring", values, None)
    if share is None:
        assert not any(values.values())
        return
    assert share.have == sum(value == share.value for value in values.values())
    assert share.total == len(values)
    assert not share.telling  # nothing is known of other rings


def test_what_is_common_to_all_and_rare_elsewhere_in_words() -> None:
    hosts = {f"h{n}": "6.1.0-31" for n in range(214)}
    share = share_of("kernel", hosts, Elsewhere("6.1.0-30", 0, 1790))
    assert share is not None
    assert share.telling
    assert share_words(share) == "214 of 214 on `6.1.0-31`, 0 of 1,790 known on `6.1.0-30`"
    ring = share_of("ring", dict.fromkeys(hosts, "canary"), Elsewhere(None, 400, 1790))
    assert ring is not None
    assert not ring.telling  # the others have it as well


@given(st.lists(st.tuples(st.integers(0, 200_000), st.sampled_from([None, "a", "b"])), max_size=80))
def test_the_picture_counts_every_host_in_few_bars(hosts: list[tuple[int, str | None]]) -> None:
    wave = compose("t", [Died(BEGAN + timedelta(seconds=s), "k", ring) for s, ring in hosts], [])
    assert wave.hosts == len(hosts)
    assert len(wave.starts) <= 60
    assert len(wave.alt_text) < 1000


def test_the_picture_is_drawn_and_says_in_words_what_rolled_out_before() -> None:
    died = [Died(BEGAN + timedelta(seconds=n), f"6.1.0-{30 + n % 2}", "canary") for n in range(40)]
    wave = compose("I-1: a $title", died, [Marked("OPS-7", BEGAN - timedelta(minutes=22))])
    assert wave.by == "kernel"
    assert "OPS-7, 22 min before the first" in wave.alt_text
    assert draw(wave).startswith(b"\x89PNG")


def test_the_stand_in_keeps_slacks_limits() -> None:
    now = 1000.0
    limits = RealLimits(lambda: now)
    assert [limits.refuse("chat.postMessage", "C1") for _ in range(4)] == [None, None, None, 1]
    assert limits.refuse("chat.postMessage", "C2") is None
    assert [limits.refuse("chat.update", "C1") for _ in range(50)] == [None] * 50
    assert limits.refuse("chat.update", "C2") == 60
    now += 61
    assert limits.refuse("chat.update", "C1") is None
    assert limits.refuse("chat.postMessage", "C1") is None
    assert limits.refuse("auth.test", None) is None
