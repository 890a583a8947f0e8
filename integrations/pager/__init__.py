"""The way out when nobody looks: a webhook in the shape of PagerDuty's Events API v2."""

from __future__ import annotations

from integrations.pager.client import PagerClient
from integrations.pager.config import PagerConfig
from integrations.pager.errors import PagerBusy, PagerError, PagerRefused, PagerUnreachable

__all__ = ["PagerBusy", "PagerClient", "PagerConfig", "PagerError", "PagerRefused", "PagerUnreachable"]
