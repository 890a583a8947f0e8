"""Every message that triage and evidence send is one that Slack takes, whatever a host said, and tells no address."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bot.demo.workspace import check_message
from commands.evidence.blocks import run_message as evidence_message
from commands.hosts.visits import kept_output
from commands.incident.rendering import Rendered
from commands.triage.blocks import raw_blocks
from commands.triage.blocks import run_message as triage_message
from commands.triage.runbook import shipped
from integrations.slack import blocks as b
from integrations.ssh import CommandResult
from storage import Panic, RunbookRun, RunState, StepResult

NOW = datetime(2026, 11, 23, 6, 0, tzinfo=UTC)
Message = Callable[[RunbookRun, Panic, list[StepResult]], Rendered]


def raw(run: RunbookRun, panic: Panic, steps: list[StepResult]) -> Rendered:
    return Rendered("Raw output", raw_blocks(run, steps, panic))


MESSAGES: dict[str, Message] = {"triage": triage_message, "evidence": evidence_message, "raw": raw}
ALPHABETS = ["&<>", "\N{FIRE}", '"\\', "*_~`", ":a", "&\N{FIRE}\\\n", "\x00\x1b\x85"]
text = st.one_of(
    st.text(max_size=400),
    st.sampled_from(ALPHABETS).map(lambda a: (a * 300)[:300]),
    st.lists(st.sampled_from([*'&<>"\\*`\n ', "\N{FIRE}", "x"]), max_size=400).map("".join),
)


def a_panic(host: str = "web-17") -> Panic:
    return Panic(id=9, host=host, occurred_at=NOW, title="t", signature_key="k")


def a_run(state: RunState = RunState.DONE, note: str = "") -> RunbookRun:
    return RunbookRun(id=3, panic_id=9, workflow_id="w", state=state, asked_by="U0ONCALL", asked_at=NOW, note=note,
                      attempts=2, next_try_at=NOW, give_up_at=NOW, cancelled_by="U0ONCALL")  # fmt: skip


def a_step(lines: list[str], outputs: list[str] = [], title: str = "The dump exists") -> StepResult:  # noqa: B006
    kept = [{"command": o[:200], "stdout": o, "stderr": o[:900], "outcome": "exit 0"} for o in outputs]
    return StepResult(run_id=3, name="dump", title=title, state="warn", outputs=kept,
                      facts={"lines": [["warn", line] for line in lines]})  # fmt: skip


def said(message: Rendered) -> str:
    return str(message.blocks)


def takes(message: Rendered) -> None:
    assert check_message({"text": message.text, "blocks": message.blocks}) == []
    assert b.weight(message.blocks) <= b.MESSAGE_LIMIT


@pytest.mark.parametrize("kind", MESSAGES)
@given(
    st.lists(st.tuples(st.lists(text, max_size=14), st.lists(text, max_size=12)), min_size=1, max_size=6),
    text,
    st.sampled_from(list(RunState)),
    text.map(lambda t: t[:255] or "h"),
)
@settings(
    max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], deadline=None
)
def test_slack_takes_whatever_a_host_says(
    kind: str, steps: list[tuple[list[str], list[str]]], note: str, state: RunState, host: str
) -> None:
    drawn = MESSAGES[kind](a_run(state, note), a_panic(host), [a_step(*step) for step in steps])
    takes(drawn)
    for block in drawn.blocks:
        mrkdwn = block.get("text", {}).get("text", "")
        assert "<" not in re.sub(r"<(!date\^|@U0ONCALL>)", "", mrkdwn)


@pytest.mark.parametrize("kind", MESSAGES)
@pytest.mark.parametrize("alphabet", ALPHABETS)
def test_six_steps_of_forty_long_lines_fit_and_say_what_was_cut(kind: str, alphabet: str) -> None:
    line = (alphabet * 300)[:300]
    steps = [a_step([f"{n} {line}" for n in range(40)], [line * 90] * 12, s.title) for s in shipped().step]
    message = MESSAGES[kind](a_run(RunState.FAILED, line * 4), a_panic(line[:255]), steps)
    takes(message)
    if kind != "raw":
        for step in shipped().step:
            assert step.title in said(message)
        assert message.blocks[-1]["type"] == "actions"
    if set(alphabet) != set("\x00\x1b\x85"):
        where = "manifest.json" if kind == "evidence" else "panicroom show P-9 --json"
        assert where in said(message)


def test_short_findings_stay_whole_beside_long_ones() -> None:
    steps = [a_step([f"short {n}"]) for n in range(5)] + [a_step(["&" * 300] * 40)]
    message = triage_message(a_run(), a_panic(), steps)
    takes(message)
    for n in range(5):
        assert f"short {n}" in said(message)
    assert " more; " in said(message)


def test_short_outputs_stay_whole_beside_long_ones_and_their_commands_are_named() -> None:
    outputs = ["uname says 6.1.0-56", *(f"command-{n}\n" + "&" * 20_000 + f"end-{n}" for n in range(30))]
    step = a_step([], outputs)
    for n, output in enumerate(step.outputs[1:]):
        output |= {"command": f"command-{n}", "stderr": ""}
    message = raw(a_run(), a_panic(), [step])
    takes(message)
    assert "uname says 6.1.0-56" in said(message)
    for n in range(30):
        assert f"$ command-{n}" in said(message)
        assert f"end-{n}" in said(message)


def test_more_outputs_than_blocks_are_told() -> None:
    message = raw(a_run(), a_panic(), [a_step([], ["x"] * 80)])
    takes(message)
    assert "not all is shown" in said(message)


def test_a_message_that_fits_is_left_as_it_is() -> None:
    message = raw(a_run(), a_panic(), [a_step([], ["x"] * 5)])
    assert "not all is shown" not in said(message)
    assert len(message.blocks) == 6


SECRETS = (
    "eth0 52:54:00:12:34:56 at 10.1.2.3, Serial Number: CZ1234ABCD, rd.password=geheim "
    "uuid 0f6b2a3e-9c1d-4e5f-8a7b-1c2d3e4f5a6b"
)
HIDDEN = ["52:54:00:12:34:56", "10.1.2.3", "CZ1234ABCD", "geheim", "0f6b2a3e-9c1d"]
NAMES = ["labcrash_read_cookie+0x5/0x10", "6.1.0-56-cloud-amd64", "web-17.fra.example.org"]


@pytest.mark.parametrize("kind", MESSAGES)
def test_no_address_serial_or_secret_reaches_slack_and_names_do(kind: str) -> None:
    words = f"{SECRETS} {' '.join(NAMES)}"
    message = MESSAGES[kind](a_run(RunState.FAILED, words), a_panic(NAMES[2]), [a_step([words], [words])])
    for hidden in HIDDEN:
        assert hidden not in said(message) + message.text
    for name in NAMES:
        assert name in said(message)
    assert len(set(re.findall(r"\[mac-\w+\]", said(message)))) == 1


def test_a_secret_at_a_cut_is_not_told_in_part() -> None:
    line = "x" * 37 + " db_password=geheimnis12345678901234567890\n"
    everything = (line * 3000).encode()
    for start in range(0, len(line), 7):
        output = kept_output(CommandResult(("cat", "x"), 0, everything[start:], b"", False, False, NOW, 1.0))
        step = StepResult(run_id=3, name="s", title="t", state="ok", outputs=[output])
        shown = str(raw_blocks(a_run(), [step], a_panic()))
        shown = shown[shown.index("left out") :] if "left out" in shown else shown
        assert "geheim" not in shown
        assert not re.search(r"\d{10}", shown)


def test_a_host_known_by_its_address_keeps_its_name() -> None:
    message = triage_message(a_run(), a_panic("10.1.2.3"), [a_step(["10.1.2.3 talks to 10.1.2.4"])])
    assert re.search(r"10\.1\.2\.3 talks to \[ip-\w{6}\]", said(message))


@pytest.mark.parametrize(
    ("weights", "room", "most"),
    [([1, 2, 3], 10, 3), ([10, 10], 10, 5), ([1, 9, 9], 11, 5), ([], 5, 0), ([5], -3, 0)],
)
def test_the_level(weights: list[int], room: int, most: int) -> None:
    assert b.level(weights, room) == most


@given(st.lists(st.integers(0, 5000), max_size=50), st.integers(0, 20_000))
def test_what_is_cut_to_the_level_fits(weights: list[int], room: int) -> None:
    most = b.level(weights, room)
    assert sum(min(w, most) for w in weights) <= room


@given(st.lists(text, max_size=70), st.integers(0, 3))
def test_within_limit_keeps_the_foot(texts: list[str], foot: int) -> None:
    made: list[dict[str, Any]] = [b.section(t) for t in texts] + [b.divider()] * foot
    fitting = b.within_limit(made, "cut", foot=foot)
    assert len(fitting) <= 50
    assert b.weight(fitting) <= b.MESSAGE_LIMIT
    assert fitting[len(fitting) - foot :] == made[len(made) - foot :]
    assert fitting == made or b.context("cut") in fitting
