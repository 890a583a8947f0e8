"""`/panic inventory`: how the fleet's source stands, read again, confirmed."""

from __future__ import annotations

from commands.access import Role
from commands.errors import BadArguments, Impossible, NotFound
from commands.inventory_desk import InventoryDesk
from commands.router import Ask, Router
from integrations.slack.text import code, date, escape

_SHOWN = 10


def register(router: Router, desk: InventoryDesk) -> None:
    async def inventory(ask: Ask) -> None:
        words = ask.words()
        if not words:
            await ask.reply(shown(desk))
        elif words == ["reload"]:
            await ask.reply(await _reload(desk))
        elif words[0] == "confirm" and len(words) <= 2:
            taken = await desk.confirm(words[1] if len(words) == 2 else None)
            if taken is None:
                raise NotFound("no such reload of the inventory waits. `/panic inventory` shows what does.")
            await ask.reply(
                f"Taken: {len(taken.kept.entries)} hosts; {len(taken.gone)} are not in it any more."
            )
        else:
            raise BadArguments(
                "it is `inventory`, `inventory reload` or `inventory confirm`.",
                example="/panic inventory reload",
            )

    router.verb(
        "inventory",
        inventory,
        role=Role.ADMIN,
        usage="inventory [reload | confirm [MARK]]",
        help="where the hosts are read from and how old that is; read it again",
        example="/panic inventory reload",
    )


async def _reload(desk: InventoryDesk) -> str:
    if not desk.config.has_source:
        raise Impossible(
            "the hosts are those of panicroom.toml, which is read at the start. `[inventory]` can name a source."
        )
    outcome = await desk.reload()
    said = {"taken": "Taken.", "unchanged": "Read; nothing has changed.", "failed": "It could not be read."}
    return f"{said.get(outcome, 'Read, and not taken yet.')}\n{shown(desk)}"


def shown(desk: InventoryDesk) -> str:
    """Source, age, counts, what is wrong."""
    entries, standing = desk.context.inventory.entries, desk.standing
    patterns = sum(entry.is_pattern for entry in entries)
    lines = [
        f"*Inventory* from {code(desk.config.source)}"
        + (f" and {len(desk.own)} entries of panicroom.toml" if desk.config.has_source and desk.own else ""),
        f"{len(entries) - patterns} hosts, {patterns} patterns; "
        + (
            "closed: others are quarantined"
            if desk.context.inventory.closed
            else "open: others are taken, too"
        ),
    ]
    if desk.config.has_source:
        taken = date(standing.taken_at) if standing.taken_at is not None else "never"
        looked = f"; looked at {date(standing.looked_at)}" if standing.looked_at is not None else ""
        lines.append(f"Taken: {taken}{looked}")
    bare = [entry.name for entry in entries if not entry.is_pattern and entry.address is None]
    if bare:
        lines.append(f"Without an address, reached by name: {_names(bare)}")
    if standing.error is not None and standing.failing_since is not None:
        lines.append(
            f":warning: Failing since {date(standing.failing_since)}: {escape(standing.error[:300])}"
        )
    if standing.broken:
        told = "; ".join(f"{code(name[:80])} {escape(why)}" for name, why in standing.broken[:3])
        lines.append(f":warning: {len(standing.broken)} entries are broken: {told}")
    if standing.waiting is not None:
        waiting = standing.waiting
        lines.append(
            f":warning: A reload would drop {len(waiting.gone)} of {waiting.before} hosts "
            f"({_names(list(waiting.gone))}). `/panic inventory confirm {waiting.mark}` takes it."
        )
    return "\n".join(lines)


def _names(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(code(name) for name in names[:_SHOWN]) + more
