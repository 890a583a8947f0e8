"""The parts of a long log worth reading: what stands around anything that may be a head."""

from __future__ import annotations

from integrations.kernel.framing import from_json_lines, looks_like_json, undress
from integrations.kernel.netconsole import without_header
from integrations.kernel.reports import candidate_lines, match_head

_BEFORE = 4 * 1024
_AFTER = 192 * 1024
_BUDGET = {3: 3 * 1024 * 1024, 2: 1024 * 1024, 1: 128 * 1024}
_SMALL = 1024 * 1024
_BLOCK = 512 * 1024


class Excerpt:
    """Fed a log in pieces that end at line ends, keeps at most about 5 MiB of it in order.

    A log of up to 1 MiB is kept whole. Of a longer one, the neighbourhood of each possible head is kept,
    as long as the budget of its weight lasts, and the boot's version and command line before it.
    """

    def __init__(self) -> None:
        self._kept: list[str] = []
        self._kept_to = 0  # offsets are of the whole log
        self._wanted_to = 0
        self._seen = 0
        self._tail = ""
        self._spent = {1: 0, 2: 0, 3: 0}
        self._whole: list[str] | None = []
        self._whole_size = 0
        self._json = False
        self._boot = ""
        self._boot_kept = ""

    def add(self, piece: str) -> None:
        """Takes the next piece of the log; it should end at a line's end."""
        if self._whole is not None:
            self._whole.append(piece)
            self._whole_size += len(piece)
            if self._whole_size <= _SMALL:
                return
            piece, self._whole = "".join(self._whole), None
            self._json = looks_like_json(piece)
        if self._json:
            piece = from_json_lines(piece) + "\n"
        at = 0
        while at < len(piece) and not self.full:
            end = piece.rfind("\n", at, at + _BLOCK) + 1 or at + _BLOCK
            self._scan(piece[at:end])
            at = end

    @property
    def full(self) -> bool:
        """Whether the budget of crashes is spent: what comes now can change nothing."""
        return self._spent[3] >= _BUDGET[3] and self._kept_to >= self._wanted_to

    def _scan(self, block: str) -> None:
        text = self._tail + block
        base, fresh = self._seen - len(self._tail), self._seen
        self._seen += len(block)
        self._keep_wanted(text, base)
        for start in candidate_lines(text):
            at = base + start
            rank = self._rank(text, start) if at >= fresh else 0
            if rank == 0 or self._spent[rank] >= _BUDGET[rank]:
                continue
            if at >= self._kept_to:
                self._note_boot(text, start)
                before = text.rfind("\n", 0, max(0, start - _BEFORE)) + 1
                self._kept_to = max(self._kept_to, base + before)
            self._wanted_to = max(self._wanted_to, at + _AFTER)
            self._spent[rank] += self._keep_wanted(text, base)
        version = text.rfind("Linux version ")
        if version >= 0:
            self._boot = self._boot_text(text, version)
        self._tail = text[text.rfind("\n", 0, max(0, len(text) - _BEFORE)) + 1 :]

    def _keep_wanted(self, text: str, base: int) -> int:
        """Keeps what is wanted of the text seen so far; returns how much that was."""
        end = min(self._wanted_to, self._seen)
        size = end - self._kept_to
        if size <= 0:
            return 0
        self._kept.append(text[self._kept_to - base : end - base])
        self._kept_to = end
        return size

    def _rank(self, text: str, start: int) -> int:
        end = text.find("\n", start)
        line = undress(without_header(text[start : min(end if end >= 0 else len(text), start + 8192)]))
        found = match_head(line)
        return found[0].rank if found else 0

    @staticmethod
    def _boot_text(text: str, version: int) -> str:
        start = text.rfind("\n", 0, version) + 1
        return "\n".join(text[start : start + 8192].split("\n")[:4]) + "\n"

    def _note_boot(self, text: str, start: int) -> None:
        version = text.rfind("Linux version ", 0, start)
        boot = self._boot_text(text, version) if version >= 0 else self._boot
        if boot and boot != self._boot_kept:
            self._kept.append(boot)
            self._boot_kept = boot

    def text(self) -> str:
        """What was kept, in order."""
        if self._whole is not None:
            return "".join(self._whole)
        return "".join(self._kept)
