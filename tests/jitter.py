"""A pytest plugin that makes tasks and threads late at random, to flush out tests and code that rely on who is first.

`make test JITTER=7` runs the suite with it, `JITTER=7 pytest -p tests.jitter tests/hosts` a room of it; the number is
the seed, and six that follow each other give every test each kind of weather: a quick background (whatever goes on
beside the test has gone as far as it can each time the test looks), a late one (nothing is done yet), some tasks late,
threads late, and mixtures. Only the steps of tasks are put off, never the callbacks of a transport or a timer: a task
may always be late, whereas asyncio promises those in order. A test that fails with it fails once in a while without
it, on a busy machine or on a quick one.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import time
import zlib
from collections.abc import Callable
from contextvars import Context
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import pytest

VARIABLE = "JITTER"
_LONGEST = 0.06  # s that one step or thread is late; a test takes some hundred steps
_OFTEN = 0.3  # of a late task's steps are late
_QUIET = 0.004  # s; twice as long without a step, and the background has gone as far as it can
_PATIENCE = 0.25  # s until a background that never rests (it polls) is taken for quiet
_BUDGET = 12.0  # s a loop is delayed altogether: a test is given two minutes


@dataclass(frozen=True)
class Weather:
    """Who is late in one test."""

    name: str
    background_first: bool = False  # the loop's main task takes a step only once all others rest
    late: float = 0.0  # of all other tasks
    before: float = 0.0  # of the calls in threads, before they begin
    after: float = 0.0  # of the calls in threads, between their end and the answer
    switch: float = 0.005  # s, sys.setswitchinterval


CALM = Weather("calm")
WEATHERS = (
    Weather("a quick background", background_first=True),
    Weather("a late background", late=1.0, before=0.2),
    Weather("some tasks late", late=0.25),
    Weather("threads begin late", before=0.4, switch=1e-6),
    Weather("threads answer late", after=0.4, switch=0.05),
    Weather("a quick background with slow threads", background_first=True, late=0.2, before=0.2, after=0.2),
)


class _Sky:
    """The weather in this process, and its dice."""

    def __init__(self) -> None:
        self.weather = CALM
        self.dice = random.Random()

    def change(self, seed: str, what: str) -> None:
        """Seeds that follow each other give one test each weather in turn."""
        self.dice = random.Random(f"{seed} {what}")
        self.weather = WEATHERS[(zlib.crc32(what.encode()) + int(seed)) % len(WEATHERS)]
        sys.setswitchinterval(self.weather.switch)

    def delay(self, often: float) -> float:
        """Seconds: 0 mostly, else short mostly."""
        return self.dice.random() ** 2 * _LONGEST if self.dice.random() < often else 0.0


_sky = _Sky()


class JitteryLoop(asyncio.SelectorEventLoop):
    """An event loop some of whose tasks are late."""

    def __init__(self) -> None:
        super().__init__()
        self._main: asyncio.Task[Any] | None = None
        self._late: WeakKeyDictionary[asyncio.Task[Any], bool] = WeakKeyDictionary()
        self._newborn = False  # whether the task that is being made, and asks for its first step, is late
        self._steps = 0  # of all tasks but the main one
        self._threads = 0  # calls in threads that those wait for
        self._spent = 0.0

    def create_task(
        self, coro: Any, *, name: Any = None, context: Context | None = None
    ) -> asyncio.Task[Any]:
        main = not self.is_running()
        self._newborn = not main and _sky.dice.random() < _sky.weather.late
        task = super().create_task(coro, name=name, context=context)
        self._late[task] = self._newborn
        if main:
            self._main, self._spent = task, 0.0
        return task

    def call_soon(
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        task = getattr(callback, "__self__", None)
        if not isinstance(task, asyncio.Task):
            return super().call_soon(callback, *args, context=context)
        if task is self._main:
            if _sky.weather.background_first and self._spent < _BUDGET:
                return self.call_later(_QUIET, self._when_quiet, -1, self.time(), callback, args, context)
            return super().call_soon(callback, *args, context=context)
        self._steps += 1
        delay = _sky.delay(_OFTEN) if self._late.get(task, self._newborn) and self._spent < _BUDGET else 0.0
        if not delay:
            return super().call_soon(callback, *args, context=context)
        self._spent += delay
        return self.call_later(delay, callback, *args, context=context)

    def _when_quiet(
        self, steps: int, since: float, callback: Any, args: Any, context: Context | None
    ) -> None:
        """The main task's step, once the others took none since the last look."""
        waited = self.time() - since
        if (steps == self._steps and not self._threads) or waited > _PATIENCE:
            self._spent += waited
            super().call_soon(callback, *args, context=context)
        else:
            self.call_later(_QUIET, self._when_quiet, self._steps, since, callback, args, context)

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        before, after = _sky.delay(_sky.weather.before), _sky.delay(_sky.weather.after)

        if not before and not after:
            done = super().run_in_executor(executor, func, *args)
        else:
            done = super().run_in_executor(executor, _late, before, after, func, args)
        if asyncio.current_task(self) is not self._main:
            self._threads += 1
            done.add_done_callback(self._answered)
        return done

    def _answered(self, _done: asyncio.Future[Any]) -> None:
        self._threads -= 1


def _late(before: float, after: float, func: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    time.sleep(before)
    try:
        return func(*args)
    finally:
        time.sleep(after)


class _Policy(asyncio.DefaultEventLoopPolicy):
    def new_event_loop(self) -> asyncio.AbstractEventLoop:
        return JitteryLoop()


def install(seed: str, what: str = "") -> None:
    """Every loop made from now on is jittery; for processes a test starts, too (`tests.forks`)."""
    _sky.change(seed, what)
    asyncio.set_event_loop_policy(_Policy())


def pytest_configure() -> None:
    install(os.environ.setdefault(VARIABLE, "0"))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    _sky.change(os.environ[VARIABLE], item.nodeid)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    report = yield
    if report.failed:
        report.sections.append(("jitter", f"{VARIABLE}={os.environ[VARIABLE]}: {_sky.weather.name}"))
    return report
