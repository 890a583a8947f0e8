"""The judges over captured outputs, over those of other families made from formats, and over anything."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.demo.hosts import captures
from integrations.readiness import CHECKS, Finding, Known, Output, Outputs, State, judge, state_of
from integrations.readiness.ranges import DEFAULTS, recommended
from integrations.readiness.target import estimate
from tests.readiness.hosts import RHEL, SUSE, captured

GIB = 2**30


def look(outputs: dict[str, Output], known: Known) -> dict[str, Finding]:
    return {f.check: f for f in judge(Outputs(outputs), known).findings}


def debian(case: str, **changed: str | None) -> tuple[dict[str, Output], Known]:
    outputs = captured(case)
    for key, text in changed.items():
        if text is None:
            del outputs[key]
        else:
            outputs[key] = Output(text)
    return outputs, Known("debian", asked_at=1000.0)


def test_a_host_that_dumped_is_ready() -> None:
    outputs, known = debian("sysrq-c")
    found = look(outputs, known)
    assert {c: f.told for c, f in found.items() if f.state is not State.READY} == {}
    assert state_of(found.values()) is State.READY
    assert found["reservation"].told == "192 MiB reserved"
    assert found["initrd"].told == "made for 6.1.0-56-cloud-amd64, which runs"


def test_a_host_without_a_reservation_is_not_ready_and_says_how_to_mend_it() -> None:
    found = look(*debian("no-kdump-pstore"))
    assert found["reservation"].state is found["loaded"].state is State.NOT_READY
    assert "no crashkernel=" in found["reservation"].told
    assert "crashkernel=192M" in found["reservation"].mend[0]
    assert found["reservation"].mend[1:] == ("sudo update-grub", "sudo systemctl reboot")
    assert found["reservation"].link == "docs/kdump-setup.md#reserve"
    # What this kernel does with an oops, as captured.
    assert found["sysctl"].state is State.AT_RISK
    assert "panic_on_oops 0" in found["sysctl"].told
    assert state_of(found.values()) is State.NOT_READY


def test_the_unit_says_active_where_nothing_is_loaded_and_is_not_asked() -> None:
    capture = captures.load("no-kdump-pstore")
    assert "Active: active (exited)" in capture.files["kdump-status"]
    assert look(*debian("no-kdump-pstore"))["loaded"].state is State.NOT_READY


def test_roots_reserved_blocks_count_as_room() -> None:
    """A disk that is full for users has taken a dump, as captured; without a block for root, it has not."""
    outputs, known = debian("disk-full-yet-dump-saved", space="4096 749000 30000 0")
    assert look(outputs, known)["space"].state is State.AT_RISK
    full = look(*debian("dump-fails-disk-full", space="4096 749000 120 0"))["space"]
    assert full.state is State.NOT_READY
    assert full.told.startswith("0 MiB free for root in /var/crash, about ")
    assert full.mend[0] == "sudo du -xsh /var/crash/*"


@pytest.mark.parametrize(
    ("key", "text", "check", "state"),
    [
        ("crash_loaded", "0\n", "loaded", State.NOT_READY),
        ("crash_loaded", "7\n", "loaded", State.UNKNOWN),
        ("crash_size", "0\n", "reservation", State.NOT_READY),
        ("crash_size", "67108864\n", "enough", State.AT_RISK),
        ("release", "6.1.0-57-cloud-amd64\n", "initrd", State.AT_RISK),
        ("dump_modes", "644 202611230525/dump.202611230525\n", "permissions", State.AT_RISK),
        ("dump_modes", "644 202611230525/dmesg.202611230525\n", "permissions", State.READY),
        ("dir_mode", "700\n", "permissions", State.READY),
        ("pstore", "(null)\n", "console", State.AT_RISK),
        ("reporter", "secret=refused (HTTP 401: bad_signature)\n", "reporter", State.AT_RISK),
        ("clock", "1031\n", "clock", State.AT_RISK),
        ("clock", "1029\n", "clock", State.READY),
        ("sysctl", "kernel.panic = 0\nkernel.panic_on_oops = 1\n", "sysctl", State.AT_RISK),
        ("config", "KDUMP_COREDIR=/srv/crash\n", "space", State.UNKNOWN),
        ("config", "KDUMP_COREDIR=/srv/crash\n", "permissions", State.UNKNOWN),
        ("config", 'NFS="192.0.2.9:/dumps"\n', "space", State.AT_RISK),
    ],
)
def test_each_thing_that_rots_is_found(key: str, text: str, check: str, state: State) -> None:
    outputs, known = debian("sysrq-c", **{key: text})
    found = look(outputs, known)[check]
    assert found.state is state
    assert found.state is State.READY or found.why


def test_what_is_not_there_is_told_from_what_was_not_answered() -> None:
    outputs, known = debian("sysrq-c")
    outputs["journal"] = Output("", ok=False, outcome="exit 2")
    outputs["reporter"] = Output("", ok=False, outcome="exit 69")
    found = look(outputs, known)
    assert found["journal"].state is found["reporter"].state is State.AT_RISK
    outputs["journal"] = outputs["reporter"] = Output("", ok=False, outcome="timed out after 10 s")
    found = look(outputs, known)
    assert found["journal"].state is found["reporter"].state is State.UNKNOWN
    assert "timed out" in found["reporter"].told


@pytest.mark.parametrize(
    ("outputs", "known"),
    [(RHEL, Known("rhel", el9=True, asked_at=1000.0)), (SUSE, Known("suse", asked_at=1000.0))],
)
def test_other_families_are_ready_too(outputs: dict[str, Output], known: Known) -> None:
    found = look(outputs, known)
    assert {c: f.told for c, f in found.items() if f.state is not State.READY} == {}


@pytest.mark.parametrize(
    ("outputs", "known", "key", "text", "check", "mended"),
    [
        (RHEL, Known("rhel", el9=True), "crash_size", "0\n", "reservation", "sudo kdumpctl reset-crashkernel --kernel=ALL"),  # noqa: E501
        (RHEL, Known("rhel", el9=True), "crash_size", "201326592\n", "enough", "sudo kdumpctl estimate"),
        (RHEL, Known("rhel"), "boot", "vmlinuz-5.14.0-503.el9.x86_64\n", "initrd", "sudo kdumpctl rebuild"),
        (RHEL, Known("rhel"), "config", "ssh kdump@192.0.2.9\npath /srv\n", "space", "sudo du -xsh /srv/*"),
        (SUSE, Known("suse"), "crash_size", "134217728\n", "enough", "sudo kdumptool calibrate"),
        (SUSE, Known("suse"), "crash_loaded", "0\n", "loaded", "sudo systemctl enable --now kdump"),
        (SUSE, Known("suse"), "boot", "initrd-6.4.0-1-default\n", "initrd", "sudo mkdumprd -f"),
        (SUSE, Known("suse"), "config", 'KDUMP_SAVEDIR="nfs://192.0.2.9/dumps"\n', "space", "sudo du -xsh /var/crash/*"),  # noqa: E501
    ],
)  # fmt: skip
def test_other_families_rot_too(
    outputs: dict[str, Output], known: Known, key: str, text: str, check: str, mended: str
) -> None:
    found = look(outputs | {key: Output(text)}, known)[check]
    assert found.state in (State.AT_RISK, State.NOT_READY)
    assert found.mend[0] == mended


def test_recommendations_are_chosen_by_memory() -> None:
    arm = DEFAULTS["debian", "aarch64"]
    assert [recommended(arm, gib * GIB) for gib in (1, 3, 40, 500)] == [None, 320 * 2**20, GIB, 4 * GIB]
    assert recommended("", GIB) is None


def test_an_estimate_grows_with_memory_and_with_what_is_kept() -> None:
    assert estimate(GIB, 31) < estimate(64 * GIB, 31) < estimate(1024 * GIB, 31) < 20 * GIB
    assert estimate(64 * GIB, 1) == 64 * GIB


def test_a_drill_is_compared_with_what_runs_now() -> None:
    outputs, known = debian("sysrq-c")
    facts = dict(judge(Outputs(outputs), known).facts)
    assert facts["kernel"] == "6.1.0-56-cloud-amd64"
    drilled = replace(known, drill=facts | {"at": "2026-11-01"})
    assert look(outputs, drilled)["drill"].state is State.READY
    later = look(outputs | {"release": Output("6.1.0-57-cloud-amd64\n")}, drilled)["drill"]
    assert later.state is State.AT_RISK
    assert later.told == "since the drill of 2026-11-01 changed: kernel"


KEYS = sorted(captured("sysrq-c"))
texts = st.one_of(st.text(max_size=200), st.from_regex(r"(\w+[ =:]\S{0,20}\n){0,6}", fullmatch=True))
outputs_of = st.dictionaries(
    st.sampled_from(KEYS),
    st.builds(
        Output, texts, st.booleans(), st.sampled_from(["exit 0", "exit 2", "exit 69", "timed out after 9 s"])
    ),
)
families = st.sampled_from(["debian", "rhel", "suse", None])


@given(outputs_of, families, st.booleans())
def test_anything_may_come(outputs: dict[str, Output], family: str | None, el9: bool) -> None:
    verdict = judge(Outputs(outputs), Known(family, el9=el9, asked_at=1000.0))
    assert {f.check for f in verdict.findings} == {*CHECKS, "drill"}
    assert all(f.told for f in verdict.findings)


# Without these a host may be ready all the same: another answer says it, or it is only compared with later.
BESIDE = ("pstore", "dump_modes", "initrd_file", "cmdline", "arch")


@given(st.sets(st.sampled_from([k for k in KEYS if k not in BESIDE]), min_size=1))
def test_what_is_missing_is_never_ready(missing: set[str]) -> None:
    outputs = {k: v for k, v in captured("sysrq-c").items() if k not in missing}
    assert state_of(judge(Outputs(outputs), Known("debian", asked_at=1000.0)).findings) is not State.READY
    failed = captured("sysrq-c") | {k: Output("", ok=False, outcome="exit 1") for k in missing}
    assert state_of(judge(Outputs(failed), Known("debian", asked_at=1000.0)).findings) is not State.READY


def test_nothing_at_all_is_unknown() -> None:
    assert state_of(judge(Outputs({}), Known(None)).findings) is State.UNKNOWN
    assert state_of([]) is State.UNKNOWN
