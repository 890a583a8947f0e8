"""What must be true in the end, whatever happened: told from what was sent and what stands in Slack.

It knows nothing of how the bot works: reports that were answered, messages that a person sees, and the rows that link
them, read with plain SQL.
"""

from __future__ import annotations

from tests.faults.world import World


def reports_lost(world: World) -> list[str]:
    """Each accepted report is in the memory once, has one panic, and that has one thread in Slack."""
    wrong: list[str] = []
    rows = world.bot.rows(
        "SELECT r.host, r.external_id, r.state, r.panic_id, p.incident_id "
        "FROM report r LEFT JOIN panic p ON p.id = r.panic_id"
    )
    threads = world.keyed()
    for host, name in world.accepted:
        mine = [r for r in rows if (r[0], r[1]) == (host, name)]
        if len(mine) != 1:
            wrong.append(f"{host} {name}: {len(mine)} rows")
            continue
        _, _, state, panic, incident = mine[0]
        if state != "done" or panic is None or incident is None:
            wrong.append(f"{host} {name}: state {state}, panic {panic}, incident {incident}")
            continue
        parents = threads.get(f"incident:{incident}", [])
        if len(parents) != 1:
            wrong.append(f"{host} {name}: {len(parents)} parents of incident {incident}")
        elif parents[0].get("thread_ts") not in (None, parents[0]["ts"]):
            wrong.append(f"{host} {name}: its parent is a reply")
    return wrong


def doubles(world: World) -> list[str]:
    """Messages of the bot that stand more than once."""
    return [f"{key}: {len(found)} times" for key, found in world.keyed().items() if len(found) > 1]


def unsaid(world: World) -> list[str]:
    """What the bot believes to have said and no person sees, and what it gave up."""
    threads = world.keyed()
    rows = world.bot.rows("SELECT key, state, ts, file_path, error, channel FROM slack_message")
    wrong = []
    for key, state, ts, file_path, error, channel in rows:
        if channel != "C0INCIDENTS":
            continue
        if state != "sent":
            wrong.append(f"{key}: {state} ({error})")
        elif file_path is None and key not in threads:
            wrong.append(f"{key}: sent, and not there")
        elif file_path is not None and not _shared(world, str(ts).removeprefix("file:")):
            wrong.append(f"{key}: its file {ts} is in no message")
    return wrong


def _shared(world: World, file_id: str) -> bool:
    return sum(any(f["id"] == file_id for f in m.get("files") or ()) for m in world.said()) == 1


def wrong(world: World) -> list[str]:
    """Everything together."""
    return reports_lost(world) + doubles(world) + unsaid(world)
