"""What hosts send us: signed reports of panics. Knows nothing of the database or of HTTP servers."""

from __future__ import annotations

from integrations.inbound.errors import InboundError, InvalidReport, Stale, Unsigned
from integrations.inbound.report import Dump, PanicReport, host_name, read_report
from integrations.inbound.signing import (
    HOST_HEADER,
    SIGNATURE_HEADER,
    TIMESTAMP_HEADER,
    Secret,
    sign,
    signed_headers,
    verify,
)

__all__ = [
    "HOST_HEADER",
    "SIGNATURE_HEADER",
    "TIMESTAMP_HEADER",
    "Dump",
    "InboundError",
    "InvalidReport",
    "PanicReport",
    "Secret",
    "Stale",
    "Unsigned",
    "host_name",
    "read_report",
    "sign",
    "signed_headers",
    "verify",
]
