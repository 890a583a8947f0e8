"""Which boot crashed, on the captures of real hosts and on text from anywhere."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.demo.hosts import captures
from commands.hosts.boots import Boot, choose, command_line, is_capture_kernel, read_boots

CAPTURE = "root=/dev/vda systemd.unit=kdump-tools-dump.service nr_cpus=1 elfcorehdr=1031540K"
NORMAL = "root=/dev/vda ro crashkernel=192M"
TABLE = """IDX BOOT ID                          FIRST ENTRY                 LAST ENTRY
 -2 90d11ae2d28d4e72a0d65fe522a6c433 Mon 2026-11-23 05:30:01 UTC Mon 2026-11-23 05:31:35 UTC
 -1 69568ad19cd44a17a31372556aeae883 Mon 2026-11-23 05:32:11 UTC Mon 2026-11-23 05:33:20 UTC
  0 face0b74b2e6492db8d15f7ca137ad12 Mon 2026-11-23 05:33:54 UTC Mon 2026-11-23 05:34:57 UTC
"""
OLD_TABLE = TABLE.replace("UTC Mon", "UTC—Mon")
DIED = datetime(2026, 11, 23, 5, 31, 36, tzinfo=UTC)


@pytest.mark.parametrize("text", [TABLE, OLD_TABLE])
def test_the_table_is_read(text: str) -> None:
    boots = read_boots(text)
    assert [b.index for b in boots] == [-2, -1, 0]
    assert boots[0].boot_id == "90d11ae2d28d4e72a0d65fe522a6c433"
    assert boots[0].last == datetime(2026, 11, 23, 5, 31, 35, tzinfo=UTC)


def test_a_zone_that_is_not_utc_leaves_the_time_open() -> None:
    boots = read_boots(TABLE.replace("UTC", "CET"))
    assert [b.index for b in boots] == [-2, -1, 0]
    assert boots[0].first is None
    assert choose(boots, {-1: CAPTURE, -2: NORMAL}, occurred_at=DIED).boot == boots[0]


def test_with_kdump_the_boot_before_this_one_is_the_capture_kernels() -> None:
    boots = read_boots(TABLE)
    chosen = choose(boots, {-1: CAPTURE, -2: NORMAL}, occurred_at=DIED)
    assert (chosen.boot, chosen.capture) == (boots[0], boots[1])
    assert "capture kernel" in chosen.reason


def test_without_kdump_it_is_the_boot_before_this_one() -> None:
    boots = read_boots(TABLE)
    assert choose(boots, {-1: NORMAL, -2: NORMAL}).boot == boots[1]


def test_the_reported_boot_id_is_believed_unless_it_is_the_capture_kernels() -> None:
    boots = read_boots(TABLE)
    lines = {-1: CAPTURE, -2: NORMAL}
    dashed = "90d11ae2-d28d-4e72-a0d6-5fe522a6c433"
    assert choose(boots, lines, boot_id=dashed).boot == boots[0]
    assert choose(boots, lines, boot_id=boots[1].boot_id).boot == boots[0]


def test_a_host_that_rebooted_since_is_asked_for_the_boot_of_that_time() -> None:
    rows = [
        Boot(-3, "a" * 32, datetime(2026, 11, 20, tzinfo=UTC), DIED),
        Boot(-2, "b" * 32, datetime(2026, 11, 23, 6, tzinfo=UTC), datetime(2026, 11, 23, 7, tzinfo=UTC)),
        Boot(-1, "c" * 32, datetime(2026, 11, 23, 8, tzinfo=UTC), datetime(2026, 11, 23, 9, tzinfo=UTC)),
        Boot(0, "d" * 32, datetime(2026, 11, 23, 10, tzinfo=UTC), None),
    ]
    assert choose(tuple(rows), {-1: NORMAL, -2: NORMAL, -3: NORMAL}, occurred_at=DIED).boot == rows[0]


def test_a_journal_with_no_earlier_boot_says_so() -> None:
    assert choose((Boot(0, "d" * 32, None, None),), {}).boot is None
    only_capture = choose((Boot(-1, "c" * 32, None, None),), {-1: CAPTURE})
    assert only_capture.boot is None
    assert only_capture.capture is not None


@pytest.mark.parametrize("case", sorted(captures.CASES))
def test_the_command_lines_of_real_journals(case: str) -> None:
    files = captures.load(case).files
    now = command_line(files["journal-0"])
    assert now is not None
    assert not is_capture_kernel(now)
    before = command_line(files.get("journal-1", ""))
    expected = case not in ("no-kdump-pstore", "dump-fails-disk-full")
    assert is_capture_kernel(before) is expected


@given(st.text())
def test_any_text_is_read_without_an_error(text: str) -> None:
    read_boots(text)
    read_boots("[" + text)
    is_capture_kernel(command_line(text))


@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "index": st.one_of(st.integers(), st.none(), st.text(max_size=3)),
                "boot_id": st.one_of(st.just("a" * 32), st.text(max_size=5)),
                "first_entry": st.one_of(st.integers(), st.none(), st.floats(allow_nan=False)),
                "last_entry": st.one_of(st.integers(), st.none()),
            }
        ),
        max_size=6,
    ),
    st.one_of(st.none(), st.datetimes(timezones=st.just(UTC))),
)
def test_any_rows_are_chosen_from_without_an_error(
    rows: list[dict[str, object]], at: datetime | None
) -> None:
    boots = read_boots(json.dumps(rows))
    earliest, latest = datetime(1971, 1, 1, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC)
    choose(boots, {}, boot_id="a" * 32, occurred_at=at if at is None else min(max(at, earliest), latest))
