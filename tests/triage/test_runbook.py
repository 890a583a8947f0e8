"""The runbook as data: the shipped one is documentation, a team's own steps are checked, read, and shown before."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path

import asyncssh
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlmodel import Session, select

from commands.hosts import runs
from commands.hosts.patience import Patience
from commands.inventory import HostEntry
from commands.router import Router
from commands.triage.answers import Answer
from commands.triage.central import told_central
from commands.triage.checks import CHECKS, problem_of_expectation, read_check
from commands.triage.preview import is_dry_run
from commands.triage.runbook import READERS, RunbookError, TriageConfig, doubts, extend, load_runbook, shipped
from commands.triage.slack import register
from commands.triage.workflow import TriageDesk
from integrations.slack import blocks
from storage import Artefact, Panic, RunState
from storage.copies import CopyState, DumpCopy
from tests.hosts.world import World, close_world, make_world
from tests.ssh.conftest import Stage, stage
from tests.triage.test_runs import any_host, names

__all__ = ["stage"]

RAID = """
[[step]]
name = "raid"
title = "RAID is whole"
asks = "Has an array lost a disk?"
after = "recent"
[[step.command]]
key = "mdstat"
title = "md arrays"
argv = ["cat", "/proc/mdstat"]
check = "lacks"
expect = "_"
otherwise = "failed"
[[step.command]]
key = "ipmi"
argv = ["ipmitool", "sel", "list"]
check = "shown"

[[step]]
name = "ready"
[[step.command]]
key = "watchdog"
argv = ["cat", "/proc/sys/kernel/nmi_watchdog"]
check = "matches"
expect = "^1$"
"""


def test_the_shipped_runbook_is_documentation() -> None:
    for step in shipped().step:
        assert step.title
        assert step.asks.endswith("?")
        assert len(step.good) > 20
        assert len(step.why) > 20
        assert step.reader in READERS
        assert step.helper or step.command or step.name == "seen"
        for command in step.command:
            assert command.check is None
            assert command.timeout <= step.timeout
    assert doubts(None) == []


def test_a_teams_steps_come_where_they_belong(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text(RAID)
    made = load_runbook(tmp_path / "own.toml")
    assert [s.name for s in made.step] == ["dump", "kernel", "recent", "raid", "seen", "offline", "ready"]
    assert made.named("ready").command[-1].key == "watchdog"
    assert made.named("ready").reader == "ready"
    assert made.named("raid").timeout == 60
    assert TriageConfig(runbook=tmp_path / "own.toml").runbook is not None
    assert load_runbook(None) is shipped()


STEP = '[[step]]\nname = "x"\ntitle = "X"\n'
COMMAND = '[[step.command]]\nkey = "k"\nargv = ["true"]\ncheck = "shown"\n'


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[[step", "is not valid TOML"),
        ("[[step]]\nname = 'x'\n", "step 'x': needs a title"),
        (STEP, "step 'x': has no command"),
        (STEP + '[[step.command]]\nkey = "k"\nargv = "cat /x | grep y"\ncheck = "shown"\n',
         "step 'x', command 'k', argv: is a list of words"),
        (STEP + '[[step.command]]\nkey = "k"\nargv = []\ncheck = "shown"\n', "the first one names the program"),
        (STEP + '[[step.command]]\nkey = "k"\nargv = ["true", 3]\ncheck = "shown"\n', "each a text"),
        (STEP + COMMAND.replace("shown", "greps"), "there is no check 'greps', only contains, exit_status, lacks"),
        (STEP + COMMAND.replace('check = "shown"', ""), "needs a check: contains"),
        (STEP + COMMAND.replace("shown", "contains"), "check 'contains' takes a text as expect"),
        (STEP + COMMAND.replace("shown", "exit_status") + "expect = 300\n", "a number from 0 to 255"),
        (STEP + COMMAND.replace("shown", "matches") + 'expect = "("\n', "expect is no pattern"),
        (STEP + COMMAND.replace("shown", "matches") + 'expect = "(a+)+$"\n', "may take for ever"),
        (STEP + COMMAND + "timeout = 301\n", "step 'x', command 'k', timeout: must be less than or equal to 300"),
        (STEP + COMMAND + "timeout = 0\n", "timeout: must be greater than 0"),
        (STEP + COMMAND + 'families = ["arch"]\n', "knows debian, rhel, suse, not arch"),
        (STEP + COMMAND + "shell = true\n", "step 'x', command 'k', shell: Extra inputs"),
        (STEP + COMMAND + COMMAND, "command 'k' is there twice"),
        (STEP + COMMAND + STEP + COMMAND, "step 'x': is there twice"),
        (STEP + 'after = "nothing"\n' + COMMAND, "comes after 'nothing', which is no step"),
        (STEP + 'after = "dump"\n' + COMMAND + 'families = ["rhel"]\n', "the family is not known before step 'kernel'"),
        (STEP + 'reader = "identity"\n' + COMMAND, "reader 'identity' reads a shipped step"),
        (STEP + COMMAND.replace('"true"', '"ethtool", "{interface}"'), "only shipped commands"),
        ('[[step]]\nname = "ready"\ntitle = "Mine"\n' + COMMAND, "is a shipped step: it takes more commands"),
        ('[[step]]\nname = "ready"\n' + COMMAND.replace('"k"', '"loaded"'), "taken by the shipped step"),
        ('[[step]]\nname = "No Name"\n' + COMMAND, "step 'No Name', name: "),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_place(text: str, problem: str) -> None:
    with pytest.raises(RunbookError) as refused:
        extend(shipped(), text)
    assert any(problem in told for told in refused.value.problems), refused.value.problems


def test_every_problem_is_told_at_once_and_with_the_setting(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text(STEP + COMMAND.replace("shown", "greps") + 'each = "interface"\n')
    with pytest.raises(ValueError, match=r"(?s)no check 'greps'.*only shipped commands"):
        TriageConfig(runbook=path)
    with pytest.raises(RunbookError, match="No such file"):
        load_runbook(tmp_path / "missing.toml")


@pytest.mark.parametrize(
    ("argv", "doubt"),
    [
        ('["cat", "/x", "|", "wc"]', "'|' is handed to cat as it is: no shell reads it"),
        ('["cat", "$HOME/x"]', "'$HOME/x' is handed to cat as it is"),
        ('["ls", "`id`"]', "no shell reads it"),
        ('["sudo", "ipmitool"]', "sudo without -n"),
    ],
)
def test_what_is_hardly_meant_is_doubted(tmp_path: Path, argv: str, doubt: str) -> None:
    path = tmp_path / "own.toml"
    path.write_text(STEP + COMMAND.replace('["true"]', argv) + "timeout = 90\n")
    first, second = doubts(path)
    assert doubt in first
    assert second.endswith("its 90 s are cut by the step's 60 s")


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=200))
def test_no_file_is_more_than_wrong(text: str) -> None:
    with contextlib.suppress(RunbookError):
        assert len(extend(shipped(), STEP + COMMAND + text).step) > len(shipped().step)


def test_checks_read_answers() -> None:
    answer = Answer("md0 : active raid1\n  [2/1] [U_]\n", True, "exit 0")
    empty = Answer("", False, "exit 1", 1)
    missing = Answer("", False, "exit 127", 127)
    late = Answer("", False, "timed out after 60 s", None)

    def read(check: str, expect: object, given: Answer | None = answer) -> tuple[str, str]:
        return read_check("md", check, expect, "failed", given)

    assert read("contains", "raid1") == ("ok", "md: holds 'raid1'")
    assert read("contains", "raid5") == ("failed", "md: does not hold 'raid5'")
    assert read("lacks", "U_") == ("failed", "md: holds '[2/1] [U_]'")
    assert read("lacks", "__") == ("ok", "md: does not hold '__'")
    assert read("matches", r"\[\d/\d\]") == ("ok", "md: [2/1] [U_]")
    assert read("matches", "^x") == ("failed", "md: no line is like '^x'")
    assert read("exit_status", 0) == ("ok", "md: exit 0")
    assert read("exit_status", 0, empty) == ("failed", "md: exit 1")
    assert read("exit_status", 127, missing) == ("ok", "md: exit 127")
    assert read("shown", None) == ("ok", "md: md0 : active raid1 / [2/1] [U_]")
    assert read("shown", None, empty) == ("ok", "md: no output (exit 1)")
    for check, expect in (("contains", "x"), ("lacks", "x"), ("matches", "x"), ("shown", None)):
        assert read(check, expect, missing) == ("failed", "md: no answer (exit 127)")
        assert read(check, expect, late) == ("failed", "md: no answer (timed out after 60 s)")
        assert read(check, expect, None) == ("skipped", "md: not asked")


@settings(max_examples=40, deadline=2000)
@given(st.sampled_from(sorted(CHECKS)), st.text(max_size=30), st.text(max_size=2000))
def test_no_answer_breaks_a_check(check: str, expect: str, text: str) -> None:
    wanted = {"exit_status": 0, "shown": None}.get(check, expect)
    if problem_of_expectation(check, wanted) is None:
        state, words = read_check("k", check, wanted, "warn", Answer(text, True, "exit 0"))
        assert state in ("ok", "warn")
        assert len(words) < 400


def test_the_central_store_is_told_by_its_rows() -> None:
    def copy(state: CopyState, **values: object) -> DumpCopy:
        return DumpCopy(panic_id=1, workflow_id="w", host="web-17", asked_by="U", state=state, **values)  # type: ignore[arg-type]

    assert told_central(None, None) == ("skipped", "central: no central store configured")
    assert told_central("file:///srv", None) == ("warn", "central: not copied yet")
    state, words = told_central(
        "file:///srv", copy(CopyState.VERIFIED, place="file:///srv/web-17/P-1", sha256="ab" * 32, size=10**9)
    )
    assert state == "ok"
    assert "file:///srv/web-17/P-1, 1.0 GB, sha256 abab" in words
    copying = copy(CopyState.COPYING, bytes_done=10**8, size=10**9, paused=True)
    assert told_central("file:///srv", copying)[1].startswith(
        "central: being copied, 100.0 MB of 1.0 GB, paused"
    )
    assert told_central("file:///srv", copy(CopyState.FAILED, error="the store is full"))[0] == "failed"


# -- on hosts ------------------------------------------------------------------------------------------------

HostAnswers = Callable[[asyncssh.SSHServerProcess[bytes]], Awaitable[None]]


async def on_a_stage(
    stage: Callable[..., Awaitable[Stage]], tmp_path: Path, said: dict[str, bytes], config: TriageConfig
) -> tuple[World, TriageDesk, list[str]]:
    heard: list[str] = []

    async def answer(process: asyncssh.SSHServerProcess[bytes]) -> None:
        command = process.command or ""
        heard.append(command)
        process.stdout.write(said.get(command, b""))
        process.exit(0 if command in said else 127)

    there = await stage(answer)
    host = HostEntry(name="stage", address="127.0.0.1", port=there.port)
    world = await make_world(tmp_path / "bot", None, hosts=(host,), ssh=there.config)
    desk = TriageDesk(world.context, world.visits, config, name=next(names))
    world.workflows.start()
    return world, desk, heard


async def test_added_steps_run_and_are_told_and_long_outputs_are_kept_whole(
    stage: Callable[..., Awaitable[Stage]], tmp_path: Path
) -> None:
    own = tmp_path / "own.toml"
    own.write_text(RAID)
    lsmod = b"Module Size Used by\n" + b"".join(b"module_%d 1 0\n" % n for n in range(5000))
    said = {
        "cat /etc/os-release": b"ID=debian\n",
        "cat /proc/mdstat": b"md0 : active raid1\n [U_]\n",
        "cat /proc/sys/kernel/nmi_watchdog": b"0\n",
        "lsmod": lsmod,
    }
    world, desk, _ = await on_a_stage(
        stage, tmp_path, said, TriageConfig(runbook=own, patience=Patience(first=0.1))
    )
    try:
        panic_id, _ = await world.panic("stage")
        run = await desk.begin(panic_id, "U0ONCALL", "request")
        assert (await world.ended(run.id or 0)).state is RunState.DONE
        steps = await world.steps(run.id or 0)
        assert list(steps) == ["dump", "kernel", "recent", "raid", "seen", "offline", "ready"]
        assert steps["raid"].state == "failed"
        assert "md arrays: holds '[U_]'" in steps["raid"].summary
        assert "ipmi: no answer (exit 127)" in steps["raid"].summary
        assert "watchdog: no line is like '^1$'" in steps["ready"].summary
        (cut,) = [o for o in steps["recent"].outputs if o["command"] == "lsmod"]
        assert "characters left out" in cut["stdout"]
        kept = await world.db.read(lambda s: list(s.exec(select(Artefact))))
        assert [(k.path, k.size, k.sha256) for k in kept] == [(cut["original"], len(lsmod), cut["sha256"])]
        assert (world.context.store_dir / cut["original"]).read_bytes() == lsmod
    finally:
        await close_world(world)


async def test_a_run_keeps_the_steps_that_it_began_with(
    stage: Callable[..., Awaitable[Stage]], tmp_path: Path
) -> None:
    """The bot is started again with another runbook while a run waits for its host."""
    own = tmp_path / "own.toml"
    own.write_text(RAID)
    world, desk, heard = await on_a_stage(stage, tmp_path, {}, TriageConfig())
    try:
        panic_id, _ = await world.panic("stage")

        def begun(session: Session) -> int:
            run, _ = runs.begin(
                session, kind="triage", panic=session.get_one(Panic, panic_id), asked_by="U0ONCALL",
                request_id="before", steps=[(s.name, s.title) for s in load_runbook(own).step],
                renderer="triage_run", patience=Patience(), now=world.context.clock(),
            )  # fmt: skip
            return run.id or 0

        run_id = await world.db.write(begun)
        assert await desk.resume() == 1
        assert (await world.ended(run_id)).state is RunState.DONE
        raid = (await world.steps(run_id))["raid"]
        assert raid.state == "skipped"
        assert "no longer in the runbook" in raid.summary
        assert "cat /proc/mdstat" not in heard
    finally:
        await close_world(world)


@pytest.mark.parametrize("word", ["--dry-run", "—dry-run", "–dry-run", "-dry-run", "--DRY-RUN"])
def test_a_phones_dash_is_a_dash(word: str) -> None:
    assert is_dry_run(word)
    assert not is_dry_run("P-41")


async def test_a_dry_run_shows_what_would_run_and_runs_nothing(world: World) -> None:
    desk = TriageDesk(world.context, world.visits, TriageConfig(), name=next(names))
    world.workflows.start()
    router = Router(world.db, world.context.access)
    register(router, desk)
    host = any_host(world)
    panic_id, _ = await world.crash(host, "null-deref")
    await router.command_line(world.ask(text=f"triage P-{panic_id} --dry-run"))
    text, drawn = world.replies[-1]
    shown = str(drawn)
    assert "nothing was run" in text
    assert "family is not known" in shown
    assert "as triage to" in shown
    for step in shipped().step:
        assert step.title in shown
    for line in (
        "dpkg -l",
        "kdumpctl showmem  # rhel",
        "list (once",
        "# for each real interface",
        "bot's own memory",
    ):
        assert line in shown
    assert len(drawn) <= 50
    assert blocks.weight(drawn) <= blocks.MESSAGE_LIMIT
    assert await world.audit() == []
    assert await world.audit("host.connect") == []
    run = await desk.begin(panic_id, "U0ONCALL", "request")
    await world.ended(run.id or 0)
    before = len(await world.audit())
    await router.command_line(world.ask(text=f"triage —dry-run P-{panic_id}"))
    again = str(world.replies[-1][1])
    assert "a debian host, by its last run" in again
    assert "kdumpctl" not in again
    assert len(await world.audit()) == before


async def test_a_hostile_host_name_is_only_shown(world: World) -> None:
    desk = TriageDesk(world.context, world.visits, TriageConfig(), name=next(names))
    router = Router(world.db, world.context.access)
    register(router, desk)
    panic_id, _ = await world.panic("-oProxyCommand=id <!channel>")
    await router.command_line(world.ask(text=f"triage P-{panic_id} --dry-run"))
    shown = str(world.replies[-1][1])
    assert "there is no way to it" in shown
    assert "<!channel>" not in shown
