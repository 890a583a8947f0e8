"""The made-up year that the benchmark asks about: the same for the same seed, and not too kind to the weighing."""

from __future__ import annotations

from tests.bench.changes_history import make_history


def test_a_year_is_the_same_for_the_same_seed() -> None:
    one, two = (make_history(7, hosts=200, changes=3000, guilty=16, innocent=4) for _ in range(2))
    assert one == two
    assert make_history(8, hosts=200, changes=3000, guilty=16, innocent=4) != one


def test_its_causes_come_before_their_panics_but_for_those_told_late() -> None:
    year = make_history(7, hosts=200, changes=3000, guilty=60, innocent=15)
    by_key = {c.key: c for c in year.changes}
    caused = [i for i in year.incidents if i.cause]
    assert len(caused) == 60
    assert len(year.incidents) == 75
    early = [i for i in caused if by_key[i.cause].started <= i.panics[0].at]
    assert 50 <= len(early) <= 60
    unsaid = [c for c in year.changes if not (c.hosts or c.rings or c.hardware or c.services or c.everywhere)]
    assert 0.01 < len(unsaid) / len(year.changes) < 0.06, "some do not say where"
