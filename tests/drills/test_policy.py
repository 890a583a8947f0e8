"""Which hosts may be drilled, who proves whom, what is overdue, and when a drill may run."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from commands.drill.config import DrillConfig, Window
from commands.drill.policy import (
    DAYS,
    Machine,
    Passed,
    alone_in_service,
    coverage,
    forbidden,
    in_window,
    next_window,
)

NOW = datetime(2026, 11, 24, 10, 0, tzinfo=UTC)  # a Tuesday
CONFIG = DrillConfig(enabled=True)
names = st.sampled_from(["a", "b", "c", "d", "e"])
machines = st.lists(
    st.builds(
        Machine,
        name=names,
        ring=st.sampled_from(["", "pilot", "prod"]),
        hardware=st.sampled_from(["", "R650"]),
        kernel=st.sampled_from(["", "6.1", "6.12"]),
        critical=st.booleans(),
        marked=st.sampled_from([None, True, False]),
    ),
    max_size=5,
    unique_by=lambda m: m.name,
)


@pytest.mark.parametrize(
    ("machine", "config", "word"),
    [
        (Machine("a", "prod", marked=True), CONFIG, None),
        (Machine("a", "Pilot"), CONFIG, None),
        (Machine("a", "prod"), CONFIG, "not marked"),
        (Machine("a"), CONFIG, "not marked"),
        (Machine("a", "pilot", marked=False), CONFIG, "takes it out"),
        (Machine("a", "pilot", marked=True, critical=True), CONFIG, "critical"),
        (Machine("a", "pilot", critical=True), DrillConfig(enabled=True, critical=True), None),
        (Machine("a", "prod", critical=True), DrillConfig(enabled=True, critical=True), "not marked"),
        (Machine("a", marked=True), DrillConfig(), "switched off"),
    ],
)
def test_who_may_never_be_drilled(machine: Machine, config: DrillConfig, word: str | None) -> None:
    told = forbidden(machine, config)
    assert (told == []) if word is None else (word in " ".join(told))


def test_as_delivered_nobody_may_be_drilled() -> None:
    assert forbidden(Machine("a", "pilot", marked=True), DrillConfig())


def test_the_only_one_of_its_service() -> None:
    db, web = Machine("db-1", service="db"), [Machine(f"web-{n}", service="web") for n in range(2)]
    assert alone_in_service(db, [db, *web])
    assert not alone_in_service(web[0], [db, *web])
    assert not alone_in_service(Machine("x"), [db]), "nothing is said of it"


def test_one_of_a_class_proves_the_others_until_its_term_or_its_kernel_is_over() -> None:
    group = [Machine(n, "pilot", "R650", "6.1") for n in ("a", "b")]
    passed = {"a": Passed(NOW - timedelta(days=80), "6.1")}
    (found,) = coverage(group, passed, CONFIG)
    assert (found.hosts, found.able, found.by) == (("a", "b"), ("a", "b"), "a")
    assert not found.overdue(NOW)
    assert found.overdue(NOW + timedelta(days=10))
    shorter = DrillConfig(enabled=True, rings={"pilot": timedelta(days=30)})
    assert coverage(group, passed, shorter)[0].overdue(NOW)
    updated = [Machine(n, "pilot", "R650", "6.12") for n in ("a", "b")]
    (other,) = coverage(updated, passed, CONFIG)
    assert (other.by, other.due) == (None, None)
    assert other.overdue(NOW)


def test_what_is_not_known_of_a_host_proves_no_other_one() -> None:
    group = [Machine(n, "pilot", "R650", "") for n in ("a", "b")]
    made = coverage(group, {"a": Passed(NOW, "")}, CONFIG)
    assert {c.hosts: c.by for c in made} == {("a",): "a", ("b",): None}


@given(machines, st.dictionaries(names, st.builds(Passed, st.just(NOW), st.sampled_from(["6.1", "6.12"]))))
def test_each_host_is_in_one_class_and_covered_by_one_like_it(
    fleet: list[Machine], passed: dict[str, Passed]
) -> None:
    made = coverage(fleet, passed, CONFIG)
    assert sorted(h for c in made for h in c.hosts) == sorted(m.name for m in fleet)
    by_name = {m.name: m for m in fleet}
    for found in made:
        assert set(found.able) <= set(found.hosts)
        assert all(not forbidden(by_name[name], CONFIG) for name in found.able)
        if found.by is not None:
            prover = by_name[found.by]
            assert found.by in found.hosts
            assert passed[found.by].kernel == prover.kernel
            for name in found.hosts:
                like = by_name[name]
                assert (like.ring, like.hardware, like.kernel) == (
                    prover.ring,
                    prover.hardware,
                    prover.kernel,
                )
    assert [c.due is None for c in made] == sorted((c.due is None for c in made), reverse=True)


def test_windows_in_their_time_zone_and_over_midnight() -> None:
    config = DrillConfig(
        time_zone="Europe/Berlin", windows=(Window(days=("tue",), start=time(22), end=time(2)),)
    )
    berlin = ZoneInfo("Europe/Berlin")
    tuesday = datetime(2026, 11, 24, 22, 0, tzinfo=berlin)
    assert in_window(tuesday.astimezone(UTC), config)
    assert in_window(tuesday + timedelta(hours=3, minutes=59), config)
    assert not in_window(tuesday + timedelta(hours=4), config)
    assert not in_window(tuesday - timedelta(days=1), config)
    assert next_window(NOW, config) == tuesday
    assert next_window(tuesday, config) is None


def test_no_window_is_any_time() -> None:
    config = DrillConfig(windows=())
    assert in_window(NOW, config)
    assert next_window(NOW, config) is None


@given(
    st.datetimes(datetime(2026, 1, 1), datetime(2028, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 - the bounds
    st.lists(st.sampled_from(DAYS), min_size=1, max_size=3),
    st.times(),
    st.times(),
    st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Pacific/Auckland"]),
)
def test_the_next_window_is_one_and_comes_within_eight_days(
    moment: datetime, days: list[str], start: time, end: time, zone: str
) -> None:
    if start == end:
        return
    config = DrillConfig.model_validate(
        {"time_zone": zone, "windows": [{"days": days, "start": start, "end": end}]}
    )
    begins = next_window(moment, config)
    assert (begins is None) == in_window(moment, config)
    if begins is not None:
        assert moment < begins <= moment + timedelta(days=8, hours=2)


@pytest.mark.parametrize(
    "values",
    [
        {"time_zone": "Mars/Olympus"},
        {"countdown": "15m"},
        {"windows": [{"start": "09:00", "end": "09:00"}]},
        {"windows": [{"days": []}]},
        {"by": []},
        {"every": 0},
    ],
)
def test_settings_that_mean_nothing_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        DrillConfig.model_validate(values)
