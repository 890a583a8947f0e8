"""The router: verbs and their names, roles, hints, the audit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commands.access import Access, AccessConfig, Role
from commands.errors import BadArguments, CommandError, Impossible, NotFound, Refused
from commands.inventory import HostEntry, Inventory
from commands.router import Ask, Router
from storage import AuditEntry
from tests.incident.floor import CHANNEL, Floor
from tests.incident.texts import oops


def ask(text: str = "", **more: Any) -> Ask:
    return Ask(request_id="t", user="U0ONCALL", channel=CHANNEL, text=text, **more)


async def test_an_unknown_verb_is_hinted_and_can_do_nothing(quiet: Floor) -> None:
    answer = await quiet.say("akc P-1")
    assert "I do not know `akc`. Did you mean `/panic ack`?" in answer
    assert "For example: `/panic ack P-41`" in answer
    hostile = await quiet.say("<!channel>`*")
    assert "<!channel>" not in hostile
    assert "&lt;!channel&gt;ˋ*" in hostile
    assert await quiet.rows(AuditEntry) == []


@pytest.mark.parametrize(
    ("error", "answer"),
    [
        (NotFound("there is no panic P-9."), ":warning: there is no panic P-9."),
        (BadArguments("what?"), "For example: `/panic probe 1`"),
        (Impossible("not now", example="/panic later"), "For example: `/panic later`"),
        (BadArguments(), ":warning: I could not understand that. Try `/panic help`."),
    ],
)
async def test_a_command_error_is_an_answer_and_audited(
    quiet: Floor, error: CommandError, answer: str
) -> None:
    async def probe(_ask: Ask) -> None:
        raise error

    quiet.router.verb("probe", probe, role=Role.VIEWER, usage="", help="", example="/panic probe 1")
    assert answer in await quiet.say("probe 7")
    assert await quiet.audits() == [("U0ONCALL", "probe", "7", "failed")]


async def test_a_defect_is_told_audited_and_raised(quiet: Floor) -> None:
    async def probe(_ask: Ask) -> None:
        raise ZeroDivisionError("inside")

    said: list[str] = []

    async def respond(text: str, *_: Any, **__: Any) -> None:
        said.append(text)

    quiet.router.verb("probe", probe, role=Role.VIEWER, usage="", help="", example="")
    with pytest.raises(ZeroDivisionError):
        await quiet.router.command_line(ask("probe", respond=respond))
    assert "failed inside Panicroom (ZeroDivisionError)" in said[0]
    (entry,) = await quiet.rows(AuditEntry)
    assert (entry.outcome, entry.detail) == ("failed", "ZeroDivisionError: inside")


async def test_buttons_have_suffixes_and_old_ones_are_answered(quiet: Floor) -> None:
    await quiet.report("web-1", oops())
    said: list[str] = []

    async def respond(text: str, *_: Any, **__: Any) -> None:
        said.append(text)

    await quiet.router.click("incident.acknowledge:7", ask(value="I-1", respond=respond))
    await quiet.router.click("incident.gone", ask(respond=respond))
    assert said[0] == ":eyes: I-1 is yours."
    assert "older version" in said[1]
    await quiet.router.submit("no.such.form", ask())
    await quiet.router.use_shortcut("no.such.shortcut", ask())
    assert [a[1] for a in await quiet.audits()] == ["incident.acknowledge"]


def test_words_are_split_as_a_shell_would_with_curly_quotes() -> None:
    assert ask("a “b c” 'd e'").words() == ["a", "b c", "d e"]
    with pytest.raises(BadArguments, match="a quote is not closed in `&lt;!channel&gt; '`"):
        ask("<!channel> '").words()


@given(st.text())
def test_no_text_breaks_the_choice_of_a_verb(text: str) -> None:
    router = Router(None, None)  # type: ignore[arg-type]
    assert router.acts(text) is False
    try:
        words = ask(text).words()
    except BadArguments as error:
        words = [str(error)]
        text = ""
    assert text or all("<" not in word for word in words)


# -- who may --------------------------------------------------------------------------------------------------


class Groups:
    def __init__(self) -> None:
        self.members: dict[str, Sequence[str]] = {"S0RESP": ["U1"], "S0ADM": ["U2"]}
        self.asked = 0
        self.down = False

    async def __call__(self, group: str) -> Sequence[str]:
        self.asked += 1
        if self.down:
            raise ConnectionError("Slack is down")
        return self.members[group]


async def test_roles_by_user_by_group_and_for_everyone() -> None:
    access = Access(
        AccessConfig(everyone="nobody", viewers=("U9",), responders=("S0RESP",), admins=("S0ADM", "U3")),
        Groups(),
    )
    roles = [await access.role_of(u) for u in ("U1", "U2", "U3", "U9", "U8")]
    assert roles == [Role.RESPONDER, Role.ADMIN, Role.ADMIN, Role.VIEWER, Role.NOBODY]
    lifted = Access(AccessConfig(everyone="responder", viewers=("U9",)), Groups())
    assert await lifted.role_of("U9") is Role.RESPONDER
    with pytest.raises(Refused, match=r"needs the role \*admin\*; yours is \*responder\*"):
        await lifted.require("U9", Role.ADMIN, "/panic merge")
    await lifted.require("U9", Role.RESPONDER, "/panic ack")


async def test_groups_are_remembered_for_a_minute_and_outlive_slack() -> None:
    groups, now = Groups(), 0.0
    access = Access(AccessConfig(responders=("S0RESP",)), groups, monotonic=lambda: now)
    assert await access.role_of("U1") is Role.RESPONDER
    now = 59.0
    assert await access.role_of("U1") is Role.RESPONDER
    assert groups.asked == 1
    now, groups.down = 61.0, True
    assert await access.role_of("U1") is Role.RESPONDER  # the last known members count
    groups.down, groups.members["S0RESP"] = False, []
    now = 67.0  # after a failure it is asked again within seconds
    assert await access.role_of("U1") is Role.VIEWER


async def test_with_no_members_known_nobody_is_in_the_group() -> None:
    groups = Groups()
    groups.down = True
    access = Access(AccessConfig(everyone="nobody", admins=("S0ADM",)), groups)
    assert await access.role_of("U2") is Role.NOBODY


def test_a_host_is_known_by_name_by_short_name_and_by_the_first_pattern() -> None:
    entries = (
        HostEntry(name="web-*", ring="a"),
        HostEntry(name="web-1", ring="b"),
        HostEntry(name="*", ring="c"),
    )
    inventory = Inventory(entries)
    rings = [(inventory.find(h) or entries[0]).ring for h in ("WEB-1", "web-1.example.org", "web-2", "db-1")]
    assert rings == ["b", "b", "a", "c"]
    assert Inventory(entries[:2]).find("db-1") is None
