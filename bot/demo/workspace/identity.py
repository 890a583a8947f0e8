"""Names that the workspace gives: message timestamps, ids, trigger ids, unguessable tokens."""

from __future__ import annotations

import random
import string
from collections.abc import Callable

_ID = string.ascii_uppercase + string.digits
_TOKEN = string.ascii_letters + string.digits


class Ids:
    """Makes ids. Timestamps grow strictly, also over a restart (see `seen`)."""

    def __init__(self, clock: Callable[[], float], rng: random.Random) -> None:
        self._clock = clock
        self._rng = rng
        self._last_micros = 0

    def seen(self, ts: str) -> None:
        """Never give `ts` or an earlier timestamp again."""
        self._last_micros = max(self._last_micros, int(ts.replace(".", "")))

    def ts(self) -> str:
        """A message timestamp: seconds with six digits, unique in the workspace."""
        self._last_micros = max(int(self._clock() * 1_000_000), self._last_micros + 1)
        return f"{self._last_micros // 1_000_000}.{self._last_micros % 1_000_000:06d}"

    def id(self, prefix: str) -> str:
        """An id such as `F0AB12CD34E`."""
        return f"{prefix}0{self._pick(_ID, 9)}"

    def token(self, length: int = 24) -> str:
        """Letters and digits that nobody guesses."""
        return self._pick(_TOKEN, length)

    def trigger(self) -> str:
        """A trigger id in Slack's form `number.number.hex`."""
        return f"{self._rng.randrange(10**9)}.{self._rng.randrange(10**9)}.{self._rng.getrandbits(128):032x}"

    def _pick(self, alphabet: str, length: int) -> str:
        return "".join(self._rng.choice(alphabet) for _ in range(length))
