"""The bundle is issued again once the dump's copy is verified, with its place and sha256."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlmodel import select

from commands.evidence.again import BundleAgain
from commands.evidence.contents import Entry, EvidenceConfig
from commands.evidence.packing import Packed, keep_both, manifest_of, pack
from integrations.stores import LocalStore
from storage import (
    Artefact,
    CopyState,
    DumpCopy,
    DumpState,
    Panic,
    RunbookRun,
    RunState,
    SlackMessage,
    StepResult,
)
from tests.evidence.test_bundle import unpack
from tests.hosts.world import World, close_world, make_world

PLACE = "file:///srv/panics/P-1-web-17-4f1c"
FILES = {"uname.txt": b"Linux web-17\n", "cmdline.txt": b"rd.password=geheimnis ip=10.1.2.3\n"}


@pytest.fixture
async def bot(tmp_path: Any) -> Any:
    made = await make_world(tmp_path, None)
    yield made
    await close_world(made)


class Bundled:
    """A panic with a bundle that was packed before its dump was copied."""

    def __init__(self, world: World, *, redact: bool = True) -> None:
        self.world = world
        self.store = LocalStore(world.context.store_dir)
        self.config = EvidenceConfig(redact=redact)

    def again(self) -> BundleAgain:
        return BundleAgain(self.world.context, self.store, self.config)

    async def collect(self, *, state: RunState = RunState.DONE, copy: int | None = None) -> Packed:
        self.panic_id, self.incident_id = await self.world.panic()

        def write(session: Any) -> Packed:
            run = RunbookRun(
                kind="evidence", panic_id=self.panic_id, workflow_id="evidence:P-1:x", state=state,
                asked_by="U0ONCALL", asked_at=datetime(2026, 11, 23, tzinfo=UTC),
            )  # fmt: skip
            session.add(run)
            session.flush()
            panic = session.get_one(Panic, self.panic_id)
            crash = {"vmcore": {"state": "complete", "path": "10.1.2.3-2026-11-23-05:31:00/vmcore"}}
            steps = [StepResult(run_id=run.id, position=0, name="crash", title="t", facts=crash)]
            entries = [
                Entry(
                    file=n,
                    sha256=hashlib.sha256(d).hexdigest(),
                    size=len(d),
                    command=f"cat {n}",
                    exit_status=0,
                )
                for n, d in FILES.items()
            ]
            ref = f"P-{self.panic_id}"
            made = pack(
                self.store, ref, f"{ref}-evidence-{run.id}", manifest_of(run, panic, panic.host, steps), entries,
                FILES, host=panic.host, stamp=1_700_000_000, redact=self.config.redact,
            )  # fmt: skip
            keep_both(session, panic, run.id, made)
            facts = {"path": made.told.path, "copy": copy}
            steps.append(
                StepResult(run_id=run.id, position=1, name="bundle", title="t", state="ok", facts=facts)
            )
            session.add_all(steps)
            self.run_id = run.id
            return made

        return await self.world.db.write(write)

    async def copied(self, state: CopyState = CopyState.VERIFIED, **columns: Any) -> int:
        def write(session: Any) -> int:
            values: dict[str, Any] = {
                "panic_id": self.panic_id, "workflow_id": f"copy:{columns.get('sha256')}", "host": "web-17",
                "asked_by": "U0ONCALL", "state": state, "size": 312_000_000, "place": PLACE, "sha256": "ab" * 32,
                "verified_at": datetime(2026, 11, 23, 6, tzinfo=UTC), "dump_state": DumpState.COMPLETE,
            }  # fmt: skip
            row = DumpCopy(**{**values, **columns})
            session.add(row)
            session.flush()
            return row.id or 0

        return await self.world.db.write(write)

    async def messages(self) -> list[SlackMessage]:
        return await self.world.db.read(
            lambda s: list(s.exec(select(SlackMessage).where(SlackMessage.key.startswith("evidence-again"))))  # type: ignore[attr-defined]
        )


async def test_the_verified_copy_is_told_in_a_bundle_of_the_same_files(bot: World) -> None:
    bundled = Bundled(bot)
    first = await bundled.collect()
    assert await bundled.again().look() == 0
    copy_id = await bundled.copied()
    again = bundled.again()
    assert await again.look() == 1
    (message,) = await bundled.messages()
    assert message.key == f"evidence-again:{bundled.run_id}:{copy_id}"
    assert message.incident_id == bundled.incident_id
    assert PLACE in message.payload["text"]  # type: ignore[index]
    assert "ab" * 32 in message.payload["text"]  # type: ignore[index]

    store = bot.context.store_dir
    files, told = unpack(store / (message.file_path or ""))
    assert told["vmcore"]["central"] == {
        "place": PLACE, "sha256": "ab" * 32, "size": 312_000_000, "state": "complete",
        "verified_at": "2026-11-23T06:00:00+00:00",
    }  # fmt: skip
    assert b"geheimnis" not in files["cmdline.txt"]
    assert "10.1.2.3" not in str(told)
    rows = await bot.db.read(lambda s: {a.name: a for a in s.exec(select(Artefact))})
    whole, manifest = unpack(
        store / rows[f"P-{bundled.panic_id}-evidence-{bundled.run_id}-copy-{copy_id}.tar.gz"].path
    )
    assert whole["cmdline.txt"] == FILES["cmdline.txt"]
    assert manifest["vmcore"]["path"].startswith("10.1.2.3-")
    assert manifest["vmcore"]["central"]["sha256"] == "ab" * 32
    assert (store / first.whole.path).is_file()  # the first one stays what it was
    for name, row in rows.items():
        assert hashlib.sha256((store / row.path).read_bytes()).hexdigest() == row.sha256, name

    assert await again.look() == 0
    assert await bundled.again().look() == 0  # after a restart
    assert len(await bundled.messages()) == 1


@pytest.mark.parametrize("state", [CopyState.COPYING, CopyState.CHECKING, CopyState.FAILED])
async def test_only_a_verified_copy_counts(bot: World, state: CopyState) -> None:
    bundled = Bundled(bot)
    await bundled.collect()
    await bundled.copied(state)
    assert await bundled.again().look() == 0


async def test_a_panic_without_a_bundle_gets_none(bot: World) -> None:
    bundled = Bundled(bot)
    bundled.panic_id, _ = await bot.panic()
    await bundled.copied()
    assert await bundled.again().look() == 0
    assert await bundled.messages() == []


async def test_a_bundle_that_tells_of_the_copy_already_is_not_issued_again(bot: World) -> None:
    bundled = Bundled(bot)
    await bundled.collect(copy=1)
    assert await bundled.copied() == 1
    assert await bundled.again().look() == 0


async def test_a_run_that_is_under_way_is_waited_for(bot: World) -> None:
    bundled = Bundled(bot)
    await bundled.collect(state=RunState.RUNNING)
    await bundled.copied()
    again = bundled.again()
    assert await again.look() == 0

    def done(session: Any) -> None:
        session.get_one(RunbookRun, bundled.run_id).state = RunState.DONE

    await bot.db.write(done)
    assert await again.look() == 1


async def test_the_newest_copy_is_the_one_that_is_told(bot: World) -> None:
    bundled = Bundled(bot)
    await bundled.collect()
    await bundled.copied(sha256="11" * 32)
    newest = await bundled.copied(sha256="22" * 32)
    assert await bundled.again().look() == 1
    (message,) = await bundled.messages()
    assert message.key.endswith(f":{newest}")


async def test_a_bundle_that_is_gone_or_damaged_holds_up_no_other(bot: World) -> None:
    bundled = Bundled(bot)
    first = await bundled.collect()
    await bundled.copied()
    (bot.context.store_dir / first.whole.path).write_bytes(b"damaged")
    other = Bundled(bot, redact=False)
    await other.world.db.write(
        lambda s: s.get_one(RunbookRun, bundled.run_id).__setattr__("workflow_id", "first")
    )
    await other.collect()
    await other.copied(sha256="33" * 32)
    assert await bundled.again().look() == 1
    (message,) = await bundled.messages()
    assert message.key.startswith(f"evidence-again:{other.run_id}:")
