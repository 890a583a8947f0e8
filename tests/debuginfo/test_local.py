from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integrations.debuginfo import NoVmlinux, WrongFile, find_vmlinux, read_elf
from tests.debuginfo.elves import elf

ID = "3b43fad5034874490492495d552c0af6a5fab235"
OTHER = "00" * 20
RELEASE = "6.1.0-31-amd64"


@pytest.mark.parametrize("wide", [True, False])
@pytest.mark.parametrize("order", ["<", ">"])
def test_what_an_elf_file_tells(tmp_path: Path, wide: bool, order: str) -> None:
    path = tmp_path / "vmlinux"
    path.write_bytes(elf(ID, wide=wide, order=order))
    facts = read_elf(path)
    assert (facts.build_id, facts.debug_info, facts.machine) == (ID, True, 62)
    path.write_bytes(elf(None, debug=False, wide=wide, order=order))
    facts = read_elf(path)
    assert (facts.build_id, facts.debug_info) == (None, False)


@pytest.mark.parametrize(
    "place",
    [
        f".build-id/{ID[:2]}/{ID[2:]}.debug",
        f"boot/vmlinux-{RELEASE}",
        f"boot/vmlinux-{RELEASE}.debug",
        f"vmlinux-{RELEASE}",
        f"lib/modules/{RELEASE}/vmlinux",
        f"usr/lib/modules/{RELEASE}/vmlinux.debug",
        f"usr/lib/debug/boot/vmlinux-{RELEASE}",
    ],
)
def test_it_is_found_where_distributions_put_it(tmp_path: Path, place: str) -> None:
    path = tmp_path / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(elf(ID))
    assert find_vmlinux([tmp_path / "none", tmp_path], ID, RELEASE) == path


def test_another_build_of_the_same_release_is_refused(tmp_path: Path) -> None:
    (tmp_path / "boot").mkdir()
    (tmp_path / f"boot/vmlinux-{RELEASE}").write_bytes(elf(OTHER))
    with pytest.raises(WrongFile, match=f"has build id {OTHER}, not {ID}"):
        find_vmlinux([tmp_path], ID, RELEASE)
    assert find_vmlinux([tmp_path], None, RELEASE).name == f"vmlinux-{RELEASE}"


def test_a_vmlinux_without_debug_information_is_refused(tmp_path: Path) -> None:
    (tmp_path / f"vmlinux-{RELEASE}").write_bytes(elf(ID, debug=False))
    with pytest.raises(WrongFile, match="holds no debug information"):
        find_vmlinux([tmp_path], ID, RELEASE)


def test_the_right_one_is_found_behind_a_wrong_one(tmp_path: Path) -> None:
    (tmp_path / "boot").mkdir()
    (tmp_path / f"boot/vmlinux-{RELEASE}").write_bytes(b"not an ELF file")
    (tmp_path / f"vmlinux-{RELEASE}").write_bytes(elf(ID))
    assert find_vmlinux([tmp_path], ID, RELEASE) == tmp_path / f"vmlinux-{RELEASE}"


def test_nothing_is_there(tmp_path: Path) -> None:
    with pytest.raises(NoVmlinux, match=ID):
        find_vmlinux([tmp_path], ID, RELEASE)


@pytest.mark.parametrize("release", ["../../etc", "6.1/../../x", "", "a" * 200, "6.1\n"])
def test_a_release_is_no_path(tmp_path: Path, release: str) -> None:
    """It comes out of a dump, which anybody may have made."""
    base = tmp_path / "debug"
    base.mkdir()
    (tmp_path / "etc").write_bytes(elf(None))
    with pytest.raises(NoVmlinux):
        find_vmlinux([base], None, release)


@given(st.binary(max_size=400), st.integers(0, 300), st.binary(max_size=16))
def test_a_damaged_file_is_told_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, tail: bytes, at: int, patch: bytes
) -> None:
    whole = elf(ID)
    damaged = whole[:at] + patch + whole[at + len(patch) :] + tail
    for data in (damaged, whole[:at], tail):
        path = tmp_path_factory.getbasetemp() / "damaged"
        path.write_bytes(data)
        try:
            read_elf(path)
        except WrongFile:
            continue
