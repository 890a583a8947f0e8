"""`/panic top`, `trends` and `export`: what a person asks, sees, and gets as a file."""

from __future__ import annotations

import csv
import io
import struct
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import aiohttp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commands.errors import BadArguments
from commands.trends.chart import draw
from commands.trends.picture import MARKED, SHOWN, compose
from commands.trends.questions import read_top, read_trends
from commands.trends.slack import register
from commands.trends.table import cell
from storage import ChangeRecord, Panic, Signature
from storage.rollups import Cut
from storage.trend import Daily, Rollout, Trend

NOW = datetime(2026, 11, 23, 9, 14, tzinfo=UTC)


@pytest.fixture
def trends(desk: Any) -> Any:
    register(desk.router, desk.ctx)
    return desk


async def uploaded(desk: Any) -> tuple[dict[str, Any], dict[str, Any], bytes]:
    """(the newest message with a file, its file object, the bytes)"""
    answer = await desk.ctx.slack.call("conversations.history", {"channel": "C0INCIDENTS", "limit": 1})
    message = answer["messages"][0]
    file = message["files"][0]
    headers = {"Authorization": f"Bearer {desk.workspace.bot_token}"}
    async with (
        aiohttp.ClientSession() as session,
        session.get(file["url_private_download"], headers=headers) as got,
    ):
        assert got.status == 200
        return message, file, await got.read()


async def test_top_counts_by_what_was_asked(
    trends: Any, panic: Callable[..., Panic], store: Callable[..., None]
) -> None:
    store(
        Signature(
            key="null_deref|nvme_irq|nvme",
            kind="null_deref",
            title="NULL in <b>",
            first_seen=NOW,
            last_seen=NOW,
        )
    )
    store(
        panic("web-1"), panic("web-1", days=-1), panic("web-2", days=-3), panic("web-3", deliberate=True),
        panic("db-1", days=-2, signature_key="mce|", kernel="5.10.0"), panic("db-1", days=-60),
    )  # fmt: skip
    answer = await trends.type("top")
    assert "*Most panics by signature* · 2026-10-25 to today · 4 panics" in answer.seen
    assert "1. *3* `null_deref|nvme_irq|nvme` · 75 % · on 2 hosts · NULL in &lt;b&gt;" in answer.seen
    assert "2. *1* `mce|` · 25 % · on 1 host" in answer.seen
    answer = await trends.type("top by kernel since:90d")
    assert "1. *4* `6.1.0-31-amd64` · 80 % · on 3 hosts" in answer.seen
    assert "`/panic list kernel:6.1.0-31-amd64`" in answer.seen
    assert "1. *2* `web-1`" in (await trends.type("top host")).seen
    assert "No panic from" in (await trends.type("top until:2025-01-01 since:2024-12-01")).seen


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("top by colour", "by signature, host, kernel, hw or ring"),
        ("top by", "by signature, host"),
        ("top ring:prod", "`since:` and `until:` only"),
        ("trends by", "by signature, host"),
        ("trends since:9y", "five years"),
        ("trends hots:x", "did you mean `host:`"),
        ("export sort:size", "no order `size`"),
    ],
)
async def test_what_cannot_be_asked_is_refused_with_an_example(trends: Any, line: str, said: str) -> None:
    answer = await trends.type(line)
    assert said in answer.text
    assert "For example: `/panic " in answer.text


async def test_a_picture_comes_into_the_channel_with_its_words(
    trends: Any, panic: Callable[..., Panic], store: Callable[..., None]
) -> None:
    store(*(panic(f"web-{n}", days=-n, kernel=f"6.1.0-{n % 3}") for n in range(9)))
    store(
        ChangeRecord(source="feed", key="OPS-1182", kind="kernel", summary="roll <6.1>", started=NOW - timedelta(days=4)),  # noqa: E501
        ChangeRecord(source="feed", key="OPS-9", kind="deployment", started=NOW - timedelta(days=4)),
    )  # fmt: skip
    await trends.router.command_line(trends.ask("trends host:web by kernel since:10d"))
    message, file, content = await uploaded(trends)
    assert content.startswith(b"\x89PNG")
    width, height = struct.unpack(">II", content[16:24])
    assert width > height > 500
    assert file["name"] == "panics-2026-11-13-2026-11-23.png"
    assert "9 panics" in message["text"]
    assert "*A* 2026-11-19 OPS-1182 roll &lt;6.1&gt;" in message["text"]
    assert "OPS-9" not in message["text"]
    assert "9 panics, a bar a day, 2026-11-13 to 2026-11-23" in file["alt_txt"]
    assert "6.1.0-0: 3" in file["alt_txt"]
    assert "OPS-1182 on 2026-11-19" in file["alt_txt"]


async def test_nothing_to_draw_or_to_export_is_said(trends: Any) -> None:
    assert "No panic to draw" in (await trends.type("trends")).text
    assert "No panic to export" in (await trends.type("export")).text


async def test_a_table_is_safe_to_open(
    trends: Any, panic: Callable[..., Panic], store: Callable[..., None]
) -> None:
    store(
        panic("web-1", title='=HYPERLINK("http://x")', kernel="@SUM(A1)", ring="+1", hardware="-2\n=3"),
        panic("web-2", days=-1),
    )
    await trends.router.command_line(trends.ask("export sort:oldest"))
    message, file, content = await uploaded(trends)
    assert file["name"].endswith(".csv")
    assert "*2 panics*" in message["text"]
    rows = list(csv.DictReader(io.StringIO(content.decode(), newline="")))
    assert [row["panic"] for row in rows] == ["P-2", "P-1"]
    assert rows[1]["title"].startswith("'=HYPERLINK")
    assert (rows[1]["kernel"], rows[1]["ring"], rows[1]["hardware"]) == ("'@SUM(A1)", "'+1", "'-2 =3")


async def test_a_channel_without_the_bot_is_told_how(
    trends: Any, panic: Callable[..., Panic], store: Callable[..., None]
) -> None:
    from dataclasses import replace

    store(panic())
    await trends.router.command_line(replace(trends.ask("export"), channel="C0NOWHERE"))
    assert "invite me" in trends.answers[-1].text


@given(st.text(max_size=30))
def test_no_cell_is_a_formula(text: str) -> None:
    made = cell(text)
    assert not made.startswith(("=", "+", "-", "@", "\t", "\r"))
    assert "\n" not in made


VALUES = st.lists(
    st.tuples(st.integers(-5, 400), st.sampled_from([*"abcdefghij", "", "$x_{$", "<b>"]), st.integers(1, 9)), max_size=30  # noqa: E501
)  # fmt: skip


@given(VALUES, VALUES, st.integers(0, 399), st.integers(0, 30))
def test_a_picture_leaves_nothing_out(
    values: list[tuple[int, str, int]], others: list[tuple[int, str, int]], length: int, marks: int
) -> None:
    first = date(2025, 11, 1)
    last = first + timedelta(days=length)
    days = [Daily(first + timedelta(days=n), v, count) for n, v, count in values if 0 <= n <= length]
    rest = tuple((first + timedelta(days=n), count) for n, _v, count in others if 0 <= n <= length)
    told = [Rollout(f"OPS-{n}", "kernel", "", NOW - timedelta(days=n), "") for n in range(marks)]
    found = Trend(tuple(days), rest, len({d.value for d in days}) + bool(rest))
    picture = compose("title", found, first, last, told, {})
    assert picture.total == sum(d.panics for d in days) + sum(n for _day, n in rest)
    assert len(picture.series) <= SHOWN + 1
    assert len(picture.marks) == min(marks, MARKED)
    assert len(picture.marks) + picture.unmarked == marks
    assert len(picture.alt_text) < 1000
    assert picture.starts[-1] <= last


@settings(max_examples=5, deadline=None)
@given(st.lists(st.text(min_size=1, max_size=40), min_size=1, max_size=9, unique=True))
def test_any_text_can_be_drawn(names: list[str]) -> None:
    first = date(2026, 11, 1)
    days = [Daily(first, name, 1) for name in names]
    told = [Rollout(names[0], "kernel", names[0], datetime(2026, 11, 2, tzinfo=UTC), "")]
    picture = compose(names[0], Trend(tuple(days), (), len(days)), first, date(2026, 11, 5), told, {})
    assert draw(picture).startswith(b"\x89PNG")


@given(st.text(max_size=40).map(lambda t: t.replace("\n", " ")))
def test_any_question_is_read_or_refused_kindly(line: str) -> None:
    for read in (read_top, read_trends):
        refusal = None
        try:
            assert read(f"{line} by kernel", NOW).cut in Cut
        except BadArguments as error:
            refusal = error
        assert refusal is None or (str(refusal) and refusal.example)
