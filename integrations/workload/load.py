"""The shape that both sources are read to: what a host did in one hour, and in the same hour of the days before."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Measure:
    """Something that is measured. `least`: a difference smaller than this is none, whatever the usual is."""

    name: str
    unit: str
    least: float


MEASURES = {
    m.name: m
    for m in (
        Measure("cpu", "%", 20.0),
        Measure("load", "", 2.0),
        Measure("memory", "%", 15.0),
        Measure("disk", "operations/s", 100.0),
        Measure("network", "packets/s", 2000.0),
    )
}


@dataclass(frozen=True)
class Load:
    """The mean of one measure: in the hour before the panic, and in that hour of each day before that has records."""

    measure: Measure
    hour: float
    before: tuple[float, ...]
