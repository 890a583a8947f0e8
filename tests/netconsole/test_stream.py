"""One sender's lines: replays, loss, crashes, survival. Time is given."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commands.intake.console import CONTEXT, Alive, Gaps, Look, Pace, Stream
from commands.intake.listening import read_look
from tests.incident.texts import oops
from tests.netconsole.datagrams import Datagram, basic, extended, lines, talk

BOOT = 1_800_000_000.0


def play(
    stream: Stream, datagrams: list[Datagram], *, start: float = BOOT, tick: float = 0.05, after: float = 5.0
) -> list[tuple[float, Look]]:
    """The datagrams at their times, a tick every 50 ms; (seconds since the first one, look)."""
    looks: list[tuple[float, Look]] = []
    end = datagrams[-1].at + after
    now, index = 0.0, 0
    while now <= end:
        batch = []
        while index < len(datagrams) and datagrams[index].at <= now:
            batch.append(datagrams[index].data)
            index += 1
        if batch:
            stream.feed(batch, start + now)
        while (look := stream.due(start + now)) is not None:
            looks.append((now, look))
        if index < len(datagrams) and not batch and not stream.telling:
            now = max(now, datagrams[index].at - tick)  # nothing happens in between
        now += tick
    return looks


def at_wall_pace(text: str, *, seq: int = 100) -> list[Datagram]:
    made = lines(text, seq=seq)
    first = float(text.splitlines()[0].partition("]")[0].strip("[ "))
    stamps = [float(line.partition("]")[0].strip("[ ")) - first for line in text.splitlines()]
    return [Datagram(at, True, data) for at, data in zip(stamps, made, strict=True)]


@pytest.mark.parametrize("form", [extended, basic])
@pytest.mark.parametrize(
    ("case", "title", "panic"),
    [
        ("sysrq-c", "sysrq", True),
        ("oom", "memory", True),
        ("null-deref", "NULL pointer dereference in labcrash_read_cookie", False),
    ],
)
def test_a_captured_crash_is_looked_at_within_a_second_and_its_replayed_boot_is_not(
    form: object, case: str, title: str, panic: bool
) -> None:
    datagrams = form(case)  # type: ignore[operator]
    looks = play(Stream("web-17", Pace()), datagrams)
    head = next(d.at for d in datagrams if b"Kernel panic" in d.data or b"BUG: kernel NULL" in d.data)
    first, look = looks[0]
    assert head <= first <= head + 0.5
    assert looks[-1][1].final
    assert {one.key for _, one in looks} == {look.key}
    text, crash, _ = read_look(looks[-1][1])
    assert title in crash.title
    assert (crash.crash, looks[-1][1].panic) == (True, panic)
    assert "Linux version" not in text  # the boot log is not the crash's context


def test_a_crash_that_reaches_no_console_opens_nothing() -> None:
    assert play(Stream("web-17", Pace()), extended("nmi")) == []


def replayed(text: str, *, until: float = 900.0) -> list[Datagram]:
    """A log with an old crash in it, replayed in 80 ms when netconsole was loaded; then a living host."""
    crash = lines(text, seq=400)
    before = [d for _, d in talk(1.0, 30.0, seq=0, step=0.1)]
    behind = [d for _, d in talk(100.0, until, seq=400 + len(crash), step=1.0)]
    every = [*before, *crash, *behind]
    loaded = [Datagram(0.08 * n / len(every), True, d) for n, d in enumerate(every)]
    seq = 400 + len(crash) + len(behind)
    later = [Datagram(at - until, True, d) for at, d in talk(until + 1, until + 120, seq=seq)]
    return loaded + later


@pytest.mark.parametrize("text", [oops(uptime=50.25).rpartition("\n")[0]])
def test_an_old_oops_in_a_replayed_log_is_no_panic(text: str) -> None:
    assert play(Stream("web-17", Pace()), replayed(text)) == []


def test_a_warning_at_boot_is_no_crash() -> None:
    warning = "\n".join(
        f"[{3.5 + n / 1000:12.6f}] {line}"
        for n, line in enumerate(
            [
                "------------[ cut here ]------------",
                "WARNING: CPU: 0 PID: 1 at mm/page.c:7 setup+0x1/0x2",
                "Call Trace:",
            ]
        )
    )
    assert play(Stream("web-17", Pace()), at_wall_pace(warning)) == []


def test_the_log_replayed_once_more_does_not_tell_a_crash_again() -> None:
    """netconsole is unloaded and loaded after an oops that the host survived."""
    text = oops(uptime=50.25).rpartition("\n")[0]
    stream = Stream("web-17", Pace())
    assert len({look.key for _, look in play(stream, at_wall_pace(text, seq=400))}) == 1
    assert play(stream, replayed(text), start=BOOT + 900) == []


def test_a_crash_soon_after_netconsole_was_loaded_is_one() -> None:
    loaded = [Datagram(0.01, True, d) for _, d in talk(1.0, 200.0, seq=0, step=0.5)]
    crash = [Datagram(0.2 + d.at, True, d.data) for d in at_wall_pace(oops(uptime=200.3), seq=399)]
    looks = play(Stream("web-17", Pace()), loaded + crash)
    assert looks[-1][1].final
    assert looks[-1][1].panic


def test_a_program_that_writes_a_panic_to_kmsg_panics_nobody() -> None:
    forged = [d.replace(b"4,", b"12,", 1) for d in lines(oops())]
    assert play(Stream("web-17", Pace()), [Datagram(0.0, True, d) for d in forged]) == []


def test_basic_lines_of_a_sender_of_extended_ones_are_counted_and_left_out() -> None:
    both = [Datagram(0.0, True, d) for d in lines(oops())]
    both += [Datagram(0.0, False, line.encode() + b"\n") for line in oops().splitlines()]
    stream = Stream("web-17", Pace())
    looks = play(stream, both)
    assert stream.doubled == 16
    assert read_look(looks[-1][1])[0].count("RIP: 0010:nvme_irq") == 1


def test_lost_messages_stand_in_the_text_and_are_counted_once() -> None:
    datagrams = at_wall_pace(oops())
    kept = datagrams[:4] + datagrams[7:]
    stream = Stream("web-17", Pace())
    looks = play(stream, kept)
    text, _, lost = read_look(looks[-1][1])
    assert (lost, "** 3 netconsole messages lost **" in text) == (3, True)
    stream.gaps.settle()
    assert stream.gaps.lost == 3


@given(seed=st.integers(0, 10_000), spread=st.integers(0, 20))
def test_what_comes_out_of_order_or_twice_is_not_lost(seed: int, spread: int) -> None:
    """Datagrams overtake each other by a few places; some come twice."""
    shuffle = random.Random(seed)
    datagrams = [d for _, d in talk(1.0, 7.0, seq=10, step=0.02)]
    order = [0, *sorted(range(1, len(datagrams)), key=lambda n: n + shuffle.uniform(0, spread))]
    sent = [datagrams[n] for n in order]
    for _ in range(20):
        place = shuffle.randrange(1, len(sent))
        sent.insert(min(place + shuffle.randrange(20), len(sent)), sent[place])
    stream = Stream("web-17", Pace())
    stream.feed(sent, BOOT)
    stream.gaps.settle()
    assert stream.gaps.lost == 0


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=200),
            st.sampled_from(lines(oops())),
            st.builds(
                lambda p, s, u, t: f"{p},{s},{u},-;{t}\n".encode("utf-8", "replace"),
                st.integers(0, 300),
                st.integers(0, 2**63),
                st.integers(0, 2**63),
                st.text(max_size=60),
            ),
        ),
        max_size=120,
    ),
    st.lists(st.floats(0, 5), min_size=1, max_size=8),
)
def test_whatever_arrives_memory_is_bounded_and_accounted_for(sent: list[bytes], pauses: list[float]) -> None:
    pace = Pace(window_bytes=16 * 1024)
    stream = Stream("web-17", pace)
    now = BOOT
    for number, datagram in enumerate(sent):
        now += pauses[number % len(pauses)] if number % 7 == 0 else 0
        stream.feed([datagram] * 3, now)
        assert 0 <= stream.held <= CONTEXT + pace.window_bytes + 3 * 300
        while (look := stream.due(now)) is not None:
            read_look(look)
    while (look := stream.due(now + 100)) is not None:
        assert look.final
    stream.forget_context()
    assert stream.held == 0


def test_an_endless_crash_keeps_its_beginning_and_its_end() -> None:
    text = oops()
    datagrams = lines(text) + [d for _, d in talk(5000.3, 5030.0, seq=116, step=0.003)]
    stream = Stream("web-17", Pace(window_bytes=64 * 1024))
    looks = play(stream, [Datagram(0.0, True, d) for d in datagrams])
    last = looks[-1][1]
    assert sum(map(len, last.datagrams)) <= 64 * 1024
    assert last.dropped > 1000
    assert last.datagrams[0] in lines(text)
    assert last.datagrams[-1] == datagrams[-1]


def survival(stream: Stream, *, seconds: float, drift: float = 0.0) -> list[Alive]:
    text = oops(uptime=50.25).rpartition("\n")[0]
    play(stream, at_wall_pace(text, seq=400))
    found = []
    for at, datagram in talk(55.0, 50.25 + seconds, seq=500):
        stream.feed([datagram], BOOT + at - 50.25 + drift)
        if (sign := stream.sign_of_life()) is not None:
            found.append(sign)
    return found


def test_an_oops_is_survived_when_the_same_boot_talks_a_minute_later_and_told_once() -> None:
    (sign,) = survival(Stream("web-17", Pace()), seconds=200)
    assert sign.uptime == pytest.approx(50.25)
    assert sign.lived_uptime - sign.uptime == pytest.approx(60, abs=1)


def test_less_than_a_minute_or_another_boots_clock_shows_nothing() -> None:
    assert survival(Stream("web-17", Pace()), seconds=58) == []
    assert survival(Stream("web-17", Pace()), seconds=200, drift=30.0) == []


def test_nothing_survives_a_panic_line() -> None:
    stream = Stream("web-17", Pace())
    play(stream, at_wall_pace(oops(uptime=50.25), seq=400))
    for at, datagram in talk(55.0, 200.0, seq=500):
        stream.feed([datagram], BOOT + at - 50.25)
    assert stream.sign_of_life() is None


def test_a_reboot_ends_what_is_being_told() -> None:
    """The host is back before the silence was long enough."""
    stream = Stream("web-17", Pace())
    crash = at_wall_pace(oops(uptime=50.25), seq=400)[:8]
    reboot = [Datagram(1.0, True, d) for _, d in talk(0.0, 3.0, seq=0, step=0.1)]
    looks = play(stream, crash + reboot)
    assert [look.final for _, look in looks][-1] is True
    assert len({look.key for _, look in looks}) == 1
    assert all(b"link is up" not in d for d in looks[-1][1].datagrams)


def test_the_trace_ends_with_its_end_mark_and_not_with_silence() -> None:
    text = oops() + "\n[ 5000.300000] ---[ end Kernel panic - not syncing: Fatal exception ]---"
    looks = play(Stream("web-17", Pace()), at_wall_pace(text))
    assert looks[-1][1].final
    assert looks[-1][0] < 1.0
    assert play(Stream("web-17", Pace()), at_wall_pace(oops()[: -len("\nKernel panic")]))[-1][0] > 1.0


@given(st.lists(st.tuples(st.integers(0, 200), st.booleans()), max_size=60))
def test_gaps_count_exactly_what_never_came(steps: list[tuple[int, bool]]) -> None:
    gaps = Gaps()
    gaps.KEPT = 10_000
    missing: set[int] = set()
    following = 0
    for width, fill in steps:
        if width:
            gaps.miss(following, following + width - 1, 0.0)
            missing |= set(range(following, following + width))
        following += width + 1
        if fill and missing:
            late = sorted(missing)[len(missing) // 2]
            assert gaps.fill(late)
            assert not gaps.fill(late)
            missing.discard(late)
    gaps.settle()
    assert gaps.lost == len(missing)
