"""How commands go to a host in one go: what is sent, the fixed program that reads it there, and how answers are told
apart. Pure.

An `exec` request costs a session and the start of the account's shell, on some hosts a second. So one session is
opened for a connection, and a program of ours stays in it. It is the same text for everybody: what to run comes on its
standard input, word by word, and never becomes part of a program. Each command is run by `timeout -k`, which ends
it on the host even when we are gone, and by no shell; its output comes as it is, up to a line with a number
that was drawn for this session.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from integrations.ssh.exchange import Kept, Request

KILL_AFTER = 5  # seconds from SIGTERM to SIGKILL on the host

# Lines of input: the number; then for each command its seconds, the count of its words, and the words (`=` as it is,
# `%` as printf's %b reads it). No quote, exclamation mark or line end: any login shell hands it on unchanged.
# Debian leaves the sbin directories out of an ordinary user's PATH, where sysctl and kdump-config are.
# A count of 0 runs nothing and is answered, which tells that the host is there.
PROGRAM = (
    "IFS= read -r n || exit 70; "
    'PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"; export PATH; '
    "if timeout -k 1 5 true 2>/dev/null; then w=1; else w=; fi; "
    'printf "%s ready\\n" "$n"; i=0; '
    "while IFS= read -r t && IFS= read -r c; do set --; "
    'while [ "$c" -gt 0 ]; do IFS= read -r a || exit 70; c=$((c-1)); '
    'case $a in =*) set -- "$@" "${a#=}";; '
    '*) b=$(printf "%bx" "${a#?}"); set -- "$@" "${b%x}";; esac; done; '
    "i=$((i+1)); s=0; "
    f'if [ "$#" -eq 0 ]; then :; elif [ -n "$w" ]; then timeout -k {KILL_AFTER} "$t" "$@" </dev/null; s=$?; '
    'else (exec "$@") </dev/null; s=$?; fi; '
    'printf "\\n%s.%s %s\\n" "$n" "$i" "$s"; printf "\\n%s.%s %s\\n" "$n" "$i" "$s" >&2; done'
)
COMMAND = f"sh -c '{PROGRAM}'"
PING = b"1\n0\n"


def greeting(number: str) -> bytes:
    """What the program says first. Whatever comes before it was said by the account's own start-up files."""
    return f"{number} ready\n".encode()


def encode(request: Request) -> bytes:
    """A request as the program reads it. Raises ValueError for what no command can be."""
    if not request.argv:
        raise ValueError("a command needs at least one word")
    lines = [str(max(1, math.ceil(request.timeout))).encode(), str(len(request.argv)).encode()]
    lines += [_word(word) for word in request.argv]
    return b"\n".join(lines) + b"\n"


def _word(word: str) -> bytes:
    raw = word.encode("utf-8", "surrogateescape")
    if b"\0" in raw:
        raise ValueError("no word of a command can hold a NUL")
    if b"\n" not in raw:
        return b"=" + raw
    return b"%" + raw.replace(b"\\", b"\\0134").replace(b"\n", b"\\0012")


def decode(lines: Iterator[bytes]) -> Iterator[tuple[int, tuple[str, ...]]]:
    """What `encode` wrote, line by line, as (seconds, argv): for those who stand in for a host."""
    for line in lines:
        count = int(next(lines))
        words = []
        for _ in range(count):
            raw = next(lines)
            if raw[:1] == b"%":
                raw = raw.replace(b"\\0012", b"\n").replace(b"\\0134", b"\\")
            words.append(raw[1:].decode("utf-8", "surrogateescape"))
        yield int(line), tuple(words)


def mark(number: str, position: int, status: int) -> bytes:
    """What ends the answer to the command at that position (1 is the first), on both streams."""
    return f"\n{number}.{position} {status}\n".encode()


class Answered:
    """One stream of one command's answer: fed with what comes, it keeps what is before the mark."""

    def __init__(self, number: str, position: int, kept: Kept) -> None:
        self._mark = f"\n{number}.{position} ".encode()
        self.kept = kept
        self.status: int | None = None
        self._rest = b""

    def feed(self, chunk: bytes) -> bytes | None:
        """None while the mark has not come; then what follows it, which is the next command's."""
        self._rest += chunk
        at = self._rest.find(self._mark)
        if at < 0:
            safe = len(self._rest) - len(self._mark) + 1
            if safe > 0:
                self.kept.add(self._rest[:safe])
                self._rest = self._rest[safe:]
            return None
        end = self._rest.find(b"\n", at + len(self._mark))
        if end < 0:
            return None
        self.kept.add(self._rest[:at])
        said = self._rest[at + len(self._mark) : end]
        self.status = int(said) if said.isdigit() and len(said) < 6 else 255
        rest, self._rest = self._rest[end + 1 :], b""
        return rest

    def flush(self) -> None:
        """What came before the end that was no mark, when nothing more is to come."""
        self.kept.add(self._rest)
        self._rest = b""
