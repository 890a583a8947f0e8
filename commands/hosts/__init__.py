"""Going onto a host: the ground of triage and evidence. Runs, visits with an audit row a command, dumps, boots."""

from __future__ import annotations
