"""Names and addresses before a dump's date -> hosts: certain, or told."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commands.errors import NotFound
from commands.inventory import HostEntry, Inventory
from commands.sweep.naming import Fleet, addresses, called_of, owner_of, unresolved

_LABEL = st.from_regex(r"[a-z][a-z0-9]{0,6}(-[a-z0-9]{1,4})?", fullmatch=True)
_ADDRESS = st.one_of(
    st.ip_addresses(v=4, network="10.0.0.0/29"), st.ip_addresses(v=6, network="fd00::/125")
).map(str)
_STAMP = st.sampled_from(["202611230532", "2026-11-23-05:32:01", "2026-11-23-05-32", "2026-11-23-05:32"])
_ENTRY = st.builds(lambda name, address: HostEntry(name=name, address=address), _LABEL, st.none() | _ADDRESS)
_INVENTORY = st.lists(_ENTRY, max_size=8, unique_by=lambda e: e.name).map(lambda rows: Inventory(tuple(rows)))


@given(inventory=_INVENTORY, address=_ADDRESS, stamp=_STAMP)
def test_an_address_means_the_one_host_that_has_it_or_nobody(
    inventory: Inventory, address: str, stamp: str
) -> None:
    fleet = Fleet.of(inventory, ())
    owners = {
        e.name
        for e in inventory.entries
        if e.address and ipaddress.ip_address(e.address) == ipaddress.ip_address(address)
    }
    owner = owner_of(f"{address}-{stamp}", fleet, inventory, addresses(fleet))
    assert owner.called == address
    assert owner.host == (next(iter(owners)) if len(owners) == 1 else None)
    assert bool(owner.why) == (owner.host is None)


@given(inventory=_INVENTORY, stamp=_STAMP, domain=st.sampled_from(["", ".example.org"]))
def test_a_name_means_the_host_that_is_called_so(inventory: Inventory, stamp: str, domain: str) -> None:
    fleet = Fleet.of(inventory, ())
    for entry in inventory.entries:
        owner = owner_of(f"{entry.name}{domain}-{stamp}", fleet, inventory, addresses(fleet))
        assert owner.host == entry.name, owner


@given(text=st.text(max_size=60), closed=st.booleans(), stamp=_STAMP)
def test_whatever_stands_there_it_never_fails_and_never_means_a_stranger_in_a_closed_fleet(
    text: str, closed: bool, stamp: str
) -> None:
    inventory = Inventory((HostEntry(name="web-17", address="10.0.0.5"),), closed=closed)
    fleet = Fleet.of(inventory, ())
    for name in (text, f"{text}-{stamp}"):
        owner = owner_of(name, fleet, inventory, addresses(fleet))
        if closed:
            assert owner.host in (None, "web-17")
        assert (owner.host is None) == bool(owner.why)


@given(inventory=_INVENTORY, seen=st.lists(_LABEL.map(lambda n: f"{n}.example.org"), max_size=4))
def test_every_host_of_the_inventory_is_looked_at_under_exactly_one_name(
    inventory: Inventory, seen: list[str]
) -> None:
    fleet = Fleet.of(inventory, seen)
    assert sorted(e.name for e in fleet.hosts.values()) == sorted(e.name for e in inventory.entries)
    for name, entry in fleet.hosts.items():
        assert inventory.find(name) is entry
        assert fleet.called(entry.name, inventory) in fleet.hosts


def test_a_host_goes_by_the_name_by_which_it_reports_itself() -> None:
    inventory = Inventory(
        (HostEntry(name="web-17", address="10.0.0.5"), HostEntry(name="app-*", ring="apps"))
    )
    fleet = Fleet.of(inventory, ["web-17.example.org", "app-3.example.org", "other"])
    assert set(fleet.hosts) == {"web-17.example.org", "app-3.example.org"}
    assert fleet.meant(["web-17"], inventory) == ["web-17.example.org"]
    assert fleet.meant(["WEB-*"], inventory) == ["web-17.example.org"]
    assert fleet.meant(["ring:apps"], inventory) == ["app-3.example.org"]
    assert fleet.meant(["app-99"], inventory) == ["app-99"]
    owner = owner_of("10.0.0.5-2026-11-23-05:32:01", fleet, inventory, addresses(fleet))
    assert owner.host == "web-17.example.org"


@pytest.mark.parametrize("word", ["nobody", "nobody-*", "ring:none", "we b", "*x*", "10.0.0.1;reboot"])
def test_a_word_that_means_nobody_is_an_answer(word: str) -> None:
    inventory = Inventory((HostEntry(name="web-17"),))
    with pytest.raises(NotFound):
        Fleet.of(inventory, ()).meant([word], inventory)


def test_addresses_that_only_dns_knows_are_asked_for_by_name() -> None:
    inventory = Inventory((HostEntry(name="web-17"), HostEntry(name="web-18", address="web-18.example.org")))
    fleet = Fleet.of(inventory, ())
    assert unresolved(fleet) == ["web-17", "web-18.example.org"]
    known = addresses(fleet, {"web-18.example.org": ("10.0.0.6", "fd00::6"), "web-17": ()})
    assert known == {"10.0.0.6": frozenset({"web-18"}), "fd00::6": frozenset({"web-18"})}


@pytest.mark.parametrize(
    ("directory", "called"),
    [
        ("10.0.0.5-2026-11-23-05:32:01", "10.0.0.5"),
        ("fd00::5-2026-11-23-05:32:01", "fd00::5"),
        ("web-17-202611230532", "web-17"),
        ("web-2026-11-23-05-32-2026-11-23-05-32", "web-2026-11-23-05-32"),
        ("202611230532", None),
        ("2026-11-23-05-32", None),
        ("lost+found", None),
    ],
)
def test_what_stands_before_the_date(directory: str, called: str | None) -> None:
    assert called_of(directory) == called
