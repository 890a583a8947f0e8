"""The replayed hosts as the bot sees them: through its own SSH client, and read by its own readers."""

from __future__ import annotations

import json
import shlex
import time
import tomllib
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import pytest

from bot.demo.hosts import Fleet
from bot.demo.hosts.answers import answer
from bot.demo.hosts.captures import CASES, load
from bot.demo.hosts.instance import Instance
from bot.demo.hosts.reporter import report, sign
from integrations.inbound import read_report
from integrations.inbound import sign as sign_as_the_bot_checks
from integrations.kernel import read_crash
from integrations.kernel.completeness import Read, plan, verdict
from integrations.kernel.crashdirs import read_listing
from integrations.kernel.vmcoreinfo import read_vmcoreinfo
from integrations.ssh import HostUnreachable, SshClient, SshConfig, SshError, SshHost

CRASHED = 1800000000.5
NOW = CRASHED + 60
HELPER = "sudo -n /usr/local/sbin/panicroom-host"
STATES = {
    "null-deref": "unverified",
    "oom": "complete",
    "nmi": "unverified",
    "sysrq-c": "complete",
    "disk-full-yet-dump-saved": "unverified",
    "dump-fails-disk-full": "empty",
}


def crashed(case: str) -> Instance:
    return Instance("web-17", load(case), CRASHED, CRASHED + 8)


@pytest.mark.parametrize("case", CASES)
def test_the_bot_takes_the_report_and_finds_the_cause(case: str) -> None:
    taken = read_report(json.dumps(report(crashed(case))).encode())
    assert taken.host == "web-17"
    crash = read_crash(taken.text)
    assert crash.crash == (case != "dump-fails-disk-full")
    assert not crash.crash or crash.kernel == "6.1.0-56-cloud-amd64"
    assert "crash-lab" not in taken.text


def test_the_signature_is_the_one_that_the_bot_checks() -> None:
    body = b'{"id": "x"}'
    assert sign("a secret", 1800000000, body) == sign_as_the_bot_checks("a secret", 1800000000, body)


@pytest.mark.parametrize("case", STATES)
def test_the_crash_directory_reads_as_one_dump_of_the_right_state(case: str) -> None:
    instance = crashed(case)
    (found,) = read_listing(answer(instance, f"{HELPER} list", NOW).stdout.decode())
    assert found.family == "debian"
    assert found.dump is not None
    assert found.dmesg is not None
    known: dict[Read, bytes] = {}
    for _ in range(3):
        for read in plan(found.dump.path, found.dump.size, known):
            told = answer(instance, f"{HELPER} bytes {found.dump.path} {read.offset} {read.length}", NOW)
            known[read] = told.stdout if told.status == 0 else b""
    assert verdict(found.dump.path, found.dump.size, known).state == STATES[case]
    if STATES[case] == "complete":
        info = read_vmcoreinfo(known[Read(0, 65536)])
        assert info.release == "6.1.0-56-cloud-amd64"
        assert info.crash_time is not None
        assert info.crash_time.timestamp() == int(CRASHED)


@pytest.mark.parametrize("case", CASES)
def test_every_command_of_the_runbook_for_debian_is_answered(case: str) -> None:
    runbook = tomllib.loads(resources.files("commands.triage").joinpath("runbook.toml").read_text())
    asked = 0
    for step in runbook["step"]:
        for command in step.get("command", []):
            # No capture has the interfaces: the demo tells that they were not asked.
            if "debian" in command.get("families", ["debian"]) and command["key"] not in (
                "interfaces",
                "nic",
            ):
                told = answer(crashed(case), shlex.join(command["argv"]), NOW)
                # 2: grep -s over DMI files of which a virtual machine has no board name
                assert told.status in ({0, 2} if command["argv"][0] == "grep" else {0}), command["argv"]
                assert told.stdout
                asked += 1
    assert asked > 15


async def test_the_bots_own_client_sees_the_host_go_and_come_back(
    fleets: Callable[..., Fleet], tmp_path: Path
) -> None:
    fleet = fleets()
    await fleet.start()
    place = next(host for host in fleet.inventory() if host["name"] == "db-3")
    (tmp_path / "known_hosts").write_text(fleet.known_hosts())
    client = SshClient(SshConfig(key_file=tmp_path / "client_key", known_hosts=tmp_path / "known_hosts"))
    host = SshHost("db-3", place["address"], place["port"])
    try:
        async with client.connect(host) as session:
            before = (await session.run(["cat", "/proc/sys/kernel/random/boot_id"])).text
        await fleet.power_off("db-3")
        with pytest.raises(SshError) as refused:
            async with client.connect(host):
                pass
        assert isinstance(refused.value, HostUnreachable)
        await fleet.power_on("db-3")
        started = time.time()
        await fleet.panic("db-3")
        await fleet.reported("db-3")
        async with client.connect(host) as session:
            assert (await session.run(["cat", "/proc/sys/kernel/random/boot_id"])).text != before
            listed = await session.help("list")
            (dump,) = read_listing(listed.text)
            assert dump.dmesg is not None
            assert dump.dmesg.mtime.timestamp() >= started - 1
            text = await session.help("read", dump.dmesg.path)
            assert read_crash(text.stdout).title == "out of memory"
            missing = await session.run(["no-such-command"])
            assert missing.exit_status == 127
    finally:
        client.close()
