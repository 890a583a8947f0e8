"""Crash directories of the three families."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from integrations.kernel.crashdirs import read_listing

AT = 1795412274.93  # 2026-11-23 05:37:54 UTC


def listing(*rows: tuple[str, str, int, float]) -> str:
    return "".join(f"{path}\t{kind}\t{size}\t{mtime}\n" for path, kind, size, mtime in rows)


def test_debian() -> None:
    (dump,) = read_listing(
        listing(
            ("kdump_lock", "f", 0, AT),
            ("kexec_cmd", "f", 227, AT),
            ("_usr_bin_frob.0.crash", "f", 9000, AT),
            ("linux-image-6.1.0-56-202611230537.crash", "f", 9000, AT),
            ("202611230537", "d", 4096, AT),
            ("202611230537/dmesg.202611230537", "f", 35022, AT),
            ("202611230537/dump.202611230537", "f", 22548505, AT + 11),
        )
    )
    assert (dump.directory, dump.family, dump.incomplete, dump.test) == (
        "202611230537",
        "debian",
        False,
        False,
    )
    assert dump.stamp == datetime(2026, 11, 23, 5, 37, tzinfo=UTC)
    assert dump.dump is not None
    assert dump.dmesg is not None
    assert (dump.dump.path, dump.dump.size) == ("202611230537/dump.202611230537", 22548505)
    assert dump.dmesg.path == "202611230537/dmesg.202611230537"
    assert dump.dump.mtime == datetime.fromtimestamp(AT + 11, UTC)


def test_debian_empty_incomplete_remote_and_ftp() -> None:
    dumps = {
        (d.directory, d.stamp): d
        for d in read_listing(
            listing(
                ("202611230544", "d", 1, AT),
                ("202611230544/dump.202611230544", "f", 0, AT),
                ("web-17-202611230545", "d", 1, AT),
                ("web-17-202611230545/dump-incomplete", "f", 5, AT),
                ("dump.202611230546.xz", "f", 77, AT),
                ("dmesg.202611230546", "f", 7, AT),
            )
        )
    }
    stamps = [datetime(2026, 11, 23, 5, minute, tzinfo=UTC) for minute in (44, 45, 46)]
    assert dumps["202611230544", stamps[0]].incomplete
    assert dumps["web-17-202611230545", stamps[1]].incomplete
    loose = dumps["", stamps[2]]
    assert not loose.incomplete
    assert loose.dump is not None
    assert loose.dump.path == "dump.202611230546.xz"


def test_rhel() -> None:
    name = "127.0.0.1-2026-11-23-05:37:50"
    whole, cut, test = read_listing(
        listing(
            (name, "d", 1, AT),
            (f"{name}/vmcore", "f", 100, AT),
            (f"{name}/vmcore-dmesg.txt", "f", 10, AT),
            (f"{name}/kexec-dmesg.log", "f", 10, AT),
            ("10.0.0.7-2026-11-23-06:00:00", "d", 1, AT),
            ("10.0.0.7-2026-11-23-06:00:00/vmcore-incomplete", "f", 100, AT),
            ("10.0.0.7-2026-11-23-06:00:00/vmcore-dmesg-incomplete.txt", "f", 3, AT),
            ("kdump-test-17/vmcore", "f", 100, AT),
            ("kdump-test-17", "d", 1, AT),
        )
    )
    assert (whole.family, whole.incomplete, whole.test, cut.incomplete, test.test) == (
        "rhel",
        False,
        False,
        True,
        True,
    )
    assert whole.stamp == datetime(2026, 11, 23, 5, 37, 50, tzinfo=UTC)
    assert whole.dmesg is not None
    assert whole.dmesg.path.endswith("vmcore-dmesg.txt")
    assert cut.dump is not None
    assert cut.dump.path.endswith("vmcore-incomplete")
    assert test.stamp is None


def test_suse() -> None:
    dumps = read_listing(
        listing(
            ("2026-11-23-05-37", "d", 1, AT),
            ("2026-11-23-05-37/vmcore", "f", 100, AT),
            ("2026-11-23-05-37/dmesg", "f", 10, AT),
            ("2026-11-23-05-37/README.txt", "f", 10, AT),
            ("db-3-2026-11-23-05:38", "d", 1, AT),
            ("db-3-2026-11-23-05:38/dmesg", "f", 10, AT),
        )
    )
    assert [d.family for d in dumps] == ["suse", "suse"]
    assert [d.stamp for d in dumps] == [datetime(2026, 11, 23, 5, minute, tzinfo=UTC) for minute in (37, 38)]
    assert dumps[1].dump is None
    assert not dumps[1].incomplete


def test_a_local_stamp_is_moved_to_utc() -> None:
    (dump,) = read_listing(
        listing(("202611230637", "d", 1, AT), ("202611230637/dmesg.202611230637", "f", 3, AT))
    )
    assert dump.stamp == datetime(2026, 11, 23, 5, 37, tzinfo=UTC)


def test_hostile_names() -> None:
    text = listing(
        ("../202611230537", "d", 1, AT), ("/202611230537", "d", 1, AT), ("202611230537/../x", "f", 1, AT)
    )
    assert (
        read_listing(text + "x\ty\nz\td\tmany\t1\n202611230537\td\t1\tnan\n202699999999\td\t1\tinf\n") == ()
    )


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["202611230537", "kdump-test-1", "a-2026-11-23-05-37"]),
            st.text(max_size=20),
            st.sampled_from("dflx"),
            st.integers(-5, 2**70),
            st.floats(),
        ),
        max_size=12,
    )
)
def test_any_listing(rows: list[tuple[str, str, str, int, float]]) -> None:
    text = "".join(
        f"{d}/{name}\t{kind}\t{size}\t{mtime}\n{d}\td\t1\t1.5\n" for d, name, kind, size, mtime in rows
    )
    for dump in read_listing(text):
        assert dump.family in ("debian", "rhel", "suse")


def test_times_that_a_copy_lost_are_no_zone() -> None:
    """Files copied at 12:17 beside a stamp of 05:32: no zone is 6 h 45 min from UTC; India is 5 h 30 min ahead."""
    stamp = datetime(2026, 11, 23, 5, 32, tzinfo=UTC)
    for minutes, expected in ((405, 0), (-330, -330), (-60, -60), (2, 0)):
        mtime = (stamp + timedelta(minutes=minutes)).timestamp()
        listing = f"202611230532\td\t4096\t{mtime}\n202611230532/dmesg.202611230532\tf\t100\t{mtime}\n"
        (dump,) = read_listing(listing)
        assert dump.stamp == stamp + timedelta(minutes=expected), minutes
