"""A store on a disk that becomes full: a small tmpfs, in a mount namespace of its own."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from commands.hosts.patience import Patience
from integrations.stores import CentralStore, StoreFull
from storage import CopyState
from tests.copies.conftest import MIB, SIZE, Make, Scene, no_sftp
from tests.copies.dumphost import dump_bytes
from tests.hosts.world import until

ROOM = 4 * MIB
# The mount is seen by those alone who hold the namespace, and gone with the last of them.
HOLD = 'mount -t tmpfs -o size="$2",mode=0700 none "$1" && echo ready && exec cat'


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """The directory of a filesystem of 4 MiB."""
    place = tmp_path / "small"
    place.mkdir()
    unshare = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--user", "--map-root-user"])]
    try:
        holder = subprocess.Popen(
            [*unshare, "sh", "-c", HOLD, "sh", str(place), str(ROOM)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
    except OSError as error:
        pytest.skip(f"no tmpfs can be mounted: unshare: {error.strerror}")
    assert holder.stdin is not None
    assert holder.stdout is not None
    try:
        ready = holder.stdout.readline().strip()
        if ready != "ready":
            why = holder.communicate(timeout=30)[1].strip() or "unshare said nothing"
            pytest.skip(f"the kernel refuses to mount a tmpfs here: {why}")
        seen = Path(f"/proc/{holder.pid}/root{place}")
        try:
            os.listdir(seen)
        except OSError as error:
            pytest.skip(f"the kernel refuses to show a tmpfs mounted beside this process: {error.strerror}")
        yield seen
    finally:
        with contextlib.suppress(BrokenPipeError):
            holder.communicate(timeout=30)


def fill(place: Path) -> Path:
    """Somebody else takes all the room that is left."""
    file = place / "somebody-elses"
    with file.open("wb", buffering=0) as others:
        step = MIB
        while step:
            try:
                others.write(bytes(step))
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
                step //= 2
    return file


def test_a_part_that_finds_no_room_leaves_nothing_and_comes_once_there_is(small: Path) -> None:
    others = fill(small)
    os.truncate(others, others.stat().st_size - MIB)
    store = CentralStore(small.as_uri(), sftp=no_sftp)
    with store.open("P-1-x") as shelf:
        shelf.make()
        writer = shelf.part(1)
        with pytest.raises(StoreFull, match=r"No space left on device\. The store has no room for it"):
            writer.write(b"x" * (2 * MIB))
        writer.abandon()
        assert shelf.sizes() == {}
        assert list((small / "P-1-x").iterdir()) == []
        others.unlink()
        writer = shelf.part(1)
        writer.write(b"x" * MIB)
        assert writer.finish().size == MIB
        assert shelf.sizes() == {1: MIB}


def test_a_manifest_that_finds_no_room_is_none(small: Path) -> None:
    store = CentralStore(small.as_uri(), sftp=no_sftp)
    with store.open("P-1-x") as shelf:
        shelf.make()
        others = fill(small)
        with pytest.raises(StoreFull):
            shelf.write_manifest(b"{}" * 4096)
        assert list((small / "P-1-x").iterdir()) == []
        others.unlink()
        shelf.write_manifest(b"{}" * 4096)
        assert [f.name for f in (small / "P-1-x").iterdir()] == ["manifest.json"]


@pytest.mark.timeout(240)
async def test_a_disk_that_fills_up_during_the_copy_is_told_and_gone_on_with(
    make_scene: Make, small: Path
) -> None:
    """The room was there when the copy began. The next try is far off, so that its words are the full disk's."""
    later = Patience(first=600, longest=600, give_up_after=3600)
    scene: Scene = await make_scene(
        content=dump_bytes(SIZE),
        store=CentralStore(small.as_uri(), sftp=no_sftp),
        config={"patience": later},
    )
    scene.host.hold_at = 2 * MIB + MIB // 2
    await scene.desk.begin(scene.panic_id, "U0ONCALL", "r1")

    async def two_parts() -> bool:
        return scene.host.held.is_set() and len(await scene.parts()) == 2

    await until(two_parts)
    others = fill(small)
    scene.host.hold_at = None
    scene.host.go.set()
    copy = await scene.when(lambda c: c.state is CopyState.WAITING and c.note)
    assert "No space left on device. The store has no room for it" in copy.note
    assert "No space left on device" in await scene.shown()
    (folder,) = [p for p in small.iterdir() if p.is_dir()]
    assert sorted(f.name for f in folder.iterdir()) == ["vmcore.part-000001", "vmcore.part-000002"]
    assert [f.stat().st_size for f in folder.iterdir()] == [MIB, MIB]

    others.unlink()
    await scene.desk.pause(scene.panic_id, "U0ONCALL")
    await scene.desk.unpause(scene.panic_id, "U0ONCALL")
    copy = await scene.ended()
    assert copy.state is CopyState.VERIFIED, copy.error
    assert scene.host.streams() == [(0, SIZE), (2 * MIB, SIZE - 2 * MIB)], "what stands is not sent again"
    stored = b"".join(p.read_bytes() for p in sorted(folder.glob("vmcore.part-*")))
    assert stored == scene.host.dump.read_bytes()
    assert not [f.name for f in folder.iterdir() if f.name.startswith(".")]
