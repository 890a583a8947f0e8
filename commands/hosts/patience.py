"""How long a host that does not answer is waited for. A host that still reboots is the normal case."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class Patience(BaseModel):
    """`[triage.patience]`, `[evidence.patience]`: all in seconds. The waits grow from `first` to `longest`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    first: float = Field(default=5.0, gt=0, le=3600)
    factor: float = Field(default=1.6, ge=1, le=10)
    longest: float = Field(default=60.0, gt=0, le=3600)
    give_up_after: float = Field(default=1800.0, gt=0, le=86400)
    # A host that has just booted refuses everyone but root until its boot is over (pam_nologin), so a refused
    # key counts as a host that is not ready this often before it counts as a refusal.
    refusals: int = Field(default=4, ge=1, le=20)
    # How often a connection may break in mid-run before the step it broke is given up.
    breaks: int = Field(default=5, ge=0, le=50)

    def wait_after(self, attempt: int) -> float:
        """Seconds to wait after the given attempt (1 is the first)."""
        exponent = min(max(attempt - 1, 0), 64)
        return float(min(self.longest, self.first * self.factor**exponent))
