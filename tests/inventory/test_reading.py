"""Foreign JSON: what is a host becomes one, whatever else stands there."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commands.inventory import HostEntry
from integrations.inventory import FIELDS, InventoryUnread, read_inventory


def _keys() -> st.SearchStrategy[str]:
    return st.sampled_from([*sorted(FIELDS), "_meta", "hostvars", "hosts", "children", "all"]) | st.text(
        max_size=8
    )


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_keys(), inner, max_size=4),
    max_leaves=20,
)


@given(_JSON)
def test_any_json_is_read_or_refused_and_what_is_read_is_a_host(value: object) -> None:
    try:
        told = read_inventory(json.dumps(value).encode())
    except InventoryUnread:
        return
    for name, fields in told.hosts.items():
        entry = HostEntry.model_validate(dict(fields))
        assert entry.name.lower() == name
        assert set(fields) <= FIELDS
        for text in (entry.name, entry.address or "a", entry.jump or "a", entry.user or "a"):
            assert not text.startswith("-")
            assert text.isprintable()
            assert not set(text) & set(" /;|&$`'\"\\\n\0") - ({"$"} if text is entry.user else set())


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(raw: bytes) -> None:
    try:
        read_inventory(raw)
    except InventoryUnread as error:
        assert str(error)  # noqa: PT017


@given(st.lists(st.from_regex(r"[a-z][a-z0-9-]{0,10}[a-z0-9]", fullmatch=True), min_size=1, unique=True))
def test_both_shapes_say_the_same(names: list[str]) -> None:
    plain = read_inventory(
        json.dumps([{"name": n, "address": "10.0.0.7", "port": 22} for n in names]).encode()
    )
    hostvars = {n: {"ansible_host": "10.0.0.7", "ansible_port": "22"} for n in names}
    ansible = read_inventory(json.dumps({"_meta": {"hostvars": hostvars}, "all": {"hosts": names}}).encode())
    assert plain.hosts == ansible.hosts
    assert set(plain.hosts) == set(names)
    assert plain.broken == ansible.broken == ()


def test_groups_and_variables_of_ansible() -> None:
    printed = {
        "_meta": {
            "hostvars": {
                "web-1": {
                    "ansible_host": "10.0.0.1",
                    "ansible_user": "kdump",
                    "stage": "canary",
                    "secret": "no",
                },
                "web-2": {"ansible_host": "{{ lookup }}"},
            }
        },
        "all": {"children": ["prod", "ungrouped"]},
        "prod": {"children": ["web", "prod"]},
        "web": {"hosts": ["web-1", "web-2", "web-3"]},
    }
    groups = {"pro?": "ring:prod", "web": "service:shop", "all": "criticality:critical"}
    told = read_inventory(json.dumps(printed).encode(), groups=groups, variables={"ring": "stage"})
    assert told.hosts["web-1"] == {
        "name": "web-1", "address": "10.0.0.1", "user": "kdump", "ring": "canary", "service": "shop",
        "criticality": "critical",
    }  # fmt: skip
    assert told.hosts["web-3"] == {
        "name": "web-3",
        "ring": "prod",
        "service": "shop",
        "criticality": "critical",
    }
    assert "address" not in told.hosts["web-2"]


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ({"name": "-oProxyCommand=x"}, "name"), ({"name": "../etc"}, "name"), ({"address": "10.0.0.1"}, "no name"),
        ({"name": "a", "address": "-x"}, "address"), ({"name": "a", "port": 0}, "port"), (7, "no table"),
        ({"name": "a", "port": True}, "port"), ({"name": "a", "criticality": "huge"}, "criticality"),
        ({"name": "a", "ring": "x\ny"}, "ring"), ({"name": "a", "jump": "-J x"}, "jump"),
    ],
)  # fmt: skip
def test_a_broken_entry_is_told_and_spoils_no_other(entry: object, why: str) -> None:
    told = read_inventory(json.dumps([{"name": "good"}, entry]).encode())
    assert set(told.hosts) == {"good"}
    assert why in told.broken[0][1]
