"""A made-up year of a fleet: its hosts, its changes, and its panics with (or without) the change that did it.

Knows nothing of how changes are weighed: what is made here is what a fleet is thought to be like. What a change says
of itself is noisy: some leave out where they were made, some name too little or too much, some are told late.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

YEAR_BEGAN = datetime(2025, 11, 1, tzinfo=UTC)
DAYS = 365

RINGS = {"canary": 20, "staging": 100, "prod-1": 180, "prod-2": 300, "prod-3": 350, "prod-4": 350, "prod-5": 350,
         "prod-6": 350}  # fmt: skip
HARDWARE = {"dell poweredge r640": 0.35, "dell poweredge r740xd": 0.2, "hpe proliant dl380 gen10": 0.2,
            "supermicro sys-1029p": 0.1, "lenovo thinksystem sr650": 0.1, "dell poweredge r7525": 0.05}  # fmt: skip
SERVICES = (
    "web",
    "api",
    "db",
    "cache",
    "queue",
    "store",
    "search",
    "batch",
    "edge",
    "auth",
    "log",
    "metrics",
)
RELEASES = [f"6.1.0-{n}" for n in range(18, 34)]
DRIVERS = ("ixgbe", "i40e", "mlx5_core", "bnxt_en", "megaraid_sas", "nvme", "mpt3sas", "nvidia")
FUNCTIONS = ("tcp_v4_rcv", "ext4_writepages", "xfs_bmap_add", "nf_conntrack_in", "list_del", "kmem_cache_alloc",
             "rcu_do_batch", "blk_mq_dispatch", "page_counter_try_charge", "pick_next_task_fair")  # fmt: skip
TUNABLES = {"tcp_v4_rcv": "net.ipv4.tcp_rmem", "ext4_writepages": "ext4 mount options", "xfs_bmap_add": "xfs log size",
            "nf_conntrack_in": "conntrack table size"}  # fmt: skip
MIX = {"configuration": 0.40, "deployment": 0.35, "package": 0.10, "kernel": 0.05, "driver": 0.04, "firmware": 0.03,
       "network": 0.03}  # fmt: skip
GUILTY = {"kernel": 0.38, "driver": 0.28, "firmware": 0.14, "configuration": 0.12, "package": 0.08}


@dataclass(frozen=True)
class Machine:
    name: str
    ring: str
    hardware: str
    service: str


@dataclass
class MadeChange:
    """As it is told. `rings` … `hosts` are what it says it touches; `truly` are the hosts that it touched."""

    key: str
    kind: str
    summary: str
    text: str
    started: datetime
    ended: datetime | None
    hosts: tuple[str, ...] = ()
    rings: tuple[str, ...] = ()
    hardware: tuple[str, ...] = ()
    services: tuple[str, ...] = ()
    everywhere: bool = False
    subject: str = ""  # the driver, release or tunable it is about
    truly: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True)
class MadePanic:
    host: str
    at: datetime
    booted: datetime
    kernel: str
    module: str | None
    function: str
    kind: str


@dataclass(frozen=True)
class MadeIncident:
    """`cause` is the key of the change that did it; None: no change did. `sort` says what it was."""

    panics: tuple[MadePanic, ...]
    cause: str | None
    sort: str


@dataclass(frozen=True)
class History:
    machines: tuple[Machine, ...]
    changes: tuple[MadeChange, ...]
    incidents: tuple[MadeIncident, ...]


def make_history(
    seed: int, *, hosts: int = 2000, changes: int = 50_000, guilty: int = 160, innocent: int = 40
) -> History:
    dice = random.Random(seed)
    machines = _machines(dice, hosts)
    year = sorted((_change(dice, n, machines) for n in range(changes)), key=lambda c: (c.started, c.key))
    late = YEAR_BEGAN + timedelta(days=10)
    chosen = _chosen(dice, [c for c in year if c.started > late and c.truly], guilty)
    incidents = [_caused(dice, change, machines) for change in chosen]
    incidents += [_uncaused(dice, machines) for _ in range(innocent)]
    dice.shuffle(incidents)
    return History(machines, tuple(year), tuple(incidents))


# -- the fleet and its changes ----------------------------------------------------------------------------


def _machines(dice: random.Random, count: int) -> tuple[Machine, ...]:
    made = []
    for number in range(count):
        service = dice.choice(SERVICES)
        ring = dice.choices(list(RINGS), list(RINGS.values()))[0]
        hardware = dice.choices(list(HARDWARE), list(HARDWARE.values()))[0]
        made.append(Machine(f"{service}-{number}", ring, hardware, service))
    return tuple(made)


def _moment(dice: random.Random) -> datetime:
    """Mostly on working days in working hours, some at night, some at the week's end."""
    while True:
        at = YEAR_BEGAN + timedelta(seconds=dice.uniform(0, DAYS * 86400))
        busy = 1.0 if 8 <= at.hour < 18 else 0.25
        if dice.random() < busy * (1.0 if at.weekday() < 5 else 0.3):
            return at


def _change(dice: random.Random, number: int, machines: tuple[Machine, ...]) -> MadeChange:
    kind = dice.choices(list(MIX), list(MIX.values()))[0]
    started = _moment(dice)
    ended = None
    if dice.random() < 0.75:
        ended = started + timedelta(minutes=5 * math.exp(dice.uniform(0, math.log(100))))
    change = MadeChange(f"chg-{number:05d}", kind, "", "", started, ended)
    ring, model = dice.choice(list(RINGS)), dice.choices(list(HARDWARE), list(HARDWARE.values()))[0]
    service = dice.choice(SERVICES)
    if kind == "kernel":
        change.rings, change.subject = (ring,), dice.choice(RELEASES)
        change.summary = f"rollout of {change.subject} to ring {ring}"
        change.text = f"linux-image-{change.subject}-amd64, ten hosts at a time, each is booted."
    elif kind == "driver":
        change.subject = dice.choice(DRIVERS)
        change.hardware = (model,)
        change.rings = (ring,) if dice.random() < 0.6 else ()
        change.summary = f"{change.subject} driver update on {model}"
        change.text = f"New out-of-tree {change.subject}, modules are loaded again without a boot."
    elif kind == "firmware":
        change.hardware = (model,)
        change.rings = (ring,) if dice.random() < 0.7 else ()
        change.subject = "bios"
        change.summary = f"BIOS and microcode update on {model}"
        change.text = "One host after the other; each is booted."
    elif kind == "configuration":
        change.subject = dice.choice(
            [*list(TUNABLES.values()), "log level", "cron job", "sshd banner", "dns", "ntp"]
        )
        change.summary = f"change {change.subject}"
        _scatter(dice, change, machines, ring, service)
    elif kind == "deployment":
        change.services = (service,)
        change.rings = (ring,) if dice.random() < 0.5 else ()
        change.summary = f"deploy {service} build {dice.randrange(10_000)}"
    elif kind == "package":
        change.subject = dice.choice(
            ["openssl", "systemd", "libvirt", "containerd", "curl", "glibc", *DRIVERS[:3]]
        )
        change.rings, change.summary = (ring,), f"upgrade {change.subject} in ring {ring}"
    else:
        change.rings, change.summary = (ring,), f"replace switches of ring {ring}"
    change.truly = _touched(change, machines)
    _blur(dice, change, machines)
    return change


def _scatter(
    dice: random.Random, change: MadeChange, machines: tuple[Machine, ...], ring: str, service: str
) -> None:
    where = dice.random()
    if where < 0.4:
        change.hosts = tuple(m.name for m in dice.sample(machines, min(len(machines), dice.randint(1, 20))))
    elif where < 0.65:
        change.rings = (ring,)
    elif where < 0.9:
        change.services = (service,)
    else:
        change.everywhere = True


def _touched(change: MadeChange, machines: tuple[Machine, ...]) -> tuple[str, ...]:
    if change.everywhere:
        return tuple(m.name for m in machines)
    groups = change.rings or change.hardware or change.services
    return tuple(
        m.name
        for m in machines
        if m.name in change.hosts
        or (
            groups
            and (not change.rings or m.ring in change.rings)
            and (not change.hardware or m.hardware in change.hardware)
            and (not change.services or m.service in change.services)
        )
    )


def _blur(dice: random.Random, change: MadeChange, machines: tuple[Machine, ...]) -> None:
    """What it says is not quite what it did."""
    luck = dice.random()
    if luck < 0.03:
        change.hosts, change.rings, change.hardware, change.services = (), (), (), ()
        change.everywhere = False  # nobody wrote down where
    elif luck < 0.08 and change.rings and change.hardware:
        change.rings = ()  # told for all of the model, made in one ring
    elif luck < 0.13 and change.rings:
        change.rings = (*change.rings, dice.choice(list(RINGS)))  # a ring too many
    elif luck < 0.18 and len(change.truly) > 4:
        more = dice.sample(machines, max(1, len(change.truly) // 12))
        change.truly = tuple({*change.truly, *(m.name for m in more)})  # hosts that nobody wrote down
    if dice.random() < 0.04:
        change.text += " Rolled back once; see the notes."
    if dice.random() < 0.02:
        change.started += timedelta(minutes=dice.uniform(1, 10))  # told late
        change.ended = max(change.ended, change.started) if change.ended else None


# -- panics -----------------------------------------------------------------------------------------------


def _chosen(dice: random.Random, changes: list[MadeChange], count: int) -> list[MadeChange]:
    by_kind: dict[str, list[MadeChange]] = {}
    for change in changes:
        by_kind.setdefault(change.kind, []).append(change)
    chosen: dict[str, MadeChange] = {}
    while len(chosen) < count:
        kind = dice.choices(list(GUILTY), list(GUILTY.values()))[0]
        change = dice.choice(by_kind[kind])
        if kind in ("configuration", "package") and change.subject not in (*TUNABLES.values(), *DRIVERS):
            continue  # an ssh banner does not kill kernels
        chosen[change.key] = change
    return list(chosen.values())


def _caused(dice: random.Random, change: MadeChange, machines: tuple[Machine, ...]) -> MadeIncident:
    """Each host is touched at its own time in the change's span, and panics minutes to a day after it."""
    many = min(len(change.truly), 1 + int(dice.expovariate(1 / 7)))
    victims = dice.sample(sorted(change.truly), many)
    end = change.ended or change.started + timedelta(minutes=1)
    release, module, function, kind = _trace_of(dice, change)
    panics = []
    for name in victims:
        touched = change.started + (end - change.started) * dice.random()
        at = touched + timedelta(minutes=min(1440.0, dice.lognormvariate(math.log(35), 1.3)))
        boots = change.kind in ("kernel", "firmware")
        booted = touched if boots else change.started - timedelta(days=dice.uniform(1, 90))
        panics.append(MadePanic(name, at, booted, release, module, function, kind))
    return MadeIncident(tuple(sorted(panics, key=lambda p: (p.at, p.host))), change.key, change.kind)


def _trace_of(dice: random.Random, change: MadeChange) -> tuple[str, str | None, str, str]:
    release, function, kind = f"{dice.choice(RELEASES)}-amd64", dice.choice(FUNCTIONS), "null_deref"
    if change.kind == "kernel":
        module = dice.choice([*DRIVERS, None, None])
        return f"{change.subject}-amd64", module, f"{module}_poll" if module else function, "page_fault"
    if change.kind == "driver" or change.subject in DRIVERS:
        module = change.subject if dice.random() < 0.92 else None
        return release, module, f"{module}_irq" if module else function, kind
    if change.kind == "firmware":
        return release, None, "mce_panic", dice.choice(["mce", "mce", "hard_lockup", "nmi", "page_fault"])
    guilty = next((f for f, told in TUNABLES.items() if told == change.subject), function)
    return release, None, guilty, kind


def _uncaused(dice: random.Random, machines: tuple[Machine, ...]) -> MadeIncident:
    """A broken part in one host, an old bug that a service's load wakes, or a bug that hits here and there."""
    luck = dice.random()
    begun = _moment(dice) + timedelta(days=10)
    if luck < 0.5:
        victims, sort = [dice.choice(machines)], "broken part"
        kind = dice.choice(["mce", "mce", "page_fault", "hard_lockup", "null_deref"])
    elif luck < 0.75:
        service = dice.choice(SERVICES)
        of_it = [m for m in machines if m.service == service]
        victims, sort, kind = (
            dice.sample(of_it, min(len(of_it), dice.randint(2, 10))),
            "load of a service",
            "soft_lockup",
        )
    else:
        victims, sort, kind = dice.sample(machines, dice.randint(2, 6)), "an old bug", "null_deref"
    release, module = f"{dice.choice(RELEASES)}-amd64", dice.choice([*DRIVERS, None, None, None])
    function = f"{module}_poll" if module else dice.choice(FUNCTIONS)
    panics = [
        MadePanic(
            m.name,
            begun + timedelta(minutes=dice.expovariate(1 / 60)),
            begun - timedelta(days=dice.uniform(0.5, 90)),
            release,
            module,
            function,
            kind,
        )
        for m in victims
    ]
    return MadeIncident(tuple(sorted(panics, key=lambda p: (p.at, p.host))), None, sort)
