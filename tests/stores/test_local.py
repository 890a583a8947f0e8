from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integrations.stores import LocalStore, NotKept, StoreFailed, UnsafeName


def test_what_is_put_is_there_whole_private_and_verified(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "store")
    kept = store.put(("P-41", "bundle.tar.gz"), [b"one", b"two"])
    assert (kept.path, kept.size) == ("P-41/bundle.tar.gz", 6)
    assert store.read(kept.path) == b"onetwo"
    assert store.verify(kept.path, kept.sha256)
    assert stat.S_IMODE(store.path(kept.path).stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "store" / "P-41").stat().st_mode) == 0o700
    store.path(kept.path).write_bytes(b"onetwo!")
    assert not store.verify(kept.path, kept.sha256)


def test_a_write_that_fails_half_way_leaves_the_old_one(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.put(("a",), b"old")

    def broken() -> Iterator[bytes]:
        yield b"new"
        raise OSError(28, "No space left on device")

    with pytest.raises(StoreFailed, match="No space left") as failed:
        store.put(("a",), broken())
    assert not failed.value.permanent
    assert store.read("a") == b"old"
    assert os.listdir(tmp_path) == ["a"]


def test_what_a_killed_process_left_is_cleared(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.put(("P-1", "a"), b"x")
    (tmp_path / "P-1" / ".unfinished-00").write_bytes(b"half")
    assert store.clear_unfinished() == 1
    assert os.listdir(tmp_path / "P-1") == ["a"]


@pytest.mark.parametrize(
    "name", ["..", "../a", "/etc/passwd", "", ".hidden", "a/../../b", "a//b", "a\x00", "a b", "-a"]
)
def test_a_name_that_leads_out_is_refused(name: str, tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "store")
    with pytest.raises(UnsafeName):
        store.put((name,), b"x")
    with pytest.raises(UnsafeName):
        store.path(name)
    assert not (tmp_path / "store").exists()


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s")
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "link").symlink_to(tmp_path / "secret")
    with pytest.raises(NotKept):
        LocalStore(tmp_path / "store").read("link")


@given(st.text(max_size=40))
def test_any_name_is_inside_or_refused(name: str) -> None:
    root = Path("/nowhere/store")
    try:
        LocalStore(root).path(name)
    except UnsafeName:
        return
    except NotKept:
        assert (root / name).resolve().is_relative_to(root)
