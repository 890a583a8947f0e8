"""The law of retention, by a small world in which everything happens: panics, copies, pins, sweeps that die half-way,
damage, and a clock that is set to and fro."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from commands.retention.clock import NEAR, Anchor, judge
from commands.retention.items import (
    CENTRAL,
    Clock,
    Copy,
    Decision,
    Guard,
    Inventory,
    LocalDump,
    Reason,
    Standing,
)
from commands.retention.plan import admits, ends, newest_of_signatures, plan
from commands.retention.policy import LowTerms, RetentionConfig, Terms

START = datetime(2026, 1, 1, tzinfo=UTC)
CRITICALITIES = ("low", "normal", "critical")
SLACK = NEAR + timedelta(minutes=20)  # as far as a clock that is believed may be off


# -- any inventory ------------------------------------------------------------------------------------------

days = st.floats(0, 45).map(lambda d: timedelta(days=round(d, 2)))
guards = st.one_of(
    st.just(Guard()), st.just(Guard()), st.just(Guard()),
    st.builds(Guard, pinned=st.just(True), pinned_until=st.none() | days.map(lambda d: START + d)),
    st.just(Guard(held=True)), st.just(Guard(incident="I-1")), st.just(Guard(busy="a copy")),
)  # fmt: skip
policies = st.builds(
    RetentionConfig,
    most=st.just(timedelta(days=30)),
    low=st.builds(LowTerms, local=st.integers(1, 3)),
    normal=st.builds(Terms, local=st.integers(1, 2), central=st.integers(7, 30).map(lambda d: timedelta(days=d))),
    host_budget=st.none() | st.integers(1024**2, 30 * 1024**2),
)  # fmt: skip


@st.composite
def inventories(draw: st.DrawFn) -> Inventory:
    copies, locals_ = [], []
    for number in range(draw(st.integers(0, 9))):
        panic = draw(st.integers(1, 6))
        standing = draw(st.sampled_from([*Standing, Standing.VERIFIED, Standing.VERIFIED]))
        copies.append(
            Copy(
                number + 1, panic, f"h{panic % 2}", draw(st.sampled_from(CRITICALITIES)), f"s{panic % 3}",
                draw(st.integers(0, 20)) * 1024**2, START - draw(days), standing,
                None if standing is Standing.PARTIAL else f"{panic:064x}", draw(guards), draw(st.integers(0, 9)) > 0,
            )
        )  # fmt: skip
    for panic in draw(st.lists(st.integers(1, 8), unique=True, max_size=6)):
        made_of = [c.id for c in copies if c.panic_id == panic]
        locals_.append(
            LocalDump(
                panic, f"h{panic % 2}", draw(st.sampled_from(CRITICALITIES)), f"d/{panic}",
                draw(st.integers(0, 20)) * 1024**2, START - draw(days), draw(st.booleans()),
                draw(st.sampled_from([None, *made_of])), draw(st.booleans()), draw(guards),
            )
        )  # fmt: skip
    budget = draw(st.none() | st.integers(0, 100).map(lambda m: m * 1024**2))
    clock = Clock() if draw(st.integers(0, 4)) else Clock(False, "set")
    incoming = draw(st.integers(0, 5)) * 1024**2
    return Inventory(tuple(copies), tuple(locals_), budget, incoming, clock)


def carried_out(inventory: Inventory, decisions: list[Decision]) -> Inventory:
    """What is there after the plan: copies that went after their whole term leave their mark on the local dumps."""
    removed = {d.key: d for d in decisions if d.remove}
    parted = {
        d.item.id for d in removed.values()
        if isinstance(d.item, Copy) and d.reason is Reason.AGE and d.item.standing is Standing.VERIFIED
    }  # fmt: skip
    left = {c.id for c in inventory.copies if (CENTRAL, c.id) not in removed}
    locals_ = [
        replace(d, parted=d.parted or d.copy_id in parted, copy_id=d.copy_id if d.copy_id in left else None)
        for d in inventory.locals
        if ("local", d.panic_id) not in removed
    ]
    copies = tuple(c for c in inventory.copies if c.id in left)
    return replace(inventory, copies=copies, locals=tuple(locals_))


@settings(max_examples=400, deadline=None)
@given(inventories(), policies)
def test_a_plan_keeps_the_law(inventory: Inventory, policy: RetentionConfig) -> None:
    decisions = plan(inventory, policy, START)
    assert [d.item for d in decisions] == [*inventory.copies, *inventory.locals]
    assert decisions == plan(inventory, policy, START)
    kept = [d.item for d in decisions if not d.remove]
    newest = newest_of_signatures(inventory.copies)
    for decision in decisions:
        item = decision.item
        assert decision.why
        if not decision.remove or (isinstance(item, Copy) and item.standing is Standing.LEAVING):
            continue
        assert item.guard.keeps(START, inventory.clock) is None
        if isinstance(item, Copy):
            whole = ends(item, policy, newest=item.id in newest) <= START
            stand_in = any(
                isinstance(k, Copy) and k.standing is Standing.VERIFIED and k.reachable
                and (k.sha256 == item.sha256 or k.panic_id == item.panic_id) and ends(k, policy) >= ends(item, policy)
                for k in kept
            )  # fmt: skip
            assert (whole and inventory.clock.trusted) or stand_in or item.standing is not Standing.VERIFIED
            assert item.reachable
        else:
            assert item.recorded
            rest = next((c for c in inventory.copies if c.id == item.copy_id), None)
            assert item.parted or (rest is not None and rest.standing is Standing.VERIFIED)


@settings(max_examples=300, deadline=None)
@given(inventories(), policies)
def test_nothing_outlives_the_hard_end_but_what_somebody_keeps(
    inventory: Inventory, policy: RetentionConfig
) -> None:
    for decision in plan(inventory, policy, START):
        copy = decision.item
        if isinstance(copy, Copy) and START - copy.since >= policy.most and not decision.remove:
            assert (
                copy.guard.keeps(START, inventory.clock) or not inventory.clock.trusted or not copy.reachable
            )


@settings(max_examples=300, deadline=None)
@given(inventories(), policies)
def test_over_budget_only_when_nothing_more_may_go(inventory: Inventory, policy: RetentionConfig) -> None:
    decisions = plan(inventory, policy, START)
    kept = [d.item for d in decisions if not d.remove and isinstance(d.item, Copy)]
    if inventory.budget is None or sum(c.size for c in kept) + inventory.incoming <= inventory.budget:
        return
    newest = newest_of_signatures(inventory.copies)
    for copy in kept:
        if copy.guard.keeps(START, inventory.clock) or not copy.reachable or copy.id in newest:
            continue
        if ends(copy, policy) <= START:
            assert not inventory.clock.trusted
            continue
        assert copy.standing is not Standing.PARTIAL
        assert not any(
            other.standing is Standing.VERIFIED and other.reachable and other.sha256 == copy.sha256
            and (ends(other, policy), other.id) > (ends(copy, policy), copy.id)
            for other in kept
        )  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(inventories(), policies)
def test_a_plan_that_was_carried_out_leaves_nothing_to_do(
    inventory: Inventory, policy: RetentionConfig
) -> None:
    after = carried_out(inventory, plan(inventory, policy, START))
    assert [d.key for d in plan(after, policy, START) if d.remove] == []


@settings(max_examples=200, deadline=None)
@given(inventories(), policies, st.integers(0, 40))
def test_what_is_admitted_fits_after_a_sweep(
    inventory: Inventory, policy: RetentionConfig, megabytes: int
) -> None:
    size = megabytes * 1024**2
    told = admits(inventory, policy, START, size)
    after = carried_out(
        inventory, plan(replace(inventory, incoming=inventory.incoming + size), policy, START)
    )
    fits = inventory.budget is None or after.stored + inventory.incoming + size <= inventory.budget
    assert told.room == fits


# -- a world in time ------------------------------------------------------------------------------------------


@dataclass
class Dump:
    """A panic's dump: on its host, and its copies in the store by number."""

    panic_id: int
    host: str
    criticality: str
    signature: str
    size: int
    truly_at: datetime
    stamped: datetime
    local: bool = True
    guard: Guard = field(default=Guard())
    parted: bool = False
    verified_truly: datetime | None = None
    lost: str = ""


@dataclass
class Row:
    """A row of the books about a copy."""

    copy: Copy
    marked_gone: bool = False
    truly_since: datetime = START
    noted: bool = False  # its term begins when a clock that is believed first sees it
    deletions: int = 0


@dataclass
class Store:
    objects: set[int] = field(default_factory=set)


class Retention(RuleBasedStateMachine):
    """True time goes on; the bot's clock is that plus an offset which anybody may set."""

    @initialize(
        budget=st.none() | st.integers(5, 60).map(lambda m: m * 1024**2),
        policy=policies,
    )
    def begin(self, budget: int | None, policy: RetentionConfig) -> None:
        self.budget, self.policy = budget, policy
        self.now = START
        self.offset = timedelta(0)
        self.witness: datetime | None = None
        self.counted = 0.0
        self.anchor: Anchor | None = None
        self.dumps: dict[int, Dump] = {}
        self.rows: dict[int, Row] = {}
        self.store = Store()

    # -- what the bot sees

    @property
    def told(self) -> datetime:
        return self.now + self.offset

    def clock(self) -> Clock:
        found = judge(self.told, self.counted, self.witness, self.anchor)
        if found.trusted and self.witness is not None and abs(self.told - self.witness) <= NEAR:
            self.anchor = Anchor(self.told, self.counted)
        return found

    def inventory(self) -> Inventory:
        clock = self.clock()
        copies = []
        for row in self.rows.values():
            if row.marked_gone:
                continue
            if not row.noted:
                row.copy, row.noted = replace(row.copy, since=self.told), clock.trusted
            copies.append(replace(row.copy, guard=self.dumps[row.copy.panic_id].guard))
        locals_ = [
            LocalDump(
                d.panic_id, d.host, d.criticality, f"d/{d.panic_id}", d.size, d.truly_at, d.verified_truly is not None,
                next((c.id for c in copies if c.panic_id == d.panic_id and c.standing is Standing.VERIFIED), None),
                d.parted, d.guard,
            )
            for d in self.dumps.values() if d.local
        ]  # fmt: skip
        return Inventory(tuple(copies), tuple(locals_), self.budget, 0, clock)

    # -- what happens

    @rule(host=st.integers(0, 1), criticality=st.sampled_from(CRITICALITIES), signature=st.integers(0, 2),
          size=st.integers(1, 10), open_=st.booleans())  # fmt: skip
    def panic(self, host: int, criticality: str, signature: int, size: int, open_: bool) -> None:
        number = len(self.dumps) + 1
        guard = Guard(incident=f"I-{number}") if open_ else Guard()
        self.dumps[number] = Dump(
            number, f"h{host}", criticality, f"s{signature}", size * 1024**2, self.now, self.told, guard=guard
        )

    @rule(host=st.integers(0, 1), criticality=st.sampled_from(CRITICALITIES), signature=st.integers(0, 2),
          size=st.integers(1, 10), stamped=st.booleans())  # fmt: skip
    def panic_that_is_copied(
        self, host: int, criticality: str, signature: int, size: int, stamped: bool
    ) -> None:
        """And told in Slack, which stamps the message."""
        self.panic(host=host, criticality=criticality, signature=signature, size=size, open_=False)
        if stamped:
            self.witness = self.now
        self.copy(which=len(self.dumps) - 1)

    @rule(which=st.integers(0, 39))
    def copy(self, which: int) -> None:
        """As a person asks: refused where the budget has no room for it."""
        if not self.dumps:
            return
        which = which % len(self.dumps) + 1
        dump = self.dumps[which]
        has = [
            r for r in self.rows.values()
            if r.copy.panic_id == which and not r.marked_gone and r.copy.standing is Standing.VERIFIED
        ]  # fmt: skip
        if not dump.local or has:
            return
        found = admits(self.inventory(), self.policy, self.told, dump.size)
        if not found.room:
            return
        if found.first:
            self.sweep(dies_at=99, where=0, incoming=dump.size)
        number = len(self.rows) + 1
        made = Copy(
            number, which, dump.host, dump.criticality, dump.signature, dump.size, self.told, sha256=f"{which:064x}"
        )  # fmt: skip
        self.rows[number] = Row(made, truly_since=self.now)
        self.store.objects.add(number)
        dump.verified_truly, dump.parted = self.now, False

    @rule(which=st.integers(0, 39), length=st.none() | st.integers(1, 40))
    def pin(self, which: int, length: int | None) -> None:
        if self.dumps:
            which = which % len(self.dumps) + 1
            until = None if length is None else self.told + timedelta(days=length)
            self.dumps[which].guard = replace(self.dumps[which].guard, pinned=True, pinned_until=until)

    @rule(which=st.integers(0, 39))
    def let_go(self, which: int) -> None:
        if self.dumps:
            which = which % len(self.dumps) + 1
            self.dumps[which].guard = Guard()

    @rule(which=st.integers(0, 39))
    def hold(self, which: int) -> None:
        if self.dumps:
            which = which % len(self.dumps) + 1
            self.dumps[which].guard = replace(self.dumps[which].guard, held=True)

    @rule(length=st.integers(1, 20))
    def time_goes_on(self, length: int) -> None:
        self.now += timedelta(days=length)
        self.counted += length * 86400

    @rule(offset=st.sampled_from([0, -400, 400, 0, -0.9, 0.9, -20, 20]))
    def clock_is_set(self, offset: float) -> None:
        self.offset = timedelta(days=offset)

    @rule()
    def slack_stamps(self) -> None:
        self.witness = self.now

    @rule(offset=st.sampled_from([0, -400, 400]))
    def clock_is_set_and_seen(self, offset: int) -> None:
        """Wrong for a day, and right again."""
        self.clock_is_set(offset=offset)
        self.time_goes_on(length=1)
        self.whole_sweep()

    @rule()
    def bot_restarts(self) -> None:
        self.anchor = None

    @rule(which=st.integers(0, 39))
    def damage_is_found(self, which: int) -> None:
        row = self.rows.get(which % (len(self.rows) or 1) + 1)
        if row is not None and not row.marked_gone and row.copy.standing is Standing.VERIFIED:
            row.copy = replace(row.copy, standing=Standing.DAMAGED)

    @rule()
    def whole_sweep(self) -> None:
        self.sweep(dies_at=99, where=0)

    @rule(dies_at=st.integers(0, 6), where=st.integers(0, 2))
    def sweep(self, dies_at: int, where: int, incoming: int = 0) -> None:
        """Each step may be the last: before the deletion, after it, or after its row."""
        inventory = replace(self.inventory(), incoming=incoming)
        now = self.told
        decisions = [d for d in plan(inventory, self.policy, now) if d.remove]
        # Local dumps first: they rest on copies that stand, or have had their term.
        decisions.sort(key=lambda d: d.where == CENTRAL)
        for step, decision in enumerate(decisions):
            dump = self.dumps[decision.item.panic_id]
            if isinstance(decision.item, LocalDump):
                if step == dies_at and where == 0:
                    return
                self.check_local(dump)
                dump.local = False
            else:
                row = self.rows[decision.item.id]
                self.check_copy(row, decision, inventory)
                before = row.copy.standing
                row.copy = replace(row.copy, standing=Standing.LEAVING)
                if before is Standing.VERIFIED and decision.reason is Reason.AGE:
                    dump.parted = True
                if step == dies_at and where == 0:
                    return
                if row.copy.id in self.store.objects:
                    self.store.objects.remove(row.copy.id)
                    row.deletions += 1
                if step == dies_at and where == 1:
                    return
                assert not row.marked_gone
                row.marked_gone = True
            if step == dies_at:
                return

    # -- the law, by true time

    def check_copy(self, row: Row, decision: Decision, inventory: Inventory) -> None:
        if row.copy.standing is not Standing.VERIFIED:
            return
        dump = self.dumps[row.copy.panic_id]
        guard = dump.guard
        kept = guard.held or guard.incident or (guard.pinned and guard.pinned_until is None)
        assert not kept
        age = self.now - row.truly_since
        newest = row.copy.id in newest_of_signatures(inventory.copies)
        term = self.policy.most if newest else self.policy.terms(dump.criticality).central
        if age + SLACK < term:
            assert decision.rests_on is not None, f"{age} old, and nothing else is kept"
            other = self.rows[decision.rests_on]
            assert other.copy.standing is Standing.VERIFIED
            assert other.copy.id in self.store.objects

    def check_local(self, dump: Dump) -> None:
        kept = dump.guard.held or dump.guard.incident
        assert not kept
        stands = [
            r for r in self.rows.values()
            if r.copy.panic_id == dump.panic_id and r.copy.standing is Standing.VERIFIED
            and r.copy.id in self.store.objects
        ]  # fmt: skip
        assert stands or dump.parted, "the last of its dump"

    @invariant()
    def nothing_is_deleted_twice(self) -> None:
        assert all(row.deletions <= 1 for row in getattr(self, "rows", {}).values())

    @invariant()
    def within_its_term_something_stands(self) -> None:
        """Of a dump that was verified and not damaged since: the copy, for the whole of its term in true time."""
        for row in getattr(self, "rows", {}).values():
            age = self.now - row.truly_since
            term = self.policy.terms(row.copy.criticality).central
            if row.copy.standing is Standing.VERIFIED and age + SLACK < term:
                assert row.copy.id in self.store.objects


TestRetention = Retention.TestCase
TestRetention.settings = settings(
    max_examples=150, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


def world(budget: int | None = None) -> Retention:
    made = Retention()
    made.begin(budget=budget, policy=RetentionConfig())
    return made


def test_a_clock_that_is_set_forward_costs_nothing() -> None:
    made = world()
    made.panic_that_is_copied(host=0, criticality="normal", signature=1, size=1, stamped=True)
    made.whole_sweep()
    made.clock_is_set(offset=400)
    made.whole_sweep()
    made.bot_restarts()
    made.whole_sweep()
    assert made.store.objects == {1}
    made.slack_stamps()
    made.whole_sweep()
    assert made.store.objects == {1}, "Slack's stamp and the clock are 400 days apart"
    made.clock_is_set(offset=0)
    made.time_goes_on(length=40)
    made.slack_stamps()
    made.whole_sweep()
    assert made.store.objects == set(), "and the promise is kept once the clock is right"


def test_a_copy_made_while_the_clock_was_behind_has_its_whole_term() -> None:
    made = world()
    made.clock_is_set(offset=-400)
    made.panic_that_is_copied(host=0, criticality="normal", signature=1, size=1, stamped=False)
    made.clock_is_set(offset=0)
    made.slack_stamps()
    made.whole_sweep()
    assert made.store.objects == {1}
    made.time_goes_on(length=31)
    made.slack_stamps()
    made.whole_sweep()
    assert made.store.objects == set()


def test_a_sweep_that_dies_after_the_deletion_is_finished_by_the_next() -> None:
    made = world()
    made.panic_that_is_copied(host=0, criticality="low", signature=1, size=1, stamped=True)
    made.panic_that_is_copied(host=0, criticality="low", signature=1, size=1, stamped=True)
    made.whole_sweep()
    made.time_goes_on(length=10)
    made.slack_stamps()
    made.sweep(dies_at=0, where=1)
    assert made.store.objects == {2}
    assert not made.rows[1].marked_gone
    made.whole_sweep()
    assert (made.rows[1].marked_gone, made.rows[1].deletions) == (True, 1)
