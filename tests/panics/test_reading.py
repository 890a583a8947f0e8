"""What a person sees of `/panic list`, `show`, `help`, `whoami` and of the App Home."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from bot.demo.workspace import check_view
from commands.access import Role
from commands.fitting import cut as _cut
from commands.panics.manual import grouped
from storage import (
    Artefact,
    ChangeLink,
    Correction,
    Database,
    DumpState,
    Incident,
    IncidentState,
    Panic,
    Report,
    ReportState,
    RunbookRun,
    RunState,
    Silence,
    SlackMessage,
    StepResult,
    TimelineEntry,
)
from storage.records import show_json

HOSTILE = "<!channel> *bold* `x` <https://evil.example|click> &amp; _it_ ~s~ " * 8


async def test_an_empty_database_says_how_panics_come_in(desk: Any) -> None:
    answer = await desk.type("list")
    assert "No panic is known yet" in answer.seen
    assert "/v1/panics" in answer.seen


async def test_a_list_shows_what_when_where_and_how_it_stands(
    desk: Any, panic: Callable[..., Panic], store: Callable[..., None]
) -> None:
    incident = Incident(signature_key="k", title="t", channel="C0INCIDENTS", state=IncidentState.ACKNOWLEDGED)
    store(incident)
    parent = await desk.ctx.slack.post("C0INCIDENTS", "parent", [], key="incident:1")
    store(
        panic("web-17", incident_id=incident.id, dump_state=DumpState.COMPLETE, dump_size=312_000_000),
        panic("db-1", days=-1, kernel=None),
        SlackMessage(key=f"incident:{incident.id}", channel="C0INCIDENTS", ts=parent),
    )
    answer = await desk.type("list")
    lines = answer.seen.splitlines()
    assert lines[0] == "*2 panics*"
    link = await desk.ctx.slack.permalink("C0INCIDENTS", parent)
    assert f"*<{link}|P-1>*" in lines[1]
    assert "*web-17* · `6.1.0-31-amd64`" in lines[1]
    assert (
        "NULL pointer dereference in nvme_irq · :large_orange_circle: acknowledged · dump complete 312 MB"
        in lines[2]
    )
    assert lines[3].startswith("*P-2* · ")
    assert "kernel unknown" in lines[3]
    assert "no thread" in lines[4]
    assert answer.buttons == []


async def test_pages_are_exact_and_do_not_shift_while_panics_arrive(
    desk: Any, panic: Callable[..., Panic], store: Callable[..., None]
) -> None:
    store(*(panic(f"web-{n}", days=-n / 100) for n in range(1, 21)))
    first = await desk.type("list host:web-* since:7d")
    assert first.seen.splitlines()[0] == "*20 panics* for `host:web-* since:7d` · 1–8, page 1 of 3"
    assert first.buttons == ["Next ▶"]
    store(panic("web-99"))
    second = await desk.click(first.button("Next"))
    assert second.replaced
    assert "*20 panics*" in second.seen
    assert "9–16, page 2 of 3" in second.seen
    assert second.buttons == ["◀ Prev", "Next ▶"]
    assert "*web-9*" in second.seen
    last = await desk.click(second.button("Next"))
    assert "17–20, page 3 of 3" in last.seen
    assert last.buttons == ["◀ Prev"]
    again = await desk.click((await desk.click(last.button("Prev"))).button("Prev"))
    assert [b for b in again.blocks if b["type"] == "section"] == [
        b for b in first.blocks if b["type"] == "section"
    ]
    assert "*21 panics*" in (await desk.type("list host:web-*")).seen


async def test_nothing_found_says_which_filter_is_in_the_way(
    desk: Any, panic: Callable[..., Panic], store: Callable[..., None]
) -> None:
    store(panic("web-1"), panic("web-2", days=-30))
    answer = await desk.type("list host:web since:7d kernel:5.10*")
    assert "No panic matches `host:web since:7d kernel:5.10*`." in answer.seen
    assert "Wider: without `kernel:` 1" in answer.seen
    assert "/panic list host:web-2" not in answer.seen
    assert "`host:web-17`" in (await desk.type("list web-17")).seen
    assert "`kernel:6.1.0-31`" in (await desk.type("list 6.1.0-31")).seen
    assert "`/panic show P-41`" in (await desk.type("list P-41")).seen


async def test_bad_filters_and_old_buttons_get_a_hint_with_an_example(desk: Any) -> None:
    answer = await desk.type("list hots:web-1")
    assert answer.text.startswith(":warning: there is no filter `hots:`; did you mean `host:`?")
    assert "For example: `/panic list" in answer.text
    for value in ("", "[]", "{}", "1", '{"q":1,"o":0,"t":0,"m":0}', '{"q":"","o":-1,"t":1e99,"m":0}'):
        old = await desk.click({"action_id": "panics.page:next", "value": value})
        assert "older version" in old.text


async def test_hostile_text_does_nothing_and_fits(
    desk: Any, panic: Callable[..., Panic], store: Callable[..., None]
) -> None:
    store(*(panic(HOSTILE[:255], title=HOSTILE[:400], kernel=HOSTILE[:200], ring=HOSTILE, hardware=HOSTILE)
            for _ in range(9)))  # fmt: skip
    for answer in (
        await desk.type("list"),
        await desk.type("show P-1"),
        await desk.type(f"list {HOSTILE[:80]}"),
    ):
        assert "<!channel" not in answer.seen
        assert "<https://evil" not in answer.seen
        assert "*bold*" not in answer.seen.replace("⁠", "").replace("`", "") or "⁠*⁠bold" in answer.seen


def rich_panic(panic: Callable[..., Panic], store: Callable[..., None], now: datetime) -> None:
    incident = Incident(
        signature_key="null_deref|nvme_irq|nvme", title="t", channel="C0INCIDENTS", state=IncidentState.RESOLVED,
        resolved_by="U0ONCALL", cause="bad DIMM", fixed_by="OPS-1182", assignee="U0KERNEL", severity="critical",
    )  # fmt: skip
    store(incident)
    store(
        panic(
            "web-17", incident_id=incident.id, text="[  1.0] BUG: kernel NULL pointer dereference\n" * 400,
            crash_lines="[  1.0] BUG: kernel NULL pointer dereference\n" * 200, frames=["nvme_irq", "handle_irq"] * 9,
            taint=["OOT module"], uptime_seconds=1_051_200.0, ring="prod-2", hardware="Dell R640", owner="storage",
            down_since=now, back_at=now + timedelta(minutes=4), running_kernel="6.1.0-30-amd64",
            dump_state=DumpState.INCOMPLETE, dump_path="/var/crash/1/dump.1", dump_size=12288, reclassified=True,
        )
    )  # fmt: skip
    run = RunbookRun(panic_id=1, workflow_id="triage-1", state=RunState.DONE, asked_by="U0ONCALL")
    store(run)
    store(
        Report(external_id="e", host="web-17", state=ReportState.DONE, panic_id=1),
        *(
            StepResult(run_id=run.id or 0, position=i, name=f"s{i}", title=f"Step {i}", state="ok", summary=HOSTILE)
            for i in range(5)
        ),
        *(TimelineEntry(incident_id=1, panic_id=1, at=now + timedelta(seconds=i), verb="note", actor="U0ONCALL",
                        text=f"entry {i} " + "long <https://a.example|link> " * 20) for i in range(150)),
        Artefact(panic_id=1, kind="bundle", name="P-1-evidence.tar.gz", sha256="ab" * 32, size=4711, path="x"),
        ChangeLink(panic_id=1, key="OPS-1182", state="linked", linked_by="U0ONCALL", summary="roll 6.1.0-31",
                   status="Done", url="https://jira.example/browse/OPS-1182"),
        ChangeLink(panic_id=1, key="OPS-9", state="failed", linked_by="U0ONCALL", error="no such ticket"),
        Correction(verb="reclassify", incident_id=1, panic_id=1, actor="U0ADMIN"),
    )  # fmt: skip


async def test_show_holds_everything_and_stays_within_slacks_limits(
    desk: Any, db: Database, panic: Callable[..., Panic], store: Callable[..., None], now: datetime
) -> None:
    rich_panic(panic, store, now)
    answer = await desk.type("show p1")
    for piece in (
        "*P-1 · web-17: NULL pointer dereference", "I-1 · :white_check_mark: resolved · assigned to <@U0KERNEL>",
        "up 12 d 4 h", "ring prod-2", "Dell R640", "owner storage",
        "first panic on this host · first with this signature", "Dump: :warning: incomplete · 12 kB",
        "back at", "now running `6.1.0-30-amd64`", "Told by report", "cause: bad DIMM",
        "BUG: kernel NULL pointer dereference", "Frames: `nvme_irq` ← `handle_irq`", "*triage* done", "Step 4",
        "<https://jira.example/browse/OPS-1182|OPS-1182> · “roll 6.1.0-31” · Done", "OPS-9 · no such ticket",
        "`P-1-evidence.tar.gz`", "*reclassify* of P-1", "entry 149",
    ):  # fmt: skip
        assert piece in answer.seen, piece
    assert "entry 0 " not in answer.seen
    shown = answer.seen.count("entry ")
    assert f"*Timeline ({151 - shown}–150 of 150)*" in answer.seen
    assert f"◀ {150 - shown} earlier" in answer.seen


async def test_show_of_an_incident_turns_through_its_whole_timeline(
    desk: Any, panic: Callable[..., Panic], store: Callable[..., None], now: datetime
) -> None:
    rich_panic(panic, store, now)
    store(Incident(signature_key="k", title="other", channel="C0INCIDENTS"))
    store(
        *(panic(f"db-{n}", incident_id=1, days=n) for n in range(14)),
        *(
            TimelineEntry(incident_id=1, at=now, verb="note", text=f"entry {n} is short")
            for n in range(150, 400)
        ),
        TimelineEntry(incident_id=2, at=now, verb="note", text="of another incident"),
    )
    answer = await desk.type("show I-1")
    for piece in (
        "*I-1 · t*", ":rotating_light: critical", ":white_check_mark: resolved", "assigned to <@U0KERNEL>",
        "cause: bad DIMM", "fixed by: OPS-1182", "*15 panics on 15 hosts*", "and 5 older", "P-15 · ",
        "<https://jira.example/browse/OPS-1182|OPS-1182>", "`panicroom show P-15 --json`", "entry 399 ",
    ):  # fmt: skip
        assert piece in answer.seen, piece
    assert answer.seen.index("db-13") < answer.seen.index("db-4")
    seen = [answer.seen]
    while any("earlier" in label for label in answer.buttons):
        answer = await desk.click(answer.button("earlier"))
        assert answer.replaced
        assert "*I-1*" in answer.seen
        assert "Newest ▶" in answer.buttons
        seen.append(answer.seen)
    numbers = [int(n) for page in reversed(seen) for n in re.findall(r"entry (\d+) ", page)]
    assert numbers == list(range(400)), "each entry once, in order"
    assert len(seen) > 3
    assert "of 400)" in seen[0]
    assert "another incident" not in "".join(seen)
    newest = await desk.click(answer.button("Newest"))
    assert "entry 399 " in newest.seen
    assert "there is no incident I-9" in (await desk.type("show I-9")).text


@pytest.mark.parametrize(
    "value", ["", "[]", "{}", '{"i":0,"b":1}', '{"i":1}', '{"i":1,"b":"x"}', '{"i":1e99,"b":1}']
)
async def test_an_old_button_below_a_timeline_says_so(desk: Any, value: str) -> None:
    old = await desk.click({"action_id": "panics.timeline:earlier", "value": value})
    assert "older version" in old.text
    assert "For example: `/panic show I-7`" in old.text


async def test_an_empty_incident_can_be_shown(desk: Any, store: Callable[..., None]) -> None:
    store(Incident(signature_key="k", title="<!here>", channel="C0INCIDENTS", state=IncidentState.MERGED))
    seen = (await desk.type("show I-1")).seen
    assert "Nothing stands in the timeline yet." in seen
    assert "<!here" not in seen


async def test_similar_panics_are_links_to_their_threads_where_those_are_known(
    desk: Any, panic: Callable[..., Panic], store: Callable[..., None]
) -> None:
    store(*(Incident(signature_key="k", title="t", channel="C0INCIDENTS") for _ in range(2)))
    address = "https://slack.example/archives/C0INCIDENTS/p1?thread_ts=1.2&cid=C0"
    store(
        SlackMessage(key="incident:1", incident_id=1, channel="C0INCIDENTS", ts="1.2", permalink=address),
        SlackMessage(key="incident:2", incident_id=2, channel="C0INCIDENTS"),
        panic("web-1", days=-3, incident_id=1),
        panic("web-2", days=-2, incident_id=2),
        panic("web-3", days=-1),
        panic("web-4"),
    )
    seen = (await desk.type("show P-4")).seen
    assert f"similar: P-3, P-2, <{address.replace('&', '&amp;')}|P-1>" in seen


async def test_an_imported_panic_without_a_thread_is_listed_shown_and_counted(
    desk: Any, panic: Callable[..., Panic], store: Callable[..., None]
) -> None:
    store(panic("web-1", days=-400, incident_id=None), panic("web-1"))
    listed = (await desk.type("list state:none")).seen
    assert "*2 panics*" in listed
    assert listed.count("no thread") == 2
    shown = await desk.type("show P-1")
    assert "no thread: imported, or come in a moment ago" in shown.seen
    assert "first panic on this host · first of 2 with this signature" in shown.seen
    assert "similar: P-2" in shown.seen
    assert "first panic on this host in 30 d, 2nd in all" in (await desk.type("show P-2")).seen
    await desk.home("U0VIEWER")
    assert "2 panics known, 1 in the last 7 d" in visible(await published(desk, "U0VIEWER"))


async def test_the_fallback_text_of_an_answer_mentions_nobody(
    desk: Any, panic: Callable[..., Panic], store: Callable[..., None]
) -> None:
    store(
        Incident(signature_key="k", title="<!channel> died", channel="C0INCIDENTS"),
        panic("<!here>", title="<!channel> died", incident_id=1),
    )
    for line in ("show P-1", "show I-1", "list"):
        assert "<!" not in (await desk.type(line)).text, line


async def test_show_keeps_the_head_of_a_long_crash_and_its_end(
    desk: Any, panic: Callable[..., Panic], store: Callable[..., None]
) -> None:
    lines = [f"[  9.{n:03}] <{'x' * (n % 90)}> line {n}" for n in range(200)]
    store(
        panic(crash_lines="\n".join(lines)),
        panic(crash_lines="a\nb"),
        panic(crash_lines="y" * 9000 + "\nlast"),
    )
    seen = (await desk.type("show P-1")).seen
    assert "line 0\n" in seen
    assert "line 199" in seen
    assert "lines more …" in seen
    assert "```\na\nb\n```" in (await desk.type("show P-2")).seen
    assert "last" in (await desk.type("show P-3")).seen


async def test_show_as_json_is_json(
    desk: Any, db: Database, panic: Callable[..., Panic], store: Callable[..., None], now: datetime
) -> None:
    rich_panic(panic, store, now)
    told = json.loads(json.dumps(db.read_now(lambda s: show_json(s, 1))))
    assert told["id"] == "P-1"
    assert told["panic"]["dump_state"] == "incomplete"
    assert told["panic"]["occurred_at"] == now.isoformat()
    assert len(told["timeline"]) == told["timeline_total"] == 150
    assert told["runs"][0]["steps"][4]["title"] == "Step 4"
    assert told["recurrence"]["line"] == "first panic on this host · first with this signature"
    assert db.read_now(lambda s: show_json(s, 2)) is None


async def test_show_of_what_is_not_there(desk: Any) -> None:
    assert "there is no panic P-7" in (await desk.type("show P-7")).text
    assert "For example: `/panic show P-41`" in (await desk.type("show")).text
    assert "no panic id" in (await desk.type("show <!here>")).text


async def test_show_in_a_thread_needs_no_id(
    desk: Any, panic: Callable[..., Panic], store: Callable[..., None]
) -> None:
    incident = Incident(signature_key="k", title="t", channel="C0INCIDENTS")
    store(incident)
    store(
        panic("web-3", incident_id=incident.id),
        SlackMessage(key="incident:1", incident_id=1, channel="C0INCIDENTS", ts="17.5"),
    )
    assert "P-1 · web-3" in (await desk.type("show", thread_ts="17.5")).seen


async def test_a_list_does_not_wait_for_a_slack_that_is_down(
    desk: Any, panic: Callable[..., Panic], store: Callable[..., None]
) -> None:
    incident = Incident(signature_key="k", title="t", channel="C0GONE")
    store(incident)
    store(panic(incident_id=1), SlackMessage(key="incident:1", incident_id=1, channel="C0GONE", ts="17.5"))
    assert "*P-1*" in (await desk.type("list")).seen


async def test_help_lists_every_verb_once_and_marks_what_is_beyond_the_role(desk: Any) -> None:
    async def nothing(ask: Any) -> None: ...

    desk.router.verb(
        "triage",
        nothing,
        role=Role.RESPONDER,
        usage="triage P-41",
        help="looks there",
        example="/panic triage P-41",
    )
    desk.router.verb("zap", nothing, role=Role.ADMIN, usage="zap", help="zaps it", example="/panic zap")
    answer = await desk.type("help")
    for verb in desk.router.verbs.values():
        assert answer.seen.count(verb.help) == 1
    assert "`/panic triage P-41` looks there _(responder)_" in answer.seen
    assert "_(responder)_" not in (await desk.type("help", user="U0ONCALL")).seen
    names = [v.name for _, verbs in grouped(desk.router.verbs.values()) for v in verbs]
    assert sorted(names) == sorted(desk.router.verbs)
    assert names[0] == "triage"
    assert names[-1] == "whoami"


async def test_help_knows_the_command_of_the_workspace(desk: Any) -> None:
    desk.router.command = "/crash"
    assert "For example: `/crash help list`" in (await desk.type("help help")).seen
    assert "/panic" not in (await desk.type("help")).seen
    assert "/panic" not in (await desk.type("help show")).seen


async def test_help_for_one_verb(desk: Any) -> None:
    answer = await desk.type("help list")
    assert "`kernel:6.1.*`" in answer.seen
    assert "Also: `ls`" in answer.seen
    assert "Did you mean `show`" in (await desk.type("help shwo")).text
    assert "For example: `/panic help show`" in (await desk.type("help shwo")).text


async def test_whoami(desk: Any) -> None:
    assert "Your role is *viewer*." in (await desk.type("whoami")).seen
    assert "Your role is *admin*." in (await desk.type("whoami", user="U0ADMIN")).seen


@pytest.mark.parametrize("limit", range(2, 60))
def test_cutting_leaves_no_half_link_entity_or_code(limit: int) -> None:
    cut = _cut("a &amp; <https://a.example|b> `code` &lt; <!date^1^x|y> tail " * 3, limit)
    assert len(cut) <= limit + 1
    assert cut.count("<") == cut.count(">")
    assert cut.count("`") % 2 == 0
    assert "&" not in cut.replace("&amp;", "").replace("&lt;", "")


# -- App Home -----------------------------------------------------------------------------------------


async def test_home_on_a_quiet_day(desk: Any) -> None:
    await desk.home("U0VIEWER")
    seen = visible(await published(desk, "U0VIEWER"))
    assert "Nothing is open." in seen
    assert "no report is held back" in seen
    assert "/panic list since:7d" in seen
    assert "need the role *responder*" in seen


async def test_home_shows_what_is_open_mine_and_needs_somebody(
    desk: Any, panic: Callable[..., Panic], store: Callable[..., None], now: datetime
) -> None:
    mine = Incident(signature_key="k", title="NULL pointer <!channel>", channel="C0INCIDENTS", assignee="U0ONCALL",
                    severity="critical", opened_at=now - timedelta(hours=2))  # fmt: skip
    store(mine)
    parent = await desk.ctx.slack.post("C0INCIDENTS", "parent", [], key="incident:1")
    others = [
        Incident(
            signature_key=f"k{i}",
            title=f"bug {i}",
            channel="C0INCIDENTS",
            last_panic_at=now - timedelta(days=i + 1),
        )
        for i in range(12)
    ]
    store(
        *others, Incident(signature_key="z", title="old", channel="C0INCIDENTS", state=IncidentState.RESOLVED)
    )
    store(
        *(panic(incident_id=1, host=h) for h in ("web-17", "db-3", "web-17", "web-<1>", "web-2")),
        SlackMessage(key="incident:1", incident_id=1, channel="C0INCIDENTS", ts=parent),
        Report(external_id="q", host="strange-1", state=ReportState.QUARANTINED, received_at=now),
        ChangeLink(panic_id=1, key="OPS-9", linked_by="U0ONCALL", error="no answer", attempts=3, next_at=now),
        Silence(pattern="web-*", created_by="U0ADMIN", until=now + timedelta(hours=1), reason="reboots"),
        Silence(pattern="gone-*", created_by="U0ADMIN", until=now - timedelta(hours=1)),
    )  # fmt: skip
    await desk.home("U0ONCALL")
    view = await published(desk, "U0ONCALL")
    assert check_view(view) == []
    seen = visible(view)
    link = await desk.ctx.slack.permalink("C0INCIDENTS", parent)
    assert seen.count(f"*<{link}|I-1>* NULL pointer") == 2, "once as open, once as mine"
    assert "<!channel>" not in seen
    assert (
        ":rotating_light: critical · `db-3`, `web-17`, `web-2` and 1 more · 5 panics · open for 2 h" in seen
    )
    assert "<@U0ONCALL> · runbook not done" in seen
    assert "the newest 8 of 13" in seen
    assert "*Open incidents* (the newest 8 of 13;" in seen
    assert "*Mine* (1)" in seen
    assert "1 report is held back" in seen
    assert "R-1 from `strange-1`" in seen
    assert "`/panic quarantine accept R-1`" in seen
    assert "OPS-9 on P-1: no answer; next try" in seen
    assert "`web-*` until" in seen
    assert "gone-" not in seen
    assert "old" not in seen.split("Mine")[0].splitlines()


async def test_home_shows_reports_that_could_not_be_read_and_counts_what_is_beyond(
    desk: Any, panic: Callable[..., Panic], store: Callable[..., None], now: datetime
) -> None:
    store(
        *(Incident(signature_key=f"k{i}", title=HOSTILE[:400], channel="C0INCIDENTS", assignee="U0ONCALL")
          for i in range(10)),
        *(
            Report(external_id=f"p{i}", host=HOSTILE[:200], state=ReportState.PARKED, received_at=now,
                   error="KeyError: 'x'\n" + HOSTILE)
            for i in range(11)
        ),
        *(Report(external_id=f"q{i}", host=HOSTILE[:200], state=ReportState.QUARANTINED, received_at=now)
          for i in range(9)),
        panic("web-1"),
    )  # fmt: skip
    store(
        *(
            ChangeLink(panic_id=1, key=f"OPS-{i}", linked_by="U0ONCALL", error=HOSTILE, attempts=3, next_at=now)
            for i in range(1, 11)
        ),
        *(Silence(pattern="web-*", created_by="U0ADMIN", until=now + timedelta(hours=1), reason=HOSTILE)
          for _ in range(9)),
    )  # fmt: skip
    await desk.home("U0ONCALL")
    view = await published(desk, "U0ONCALL")
    assert check_view(view) == []
    assert len(view["blocks"]) < 100
    seen = visible(view)
    assert "*Mine* (the newest 8 of 10)" in seen
    assert ":warning: 11 reports could not be read" in seen
    assert "R-1 from `<" not in seen
    assert ": KeyError: 'x'" in seen
    assert (
        "and 3 more\nNothing is lost. Once it is mended, an admin can try again: `/panic quarantine accept R-1`"
        in seen
    )
    assert "9 reports are held back" in seen
    assert "and 2 more" in seen.split("Change tickets")[1]
    assert "<!channel" not in seen
    for block in view["blocks"]:
        text = block.get("text", {}).get("text", "")
        assert text.count("<") == text.count(">"), "a section that is full ends at a line, not in a date"


async def published(desk: Any, user: str) -> dict[str, Any]:
    calls = [c for c in desk.workspace.workspace.calls if c["method"] == "views.publish"]
    assert calls
    view = calls[-1]["arguments"]["view"]
    return dict(json.loads(view) if isinstance(view, str) else view)


def visible(view: dict[str, Any]) -> str:
    texts = []
    for block in view["blocks"]:
        if "text" in block:
            texts.append(block["text"]["text"])
        texts += [e["text"] for e in block.get("elements", []) if isinstance(e.get("text"), str)]
    return "\n".join(texts)
