"""The demo's fleet: invented names, rings, models and owners; each host replays one captured panic by default."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class HostSpec:
    """One replayed host. `hardware` is the inventory's label; the host's own DMI says what the capture says."""

    name: str
    case: str
    ring: str
    hardware: str
    criticality: str
    owner: str


DEMO_HOSTS: tuple[HostSpec, ...] = (
    HostSpec("web-17", "null-deref", "prod-2", "Dell PowerEdge R640", "critical", "web-platform"),
    HostSpec("web-18", "null-deref", "prod-2", "Dell PowerEdge R640", "critical", "web-platform"),
    HostSpec("web-19", "null-deref", "prod-2", "Dell PowerEdge R650", "normal", "web-platform"),
    HostSpec("web-4", "nmi", "prod-1", "Dell PowerEdge R640", "normal", "web-platform"),
    HostSpec("db-3", "oom", "prod-1", "HPE ProLiant DL380 Gen10", "critical", "databases"),
    HostSpec("db-4", "oom", "prod-2", "HPE ProLiant DL380 Gen10", "critical", "databases"),
    HostSpec("db-7", "disk-full-yet-dump-saved", "prod-1", "HPE ProLiant DL380 Gen11", "normal", "databases"),
    HostSpec("cache-2", "nmi", "prod-1", "Supermicro SYS-1029P", "normal", "caches"),
    HostSpec("cache-5", "nmi", "prod-2", "Supermicro SYS-1029P", "normal", "caches"),
    HostSpec("queue-1", "disk-full-yet-dump-saved", "prod-2", "Dell PowerEdge R650", "normal", "messaging"),
    HostSpec("store-1", "dump-fails-disk-full", "prod-1", "Supermicro SSG-6049P", "critical", "storage"),
    HostSpec("store-6", "dump-fails-disk-full", "prod-2", "Supermicro SSG-6049P", "normal", "storage"),
    HostSpec("edge-1", "no-kdump-pstore", "canary", "Lenovo ThinkSystem SR630", "low", "edge"),
    HostSpec("edge-9", "no-kdump-pstore", "prod-2", "Lenovo ThinkSystem SR630", "normal", "edge"),
    HostSpec("canary-1", "sysrq-c", "canary", "Dell PowerEdge R650", "low", "kernel"),
    HostSpec("canary-2", "null-deref", "canary", "HPE ProLiant DL380 Gen11", "low", "kernel"),
)
