"""What stays and what goes: a pure function of what there is, the policy and the time.

The law:

- Nothing goes that is pinned, held, of an open incident, or being read or written now. These outlive every term.
- A copy in central stays for its term (by criticality). Within it, it goes only where another verified copy of the same
  dump stays at least as long.
- After the term it goes; the newest of a signature at the hard end (`most`). Nothing else outlives that.
- A dump on its host goes when its copy in central was verified after it was written and either stays or has had its
  whole term there, and when there are newer ones of the host (`local`) or the host's budget is exceeded.
- A budget that is exceeded makes go what may, the oldest first, and nothing that may not: then it stays exceeded,
  and new copies are refused.
- Nothing goes by its age while the clock is not certain.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from commands.hosts.crashdump import size_words
from commands.retention.items import (
    CENTRAL,
    LOCAL,
    Clock,
    Copy,
    Decision,
    Inventory,
    LocalDump,
    Reason,
    Standing,
    day,
)
from commands.retention.policy import RetentionConfig


def plan(inventory: Inventory, policy: RetentionConfig, now: datetime) -> list[Decision]:
    """A decision for each item: copies in central first, then dumps on hosts; each in the order given.

    The same input gives the same plan; once it is carried out, the next one at the same time removes nothing.
    """
    central = _by_age(inventory, policy, now)
    central = _superseded(central, policy)
    central = _within_budget(central, inventory, policy)
    staying = {d.key[1]: d for d in central if not d.remove}
    return [*central, *_local(inventory, policy, now, staying, {d.key[1]: d for d in central})]


def ends(copy: Copy, policy: RetentionConfig, *, newest: bool = False) -> datetime:
    """When a copy's term is over."""
    return copy.since + (policy.most if newest else policy.terms(copy.criticality).central)


def newest_of_signatures(copies: Iterable[Copy]) -> frozenset[int]:
    """The ids of the newest verified copy of each signature."""
    newest: dict[str, Copy] = {}
    for copy in copies:
        if copy.standing is Standing.VERIFIED:
            known = newest.get(copy.signature)
            if known is None or (copy.since, copy.id) > (known.since, known.id):
                newest[copy.signature] = copy
    return frozenset(copy.id for copy in newest.values())


# -- central ------------------------------------------------------------------------------------------------


def _by_age(inventory: Inventory, policy: RetentionConfig, now: datetime) -> list[Decision]:
    newest = newest_of_signatures(inventory.copies)
    return [_aged(copy, inventory.clock, policy, now, newest=copy.id in newest) for copy in inventory.copies]


def _aged(copy: Copy, clock: Clock, policy: RetentionConfig, now: datetime, *, newest: bool) -> Decision:
    def keep(reason: Reason, why: str) -> Decision:
        return Decision(CENTRAL, False, reason, copy, why)

    if copy.standing is Standing.LEAVING:
        return Decision(CENTRAL, True, Reason.BEGUN, copy, "its removal was begun")
    if not copy.reachable:
        return keep(
            Reason.ELSEWHERE, "it is in another store than the one that is set: remove it there by hand"
        )
    kept = copy.guard.keeps(now, clock)
    if kept is not None:
        return keep(Reason.GUARDED, kept)
    end = ends(copy, policy, newest=newest)
    age, what = now - copy.since, _WHAT[copy.standing]
    if end > now:
        if newest and _over(copy, policy, now):
            return keep(Reason.NEWEST, f"{what}the newest of its signature, kept until {day(end)}")
        return keep(Reason.TERM, f"{what}kept until {day(end)}")
    if not clock.trusted:
        return keep(Reason.CLOCK, f"its term seems over, but the clock is not certain: {clock.why}")
    if newest:
        why = f"{what}{age.days} d old: the hard end of {policy.most.days} d"
    else:
        why = f"{what}{age.days} d old: its term of {policy.terms(copy.criticality).central.days} d is over"
    return Decision(CENTRAL, True, Reason.AGE, copy, why)


_WHAT = {
    Standing.VERIFIED: "",
    Standing.DAMAGED: "damaged; ",
    Standing.PARTIAL: "parts of a copy that was not finished; ",
    Standing.LEAVING: "",
}


def _over(copy: Copy, policy: RetentionConfig, now: datetime) -> bool:
    return now - copy.since >= policy.terms(copy.criticality).central


def _superseded(decisions: list[Decision], policy: RetentionConfig) -> list[Decision]:
    """What is no verified copy goes once a verified one of the same dump stands."""
    made = []
    for decision in decisions:
        copy = decision.item
        assert isinstance(copy, Copy)
        other = None
        if _may_move(decision) and copy.standing in (Standing.DAMAGED, Standing.PARTIAL):
            other = _stand_in(copy, decisions, policy)
        if other is not None:
            why = f"{copy.standing.value}; a verified copy of the same dump stands"
            decision = replace(decision, remove=True, reason=Reason.SUPERSEDED, why=why, rests_on=other.id)
        made.append(decision)
    return made


def _within_budget(
    decisions: list[Decision], inventory: Inventory, policy: RetentionConfig
) -> list[Decision]:
    """Over budget: parts of unfinished copies go, then copies of which another one stays; the oldest first."""
    if inventory.budget is None:
        return decisions
    over = sum(d.bytes for d in decisions if not d.remove) + inventory.incoming - inventory.budget
    made = list(decisions)
    newest = newest_of_signatures(inventory.copies)

    def order(index: int) -> tuple[bool, datetime, int]:
        copy = made[index].item
        assert isinstance(copy, Copy)
        return (copy.standing is not Standing.PARTIAL, copy.since, copy.id)

    for index in sorted(range(len(made)), key=order):
        if over <= 0:
            break
        copy = made[index].item
        assert isinstance(copy, Copy)
        if not _may_move(made[index]) or copy.id in newest:
            continue
        other = _stand_in(copy, made, policy)
        if other is None and copy.standing is not Standing.PARTIAL:
            continue
        said = "another verified copy of the same dump stays" if other else "parts of a copy that failed"
        made[index] = replace(
            made[index],
            remove=True,
            reason=Reason.BUDGET,
            why=f"the store is over its budget; {said}",
            rests_on=other.id if other else None,
        )
        over -= copy.size
    return made


def _may_move(decision: Decision) -> bool:
    """Kept, and only by its term."""
    return decision.reason is Reason.TERM


def _stand_in(copy: Copy, decisions: Sequence[Decision], policy: RetentionConfig) -> Copy | None:
    """A verified copy of the same dump that stays, and whose own term ends no earlier."""
    for decision in decisions:
        other = decision.item
        if (
            isinstance(other, Copy)
            and other.id != copy.id
            and not decision.remove
            and other.reachable
            and other.standing is Standing.VERIFIED
            and (
                copy.standing is Standing.PARTIAL
                or (ends(other, policy), other.id) > (ends(copy, policy), copy.id)
            )
            and _same_dump(other, copy)
        ):
            return other
    return None


def _same_dump(one: Copy, other: Copy) -> bool:
    if one.sha256 is not None and other.sha256 is not None:
        return one.sha256 == other.sha256
    return one.panic_id == other.panic_id


# -- on hosts -----------------------------------------------------------------------------------------------


def _local(
    inventory: Inventory,
    policy: RetentionConfig,
    now: datetime,
    staying: dict[int, Decision],
    central: dict[int, Decision],
) -> list[Decision]:
    by_host: defaultdict[str, list[LocalDump]] = defaultdict(list)
    for dump in inventory.locals:
        by_host[dump.host].append(dump)
    made: dict[int, Decision] = {}
    for dumps in by_host.values():
        dumps.sort(key=lambda d: (d.occurred_at, d.panic_id), reverse=True)
        over = sum(d.size for d in dumps) - (policy.host_budget or 0) if policy.host_budget else 0
        for rank, dump in reversed(list(enumerate(dumps))):  # the oldest first
            decision = _one_local(dump, rank, over, inventory.clock, policy, now, staying, central)
            if decision.remove:
                over -= dump.size
            made[id(dump)] = decision
    return [made[id(dump)] for dump in inventory.locals]


def _one_local(
    dump: LocalDump,
    rank: int,
    over: int,
    clock: Clock,
    policy: RetentionConfig,
    now: datetime,
    staying: dict[int, Decision],
    central: dict[int, Decision],
) -> Decision:
    def keep(reason: Reason, why: str) -> Decision:
        return Decision(LOCAL, False, reason, dump, why)

    kept = dump.guard.keeps(now, clock)
    if kept is not None:
        return keep(Reason.GUARDED, kept)
    copy = _item(staying.get(dump.copy_id or 0))
    stands = copy is not None and copy.standing is Standing.VERIFIED and copy.reachable
    leaving = _item(central.get(dump.copy_id or 0))
    # Verified once, and gone (or going) because its term is over, not because it was damaged.
    parted = dump.parted or (not stands and leaving is not None and _went_by_age(central[leaving.id], clock))
    latest = policy.terms(dump.criticality).local
    beyond = rank >= latest
    if not beyond and over <= 0:
        why = "the latest of its host" if latest == 1 else f"one of the latest {latest} of its host"
        return keep(Reason.LATEST, why)
    if not (stands or (parted and beyond)):
        return keep(Reason.UNVERIFIED, "no verified copy of it is in central")
    if not dump.recorded:
        why = (
            "its copy does not say which file it was (an older helper): nothing is deleted by its name alone"
        )
        return keep(Reason.UNRECORDED, why)
    if beyond:
        said = "a verified copy is in central" if stands else "its copy in central has had its term"
        why = f"{_count(rank)} of its host newer; {said}"
    else:
        budget = size_words(policy.host_budget or 0)
        why = f"the host's dumps are over their {budget}; a verified copy is in central"
    reason = Reason.NEWER if beyond else Reason.BUDGET
    return Decision(LOCAL, True, reason, dump, why, rests_on=copy.id if stands and copy else None)


def _item(decision: Decision | None) -> Copy | None:
    return decision.item if decision is not None and isinstance(decision.item, Copy) else None


def _went_by_age(decision: Decision, clock: Clock) -> bool:
    copy = decision.item
    return (
        isinstance(copy, Copy)
        and decision.reason is Reason.AGE
        and copy.standing is Standing.VERIFIED
        and clock.trusted
    )


# -- what a plan amounts to -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Admission:
    """Whether a new copy of so many bytes has room in the store's budget; `first`: only once a sweep made it."""

    room: bool
    first: bool
    why: str = ""


def admits(inventory: Inventory, policy: RetentionConfig, now: datetime, size: int) -> Admission:
    """`inventory.incoming` holds the other copies under way, and not this one."""
    budget = inventory.budget
    if budget is None or inventory.stored + inventory.incoming + size <= budget:
        return Admission(True, False)
    wanted = replace(inventory, incoming=inventory.incoming + size)
    goes = sum(d.bytes for d in plan(wanted, policy, now) if d.remove and d.where == CENTRAL)
    would = inventory.stored + inventory.incoming + size
    said = f"with {size_words(size)} more the store would hold {size_words(would)}; its budget is {size_words(budget)}"
    if would - goes <= budget:
        return Admission(True, True, said)
    tail = f", of which {size_words(goes)} may go" if goes else ", and nothing in it may go"
    return Admission(False, bool(goes), said + tail)


def _count(rank: int) -> str:
    return "1 dump" if rank == 1 else f"{rank} dumps"
