"""Links to dumps: who may, for how long, how often, and what is told of each fetch."""

from __future__ import annotations

import asyncio
import hashlib
import stat
from datetime import timedelta
from pathlib import Path

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from commands.access import Access, AccessConfig
from commands.fetch.token import KEY_FILE, link_key, number_in, opens, token_of
from storage import CopyState, DumpLink, FetchState, utc_now
from tests.fetch.conftest import PART, Make, Scene
from tests.hosts.world import nobody, until

pytestmark = pytest.mark.timeout(120)


async def test_the_dump_comes_as_one_file_once_and_is_told(make_scene: Make) -> None:
    scene: Scene = await make_scene()
    await scene.copy()
    url = await scene.link()
    async with scene.http.head(url) as looked:
        assert looked.status == 200
        assert looked.headers["Content-Length"] == str(len(scene.content))
    assert await scene.refused(url, **{"User-Agent": "Slackbot-LinkExpanding 1.0"}) == (403, "preview")
    status, body, headers = await scene.get(url)
    assert status == 200
    assert body == scene.content
    assert headers["X-Content-SHA256"] == hashlib.sha256(scene.content).hexdigest()
    assert headers["Content-Length"] == str(len(scene.content))
    assert "P-1-vmcore" in headers["Content-Disposition"]
    assert headers["Cache-Control"] == "no-store"

    async def ended() -> bool:
        return [f.state for f in await scene.fetches()] == [FetchState.FINISHED]

    await until(ended)
    assert await scene.refused(url) == (410, "link_used")
    told = await scene.audits()
    assert [(actor, verb, subject, outcome) for actor, verb, subject, outcome, _ in told] == [
        ("U0ADMIN", "dump.link", "P-1", "done"),
        ("U0ADMIN", "dump.fetch", "P-1", "begun"),
        ("U0ADMIN", "dump.fetch", "P-1", "done"),
    ]
    assert f"finished: {len(scene.content)} bytes from byte 0 to 127.0.0.1" in told[-1][4]
    said = " / ".join(await scene.told())
    assert "a link to the dump of P-1 was made" in said
    assert "is being fetched by its link from `127.0.0.1`" in said
    assert "was fetched (307.3 kB)" in said
    assert url.rsplit("/", 1)[1] not in str(told) + said, "what opens it stands nowhere"


async def test_who_may(make_scene: Make) -> None:
    scene: Scene = await make_scene()
    await scene.copy()
    assert "gives out a host's memory" in await scene.say("fetch P-1", user="U0ONCALL")
    url = await scene.link(user="U0READER")
    scene.world.context.access = Access(AccessConfig(everyone="responder"), nobody)
    assert await scene.refused(url) == (403, "not_allowed")
    assert await scene.fetches() == []


async def test_it_expires(make_scene: Make) -> None:
    scene: Scene = await make_scene(expires=60)
    await scene.copy()
    url = await scene.link()
    scene.clock.ahead += timedelta(seconds=61)
    assert await scene.refused(url) == (410, "link_expired")


@pytest.mark.parametrize("how", ["signed otherwise", "another number", "shorter", "no token"])
async def test_forged(make_scene: Make, how: str) -> None:
    scene: Scene = await make_scene()
    await scene.copy()
    url = await scene.link()
    forged = {
        "signed otherwise": url[:-2] + ("AA" if url[-2:] != "AA" else "BB"),
        "another number": url.replace("/1.", "/2."),
        "shorter": url[:-1],
        "no token": url.rsplit("/", 1)[0] + "/..%2f..%2fetc%2fpasswd",
    }[how]
    assert (await scene.refused(forged))[0] == 403
    assert await scene.fetches() == []
    assert (await scene.get(url))[0] == 200, "the link itself was not used up by that"


async def test_a_removed_or_damaged_copy_says_so(make_scene: Make) -> None:
    scene: Scene = await make_scene()
    await scene.copy()
    url = await scene.link()
    await scene.state(CopyState.REMOVED)
    assert await scene.refused(url) == (410, "dump_removed")
    assert "was removed from the central store (its term was over)" in await scene.say("fetch P-1")
    await scene.state(CopyState.DAMAGED)
    assert await scene.refused(url) == (410, "dump_damaged")
    assert "is damaged in the central store" in await scene.say("fetch P-1")
    await scene.state(CopyState.COPYING)
    assert "is still on its way" in await scene.say("fetch P-1")
    await scene.state(CopyState.VERIFIED)
    (scene.folder / "central" / scene.name / "vmcore.part-000002").unlink()
    assert await scene.refused(url) == (410, "dump_damaged")


async def test_what_is_damaged_never_arrives_as_a_whole(make_scene: Make) -> None:
    scene: Scene = await make_scene()
    await scene.copy()
    url = await scene.link()
    part = scene.folder / "central" / scene.name / "vmcore.part-000004"
    part.write_bytes(b"\0" * len(part.read_bytes()))
    with pytest.raises(aiohttp.ClientError):
        await scene.get(url)

    async def broken() -> bool:
        return [f.state for f in await scene.fetches()] == [FetchState.BROKEN]

    await until(broken)
    assert "part 4 does not read as it was written" in (await scene.fetches())[0].note
    assert (await scene.audits())[-1][3] == "failed"


async def test_one_that_broke_off_is_continued(make_scene: Make) -> None:
    """The other side leaves in the middle; what it has is not sent again, and it is no new use."""
    scene: Scene = await make_scene()
    await scene.copy(size=16 * 1024 * 1024)
    url = await scene.link()
    async with aiohttp.ClientSession() as other, other.get(url) as answer:
        first = await answer.content.readexactly(3 * PART)
        assert answer.connection is not None
        assert answer.connection.transport is not None
        answer.connection.transport.abort()

    async def broken() -> bool:
        return [f.state for f in await scene.fetches()] == [FetchState.BROKEN]

    await until(broken)
    assert await scene.refused(url) == (410, "link_used"), "from its beginning it would be a second use"
    status, rest, headers = await scene.get(url, Range=f"bytes={3 * PART}-")
    assert status == 206
    assert headers["Content-Range"] == f"bytes {3 * PART}-{len(scene.content) - 1}/{len(scene.content)}"
    assert first + rest == scene.content

    async def ended() -> bool:
        return [f.state.value for f in await scene.fetches()] == ["broken", "finished"]

    await until(ended)
    assert await scene.refused(url, Range=f"bytes={3 * PART}-") == (410, "link_used")


async def test_two_at_once_are_one_use(make_scene: Make) -> None:
    scene: Scene = await make_scene()
    await scene.copy()
    url = await scene.link()
    got = await asyncio.gather(*(scene.get(url) for _ in range(3)))
    assert sorted(status for status, _, _ in got) == [200, 410, 410]


async def test_uses_and_the_same_request(make_scene: Make) -> None:
    scene: Scene = await make_scene(uses=2)
    await scene.copy()
    said = [await scene.say("fetch P-1", request_id="again") for _ in range(2)]
    assert len(await scene.links()) == 1
    assert said[0] == said[1]
    url = await scene.link()
    assert [(await scene.get(url))[0] for _ in range(3)] == [200, 200, 410]
    assert (await scene.refused(url, Range="bytes=99999999999-"))[0] == 416


async def test_without_an_address_it_says_what_to_set(make_scene: Make) -> None:
    scene: Scene = await make_scene(public_url=None)
    await scene.copy()
    assert "set `server.public_url`" in await scene.say("fetch P-1")
    assert await scene.links() == []


async def test_what_a_killed_process_was_sending_broke_off(make_scene: Make) -> None:
    scene: Scene = await make_scene()
    await scene.copy()
    await scene.link()
    (link,) = await scene.links()
    await scene.desk.begin(link, 0, "192.0.2.1")
    await scene.desk.resume()
    (fetch,) = await scene.fetches()
    assert (fetch.state, fetch.note) == (FetchState.BROKEN, "the bot ended meanwhile")
    assert (await scene.links())[0].uses_left == 1, "not a byte was sent"


def test_the_key_is_made_once_and_is_private(tmp_path: Path) -> None:
    store = tmp_path / "store"
    made = link_key(store)
    assert len(made) == 32
    assert link_key(store) == made
    assert stat.S_IMODE((store / KEY_FILE).stat().st_mode) == 0o600
    (store / KEY_FILE).write_bytes(b"cut")
    assert link_key(store) != made


@given(st.text(max_size=80))
def test_no_other_text_opens_a_link(text: str) -> None:
    link = DumpLink(
        id=7,
        request_id="r",
        copy_id=1,
        panic_id=1,
        asked_by="U1",
        salt="s",
        expires_at=utc_now() + timedelta(1),
    )
    token = token_of(link, b"k" * 32)
    assert number_in(token) == 7
    assert opens(token, link, b"k" * 32)
    assert not opens(token, link, b"l" * 32)
    assert number_in(text) is None or text.count(".") == 1
    if text != token:
        assert not opens(text, link, b"k" * 32)
