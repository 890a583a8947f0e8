"""A host's own record, from what its commands print: apt, rpm, dnf, zypper, boots, firmware, network cards."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from commands.changes.hostside import Before, host_changes, merged
from commands.changes.machine import Machine, read_machine, same_firmware
from commands.hostrecord import HostRecord, NetworkCard, PackageEvent
from commands.triage.answers import Answer, Answers
from commands.triage.packages import read_dnf, read_zypper
from commands.triage.record import read_record
from integrations.changes import Change, Scope
from storage import Panic

DIED = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
ZYPP = """# 2026-11-20 10:00:00 kernel-default-6.4.0 installed ok
2026-11-20 10:00:01|install|kernel-default|6.4.0-150600.23.17.1|x86_64|root@h|repo-update|f0e1|
2026-11-20 10:05:01|remove |libfoo|1.2-3|x86_64|root@h|
2026-11-20 10:06:01|radd   |repo|https://x|
"""
DNF = """ID     | Command line              | Date and time    | Action(s)      | Altered
-----------------------------------------------------------------------------
    12 | upgrade -y kernel         | 2026-11-20 10:01 | I, U           |    5 EE
    11 |                           | 2026-11-01 08:00 | Install        |  400
"""


def test_zypper_and_dnf_are_read_in_the_hosts_time() -> None:
    assert [(c.at, c.action, c.name, c.version, c.sort) for c in read_zypper(ZYPP, 3600)] == [
        (
            datetime(2026, 11, 20, 9, 0, 1, tzinfo=UTC),
            "install",
            "kernel-default",
            "6.4.0-150600.23.17.1",
            "kernel",
        ),
        (datetime(2026, 11, 20, 9, 5, 1, tzinfo=UTC), "remove", "libfoo", "1.2-3", "other"),
    ]
    assert [(c.at, c.name) for c in read_dnf(DNF)] == [
        (datetime(2026, 11, 20, 10, 1, tzinfo=UTC), "dnf upgrade -y kernel"),
        (datetime(2026, 11, 1, 8, 0, tzinfo=UTC), "dnf Install"),
    ]


@given(st.text(max_size=300))
def test_any_history_is_read(text: str) -> None:
    for line in (text, f"2026-11-20 10:00:01|install|{text}|1|", f" 1 | {text} | 2026-11-20 10:01 | I | 1"):
        read_zypper(line)
        read_dnf(line)


def test_an_rpm_host_tells_what_rpm_no_longer_has_from_its_histories() -> None:
    answers = Answers(
        {
            "rpm": Answer(
                "1763632860\tkernel-core\t5.14.0-503.el9\n", True, "exit 0"
            ),  # 2025-11-20 10:01 UTC
            "dnf": Answer(DNF.replace("2026", "2025"), True, "exit 0"),
            "dmi": Answer(
                "/sys/class/dmi/id/bios_vendor:Dell\n/sys/class/dmi/id/bios_version:2.21\n", True, "exit 0"
            ),
        }
    )
    panic = Panic(
        host="web-1", occurred_at=DIED, title="t", signature_key="s", kernel="5.14.0-503.el9.x86_64"
    )
    record = read_record(answers, panic, {"zone_offset": 0})
    assert [p.name for p in record.packages] == ["kernel-core", "dnf Install"], (
        "what rpm knows is not told twice"
    )
    assert (record.bios, record.kernel) == ("Dell 2.21", "5.14.0-503.el9.x86_64")


def test_changes_of_a_host_in_the_normal_form() -> None:
    record = HostRecord(
        "Web-1",
        packages=(
            PackageEvent(DIED - timedelta(hours=2), "upgrade", "ixgbe-dkms", "6.0", "driver"),
            *(
                PackageEvent(DIED - timedelta(hours=3, minutes=n), "upgrade", f"lib{n}", "1", "other")
                for n in range(8)
            ),
            PackageEvent(DIED - timedelta(days=30), "install", "linux-image-x", "1", "kernel"),
            PackageEvent(DIED + timedelta(hours=1), "install", "linux-image-y", "1", "kernel"),
        ),
        bios="B 2",
        cards=(NetworkCard("eth0", "ice", "2", "fw9"),),
    )
    found = host_changes(
        record,
        since=DIED - timedelta(days=7),
        until=DIED,
        booted=DIED - timedelta(hours=1),
        earlier=[
            Before(DIED - timedelta(days=40), "B 0", (NetworkCard("eth1", "ice", "1", "fw1"),)),
            Before(DIED - timedelta(days=20), "B 1", (NetworkCard("eth0", "ice", "2", "fw8"),)),
        ],
    )
    assert [(c.kind, c.summary) for c in found] == [
        ("driver", "ixgbe-dkms 6.0 (upgrade)"),
        ("package", "8 packages changed: lib7, lib6, lib5, lib4, lib3, lib2 and 2 more"),
        ("firmware", "firmware B 2 (before: B 1)"),
        ("firmware", "firmware of ice fw9 (before: fw8)"),
    ]
    assert {(c.source, c.scope.hosts) for c in found} == {("host:web-1", ("web-1",))}
    assert found[2].started == DIED - timedelta(hours=1), "firmware came with the boot at the latest"
    both = merged([*found, *(_on(c, "web-2") for c in found)])
    assert [c.scope.hosts for c in both] == [("web-1", "web-2")] * 4


def _on(change: Change, host: str) -> Change:
    return replace(change, source=f"host:{host}", scope=Scope(hosts=(host,)))


LOG = """\
[    0.000000] DMI: Dell Inc. PowerEdge R640/0H28RR, BIOS 2.19.1 06/14/2023
[    2.100000] mlx5_core 0000:3b:00.0: firmware version: 16.27.2008
[    2.200000] i40e 0000:18:00.1: fw 8.15.63341 api 1.12 nvm 8.15 0x800096ca 20.0.17 [8086:1572] [8086:0008]
[    2.300000] ixgbe: Intel(R) 10 Gigabit PCI Express Network Driver - version 5.1.0-k
[   99.000001] Hardware name: Dell Inc. PowerEdge R640/0H28RR, BIOS 2.21.2 01/02/2024
"""


def test_a_log_tells_firmware_and_the_drivers_of_network_cards() -> None:
    assert read_machine(LOG) == Machine(
        "2.21.2 01/02/2024",
        (
            NetworkCard("0000:3b:00.0", "mlx5_core", None, "16.27.2008"),
            NetworkCard("0000:18:00.1", "i40e", None, "8.15.63341"),
            NetworkCard("", "ixgbe", "5.1.0-k", None),
        ),
    )
    samples = {
        "Hardware name: QEMU Standard PC (Q35 + ICH9, 2009), BIOS 1.16.2-debian-1.16.2-1 04/01/2014": (
            "1.16.2-debian-1.16.2-1 04/01/2014"
        ),
        "Hardware name: GIGABYTE R272-P30-JG/MP32-AR0-JG, BIOS F31n 09/30/2022\r\n": "F31n 09/30/2022",
        "Hardware name: Generic AM33XX (Flattened Device Tree)": None,
        "Hardware name: x, BIOS 1.2 13/40/2022": None,
        "Hardware name: Dell, BIOS 2.1 Hardware name: Dell, BIOS 06/14/2023 CPU: 3": None,
    }
    assert {line: read_machine(line).bios for line in samples} == samples


@given(
    st.lists(
        st.sampled_from([*LOG.split(" "), "BIOS", "DMI:", "\n", "0000:3b:00.0:", "fw", "é"]), max_size=200
    )
)
def test_any_log_is_read(words: list[str]) -> None:
    machine = read_machine(" ".join(words), "".join(words))
    assert len(machine.cards) <= 32
    assert machine.bios is None or len(machine.bios) <= 80


def test_the_same_firmware_with_and_without_its_vendor() -> None:
    assert same_firmware("Dell Inc. 2.19.1 06/14/2023", "2.19.1  06/14/2023")
    assert same_firmware("2.19.1 06/14/2023", "2.19.1 06/14/2023")
    assert not same_firmware("Dell Inc. 12.19.1 06/14/2023", "2.19.1 06/14/2023")
    assert not same_firmware("Dell Inc. 2.19.1 06/14/2023", "2.21.2 06/14/2023")
