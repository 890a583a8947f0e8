"""Log lines for people (console) or machines (JSON), on standard error, without secrets."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any, TextIO

import structlog

from bot.settings import LogConfig

_SECRET_KEY = re.compile(
    r"token|secret|password|passwd|authorization|routing_key|api_key|cookie", re.IGNORECASE
)
# Slack's tokens and webhooks, bearer and basic credentials, passwords in URLs, our signatures, private keys.
_SECRET_TEXT = re.compile(
    r"xox[a-z]-[\w-]+|xapp-[\w-]+|xoxe\.[\w.-]+"
    r"|(?<=hooks\.slack\.com/)[\w/]+"
    r"|(?i:(?<=bearer )|(?<=basic ))[\w.~+/=-]{8,}"
    r"|(?<=://)[^\s/@:]*:[^\s/@]+(?=@)"
    r"|v[01]=[0-9a-f]{64}"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)",
    re.DOTALL,
)
_HIDDEN = "[hidden]"
_LONGEST = 20_000


def configure_logging(config: LogConfig, stream: TextIO | None = None) -> None:
    """Sets up structlog and the standard library's loggers (Bolt, aiohttp, paramiko, Alembic) alike."""
    out = stream if stream is not None else sys.stderr
    as_json = config.format == "json" or (config.format == "auto" and not out.isatty())
    level = logging.getLevelNamesMapping()[config.level.upper()]
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last: list[structlog.typing.Processor]
    if as_json:
        last = [
            structlog.processors.format_exc_info,
            hide_secrets,
            structlog.processors.JSONRenderer(default=str),
        ]
    else:
        last = [
            structlog.processors.format_exc_info,
            hide_secrets,
            structlog.dev.ConsoleRenderer(colors=out.isatty()),
        ]
    structlog.configure(
        processors=[*shared, *last],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(out),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, _name_the_logger],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(max(level, logging.INFO))
    for chatty in ("paramiko", "slack_bolt", "slack_sdk", "alembic", "asyncio", "dbos"):
        logging.getLogger(chatty).setLevel(max(level, logging.WARNING))


def hide_secrets(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor: values under telling keys, and what looks like a credential in any text."""
    for key in list(event):
        event[key] = _HIDDEN if _SECRET_KEY.search(key) else _hidden(event[key], 0)
    return event


def _hidden(value: Any, depth: int) -> Any:
    if isinstance(value, str):
        return _SECRET_TEXT.sub(_HIDDEN, value[:_LONGEST])
    if depth > 5:
        return "…"
    if isinstance(value, dict):
        return {
            k: _HIDDEN if isinstance(k, str) and _SECRET_KEY.search(k) else _hidden(v, depth + 1)
            for k, v in value.items()
        }
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_hidden(item, depth + 1) for item in value]
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return _SECRET_TEXT.sub(_HIDDEN, str(value)[:_LONGEST])


def _name_the_logger(logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    record = event.get("_record")
    event["logger"] = record.name if record is not None else getattr(logger, "name", "?")
    return event
