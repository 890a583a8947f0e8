"""What is not told to everybody: secrets, serial numbers and addresses taken out of host text."""

from __future__ import annotations

from integrations.redaction.config import RedactionConfig
from integrations.redaction.names import Policy, installation_key, set_policy
from integrations.redaction.redactor import Redactor, redact_lines

__all__ = ["Policy", "RedactionConfig", "Redactor", "installation_key", "redact_lines", "set_policy"]
