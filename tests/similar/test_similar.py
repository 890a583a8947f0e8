"""`/panic similar`, through the stand-in for Slack and on the database alone."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from bot.demo.workspace.testing import RunningWorkspace, running_workspace
from commands.known.slack import register as register_known
from commands.similar.blocks import similar_message
from commands.similar.nearness import Near, Nearness
from commands.similar.slack import register
from storage import KnownCause, Panic
from storage.similarity import CANDIDATES, Beside, Candidate, Lookalikes, lookalikes
from tests.incident.floor import Floor, floor
from tests.incident.texts import deliberate, oops

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


@pytest.fixture
async def ws() -> AsyncIterator[RunningWorkspace]:
    async with running_workspace() as workspace:
        yield workspace


@pytest.fixture
async def bot(tmp_path: Path, ws: RunningWorkspace) -> AsyncIterator[Floor]:
    async with floor(tmp_path, ws, doors="http") as running:
        register(running.router, running.context)
        register_known(running.router, running.context)
        yield running


@pytest.fixture
async def quiet(tmp_path: Path) -> AsyncIterator[Floor]:
    async with floor(tmp_path) as running:
        register(running.router, running.context)
        yield running


async def test_the_same_signature_first_then_near_ones_with_why_and_what_is_known(
    bot: Floor, ws: RunningWorkspace
) -> None:
    on_call = ws.person("U0ONCALL")
    await bot.report("web-1", oops())
    await bot.report("web-2", oops(uptime=9.0))
    near = oops("nvme_poll", uptime=7.0).replace(
        "] Call Trace:",
        "] Call Trace:\n[    7.000001]  nvme_irq+0x1a/0x80\n[    7.000002]  nvme_irq_caller+0x2f/0x90",
    )
    await bot.report("db-1", near)
    await bot.report("lab-1", deliberate())
    await bot.report("web-9")
    bot.printer.wake()
    await ws.message("2 hosts panicked")
    await on_call.command("/panic known P-3 cause: a firmware bug")
    await on_call.ephemeral("Noted for")
    await on_call.command("/panic similar P-1")
    shown = await on_call.ephemeral("What is like P-1: 1 with its signature, 1 near")
    seen = json.dumps(shown["blocks"], ensure_ascii=False)
    assert "*The same signature (1)*" in seen
    assert seen.index("|P-2> web-2") < seen.index("*Near*") < seen.index("|P-3> db-1")
    assert "frames in common" in seen
    assert "same kind, null" in seen
    assert "a firmware bug" in seen
    assert "lab-1" not in seen
    assert "web-9" not in seen
    # In the thread, without an id.
    parent = await ws.message("db-1 panicked")
    await on_call.mention("similar", thread=parent)
    await on_call.ephemeral("What is like P-3")


async def test_alone_unread_and_misspelt(quiet: Floor) -> None:
    await quiet.report("web-1", oops())
    assert await quiet.say("similar P-1") == "What is like P-1: 0 with its signature, 0 near"
    await quiet.report("web-2")
    await quiet.report("web-3")
    assert await quiet.say("similar P-2") == "What is like P-2: 0 with its signature, 0 near"
    assert "there is no panic P-9" in await quiet.say("similar P-9")
    assert "takes a panic and nothing else" in await quiet.say("similar P-1 P-2")
    assert "say which panic" in await quiet.say("similar")


def panic(number: int, **facts: Any) -> Panic:
    known: dict[str, Any] = {
        "host": f"web-{number % 50}", "occurred_at": NOON - timedelta(minutes=number), "kind": "null_deref",
        "title": "t", "signature_key": f"null_deref|f_{number % 300}", "function": f"f_{number % 300}",
        "frames": [f"f_{number % 300}", "shared_one", "shared_two"],
    }  # fmt: skip
    return Panic(**{**known, **facts})


async def test_work_has_a_bound_and_goes_by_index(quiet: Floor) -> None:
    await quiet.db.write(lambda s: s.add_all([panic(n, text="x" * 3000) for n in range(3000)]))
    statements: list[tuple[str, Any]] = []

    def keep(_c: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        statements.append((statement, parameters))

    event.listen(quiet.db.engine, "before_cursor_execute", keep)
    found = await quiet.db.read(lambda s: lookalikes(s, s.get_one(Panic, 1)))
    event.remove(quiet.db.engine, "before_cursor_execute", keep)
    assert (len(found.same), found.same_total) == (5, 9)
    assert [c.occurred_at for c in found.same] == sorted((c.occurred_at for c in found.same), reverse=True)
    assert CANDIDATES * 0.9 < len(found.others) <= CANDIDATES
    assert all(c.signature_key != "null_deref|f_0" for c in found.others)
    asked = [s for s in statements if "FROM panic" in s[0] and "panic.text" not in s[0]]
    assert len(asked) == 4
    with quiet.db.engine.connect() as connection:
        for statement, parameters in asked:
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()
            assert not any(str(s[3]).startswith("SCAN panic") and "USING" not in str(s[3]) for s in plan), (
                plan
            )


async def test_an_old_panic_is_compared_with_the_latest(quiet: Floor) -> None:
    rows = [panic(n) for n in range(10)] + [panic(99, occurred_at=NOON - timedelta(days=900))]
    await quiet.db.write(lambda s: s.add_all(rows))
    assert "near" in await quiet.say("similar P-11")
    assert (await quiet.say("similar P-11")).endswith("0 with its signature, 5 near")


def test_the_largest_answer_fits_into_a_message_and_strangers_words_do_nothing() -> None:
    def long(number: int) -> Candidate:
        return Candidate(
            number, "<!channel>" * 25, NOON, f"<@U0>|{'&' * 280}{number}", "<!here> *x* " * 33, "k" * 40, "f<x>",
            "m" * 200, tuple(f"<frame>{n}{'&' * 200}" for n in range(32)),
        )  # fmt: skip

    known = {
        long(n).signature_key: KnownCause(signature_key="x", by="U0", cause="<" * 2000) for n in range(1, 9)
    }
    near = [Near(long(n), Nearness(0.9, long(n).frames, "k" * 40, "m" * 200, "f<x>")) for n in range(2, 7)]
    found = Lookalikes(long(1), True, tuple(long(n) for n in range(10, 15)), 1000, ())
    text, blocks = similar_message(found, near, Beside({}, {}, known))
    seen = json.dumps(blocks, ensure_ascii=False)
    assert len(seen) < 12_900
    assert "… and 995 more: `/panic list sig:P-1`" in seen
    assert "<!" not in seen.replace("<!date^", "")
    assert "<frame>" not in seen
    assert all(len(b["text"]["text"]) <= 3000 for b in blocks if b["type"] == "section")
    assert text == "What is like P-1: 1000 with its signature, 5 near"
