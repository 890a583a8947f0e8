"""Foreign JSON to hosts: a list of entries, or what `ansible-inventory --list` prints.

    [{"name": "web-17", "address": "10.0.0.17", "ring": "prod-2"}, …]
    {"_meta": {"hostvars": {"web-17": {"ansible_host": "10.0.0.17"}}}, "prod_2": {"hosts": ["web-17"]}, …}

Nothing of it is trusted: names become part of paths, of SSH connections and of messages.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

FIELDS = frozenset(
    {"name", "address", "port", "ring", "hardware", "service", "criticality", "owner", "user", "jump"}
)
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,253}[A-Za-z0-9])?")
_PATTERN = re.compile(r"[A-Za-z0-9*?\[\]!._-]{1,255}")
_ADDRESS = re.compile(r"[A-Za-z0-9:]([A-Za-z0-9.:%_-]{0,253}[A-Za-z0-9])?")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@$-]{0,63}")
_JUMP = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@:,\[\]-]{0,400}")
_CRITICALITIES = ("low", "normal", "critical")
_ANSIBLE = {"address": ("ansible_host", "ansible_ssh_host"), "port": ("ansible_port", "ansible_ssh_port"),
            "user": ("ansible_user", "ansible_ssh_user")}  # fmt: skip
_LONGEST = 255
_MOST = 1_000_000
_DEEPEST = 50  # groups within groups


class InventoryUnread(Exception):
    """The source's answer is no inventory."""


@dataclass(frozen=True)
class Told:
    """`hosts`: the fields that were given, by name, all checked. `broken`: (name or place, what is wrong with it)."""

    hosts: Mapping[str, Mapping[str, str | int]]
    broken: tuple[tuple[str, str], ...] = ()


def read_inventory(
    raw: bytes, *, groups: Mapping[str, str] | None = None, variables: Mapping[str, str] | None = None
) -> Told:
    """Raises InventoryUnread for what is neither shape. A host that is told twice: the first entry counts."""
    try:
        told = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise InventoryUnread(f"it is no JSON: {str(error)[:200]}") from error
    if isinstance(told, dict) and isinstance(told.get("hosts"), list) and "_meta" not in told:
        told = told["hosts"]
    if isinstance(told, list):
        return _checked((_given(entry, at) for at, entry in enumerate(told)), patterns=True)
    if isinstance(told, dict) and (
        "_meta" in told or any(isinstance(g, dict) and "hosts" in g for g in told.values())
    ):
        return _checked(_ansible(told, groups or {}, variables or {}), patterns=False)
    raise InventoryUnread("it is neither a list of hosts nor what `ansible-inventory --list` prints")


_Raw = tuple[str, Any]  # the place it stands at, and its fields


def _given(entry: Any, at: int) -> _Raw:
    """A text alone is a name."""
    return f"entry {at + 1}", {"name": entry} if isinstance(entry, str) else entry


def _ansible(told: dict[str, Any], groups: Mapping[str, str], variables: Mapping[str, str]) -> Iterable[_Raw]:
    meta = told.get("_meta")
    hostvars = meta.get("hostvars") if isinstance(meta, dict) else None
    hostvars = hostvars if isinstance(hostvars, dict) else {}
    members = {name: _members(told, name) for name in told if name != "_meta"}
    by_host: dict[str, list[str]] = {}
    for group, hosts in members.items():
        for host in hosts:
            by_host.setdefault(host, []).append(group)
    for name in dict.fromkeys([*hostvars, *by_host]):
        found = hostvars.get(name)
        values: dict[str, Any] = found if isinstance(found, dict) else {}
        fields: dict[str, Any] = {"name": name}
        for field in FIELDS - {"name"}:
            asked = (variables[field],) if field in variables else _ANSIBLE.get(field, (field,))
            value = next((values[v] for v in asked if values.get(v) is not None), None)
            if value is not None and not (isinstance(value, str) and "{{" in value):  # a template is no value
                fields[field] = value
        for pattern, meaning in groups.items():
            field, _, value = meaning.partition(":")
            if field not in fields and any(fnmatchcase(g, pattern) for g in by_host.get(name, ())):
                fields[field] = value
        yield str(name)[:80], fields


def _members(told: dict[str, Any], group: str) -> set[str]:
    """The hosts of a group and of the groups within it; circles end."""
    hosts: set[str] = set()
    seen: set[str] = set()
    level = [group]
    for _ in range(_DEEPEST):
        below: list[str] = []
        for name in level:
            here = told.get(name)
            if name in seen or not isinstance(here, dict):
                continue
            seen.add(name)
            hosts.update(h for h in _list(here.get("hosts")) if isinstance(h, str))
            below += [c for c in _list(here.get("children")) if isinstance(c, str)]
        level = below
    return hosts


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else list(value) if isinstance(value, dict) else []


def _checked(entries: Iterable[_Raw], *, patterns: bool) -> Told:
    hosts: dict[str, dict[str, str | int]] = {}
    broken: list[tuple[str, str]] = []
    for count, (place, entry) in enumerate(entries):
        if count >= _MOST:
            raise InventoryUnread(f"it names more than {_MOST} hosts")
        try:
            fields = _fields(entry, patterns)
        except ValueError as error:
            name = entry.get("name") if isinstance(entry, dict) else None
            broken.append((name[:255] if isinstance(name, str) else place, str(error)[:200]))
            continue
        hosts.setdefault(str(fields["name"]).lower(), fields)
    return Told(hosts, tuple(broken))


def _fields(entry: Any, patterns: bool) -> dict[str, str | int]:
    """Raises ValueError, which says what is wrong. Keys that are not ours are left out; a secret has no place here."""
    if not isinstance(entry, dict):
        raise ValueError("is no table of fields")  # noqa: TRY004 - a finding, not a defect
    name = entry.get("name")
    if not isinstance(name, str):
        raise ValueError("has no name")  # noqa: TRY004
    glob = patterns and any(sign in name for sign in "*?[")
    if (_PATTERN if glob else _NAME).fullmatch(name) is None:
        raise ValueError("name is no host name")
    fields: dict[str, str | int] = {"name": name}
    for field in sorted(FIELDS - {"name", "port"}):
        value = entry.get(field)
        if value is None or value == "":
            continue
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            value = str(value)
        if not isinstance(value, str) or len(value) > _LONGEST or not value.isprintable():
            raise ValueError(f"{field} is no short text")
        shape = {"address": _ADDRESS, "user": _USER, "jump": _JUMP}.get(field)
        if shape is not None and shape.fullmatch(value) is None:
            raise ValueError(f"{field} has a wrong form")
        if field == "criticality" and value not in _CRITICALITIES:
            raise ValueError(f"criticality is none of {', '.join(_CRITICALITIES)}")
        fields[field] = value
    port = entry.get("port")
    if port is not None:
        text = str(port)
        if isinstance(port, bool) or re.fullmatch(r"[0-9]{1,5}", text) is None or not 1 <= int(text) <= 65535:
            raise ValueError("port is none")
        fields["port"] = int(text)
    return fields
