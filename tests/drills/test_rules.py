"""What may happen to a drill: never twice, never by one person, never late, nothing after its end."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import settings as profile
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from commands.drill import rules
from commands.drill.rules import NotNow, PlanChanged, Standing
from commands.errors import CommandError, Refused
from storage.drills import DrillState

NOW = datetime(2026, 11, 24, 10, 0, tzinfo=UTC)
HOLDS, COUNTDOWN = timedelta(minutes=15), timedelta(seconds=60)
PLAN = rules.digest_of({"host": "web-3", "kernel": "6.1"})
OTHER = rules.digest_of({"host": "web-3", "kernel": "6.12"})
ENDS = {
    DrillState.PASSED, DrillState.FAILED, DrillState.ABORTED, DrillState.EXPIRED, DrillState.NEVER,
    DrillState.UNCONFIRMED,
}  # fmt: skip


def asked() -> Standing:
    return rules.ask("U1", PLAN, NOW, HOLDS)


def approved() -> Standing:
    return rules.approve(asked(), "U2", PLAN, NOW, COUNTDOWN)


def triggering() -> Standing:
    return rules.trigger(approved(), PLAN, NOW + COUNTDOWN)


def test_a_drill_from_the_first_word_to_its_end() -> None:
    drill = triggering()
    assert (drill.state, drill.triggered_at) == (DrillState.TRIGGERING, NOW + COUNTDOWN)
    drill = rules.verified(rules.crashing(drill), "", NOW + HOLDS)
    assert (drill.state, drill.ended_at) == (DrillState.PASSED, NOW + HOLDS)


def test_the_same_person_cannot_approve() -> None:
    with pytest.raises(Refused, match="two people"):
        rules.approve(asked(), "U1", PLAN, NOW, COUNTDOWN)


def test_approvals_hold_until_the_trigger() -> None:
    last = NOW + HOLDS - COUNTDOWN
    assert rules.trigger(rules.approve(asked(), "U2", PLAN, last, COUNTDOWN), PLAN, NOW + HOLDS)
    with pytest.raises(NotNow, match="too long ago"):
        rules.approve(asked(), "U2", PLAN, last + timedelta(microseconds=1), COUNTDOWN)
    with pytest.raises(NotNow, match="do not hold"):
        rules.trigger(approved(), PLAN, NOW + HOLDS + timedelta(microseconds=1))


def test_another_plan_is_neither_approved_nor_triggered() -> None:
    with pytest.raises(PlanChanged):
        rules.approve(asked(), "U2", OTHER, NOW, COUNTDOWN)
    with pytest.raises(PlanChanged):
        rules.trigger(approved(), OTHER, NOW + COUNTDOWN)


def test_the_countdown_runs_to_its_end() -> None:
    with pytest.raises(NotNow):
        rules.trigger(approved(), PLAN, NOW + COUNTDOWN - timedelta(microseconds=1))


def test_it_is_aborted_until_the_host_is_told() -> None:
    assert rules.abort(approved(), "U9", NOW).state is DrillState.ABORTED
    with pytest.raises(NotNow, match="cannot be aborted"):
        rules.abort(triggering(), "U9", NOW)


@pytest.mark.parametrize(
    ("marked", "same_boot", "after", "state"),
    [
        (True, False, 0, DrillState.VERIFYING),
        (True, True, 0, DrillState.UNCONFIRMED),
        (False, True, 29, DrillState.TRIGGERING),
        (False, True, 30, DrillState.NEVER),
        (False, False, 0, DrillState.NEVER),
    ],
)
def test_what_the_host_says_of_a_trigger_that_nobody_knows_of(
    marked: bool, same_boot: bool, after: int, state: DrillState
) -> None:
    now = NOW + COUNTDOWN + timedelta(seconds=after)
    assert rules.looked_at(triggering(), marked=marked, same_boot=same_boot, now=now).state is state


def test_a_plan_is_its_content_not_its_order() -> None:
    assert rules.digest_of({"a": 1, "b": [2]}) == rules.digest_of({"b": [2], "a": 1})
    assert PLAN != OTHER


class AnyDrill(RuleBasedStateMachine):
    """Everybody does everything at any time; whoever may not is told so and changes nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.drill = asked()
        self.triggers: list[Standing] = []
        self.ended: Standing | None = None

    def _try(self, made: object) -> None:
        before = self.drill
        try:
            self.drill = made()  # type: ignore[operator]
        except CommandError:
            assert self.drill is before
        if self.drill.state is DrillState.TRIGGERING and before.state is not DrillState.TRIGGERING:
            self.triggers.append(self.drill)

    @rule(seconds=st.sampled_from([0, 1, 29, 60, 300, 839, 901]))
    def time_goes(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    @rule(by=st.sampled_from(["U1", "U2", "U3"]), digest=st.sampled_from([PLAN, PLAN, OTHER]))
    def approve(self, by: str, digest: str) -> None:
        self._try(lambda: rules.approve(self.drill, by, digest, self.now, COUNTDOWN))

    @rule(by=st.sampled_from(["", "U1", "U3"]), now_and_then=st.integers(0, 9))
    def abort_or_expire(self, by: str, now_and_then: int) -> None:
        if not by:
            self._try(lambda: rules.expire(self.drill, self.now))
        elif now_and_then == 9:  # or few would ever be triggered
            self._try(lambda: rules.abort(self.drill, by, self.now))

    @rule(patient=st.booleans(), digest=st.sampled_from([PLAN, PLAN, PLAN, OTHER]))
    def trigger(self, patient: bool, digest: str) -> None:
        if patient and self.drill.trigger_at is not None:
            self.now = max(self.now, self.drill.trigger_at)
        self._try(lambda: rules.trigger(self.drill, digest, self.now))

    @rule(says=st.sampled_from(["crashing", "declined", "silent"]))
    def the_host_answers(self, says: str) -> None:
        answers = {
            "crashing": lambda: rules.crashing(self.drill),
            "declined": lambda: rules.declined(self.drill, "no", self.now),
            "silent": lambda: rules.silent(self.drill, self.now),
        }
        self._try(answers[says])

    @rule(marked=st.booleans(), same_boot=st.booleans())
    def somebody_looks(self, marked: bool, same_boot: bool) -> None:
        self._try(lambda: rules.looked_at(self.drill, marked=marked, same_boot=same_boot, now=self.now))

    @precondition(lambda self: self.triggers)
    @rule(missing=st.sampled_from(["", "the dump"]))
    def verify(self, missing: str) -> None:
        self._try(lambda: rules.verified(self.drill, missing, self.now))

    @invariant()
    def never_twice(self) -> None:
        assert len(self.triggers) <= 1

    @invariant()
    def by_two_people_with_fresh_approvals_of_this_plan(self) -> None:
        for drill in self.triggers:
            assert drill.triggered_at is not None
            assert drill.approved_at is not None
            assert drill.approver not in (None, drill.requester)
            assert drill.asked_at <= drill.approved_at <= drill.triggered_at - COUNTDOWN
            assert drill.triggered_at - drill.asked_at <= HOLDS
            assert drill.digest == PLAN

    @invariant()
    def what_was_triggered_is_neither_aborted_nor_expired(self) -> None:
        if self.triggers:
            assert self.drill.state not in (*rules.OPEN, DrillState.ABORTED, DrillState.EXPIRED)

    @invariant()
    def an_end_is_one(self) -> None:
        if self.ended is not None:
            assert self.drill == self.ended
        elif self.drill.state in ENDS:
            self.ended = self.drill
            assert self.drill.ended_at is not None

    @invariant()
    def nobody_verifies_what_was_not_triggered(self) -> None:
        if self.drill.state in (DrillState.VERIFYING, DrillState.PASSED):
            assert self.triggers


TestAnyDrill = AnyDrill.TestCase
TestAnyDrill.settings = profile(max_examples=300, stateful_step_count=30, deadline=None)
