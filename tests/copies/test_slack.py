"""What people type and press, and what they are told."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from commands.copies.blocks import state_words
from commands.copies.slack import register
from commands.incident.wording import copy_words
from commands.router import Router
from storage import CopyState, DumpCopy, DumpState
from tests.copies.conftest import MIB, Make, Scene


def router_of(scene: Scene) -> Router:
    router = Router(scene.world.db, scene.world.context.access)
    register(router, scene.desk)
    return router


async def test_two_people_ask_and_both_are_told(make_scene: Make) -> None:
    scene: Scene = await make_scene()
    router = router_of(scene)
    scene.host.hold_at = MIB
    await router.command_line(scene.world.ask(text=f"copy P-{scene.panic_id}"))
    await scene.host.held.wait()
    await router.click("copies.begin", scene.world.ask(value=f"P-{scene.panic_id}", user="U0KERNEL"))
    first, second = (text for text, _ in scene.world.replies)
    assert "is copied to the central store" in first
    assert "is being copied already" in second
    assert "<@U0ONCALL>" in second
    scene.host.go.set()
    await scene.ended()
    await router.click("copies.begin", scene.world.ask(value=f"P-{scene.panic_id}", user="U0KERNEL"))
    assert "a verified copy is in" in scene.world.replies[-1][0]
    assert len(scene.host.streams()) == 1


async def test_pause_resume_and_cancel_by_word(make_scene: Make) -> None:
    scene: Scene = await make_scene()
    router = router_of(scene)
    ref = f"P-{scene.panic_id}"
    scene.host.hold_at = MIB
    await router.command_line(scene.world.ask(text=f"copy {ref} pause"))
    assert "no copy of the dump" in scene.world.replies[-1][0]
    await router.command_line(scene.world.ask(text=f"copy {ref}"))
    await scene.host.held.wait()
    await router.command_line(scene.world.ask(text=f"copy {ref} pause"))
    assert "is paused by <@U0ONCALL>" in scene.world.replies[-1][0]
    await router.command_line(scene.world.ask(text=f"copy pause {ref}"))
    assert "paused already" in scene.world.replies[-1][0]
    await router.command_line(scene.world.ask(text=f"copy {ref} resume"))
    assert "goes on" in scene.world.replies[-1][0]
    await router.command_line(scene.world.ask(text=f"copy {ref} cancel"))
    assert "was cancelled" in scene.world.replies[-1][0]
    scene.host.go.set()
    assert (await scene.ended()).state is CopyState.CANCELLED


@pytest.mark.parametrize("text", ["copy", "copy pause", "copy P-1 stop", "copy P-1 pause resume"])
async def test_what_is_no_command_gets_an_example(make_scene: Make, text: str) -> None:
    scene: Scene = await make_scene()
    await router_of(scene).command_line(scene.world.ask(text=text))
    assert "/panic copy P-41" in scene.world.replies[-1][0]
    assert await scene.copy() is None


def copy(**values: object) -> DumpCopy:
    base = {"panic_id": 1, "workflow_id": "w", "host": "h", "asked_by": "U1", "size": 300 * 10**9}
    return DumpCopy(**{**base, **values})


def test_progress_has_share_rate_and_time_left() -> None:
    now = copy(state=CopyState.COPYING, bytes_done=114 * 10**9, rate=92.1e6)
    assert state_words(now) == (
        ":hourglass_flowing_sand: copying: 38 % (114.0 GB of 300.0 GB) · 92.1 MB/s · 33 min 39 s left"
    )
    assert copy_words(now) == "copying to central 38 %"


def test_words_of_every_state() -> None:
    at = datetime(2026, 11, 23, 9, 14, tzinfo=UTC)
    waiting = copy(state=CopyState.WAITING, note="<b> & co", next_try_at=at, give_up_at=at)
    assert "&lt;b&gt; &amp; co" in state_words(waiting)
    assert copy_words(waiting) == "to be copied to central"
    assert copy_words(copy(state=CopyState.COPYING, paused=True, bytes_done=150 * 10**9)).endswith("at 50 %")
    assert "0 %" in state_words(copy(state=CopyState.CHECKING))
    failed = copy(state=CopyState.FAILED, error="the dump vanished midway: <!channel>")
    assert "<!channel>" not in state_words(failed)
    assert copy_words(failed) == ":warning: not copied to central"
    assert copy_words(copy(state=CopyState.CANCELLED)) == ""
    done = copy(
        state=CopyState.VERIFIED, dump_state=DumpState.INCOMPLETE, place="file:///c/x", sha256="a" * 64
    )
    assert state_words(done).startswith(":warning: verified in central")
