"""For the runbook's step "recent changes": what the host says is weighed with all else, and its workload compared."""

from __future__ import annotations

from commands.changes import workload
from commands.changes.found import keep_workload
from commands.changes.search import Search
from commands.hostrecord import HostRecord, Line, Run
from integrations.workload import WorkloadConfig
from storage import Panic


class RecentChanges:
    """`lines` is what the composition root puts into `Context.weigh_changes`."""

    def __init__(self, search: Search, config: WorkloadConfig) -> None:
        self.search = search
        self.config = config

    async def lines(self, panic_id: int, record: HostRecord, run: Run) -> list[Line]:
        """At most three likely changes with their reasons, or "no change found"; then the workload, or why not."""
        ctx = self.search.ctx
        panic = await ctx.db.read(lambda s: s.get_one(Panic, panic_id))
        changes = await self.search.of_host(panic_id, record)
        load = await workload.look(
            self.config, panic.host, panic.occurred_at, run=run, zone_offset=record.zone_offset
        )
        now = ctx.clock()
        await ctx.db.write(lambda s: keep_workload(s, s.get_one(Panic, panic_id), load[1], now))
        ctx.wake()
        return [*changes, load]
