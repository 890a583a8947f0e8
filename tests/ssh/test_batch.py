"""Commands in one go: what a word is stays a word, whatever is in it, and each command has its own end."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import subprocess
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import asyncssh
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from integrations.ssh import CommandResult, ConnectionLost, SshClient, SshConfig, SshHost, SshSession, batch
from integrations.ssh.exchange import Kept, Request
from integrations.ssh.places import Places
from tests.ssh.conftest import Sshd, Stage

Clients = Callable[[SshConfig], SshClient]
Stages = Callable[..., Awaitable[Stage]]
SHELLS = [s for s in ("dash", "bash", "busybox") if shutil.which(s)]
NUMBER = "0123456789abcdef" * 2
words = st.text(
    st.characters(codec="utf-8", exclude_characters="\0")
    | st.sampled_from("$`;&|<>'\"\\!*?~#\n\t -=%(){}[]"),
    max_size=30,
)


def run_in(shell: str, requests: list[Request]) -> list[tuple[bytes, bytes, int | None]]:
    """The fixed program in a real shell, fed with what is sent, and its answers told apart as the client does."""
    argv = ["busybox", "sh"] if shell == "busybox" else [shell]
    sent = NUMBER.encode() + b"\n" + b"".join(batch.encode(r) for r in requests)
    done = subprocess.run(
        [*argv, "-c", batch.PROGRAM], input=sent, capture_output=True, timeout=60, check=True
    )
    assert done.stdout.startswith(batch.greeting(NUMBER))
    out, err = done.stdout.removeprefix(batch.greeting(NUMBER)), done.stderr
    answers = []
    for position, request in enumerate(requests, start=1):
        first = batch.Answered(NUMBER, position, Kept(request.cap))
        second = batch.Answered(NUMBER, position, Kept(request.cap))
        rest_out, rest_err = first.feed(out), second.feed(err)
        assert rest_out is not None
        assert rest_err is not None
        out, err = rest_out, rest_err
        answers.append((first.kept.data(), second.kept.data(), first.status))
    assert (out, err) == (b"", b"")
    return answers


def asking(*argv: str, timeout: float = 30, cap: int = 1 << 20) -> Request:
    return Request(argv, timeout, cap)


@pytest.mark.parametrize("shell", SHELLS)
@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(words, min_size=1, max_size=5), min_size=1, max_size=3))
@example([["$(touch mark)", "`id`", "; reboot;", "a\nb\n", "\n", "-n", "%", "=", "\\0044(id)\n", ""]])
@example([["\udcff\udc80", "é", "\x01\x7f", "%s%n\n\\c\\"]])
def test_no_shell_reads_a_word(shell: str, lists: list[list[str]]) -> None:
    requests = [asking("printf", "%s|", *argv) for argv in lists]
    answers = run_in(shell, requests)
    for argv, (out, _, status) in zip(lists, answers, strict=True):
        assert out == "".join(f"{w}|" for w in argv).encode("utf-8", "surrogateescape")
        assert status == 0


@pytest.mark.parametrize("shell", SHELLS)
def test_each_command_has_its_own_streams_status_and_no_input(shell: str) -> None:
    answers = run_in(
        shell,
        [
            asking("sh", "-c", "echo out; echo err >&2; exit 3"),
            asking("cat"),
            asking("no-such-command"),
            asking("sleep", "60", timeout=1),
            asking("printf", "no end of line"),
            asking("cd", "/"),
        ],
    )
    assert answers[0] == (b"out\n", b"err\n", 3)
    assert answers[1] == (b"", b"", 0), "a command does not eat what is meant for the next"
    assert answers[2][2] == 127
    assert answers[3][2] in (124, 143)
    assert answers[4] == (b"no end of line", b"", 0)
    assert answers[5][2] == 127, "nothing that only a shell knows is run"


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(words, min_size=1, max_size=4), max_size=4))
def test_what_is_sent_reads_back(lists: list[list[str]]) -> None:
    sent = b"".join(batch.encode(asking(*argv, timeout=2)) for argv in lists)
    assert [argv for _, argv in batch.decode(iter(sent.split(b"\n")[:-1]))] == [tuple(a) for a in lists]


@settings(max_examples=50, deadline=None)
@given(
    st.binary(max_size=300),
    st.integers(0, 255),
    st.lists(st.integers(1, 40), max_size=30),
    st.binary(max_size=20),
)
def test_an_answer_is_found_however_it_is_cut(
    answer: bytes, status: int, cuts: list[int], after: bytes
) -> None:
    stream = answer + batch.mark(NUMBER, 1, status) + after
    told = batch.Answered(NUMBER, 1, Kept(10_000))
    rest: bytes | None = None
    for size in [*cuts, len(stream)]:
        piece, stream = stream[:size], stream[size:]
        if rest is None:
            rest = told.feed(piece)
        else:
            rest += piece
    assert (told.kept.data(), told.status, rest) == (answer, status, after)


@pytest.mark.parametrize("argv", [[], ["a\0b"]])
def test_what_can_be_no_command_is_refused(argv: list[str]) -> None:
    with pytest.raises(ValueError, match="command"):
        batch.encode(Request(tuple(argv), 1, 1))


def test_the_program_survives_any_login_shell() -> None:
    """One line; no quote that ends it, no history, nothing that fish or csh read differently in single quotes."""
    assert not set(batch.PROGRAM) & set("'!\n")
    assert "\\\\" not in batch.PROGRAM


@settings(max_examples=40, deadline=None)
@given(st.lists(st.binary(max_size=50), max_size=20), st.integers(0, 100), st.sampled_from(["start", "end"]))
def test_the_kept_end_is_the_end(chunks: list[bytes], cap: int, keep: str) -> None:
    kept = Kept(cap, keep)  # type: ignore[arg-type]
    for chunk in chunks:
        kept.add(chunk)
    whole = b"".join(chunks)
    assert kept.data() == (whole[:cap] if keep == "start" else whole[max(len(whole) - cap, 0) :])
    assert kept.truncated == (len(whole) > cap)


# -- over a real sshd ----------------------------------------------------------------------------------------


def alive(argv: list[str]) -> list[int]:
    """Processes of this machine with exactly these words."""
    wanted = b"\0".join(w.encode() for w in argv) + b"\0"
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                if (folder / "cmdline").read_bytes() == wanted:
                    found.append(int(folder.name))
            except OSError:
                continue
    return found


async def gone(argv: list[str], seconds: float = 45) -> bool:
    deadline = time.monotonic() + seconds
    while alive(argv):
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.05)
    return True


async def test_a_step_is_one_session_of_one_connection(sshd: Sshd, clients: Clients) -> None:
    client = clients(sshd.config())
    async with client.connect(sshd.host) as session:
        parent = ["sh", "-c", "cut -d ' ' -f 4 /proc/$PPID/stat"]
        many = [session.request(["echo", str(n)]) for n in range(20)]
        first = await session.run_many([*many, session.request(parent)])
        second = await session.run_many([session.request(parent)])
    assert [d.text for d in first[:20]] == [f"{n}\n" for n in range(20)]
    assert first[-1].ok
    assert first[-1].text == second[0].text, "the next step is asked in the same session"


async def test_a_stuck_command_is_ended_on_the_host_and_the_others_are_asked(
    sshd: Sshd, clients: Clients
) -> None:
    """Also for root, whose commands sshd does not signal, and also one that ignores SIGTERM."""
    stuck = ["sh", "-c", "trap '' TERM; echo begun; while :; do sleep 0.1; done", "stuck"]
    async with clients(sshd.config()).connect(sshd.host) as session:
        for seconds in (1, 5, 25):  # a busy host may not have begun within the first
            many = [session.request(stuck, timeout=seconds), session.request(["echo", "next"])]
            done = await session.run_many(many)
            assert done[0].timed_out
            assert done[0].exit_status is None
            assert done[1].text == "next\n"
            if done[0].stdout:
                break
    assert done[0].stdout == b"begun\n"
    assert await gone(stuck)


@pytest.mark.parametrize("how", ["cancelled", "closed", "limit", "cap"])
async def test_a_command_that_nobody_waits_for_ends_on_the_host(
    sshd: Sshd, clients: Clients, how: str
) -> None:
    mark = f"mark-{how}-{sshd.port}"
    # It goes on to write, as what is worth ending does; one that never writes is ended by its own `timeout`.
    argv = ["sh", "-c", "while :; do echo x; sleep 0.02; done", mark]
    session = await clients(sshd.config()).open(sshd.host)
    request = session.request(argv, timeout=60, cap=20 if how == "cap" else None)
    work = asyncio.create_task(
        session.run_many([request, session.request(["echo", "next"])], limit=0.7 if how == "limit" else None)
    )
    deadline = time.monotonic() + 45
    while not alive(argv) and not work.done():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
    if how == "cancelled":
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work
    elif how == "closed":
        session.close()
        with pytest.raises(ConnectionLost):
            await work
    else:
        first, second = await work
        assert first.truncated == (how == "cap")
        assert first.timed_out == (how == "limit")
        assert second.timed_out == (how == "limit")
        assert second.text == ("next\n" if how == "cap" else "")
    assert await gone(argv)
    session.close()


async def test_a_journals_end_is_kept_and_how_much_there_was_is_told(sshd: Sshd, clients: Clients) -> None:
    async with clients(sshd.config()).connect(sshd.host) as session:
        done = await session.run(["seq", "1", "100000"], cap=1000, keep="end")
        plain = await session.run(["seq", "1", "100000"], cap=1000)
    assert done.text.endswith("\n99999\n100000\n")
    assert len(done.stdout) == 1000
    assert done.outcome == "exit 0, its last 1000 of 588895 bytes"
    assert plain.text.startswith("1\n2\n")
    assert plain.outcome == "stopped at 1000 bytes"


async def test_noise_of_the_accounts_start_up_files_is_not_an_answer(
    start_sshd: Callable[..., Sshd], clients: Clients
) -> None:
    """A server that says something before every command, as a ~/.bashrc may."""
    there = start_sshd('ForceCommand echo welcome; echo oh >&2; eval "$SSH_ORIGINAL_COMMAND"', name="noisy")
    async with clients(there.config()).connect(there.host) as session:
        done = await session.run(["echo", "answer"])
    assert (done.stdout, done.stderr) == (b"answer\n", b"")


async def test_an_account_that_runs_no_program_of_ours_is_asked_one_by_one(
    stage: Stages, clients: Clients
) -> None:
    heard: list[str] = []

    async def answer(process: asyncssh.SSHServerProcess[bytes]) -> None:
        command = process.command or ""
        heard.append(command.split(" ")[0])
        if command.startswith("sh -c "):
            process.stderr.write(b"this account runs no shell\n")
            process.exit(1)
            return
        process.stdout.write(command.encode())
        process.exit(0)

    there = await stage(answer)
    config = there.config.model_copy(update={"batch": True})
    async with clients(config).connect(there.host) as session:
        done = await session.run_many([session.request(["cat", "a b"]), session.request(["df"])])
        again = await session.run(["uname"])
    assert [d.text for d in done] == ["cat 'a b'", "df"]
    assert again.text == "uname"
    assert heard[0] == "sh"
    assert sorted(heard[1:]) == ["cat", "df", "uname"], "what was refused once is not tried again"


async def test_a_host_with_one_session_a_connection_is_asked_in_it(
    start_sshd: Callable[..., Sshd], clients: Clients
) -> None:
    there = start_sshd("MaxSessions 1", name="narrow")
    async with clients(there.config()).connect(there.host) as session:
        done = await asyncio.gather(*(session.run(["echo", str(n)]) for n in range(5)))
    assert [d.text.strip() for d in done] == ["0", "1", "2", "3", "4"]


# -- connections ---------------------------------------------------------------------------------------------


async def until(condition: Callable[[], bool], seconds: float = 45) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


async def test_no_more_hosts_than_wanted_are_connected_and_all_have_their_turn(
    sshd: Sshd, clients: Clients
) -> None:
    config = sshd.config(hosts_at_once=2)
    with config.known_hosts.open("a") as known:
        known.write(f"[host-*]:{sshd.port} {sshd.host_key}\n")
    client = clients(config)

    async def visit(n: int) -> CommandResult:
        async with client.connect(SshHost(f"host-{n}", "127.0.0.1", sshd.port)) as session:
            return await session.run(["echo", str(n)])

    done = await asyncio.gather(*(visit(n) for n in range(6)))
    assert [d.text.strip() for d in done] == [str(n) for n in range(6)]
    assert client.most_connected == 2


async def test_who_can_wait_has_its_turn_last_and_leaves_room_for_others(
    sshd: Sshd, clients: Clients
) -> None:
    """A sweep's visits and triage go by one client: together they stay within its limit, and triage goes first."""
    config = sshd.config(hosts_at_once=4, idle_seconds=60.0)
    with config.known_hosts.open("a") as known:
        known.write(f"[host-*]:{sshd.port} {sshd.host_key}\n")
    client = clients(config)
    turns: list[int] = []

    def host(n: int) -> SshHost:
        return SshHost(f"host-{n}", "127.0.0.1", sshd.port)

    def open_aside(n: int) -> asyncio.Task[SshSession]:
        return asyncio.create_task(client.open(host(n), aside=True, on_turn=lambda: turns.append(n)))

    aside = [open_aside(n) for n in range(5)]
    first = await asyncio.gather(*aside[:3])
    assert client.connected == 3, "one place is kept for what people wait for"
    urgent = await client.open(host(10))
    waiting = asyncio.create_task(client.open(host(11)))
    hurried = asyncio.create_task(client.open(host(4)))  # a sweep waits for it as well
    await until(lambda: client._places.waiting == 3)
    for session in first[:2]:
        session.close()
    for task in (waiting, hurried, aside[4]):
        assert (await task).is_open
    assert turns == [0, 1, 2, 4]
    assert not aside[3].done()
    assert client.connected == client.most_connected == 4
    first[2].close()
    assert (await aside[3]).is_open
    (await aside[3]).close()
    assert client.connected == 3, "what was done aside is not kept for a next one"
    for session in (urgent, waiting.result(), hurried.result(), aside[4].result()):
        session.close()
    assert client.most_connected == 4


@settings(max_examples=200)
@given(
    st.integers(1, 6),
    st.lists(st.tuples(st.sampled_from(["aside", "ask", "give", "cancel", "hurry"]), st.integers(0, 9)), max_size=60),
)  # fmt: skip
def test_places_are_never_more_than_there_are_and_none_is_lost(
    count: int, moves: list[tuple[str, int]]
) -> None:
    async def play() -> None:
        places = Places(count)
        asked: dict[int, asyncio.Task[None]] = {}
        for move, who in moves:
            task = asked.get(who)
            if move in ("aside", "ask") and task is None:
                asked[who] = asyncio.create_task(places.take(who, aside=move == "aside"))
            elif move == "give" and task is not None and task.done():
                places.give(who)
                del asked[who]
            elif move == "cancel" and task is not None and not task.done():
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                del asked[who]
            elif move == "hurry":
                places.hurry(who)
            for _ in range(3):
                await asyncio.sleep(0)
            held = sum(t.done() for t in asked.values())
            assert held <= count
            assert places.waiting == len(asked) - held
            if places.waiting:
                assert held >= places.aside_at_most, "a place is free, and somebody waits for it"
        while asked:
            for who in [w for w, t in asked.items() if t.done()]:
                places.give(who)
                del asked[who]
            for _ in range(3):
                await asyncio.sleep(0)

    asyncio.run(asyncio.wait_for(play(), 30))


async def test_an_idle_connection_is_used_again_then_closed(sshd: Sshd, clients: Clients) -> None:
    client = clients(sshd.config(idle_seconds=60))
    async with client.connect(sshd.host) as session:
        first = await session.run(["sh", "-c", "echo $SSH_CONNECTION"])
    async with client.connect(sshd.host) as session:
        second = await session.run(["sh", "-c", "echo $SSH_CONNECTION"])
        assert session.is_open
    assert first.text == second.text
    assert client.connected == 1
    brief = clients(sshd.config(idle_seconds=0.1))  # one of its own: nothing is asked while that runs out
    async with brief.connect(sshd.host) as session:
        await session.run(["true"])
        assert brief.connected == 1
    await until(lambda: brief.connected == 0)


async def test_an_idle_connection_that_takes_no_more_is_replaced(sshd: Sshd, clients: Clients) -> None:
    """Its socket is closed for writing, unseen by paramiko's reading thread: the question fails as EOFError."""
    client = clients(sshd.config(idle_seconds=60))
    async with client.connect(sshd.host) as session:
        first = await session.run(["sh", "-c", "echo $SSH_CONNECTION"])
        wire = session._connection.transport.sock
    wire.shutdown(socket.SHUT_WR)
    async with client.connect(sshd.host) as session:
        second = await session.run(["sh", "-c", "echo $SSH_CONNECTION"])
    assert second.exit_status == 0
    assert first.text != second.text
    assert client.connected == 1


async def test_an_idle_connection_whose_host_died_is_not_trusted(stage: Stages, clients: Clients) -> None:
    """A host that dies says no goodbye: its connection looks open, and nothing comes."""
    silent = asyncio.Event()
    begun = 0
    shells: list[asyncio.subprocess.Process] = []
    carried: list[asyncio.Future[list[None]]] = []

    async def serve(process: asyncssh.SSHServerProcess[bytes]) -> None:
        nonlocal begun
        begun += 1
        shell = await asyncio.create_subprocess_shell(
            process.command or "", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        shells.append(shell)
        mine = begun
        assert shell.stdin is not None

        async def carry(reader: asyncio.StreamReader | None, write: Callable[[bytes], None]) -> None:
            while reader is not None and (piece := await reader.read(4096)):
                if not (silent.is_set() and mine == 1):
                    write(piece)

        carrying = asyncio.gather(
            carry(shell.stdout, process.stdout.write), carry(shell.stderr, process.stderr.write)
        )
        carried.append(carrying)
        try:
            while piece := await process.stdin.read(4096):
                shell.stdin.write(piece)
        finally:
            shell.stdin.close()
            await carrying
            await shell.wait()

    there = await stage(serve)
    client = clients(there.config.model_copy(update={"batch": True, "idle_seconds": 60.0}))
    async with client.connect(there.host) as session:
        assert (await session.run(["echo", "before"])).text == "before\n"
    silent.set()
    async with client.connect(there.host) as session:
        assert (await session.run(["echo", "after"])).text == "after\n"
    assert begun == 2
    client.close()
    for shell in shells:
        if shell.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                shell.kill()
        await shell.wait()
    await asyncio.gather(*carried, return_exceptions=True)
