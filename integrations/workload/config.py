"""Where a host's workload is asked for."""

from __future__ import annotations

import re

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

from integrations.workload.load import MEASURES

# node_exporter's names; $host is put in with its dots escaped, for a regular expression inside double quotes.
_INSTANCE = 'instance=~"$host([.][a-z0-9.-]+)?(:[0-9]+)?"'
DEFAULT_QUERIES = {
    "cpu": f'100 * (1 - avg(rate(node_cpu_seconds_total{{mode="idle",{_INSTANCE}}}[1h])))',
    "load": f"max(avg_over_time(node_load5{{{_INSTANCE}}}[1h]))",
    "memory": f"100 * (1 - sum(avg_over_time(node_memory_MemAvailable_bytes{{{_INSTANCE}}}[1h]))"
    f" / sum(avg_over_time(node_memory_MemTotal_bytes{{{_INSTANCE}}}[1h])))",
    "disk": f"sum(rate(node_disk_reads_completed_total{{{_INSTANCE}}}[1h]))"
    f" + sum(rate(node_disk_writes_completed_total{{{_INSTANCE}}}[1h]))",
    "network": f'sum(rate(node_network_receive_packets_total{{device!~"lo|veth.*|br.*|docker.*",{_INSTANCE}}}[1h]))'
    f' + sum(rate(node_network_transmit_packets_total{{device!~"lo|veth.*|br.*|docker.*",{_INSTANCE}}}[1h]))',
}


class WorkloadConfig(BaseModel):
    """`[workload]`: with neither source, the runbook says "workload: not checked"."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sysstat: bool = Field(
        default=True,
        description="Read sysstat's records on the host, in triage, when no `prometheus_url` is set or that endpoint "
        "cannot tell.",
    )
    prometheus_url: str | None = Field(
        default=None,
        description="Address of a PromQL endpoint (Prometheus, Thanos, Mimir, VictoriaMetrics), without `/api/v1`. "
        "It is asked for each incident by itself, and again in triage.",
    )
    bearer_token: SecretStr = Field(
        default=SecretStr(""), description="Sent to the endpoint, if it wants one."
    )
    queries: dict[str, str] = Field(
        default=DEFAULT_QUERIES,
        description=f"PromQL by measure ({', '.join(MEASURES)}): each yields one number, the mean of an hour; `$host` "
        "is the host's name. The default is for node_exporter.",
    )
    timeout: float = Field(default=10.0, gt=0, le=60, description="Seconds for each query.")

    @field_validator("prometheus_url")
    @classmethod
    def _an_address(cls, url: str | None) -> str | None:
        if url is None:
            return None
        if not re.fullmatch(r"https?://[^\s/?#@]+(/[^\s?#]*)?", url):
            raise ValueError(
                "an address like https://prometheus.example.com, without user, query or fragment"
            )
        return url.rstrip("/")

    @field_validator("queries")
    @classmethod
    def _known_measures(cls, queries: dict[str, str]) -> dict[str, str]:
        unknown = sorted(set(queries) - set(MEASURES))
        if unknown:
            raise ValueError(f"{unknown[0]!r} is no measure; there are {', '.join(MEASURES)}")
        without = sorted(name for name, query in queries.items() if "$host" not in query)
        if without:
            raise ValueError(f"the query for {without[0]} does not say $host")
        return queries
