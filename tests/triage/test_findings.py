"""From a host's answers to plain words: the readers of the runbook's steps, on captures and on any text."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlmodel import Session, SQLModel, create_engine

from bot.demo.hosts import captures
from commands.hosts.family import family_of, read_os_release
from commands.triage.answers import Answer, Answers
from commands.triage.blocks import raw_blocks, run_message
from commands.triage.disks import holding, read_df
from commands.triage.identity import read_identity, span
from commands.triage.offline import debuginfo_package, read_offline
from commands.triage.packages import read_apt, read_rpm
from commands.triage.readiness import read_readiness
from commands.triage.recent import read_boots_of, read_recent
from commands.triage.runbook import shipped
from commands.triage.seen import look_back
from storage import Panic, RunbookRun, RunState, StepResult

NOW = datetime(2026, 11, 23, 6, 0, tzinfo=UTC)
KERNEL = "6.1.0-56-cloud-amd64"
FILES = captures.load("null-deref").files


def panic(**columns: object) -> Panic:
    values: dict[str, object] = {
        "id": 9,
        "host": "web-17",
        "occurred_at": datetime(2026, 11, 23, 5, 31, 36, tzinfo=UTC),
        "title": "t",
        "signature_key": "null_deref|f",
        "kernel": KERNEL,
    }
    return Panic(**{**values, **columns})


def answers(**texts: str) -> Answers:
    return Answers({k: Answer(v, True, "exit 0") for k, v in texts.items()})


def test_the_runbook_asks_the_same_of_every_family_under_one_key() -> None:
    for step in shipped().step:
        for family in ("debian", "rhel", "suse", None):
            keys = [c.key for c in step.command if c.runs_on(family)]
            assert len(keys) == len(set(keys))
    assert [s.name for s in shipped().step] == ["dump", "kernel", "recent", "seen", "offline", "ready"]


@pytest.mark.parametrize(
    ("text", "family"),
    [
        ('ID="rocky"\nID_LIKE="rhel centos fedora"', "rhel"),
        ("ID=ubuntu\nID_LIKE=debian", "debian"),
        ('ID="opensuse-leap"\nID_LIKE="suse opensuse"', "suse"),
        ("ID=sles", "suse"),
        ("ID=linuxmint\nID_LIKE='ubuntu debian'", "debian"),
        ("ID=arch", None),
        ("", None),
    ],
)
def test_families(text: str, family: str | None) -> None:
    assert family_of(read_os_release(text)) == family


@pytest.mark.parametrize(
    ("kernel", "family", "os_id", "package"),
    [
        (KERNEL, "debian", "debian", f"linux-image-{KERNEL}-dbg"),
        ("5.15.0-91-generic", "debian", "ubuntu", "linux-image-unsigned-5.15.0-91-generic-dbgsym"),
        ("5.14.0-503.el9.x86_64", "rhel", "rhel", "kernel-debuginfo-5.14.0-503.el9.x86_64"),
        ("5.14.0-503.el9.x86_64+rt", "rhel", "rhel", "kernel-rt-debuginfo-5.14.0-503.el9.x86_64"),
        ("5.15.0-300.el9uek.x86_64", "rhel", "ol", "kernel-uek-debuginfo-5.15.0-300.el9uek.x86_64"),
        ("6.4.0-150600.23.7-default", "suse", "sles", "kernel-default-debuginfo = 6.4.0-150600.23.7"),
        ("$(id)", "debian", "debian", None),
        (KERNEL, None, "", None),
    ],
)
def test_the_debuginfos_name(kernel: str, family: str | None, os_id: str, package: str | None) -> None:
    assert debuginfo_package(kernel, family, os_id) == package


def test_the_apt_history_is_read_with_versions_and_zone() -> None:
    found = read_apt(FILES["apt-history"])
    image = next(c for c in found if c.name == f"linux-image-{KERNEL}")
    assert image.sort == "kernel"
    assert image.version.startswith("6.1.")
    assert image.at == datetime(2026, 11, 23, 4, 52, 48, tzinfo=UTC)
    assert read_apt(FILES["apt-history"], 3600)[0].at == found[0].at - timedelta(hours=1)
    upgrade = "Start-Date: 2026-01-02  03:04:05\nUpgrade: intel-microcode:amd64 (3.1, 3.2), x:amd64 (1, 2)\n"
    assert [(c.name, c.version, c.sort) for c in read_apt(upgrade)] == [
        ("intel-microcode", "3.2", "firmware"),
        ("x", "2", "other"),
    ]


def test_rpm_install_times() -> None:
    found = read_rpm("1795400000\tkernel-core\t5.14.0-503.el9\n(none)\tgpg-pubkey\t1-1\n1\tkmod-mlnx\t2\n")
    assert [(c.name, c.sort) for c in found] == [("kmod-mlnx", "driver"), ("kernel-core", "kernel")]


def test_the_boots_of_a_kernel_in_wtmp() -> None:
    boots = read_boots_of(FILES["last"], KERNEL)
    assert len(boots) == 3
    assert boots[0] == datetime(2026, 11, 23, 5, 29, 35, tzinfo=UTC)
    assert read_boots_of(FILES["last"], "6.1.0-55-cloud-amd64") == []


def test_df_is_read_and_the_nearest_mount_holds_a_path() -> None:
    disks = read_df(FILES["df"])
    root = holding(disks, "/var/crash")
    assert root is not None
    assert (root.mounted_on, root.kind) == ("/", "ext4")
    more = read_df(FILES["df"] + "/dev/sdb1 xfs 1.5T 1.0T 512G 67% /var\n")
    assert holding(more, "/var/crash").available == 512 * 2**30  # type: ignore[union-attr]
    assert holding(more, "/variant") == holding(disks, "/")


def test_an_active_unit_proves_nothing() -> None:
    unit = "     Active: active (exited) since Mon 2026-11-23 05:34:23 UTC; 47s ago\n"
    found = read_readiness(answers(loaded="0\n", reserved="0\n", unit=unit), panic(), {}, None)
    assert found.state == "failed"
    assert found.facts["ready"] is False
    assert "active (exited), which proves nothing" in found.summary
    ready = read_readiness(answers(loaded="1\n", reserved="201326592\n", unit=unit), panic(), {}, None)
    assert ready.facts["ready"] is True
    assert "192 MiB" in ready.summary


def test_another_kernel_than_the_one_that_died_is_told() -> None:
    given_ = answers(
        uname=f"Linux web-17 {KERNEL} #1 SMP\n", uptime="3600.00 1.0\n", since="2026-11-23 06:00:00"
    )
    found = read_identity(given_, panic(kernel="6.1.0-31-amd64"), {}, NOW)
    assert "the kernel that died was 6.1.0-31-amd64" in found.summary
    assert found.panic["running_kernel"] == KERNEL
    assert found.facts["zone_offset"] == 3600


def test_a_firmware_change_since_the_last_run_is_told() -> None:
    dmi = "/sys/class/dmi/id/bios_vendor:Dell\n/sys/class/dmi/id/bios_version:2.9\n"
    window = timedelta(days=14)
    same = read_recent(answers(dmi=dmi), panic(), {}, window=window, previous_bios="Dell 2.9", tickets=[])
    other = read_recent(
        answers(dmi=dmi), panic(), {}, window=window, previous_bios="Dell 2.8", tickets=["OPS-1"]
    )
    assert "the same as at the last run" in same.summary
    assert "an earlier run saw Dell 2.8" in other.summary
    assert "OPS-1" in other.summary


def test_a_firmware_change_found_elsewhere_is_not_said_to_have_no_comparison() -> None:
    dmi = "/sys/class/dmi/id/bios_vendor:Dell\n/sys/class/dmi/id/bios_version:2.9\n"
    window = timedelta(days=7)

    def said(*weighed: tuple[str, str]) -> str:
        found = read_recent(
            answers(dmi=dmi), panic(), {}, window=window, previous_bios=None, tickets=[], weighed=weighed
        )
        return "\n".join(text for _, text in found.lines)

    assert "no earlier run to compare with" in said(("ok", "no change found"))
    assert "no earlier run to compare with" not in said(("warn", "firmware Dell 2.9 (before: Dell 2.8)"))


def test_seen_before() -> None:
    engine = create_engine("sqlite://")
    SQLModel.metadata.create_all(engine)
    with Session(engine) as session:
        this = panic(id=None, ring="prod-2", kernel="6.1.0-31")
        day = timedelta(days=1)
        for host, days, kernel, key in (
            ("web-17", 3, "6.1.0-30", "null_deref|f"),
            ("web-17", 90, "6.1.0-30", "oom_panic"),
            ("web-18", 1, "6.1.0-30", "null_deref|f"),
            ("web-19", -1, "6.1.0-31", "null_deref|f"),  # later: not seen before
        ):
            session.add(panic(id=None, host=host, occurred_at=this.occurred_at - days * day, kernel=kernel,
                              signature_key=key, ring="prod-2"))  # fmt: skip
        session.add(this)
        session.commit()
        found = look_back(session, this, timedelta(days=30))
        assert "this host: once seen in 30 d before, 2 in all (P-1, P-2)" in found.summary
        assert "2 times seen before on 2 hosts, kernels 6.1.0-30; new on 6.1.0-31" in found.summary
        assert "ring prod-2: 2 times" in found.summary
        unknown = panic(id=None, signature_key="unknown")
        assert "the cause is unknown" in look_back(session, unknown, timedelta(days=30)).summary


@pytest.mark.parametrize(
    ("family", "os_id", "kernel", "installed", "there"),
    [
        ("rhel", "rhel", "5.14.0-503.el9.x86_64", "kernel-debuginfo\t5.14.0-503.el9\tx86_64\n", True),
        ("rhel", "rhel", "5.14.0-503.el9.x86_64", "kernel-debuginfo\t5.14.0-427.el9\tx86_64\n", False),
        ("rhel", "rhel", "5.14.0-503.el9.x86_64+rt", "kernel-debuginfo\t5.14.0-503.el9\tx86_64\n", False),
        (
            "suse",
            "sles",
            "6.4.0-150600.23.7-default",
            "kernel-default-debuginfo\t6.4.0-150600.23.7.3\tx86_64\n",
            True,
        ),
        (
            "suse",
            "sles",
            "6.4.0-150600.23.7-default",
            "kernel-default-debuginfo\t6.4.0-150600.23.73\tx86_64\n",
            False,
        ),
        ("suse", "sles", "6.4.0-150600.23.7-default", "", False),
    ],
)
def test_the_vmlinux_is_looked_for_among_the_rpms(
    family: str, os_id: str, kernel: str, installed: str, there: bool
) -> None:
    facts = {"family": family, "os_id": os_id}
    found = read_offline(answers(rpm_debuginfo=installed), panic(kernel=kernel), facts)
    assert ("its package is installed on the host" in found.summary) is there
    assert ("vmlinux: not on the host" in found.summary) is not there
    assert "not checked (not asked)" in read_offline(answers(), panic(kernel=kernel), facts).summary


hostile = st.dictionaries(
    st.sampled_from(
        ["os", "uname", "uptime", "since", "boot_id", "cmdline", "tainted", "last", "apt", "rpm", "dmi", "lsmod",
         "df", "dpkg", "rpm_debuginfo", "interfaces", "nic:eth0", "loaded", "reserved", "unit",
         "kdump_config", "sysctl"]
    ),
    st.one_of(st.text(max_size=80), st.sampled_from(["9" * 400, "1e400 2", "-1 0", "0\n" * 50, "\x00<!channel>"])),
)  # fmt: skip


@given(hostile, st.dictionaries(st.sampled_from(["zone_offset", "dump_size"]), st.integers(-(10**6), 10**12)))
def test_no_answer_breaks_a_reader(texts: dict[str, str], facts: dict[str, int]) -> None:
    given_ = answers(**texts)
    for found in (
        read_identity(given_, panic(), facts, NOW),
        read_recent(given_, panic(), facts, window=timedelta(days=9), previous_bios=None, tickets=[]),
        read_offline(given_, panic(), facts),
        read_readiness(given_, panic(), facts, texts.get("df")),
    ):
        assert found.state in ("ok", "warn", "failed", "skipped")
        assert found.lines


@given(st.lists(st.text(max_size=900), max_size=30), st.text(max_size=300), st.sampled_from(list(RunState)))
def test_no_finding_breaks_the_message(lines: list[str], note: str, state: RunState) -> None:
    run = RunbookRun(id=3, panic_id=9, workflow_id="w", state=state, asked_by="U0ONCALL", asked_at=NOW, note=note,
                     attempts=2, next_try_at=NOW, give_up_at=NOW)  # fmt: skip
    outputs = [{"command": line, "stdout": line * 9, "stderr": line, "outcome": "exit 0"} for line in lines]
    step = StepResult(run_id=3, name="dump", title="The dump exists", state="ok", outputs=outputs,
                      facts={"lines": [["warn", line] for line in lines]})  # fmt: skip
    message = run_message(run, panic(host="<!channel> *x*"), [step] * 6)
    for blocks in (message.blocks, raw_blocks(run, [step] * 6, panic(host="<!channel> *x*"))):
        assert len(blocks) <= 50
        for block in blocks:
            text = block.get("text", {}).get("text", "")
            assert len(text) <= 3000
            assert "<!channel>" not in text
    assert "<!channel>" not in message.text


def test_lengths_of_time() -> None:
    assert [span(s) for s in (0, 59, 3661, 90061, -5)] == ["0 s", "59 s", "1 h 1 min", "1 d 1 h", "0 s"]
