"""What can go wrong with the metrics endpoint.

WorkloadError
├── WorkloadRefused  it does not take the query or the token        (permanent)
└── WorkloadSilent   no answer, or one that is not Prometheus'
"""

from __future__ import annotations

import inspect


class WorkloadError(Exception):
    """The workload could not be asked for."""

    permanent = True

    def __init__(self, facts: str = "") -> None:
        message = inspect.cleandoc(type(self).__doc__ or "")
        super().__init__(f"{message} ({facts})" if facts else message)


class WorkloadRefused(WorkloadError):
    """The metrics endpoint refuses. Check [workload] prometheus_url, bearer_token and queries."""


class WorkloadSilent(WorkloadError):
    """The metrics endpoint does not answer as it should just now."""

    permanent = False
