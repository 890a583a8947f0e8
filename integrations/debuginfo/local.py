"""The vmlinux of a kernel in directories laid out as /usr/lib/debug is by the distributions."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from integrations.debuginfo.elf import ElfFacts, read_elf
from integrations.debuginfo.errors import NoVmlinux, WrongFile

_BUILD_ID = re.compile(r"[0-9a-f]{16,128}")
_RELEASE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+~-]{0,99}")


def find_vmlinux(directories: Sequence[Path], build_id: str | None, release: str | None) -> Path:
    """The vmlinux with debug information of that build. Blocking.

    Without a build id (kernels before 5.9 tell none) the release decides. Raises NoVmlinux, and WrongFile when what
    lies in the place of that release is of another build.
    """
    wrong: list[str] = []
    for path in _places(directories, build_id, release):
        if not path.is_file():
            continue
        try:
            facts = read_elf(path)
        except (WrongFile, OSError) as error:
            wrong.append(f"{path}: {error}")
            continue
        why = unfit(facts, build_id)
        if why is None:
            return path
        wrong.append(f"{path} {why}")
    what = f"build id {build_id}" if build_id else f"kernel {release or '?'}"
    if wrong:
        raise WrongFile(f"{'; '.join(wrong)[:600]}.")
    raise NoVmlinux(f"no vmlinux of {what} in {', '.join(map(str, directories)) or 'no directory'}.")


def unfit(facts: ElfFacts, build_id: str | None) -> str | None:
    """Why a file is not what is looked for; None when it is."""
    if build_id is not None and facts.build_id != build_id:
        return f"has build id {facts.build_id or '(none)'}, not {build_id}"
    if not facts.debug_info:
        return "holds no debug information"
    return None


def _places(directories: Sequence[Path], build_id: str | None, release: str | None) -> Iterator[Path]:
    for base in directories:
        if build_id is not None and _BUILD_ID.fullmatch(build_id):
            yield base / ".build-id" / build_id[:2] / f"{build_id[2:]}.debug"
        if release is None or _RELEASE.fullmatch(release) is None:
            continue
        for part in ("boot", "usr/lib/debug/boot", "usr/lib/debug", "."):
            yield base / part / f"vmlinux-{release}"
            yield base / part / f"vmlinux-{release}.debug"
        for part in ("lib/modules", "usr/lib/modules", "usr/lib/debug/lib/modules"):
            yield base / part / release / "vmlinux"
            yield base / part / release / "vmlinux.debug"
