"""What is not told to everybody: secrets, serial numbers and addresses taken out of host text."""

from __future__ import annotations

from integrations.redaction.redactor import Redactor

__all__ = ["Redactor"]
