from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from bot.logging import configure_logging
from bot.settings import LogConfig


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()


def lines(out: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_json_for_machines() -> None:
    out = io.StringIO()
    configure_logging(LogConfig(), out)
    structlog.get_logger("x").info("report.stored", report="R-1", where=object)
    logging.getLogger("slack_bolt").warning("odd %s", "thing")
    logging.getLogger("slack_bolt").info("chatter")
    structlog.get_logger("x").debug("not this")
    first, second = lines(out)
    assert (first["event"], first["report"], first["level"]) == ("report.stored", "R-1", "info")
    assert str(first["timestamp"]).endswith("Z")
    assert (second["event"], second["logger"], second["level"]) == ("odd thing", "slack_bolt", "warning")


def test_console_for_people() -> None:
    out = io.StringIO()
    configure_logging(LogConfig(format="console", level="debug"), out)
    structlog.get_logger("x").debug("hello", host="web-17")
    assert "hello" in out.getvalue()
    assert "host=web-17" in out.getvalue()


@pytest.mark.parametrize(
    "secret",
    [
        "xoxb-123-abc",
        "xapp-1-A0-123-abcdef",
        "Bearer abcdefghijkl",
        "postgresql+psycopg://panicroom:pass-word@db/x",
        "https://hooks.slack.com/services/T0/B0/abc",
        "v1=" + "0a" * 32,
        "-----BEGIN OPENSSH PRIVATE KEY-----\nb3Blb\n-----END OPENSSH PRIVATE KEY-----",
    ],
)
@pytest.mark.parametrize("format_", ["json", "console"])
def test_what_looks_like_a_secret_is_hidden_anywhere(secret: str, format_: str) -> None:
    out = io.StringIO()
    configure_logging(LogConfig.model_validate({"format": format_}), out)
    log = structlog.get_logger("x")
    log.info(f"said {secret}", detail={"deep": [f"a {secret} b"]})
    logging.getLogger("aiohttp").error("said %s", secret)
    try:
        raise ValueError(f"failed with {secret}")
    except ValueError:
        log.exception("failed")
        logging.getLogger("aiohttp").exception("failed")
    text = out.getvalue()
    assert text.count("failed") >= 2
    for part in ("123-abc", "abcdef", "pass-word", "T0/B0", "0a0a", "b3Blb"):
        assert part not in text


def test_values_under_telling_keys_are_hidden() -> None:
    out = io.StringIO()
    configure_logging(LogConfig(format="json"), out)
    structlog.get_logger("x").info(
        "e", bot_token="plain", nested={"Authorization": "plain", "host": "web-17"}
    )
    assert "plain" not in out.getvalue()
    assert lines(out)[0]["nested"] == {"Authorization": "[hidden]", "host": "web-17"}
