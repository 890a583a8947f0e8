"""Readiness: would the next panic on a host leave a dump? Asked by the clock, by people, after a resolved incident."""

from __future__ import annotations
