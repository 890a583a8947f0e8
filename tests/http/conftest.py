from __future__ import annotations

from tests.support_postgres import postgres, postgres_url

__all__ = ["postgres", "postgres_url"]
