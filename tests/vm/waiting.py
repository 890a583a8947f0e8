"""Waiting for what a guest does in its own time: a condition, and a deadline that names what did not come."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


class TooLate(AssertionError):
    """It did not happen before the deadline."""


async def until(
    condition: Callable[[], Awaitable[T]],
    what: str,
    *,
    seconds: float,
    every: float = 0.5,
    told: Callable[[], str] = str,
) -> T:
    """The first true answer of `condition`. Raises TooLate with `what` and whatever `told()` has to say."""
    deadline = time.monotonic() + seconds
    while True:
        answer = await condition()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise TooLate(f"not within {seconds:.0f} s: {what}\n{told()}")
        await asyncio.sleep(every)  # between two looks at a condition with a deadline
