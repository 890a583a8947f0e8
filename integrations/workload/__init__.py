"""How busy a host was: read from sysstat's own records, or asked of a PromQL endpoint."""

from __future__ import annotations

from integrations.workload.config import WorkloadConfig
from integrations.workload.errors import WorkloadError, WorkloadRefused, WorkloadSilent
from integrations.workload.load import MEASURES, Load, Measure

__all__ = [
    "MEASURES",
    "Load",
    "Measure",
    "WorkloadConfig",
    "WorkloadError",
    "WorkloadRefused",
    "WorkloadSilent",
]
