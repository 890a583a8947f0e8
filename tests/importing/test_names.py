"""Whatever directories are called, nothing breaks, and nothing is imported twice."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlmodel import select

from bot.crash_archive import FoundCrash, find_crashes
from bot.importing import host_of
from commands.inventory import HostEntry, Inventory
from integrations.inbound import host_name
from storage import Panic
from tests.importing.conftest import Archive

CRASH = "[   12.345678] Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000100\n"
_stamps = st.sampled_from(
    ["202611230532", "2026-11-23-05:32:10", "2026-11-23-05-32", "2026-11-23-05:32", "000000000000", "2026"]
)
_words = st.text(
    st.characters(blacklist_characters="/\0", max_codepoint=0xFFFF, blacklist_categories=["Cs"]), max_size=20
)
_names = st.one_of(
    _words,
    st.builds("{}-{}".format, _words, _stamps),
    st.builds("{}-{}".format, st.from_regex(r"[a-z0-9][a-z0-9.-]{0,20}", fullmatch=True), _stamps),
    st.binary(min_size=1, max_size=12).map(os.fsdecode),
).filter(
    lambda name: (
        name not in ("", ".", "..") and "/" not in name and "\0" not in name and len(os.fsencode(name)) < 200
    )
)
_files = st.sampled_from(
    ["dmesg", "dmesg.202611230532", "vmcore-dmesg.txt", "vmcore", "dmesg-efi-17", "dmesg.txt"]
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.lists(_names, min_size=1, max_size=3), _files), min_size=1, max_size=4))
@example([(["..."], "dmesg"), (["-202611230532"], "dmesg"), (["a\x85b-202611230532"], "vmcore")])
def test_any_names(tree: list[tuple[list[str], str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        archive = Archive(Path(folder))
        try:
            for number, (names, file) in enumerate(tree):
                path = archive.root.joinpath(*names)
                if not any(p.is_file() for p in (path, *path.parents)) and not (path / file).exists():
                    path.mkdir(parents=True, exist_ok=True)
                    (path / file).write_text(CRASH.replace("12", str(12 + number)))
            first = archive.bring(host="given")
            assert first.failed == []
            again = archive.bring(host="given")
            assert set(again.counts) <= {"known"}
            assert again.counts.total() == first.counts.total()
            assert again.passed == first.passed
            for host in archive.db.read_now(lambda s: s.exec(select(Panic.host)).all()):
                assert host_name(host) == host
        finally:
            archive.db.close()


@given(_names, st.lists(_names, max_size=3).map(tuple))
def test_a_host_is_a_host_name_or_what_was_given(directory: str, above: tuple[str, ...]) -> None:
    found = FoundCrash(Path(directory), "debian", directory, above, ())
    inventory = Inventory((HostEntry(name="web-*"),))
    for given_name in (None, "given"):
        host = host_of(found, given_name, inventory)
        assert host is None or host_name(host) == host
    assert host_of(found, "given", inventory) is not None


@given(
    st.from_regex(r"[a-z][a-z0-9]{0,8}(-[a-z0-9]{1,8})?(\.[a-z]{2,5})?", fullmatch=True).filter(
        lambda n: not n.startswith("localhost")
    )
)
def test_a_prefixed_directory_is_its_hosts(name: str) -> None:
    for stamp in ("202611230532", "2026-11-23-05:32:10", "2026-11-23-05-32", "2026-11-23-05:32"):
        found = FoundCrash(Path("x"), "rhel", f"{name}-{stamp}", ("elsewhere",), ())
        assert host_of(found, "given", Inventory()) == name


def test_the_order_is_that_of_the_names(tmp_path: Path) -> None:
    for name in ("b-202611230532", "a-202611230532", "c-202611230532"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "dmesg").write_text(CRASH)
    assert [item.path.name[0] for item in find_crashes(tmp_path)] == ["a", "b", "c"]
