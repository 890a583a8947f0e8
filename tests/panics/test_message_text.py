"""Whatever a Slack message holds is read, and nothing that it holds makes the reading fail."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from commands.inventory import HostEntry, Inventory
from commands.panics.card import refs_in
from commands.panics.hosts_told import HostTold, host_told
from commands.panics.message_text import LIMIT, message_text
from commands.panics.report_forms import check_report, filled, message_of
from commands.router import Ask
from integrations.kernel import read_crash
from storage import utc_now
from tests.incident.texts import oops


def read(message: dict[str, Any]) -> str:
    return message_text(message, lambda text: read_crash(text).crash).text


def rich(*elements: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"type": "rich_text", "elements": list(elements)}]


def test_a_pasted_text_is_read_once_though_slack_sends_it_twice() -> None:
    words = [
        {"type": "text", "text": "look: "},
        {"type": "link", "url": "http://web-17.net", "text": "web-17"},
    ]
    pasted = {"type": "rich_text_preformatted", "elements": [{"type": "text", "text": oops()}]}
    blocks = rich({"type": "rich_text_section", "elements": words}, pasted)
    escaped = oops().replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    found = read({"text": f"look: <http://web-17.net|web-17>\n```{escaped}```", "blocks": blocks})
    assert found.splitlines()[0] == "look: web-17"
    assert found.count("Oops: 0000") == 1
    assert " <TASK>" in found
    assert read_crash(found).signature.key == read_crash(oops()).signature.key


def test_fences_quotes_entities_and_links_are_taken_off() -> None:
    quoted = "\n".join(
        f"&gt; {line}" for line in oops().replace("<", "&lt;").replace(">", "&gt;").splitlines()
    )
    assert read({"text": quoted}) == oops()
    assert read({"text": f"```\n{oops()}```"}) == oops()
    assert read({"text": "<mailto:a@b.example|a@b.example> <#C1|kernel> <!date^1^{date}|then>"}).startswith(
        "a@b"
    )


def test_what_other_bots_post_is_read_from_blocks_attachments_and_previews() -> None:
    section = {"type": "section", "text": {"type": "mrkdwn", "text": "*web-17* is down"}}
    boxes = [{"title": "console", "fields": [{"title": "instance", "value": "web-17:9100"}], "text": oops()}]
    files = [
        {"name": "dmesg.txt", "preview": "BUG: x", "preview_is_truncated": True},
        {"name": "core.png"},
        {"name": "all.txt", "preview": "BUG: y", "preview_is_truncated": False},
    ]
    message = {"text": "", "blocks": [section], "attachments": boxes, "files": files}
    found = message_text(message, lambda text: read_crash(text).crash)
    assert found.text.startswith("*web-17* is down\nconsole\n[")
    assert "instance: web-17:9100" in found.text
    assert found.text.endswith("BUG: x\nBUG: y")
    assert found.files == ("dmesg.txt", "core.png")


def test_where_only_the_plain_text_holds_the_crash_that_is_taken() -> None:
    blocks = [{"type": "section", "text": {"type": "mrkdwn", "text": "a host died"}}]
    assert read_crash(read({"text": oops(), "blocks": blocks})).crash


def test_a_very_long_text_keeps_its_end() -> None:
    found = message_text({"text": "x" * LIMIT + oops()}, lambda _text: False)
    assert len(found.text) == LIMIT
    assert found.cut
    assert found.text.endswith("Fatal exception")


def test_a_deep_message_is_cut_off_and_not_followed() -> None:
    deep: dict[str, Any] = {"type": "text", "text": "bottom"}
    for _ in range(5000):
        deep = {"type": "rich_text_section", "elements": [deep]}
    assert read({"blocks": rich(deep)}) == ""


INVENTORY = Inventory((HostEntry(name="web-17"), HostEntry(name="db-1"), HostEntry(name="cache-*")))


def test_which_host_a_text_is_of() -> None:
    logged = "\n".join(
        f"Nov 23 09:14:0{n} api-9 kernel: {line}" for n, line in enumerate(oops().splitlines()[:9])
    )
    assert host_told(logged, INVENTORY) == HostTold("api-9", True)
    assert host_told("2026-11-23T09:14:01+01:00 api-9.example.org kernel: BUG: x", INVENTORY) == HostTold(
        "api-9.example.org", True
    )
    assert host_told("WEB-17 is gone\n" + oops(), INVENTORY) == HostTold("web-17", True)
    assert host_told("web-17.example.org:9100 is gone", INVENTORY) == HostTold("web-17.example.org", True)
    two = host_told("web-17 or db-1?", INVENTORY)
    assert two == HostTold("web-17", False)
    assert host_told("host: api-3 died", INVENTORY) == HostTold("api-3", False)
    assert host_told(oops(), INVENTORY) is None


def test_ids_in_a_sentence() -> None:
    assert refs_in("P-41, p-041 and I-7? not XP-3, P-0 or P-4-2") == ["P-41", "I-7"]
    assert refs_in("p41 i7") == ["P-41", "I-7"]
    assert refs_in("nothing here") == []


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=12) | st.just("Nov  3 09:14:01 a kernel: BUG: x"),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(
        st.sampled_from(
            ["type", "text", "elements", "blocks", "attachments", "files", "fields", "title", "value", "preview",
             "name",
             "url", "fallback", "message", "message_blocks", "preview_is_truncated", "selected_option",
             "selected_options", "selected_date_time"]
        ),
        inner | st.sampled_from(["rich_text", "rich_text_section", "text", "link", "section", "mrkdwn", "markdown"]),
        max_size=6,
    ),
    max_leaves=40,
)  # fmt: skip


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(message=st.dictionaries(st.sampled_from(["text", "blocks", "attachments", "files"]), JSON, max_size=4))
def test_no_message_makes_reading_it_fail(message: dict[str, Any]) -> None:
    found = message_text(message, lambda text: read_crash(text).crash)
    assert len(found.text) <= LIMIT
    assert "\x00" not in found.text
    host_told(found.text, INVENTORY)
    refs_in(found.text)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    values=st.dictionaries(
        st.sampled_from(["host", "when", "kernel", "ring", "text", "anyway"]),
        st.dictionaries(st.sampled_from(["value", "panics.host"]), JSON, max_size=2),
        max_size=6,
    ),
    metadata=st.text(max_size=20)
    | st.sampled_from(['{"message":["C1","1.2"]}', '{"message":[1,2]}', "[]", "[" * 2999]),
)
def test_no_form_makes_reading_it_fail(values: dict[str, Any], metadata: str) -> None:
    ask = Ask(request_id="r", user="U", channel="C", values=values, view={"private_metadata": metadata})
    message_of(ask)
    filled(ask)
    wrong = check_report(ask, utc_now())
    assert set(wrong) <= {"host", "when", "kernel", "text"}
