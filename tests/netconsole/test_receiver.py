"""All senders together: who is known, rates, memory under a flood."""

from __future__ import annotations

import tracemalloc
from datetime import timedelta
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from commands.intake.config import NetconsoleConfig
from commands.intake.receiver import Receiver
from commands.intake.senders import UNKNOWN_KEPT, Senders, Strangers, plain_address
from commands.inventory import HostEntry, Inventory
from tests.incident.texts import oops
from tests.netconsole.datagrams import lines, talk

NOW = 1_800_000_000.0
FLEET = Inventory(
    (
        HostEntry(name="web-17", address="10.0.0.17"),
        HostEntry(name="db-1", address="2001:db8::1"),
        HostEntry(name="named-1", address="named-1.example.org"),
        HostEntry(name="lab-*", address="10.9.9.9"),
    )
)


def receiver(**settings: object) -> Receiver:
    config = NetconsoleConfig.model_validate(settings)
    return Receiver(config, Senders(FLEET, config.sources, allow_unknown=config.allow_unknown))


# -- who sends ------------------------------------------------------------------------------------------------


def test_addresses_are_of_the_settings_the_inventory_and_dns_in_that_order() -> None:
    senders = Senders(FLEET, {"10.0.0.18": "WEB-18", "10.1.0.0/16": "lab", "10.1.2.0/24": "lab-2"})
    assert senders.host_of("10.0.0.17") == "web-17"
    assert senders.host_of("10.0.0.18") == "web-18"
    assert senders.host_of("10.1.200.1") == "lab"
    assert senders.host_of("10.1.2.3") == "lab-2"  # the narrower network
    assert senders.host_of("10.9.9.9") is None  # a pattern's address is no host's
    assert senders.host_of(plain_address("2001:DB8:0::1")) == "db-1"
    assert senders.names == {"named-1": "named-1.example.org"}
    senders.learn("named-1", ["10.0.0.30", "10.0.0.17"])
    assert (senders.host_of("10.0.0.30"), senders.host_of("10.0.0.17")) == ("named-1", "web-17")
    senders.learn("named-1", ["10.0.0.31"])
    assert (senders.host_of("10.0.0.30"), senders.host_of("10.0.0.31")) == (None, "named-1")


@given(st.ip_addresses())
def test_an_allowed_stranger_is_a_host_of_a_name_that_reports_can_bear(address: object) -> None:
    from integrations.inbound import host_name

    senders = Senders(Inventory(), allow_unknown=True)
    name = senders.host_of(plain_address(str(address)))
    assert name is not None
    assert host_name(name) == name


def test_one_spelling_an_address() -> None:
    assert plain_address("::ffff:10.0.0.7") == "10.0.0.7"
    assert plain_address("fe80::1%eth0") == "fe80::1"
    with pytest.raises(ValueError, match="web"):
        plain_address("web-17")


@pytest.mark.parametrize(
    "settings", [{"sources": {"web-17": "x"}}, {"debounce": "501ms"}, {"memory": "1KiB"}]
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        NetconsoleConfig.model_validate(settings)


def test_strangers_are_counted_in_a_bounded_table() -> None:
    strangers = Strangers()
    for number in range(UNKNOWN_KEPT + 500):
        strangers.count(str(ip_address(number + 1)))
    for _ in range(5):
        strangers.count("10.0.0.1")
    assert len(strangers) == UNKNOWN_KEPT
    found, more = strangers.take()
    assert found[0] == ("10.0.0.1", 5)
    assert (len(found), more, strangers.total) == (UNKNOWN_KEPT, 501, UNKNOWN_KEPT + 505)
    assert len(strangers) == 0


# -- limits ---------------------------------------------------------------------------------------------------


def test_a_strangers_crash_is_nobodys_panic_and_a_known_ones_is() -> None:
    box = receiver()
    for source in ("10.0.0.99", "10.0.0.17"):
        for datagram in lines(oops()):
            box.take(datagram, source, NOW)
    looks, _ = box.tick(NOW + 0.05)
    assert looks == []
    looks, _ = box.tick(NOW + 0.3)
    assert [look.host for look in looks] == ["web-17"]
    assert (box.counts.taken, box.counts.unknown) == (16, 16)
    looks, _ = box.tick(NOW + 4)
    assert looks[0].final
    assert not box.busy


def test_an_ipv4_sender_at_an_ipv6_socket_is_the_same_one() -> None:
    box = receiver()
    box.take(b"6,1,1000000,-;hello\n", "::ffff:10.0.0.17", NOW)
    assert (box.known, box.counts.unknown) == (1, 0)


def test_each_sender_has_its_rate_and_what_is_over_it_is_told_with_the_crash() -> None:
    box = receiver(rate=10, burst=20)
    for datagram in lines(oops()):
        box.take(datagram, "10.0.0.17", NOW)
    box.tick(NOW)
    for _, datagram in talk(5000.3, 5100, seq=116):
        box.take(datagram, "10.0.0.17", NOW)
    box.take(b"6,1,1000000,-;quiet neighbour\n", "2001:db8::1", NOW)
    assert (box.counts.taken, box.counts.limited) == (16 + 4 + 1, 96)
    box.tick(NOW + 0.1)
    looks, _ = box.tick(NOW + 9)
    assert looks[-1].dropped == 96
    for number in range(100):
        box.take(b"6,%d,6000000000,-;later\n" % (300 + number), "10.0.0.17", NOW + 11)
    assert box.counts.taken == 21 + 20  # the bucket is full again


def test_a_flood_of_spoofed_addresses_is_bounded_and_a_panic_is_seen_in_it() -> None:
    box = receiver(allow_unknown=True, senders=200, memory="1MiB")
    box.take(b"6,99,4999000000,-;before\n", "10.0.0.17", NOW)
    box.tick(NOW)
    crash = iter(lines(oops()))
    payload = b"6,1,1000000,-;" + b"x" * 900 + b"\n"
    tracemalloc.start()
    for number in range(30_000):
        now = NOW + 1 + number / 30_000
        box.take(payload, str(ip_address(0x0B000000 + number)), now)
        if number % 1500 == 0 and (datagram := next(crash, None)) is not None:
            box.take(datagram, "10.0.0.17", now)
        if number % 100 == 0:
            looks, _ = box.tick(now)
            assert box.held <= 1024**2
            assert box.known <= 200
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 * 1024**2
    looks, _ = box.tick(NOW + 10)
    assert [look.host for look in looks] == ["web-17"]
    assert looks[0].final
    assert looks[0].panic


def test_a_flood_of_crashes_of_known_hosts_is_bounded_too() -> None:
    box = receiver(sources={"10.0.0.0/8": "fleet"}, memory="1MiB", senders=1000)
    heads = lines(oops())[:8]
    for number in range(900):
        source = str(ip_address(0x0A000000 + number))
        for datagram in heads * 4:
            box.take(datagram, source, NOW)
        if number % 10 == 0:
            box.tick(NOW)
            assert box.held <= 1024**2 + 16 * 1024
    assert box.counts.refused > 0


def test_who_was_silent_for_long_is_forgotten_and_its_loss_stays_counted() -> None:
    box = receiver(idle=timedelta(minutes=1))
    box.take(b"6,1,1000000,-;a\n", "10.0.0.17", NOW)
    box.take(b"6,9,1000000,-;b\n", "10.0.0.17", NOW)
    box.tick(NOW)
    assert box.totals(NOW + 5).lost == 7
    box.tick(NOW + 61)
    assert (box.known, box.held, box.totals(NOW + 61).lost) == (0, 0, 7)


def test_a_known_host_is_not_forgotten_for_a_guest() -> None:
    box = receiver(senders=8, allow_unknown=True)
    box.take(b"6,1,1000000,-;a\n", "10.0.0.17", NOW)
    box.tick(NOW)
    for number in range(50):
        box.take(b"6,1,1000000,-;a\n", f"10.7.0.{number}", NOW + 1)
        box.tick(NOW + 1)
    assert box.known <= 8
    box.take(b"6,5,1000000,-;a\n", "10.0.0.17", NOW + 2)
    box.tick(NOW + 2)
    assert box.totals(NOW + 9).lost == 3  # its numbers went on


def test_a_crash_told_before_a_restart_is_found_survived_after_it() -> None:
    box = receiver()
    box.expect("web-17", NOW - 100, 5000.25)
    box.take(b"6,900,5100250000,-;still here\n", "10.0.0.17", NOW)
    _, alive = box.tick(NOW)
    assert [(sign.host, sign.uptime) for sign in alive] == [("web-17", 5000.25)]
