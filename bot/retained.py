"""`panicroom retention`: the plan at a terminal, and a sweep by a process of its own."""

from __future__ import annotations

import asyncio
import getpass
import json
import sys
from typing import Any

from bot.asking import WRONG, NoMemory, complain, reading
from bot.retention import make_terminal_desk
from bot.settings import Settings
from commands.access import Access
from commands.context import Context
from commands.hosts.crashdump import size_words
from commands.hosts.visits import Visits
from commands.retention.desk import RetentionDesk, Survey
from commands.retention.items import Copy, Decision
from integrations.slack.client import SlackClient
from integrations.slack.text import clean
from integrations.ssh import SshClient
from storage import Database, RetentionRun, panic_ref

DONE, FAILED = 0, 1
_BAD = ("failed", "refused")


def retention_command(settings: Settings, *, as_json: bool, run: bool) -> int:
    """Prints what there is and what becomes of it; with `run`, what was done. Without it nothing is written."""
    try:
        with reading(settings.database.url, settings.database.shown):
            pass
    except NoMemory as error:
        complain(str(error))
        return WRONG
    return asyncio.run(_ask(settings, as_json=as_json, run=run))


async def _ask(settings: Settings, *, as_json: bool, run: bool) -> int:
    db = Database(settings.database.url)
    slack = SlackClient(settings.slack)  # never started: what is to be said is left to the bot's own printer
    context = Context(
        db=db, slack=slack, inventory=settings.make_inventory(),
        access=Access(settings.access, slack.members_of), store_dir=settings.store.dir,
    )  # fmt: skip
    visits = Visits(context, SshClient(settings.ssh))
    desk = make_terminal_desk(context, visits, settings)
    try:
        swept = await _sweep(desk) if run else None
        survey = await desk.survey(note=run)
    finally:
        await desk.close()
        await visits.close()
        db.close()
    if as_json:
        sys.stdout.write(json.dumps(survey_json(survey, swept), indent=1) + "\n")
    else:
        for line in [*_swept_lines(swept), *_lines(survey)]:
            print(clean(line))
    states = swept.result.get("states", {}) if swept is not None else {}
    return FAILED if any(states.get(state) for state in _BAD) else DONE


async def _sweep(desk: RetentionDesk) -> RetentionRun:
    """One that the bot has begun is waited for: its process works on it."""
    run, _ = await desk.begin(f"terminal:{getpass.getuser()}")
    run_id = run.id or 0
    while not await desk.work(run_id):
        found = await desk.context.db.read(lambda s: s.get_one(RetentionRun, run_id))
        if found.slot is None:
            break
        await asyncio.sleep(1.0)
    return await desk.context.db.read(lambda s: s.get_one(RetentionRun, run_id))


def survey_json(survey: Survey, swept: RetentionRun | None) -> dict[str, Any]:
    """Sizes in bytes, times in ISO 8601, growth in bytes a day, `full_in` in days."""
    usage = survey.usage
    return {
        "at": survey.at.isoformat(),
        "clock_trusted": survey.inventory.clock.trusted,
        "clock_doubt": survey.inventory.clock.why or None,
        "budget": usage.budget,
        "growth": usage.growth,
        "full_in": usage.full_in,
        **{
            place: {
                "bytes": share.size, "count": share.count, "by_host": dict(share.by_host),
                "by_ring": dict(share.by_ring), "by_signature": dict(share.by_signature),
            }
            for place, share in (("central", usage.central), ("hosts", usage.hosts))
        },
        "items": [_item_json(d) for d in survey.decisions],
        "swept": swept.result if swept is not None else None,
    }  # fmt: skip


def _item_json(decision: Decision) -> dict[str, Any]:
    item = decision.item
    made: dict[str, Any] = {
        "panic": panic_ref(item.panic_id), "host": item.host, "where": decision.where, "bytes": item.size,
        "remove": decision.remove, "rule": decision.reason.value, "why": decision.why,
    }  # fmt: skip
    return made | ({"since": item.since.isoformat()} if isinstance(item, Copy) else {"path": item.path})


def _lines(survey: Survey) -> list[str]:
    usage, goes = survey.usage, survey.goes
    budget = f" of {size_words(usage.budget)}" if usage.budget is not None else ""
    full = f", full in {usage.full_in:.0f} d" if usage.full_in else ""
    made = [
        f"central   {size_words(usage.central.size)}{budget} in {usage.central.count} copies, "
        f"{size_words(abs(usage.growth))} a day {'more' if usage.growth >= 0 else 'less'}{full}",
        f"on hosts  {size_words(usage.hosts.size)} in {usage.hosts.count} dumps",
        f"to go     {len(goes)} of {len(survey.decisions)}, {size_words(sum(d.bytes for d in goes))}",
    ]
    if not survey.inventory.clock.trusted:
        made.append(f"clock     {survey.inventory.clock.why}: nothing goes by its age")
    for d in [*goes, *(d for d in survey.decisions if not d.remove)]:
        word = "remove" if d.remove else "keep"
        where = "central" if isinstance(d.item, Copy) else "host"
        ref, size = panic_ref(d.item.panic_id), size_words(d.bytes)
        made.append(f"{word:<7} {ref:<7} {where:<7} {size:>9} {d.item.host}  {d.why}")
    return made


def _swept_lines(swept: RetentionRun | None) -> list[str]:
    if swept is None:
        return []
    states = ", ".join(f"{count} {state}" for state, count in swept.result.get("states", {}).items())
    freed = sum(swept.result.get("freed", {}).values())
    made = [f"swept     {states or 'nothing to remove'}, {size_words(freed)} freed"]
    failed = swept.result.get("failed", ())
    made += [f"          {panic_ref(i)} {place} {host}: {note}" for i, place, host, note in failed]
    return made
