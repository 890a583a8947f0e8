"""`[pager]`: the way out when nobody acknowledges, or when Slack is down."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, SecretStr


class PagerConfig(BaseModel):
    """`[pager]`: a webhook that takes the shape of PagerDuty's Events API v2."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str | None = Field(
        default=None,
        pattern="^https?://[^ ]+$",
        description="Where events are POSTed (PagerDuty: `https://events.pagerduty.com/v2/enqueue`). Unset: no pager.",
    )
    routing_key: SecretStr = Field(
        default=SecretStr(""), description="The integration key of the service that is paged."
    )
    timeout: float = Field(default=10.0, gt=0, le=60, description="Seconds to wait for the webhook's answer.")

    @property
    def enabled(self) -> bool:
        return self.url is not None
