"""Whatever is thrown at POST /v1/panics: refused with JSON, never an error of the server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from integrations.inbound import signed_headers
from tests.http.support import NOW, SHARED, Bot, report


@pytest.fixture(scope="module")
def loop_with_bot(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[asyncio.AbstractEventLoop, Bot]]:
    """One server for all of hypothesis' examples."""
    loop = asyncio.new_event_loop()
    running = Bot(tmp_path_factory.mktemp("garbage"))
    loop.run_until_complete(running.start())
    yield loop, running
    loop.run_until_complete(running.close())
    loop.close()


_header_text = st.text(
    st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=80
)
_HEADERS = [
    "X-Panicroom-Timestamp",
    "X-Panicroom-Signature",
    "X-Panicroom-Host",
    "Content-Type",
    "Content-Encoding",
]
_leaf = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30)
_fields = st.dictionaries(
    st.sampled_from(["id", "host", "text", "source", "occurred_at", "dump", "kernel", "down_since"])
    | st.text(max_size=5),
    st.recursive(
        _leaf,
        lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(max_size=5), v, max_size=3),
        max_leaves=6,
    ),
)
_bodies = st.binary(max_size=600) | _fields.map(lambda f: json.dumps(f).encode()) | st.just(b"{" * 8000)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=_bodies, signed=st.booleans(), headers=st.dictionaries(
    st.sampled_from(_HEADERS), _header_text, max_size=3,
))  # fmt: skip
def test_garbage_is_refused_with_json_and_never_fails(
    loop_with_bot: tuple[asyncio.AbstractEventLoop, Bot], body: bytes, signed: bool, headers: dict[str, str]
) -> None:
    loop, bot = loop_with_bot
    if signed:
        headers = signed_headers(SHARED, NOW, body) | {
            k: v for k, v in headers.items() if k == "X-Panicroom-Host"
        }
    else:
        headers = {"Content-Type": "application/json"} | headers

    async def send() -> tuple[int, dict[str, Any]]:
        async with bot.session.post("/v1/panics", data=body, headers=headers) as answer:
            assert answer.content_type == "application/json"
            return answer.status, await answer.json()

    status, answer = loop.run_until_complete(send())
    assert status in (200, 202) or 400 <= status < 500, (status, answer)
    if status >= 400:
        assert set(answer) <= {"error", "field", "message", "server_time"}
        assert isinstance(answer["message"], str)
    else:
        assert signed


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    chunks=st.lists(st.binary(max_size=2000), max_size=12),
    tail=st.sampled_from([b"0\r\n\r\n", b"", b"zz\r\n", b"-1\r\n\r\n"]),
)
def test_broken_transfers_never_fail_the_server(
    loop_with_bot: tuple[asyncio.AbstractEventLoop, Bot], chunks: list[bytes], tail: bytes
) -> None:
    """Raw chunked bytes, ended rightly, not at all, or wrongly; the next request is answered as ever."""
    loop, bot = loop_with_bot

    async def send() -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", bot.port)
        writer.write(
            b"POST /v1/panics HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
        )
        for chunk in chunks:
            if chunk:
                writer.write(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n")
        writer.write(tail)
        writer.write_eof()
        async with asyncio.timeout(45):
            try:
                head = await reader.read(12)
            except ConnectionResetError:
                head = b""
        writer.close()
        return head

    head = loop.run_until_complete(send())
    assert head == b"" or head.startswith(b"HTTP/1.1 4") or head.startswith(b"HTTP/1.0 4"), head
    status, _ = loop.run_until_complete(bot.send(report(host="<no>")))
    assert status == 422
