"""Central directories that kdump itself writes to, in temporary folders; no host is asked anything."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from bot.demo.hosts.captures import load
from bot.demo.hosts.instance import Instance
from bot.settings import Settings
from bot.sweeping import sweep_findings
from commands.inventory import HostEntry, Inventory
from commands.sweep.config import CentralDirectory, SweepConfig
from storage import DumpState, Incident, PlaceState
from tests.sweep.stage import Stage, stage

HOSTS = (
    HostEntry(name="web-17", address="10.0.0.5"),
    HostEntry(name="web-18", address="10.0.0.6"),
    HostEntry(name="twin-1", address="10.0.0.9"),
    HostEntry(name="twin-2", address="10.0.0.9"),
    HostEntry(name="app-*", ring="apps"),
)


def saved(root: Path, directory: str, *, died: datetime, family: str = "rhel", whole: bool = True) -> Path:
    """What a captured kernel left, as kdump of that family would have written it to the central directory. The dump
    has the captured ends, and a hole where its middle was."""
    capture = load("oom")
    instance = Instance("web-17", capture, died.timestamp(), died.timestamp() + 60)
    (path, ends), *_ = instance.dumps.items()
    size = next(e.size for e in instance.listing if e.path == path)
    folder = root / directory
    folder.mkdir(parents=True)
    stamp = directory.rsplit("-", 1)[-1]
    names = {
        "rhel": ("vmcore.flat" if whole else "vmcore-incomplete", "vmcore-dmesg.txt"),
        "suse": ("vmcore", "dmesg"),
        "debian": (f"dump.{stamp}", f"dmesg.{stamp}"),
    }[family]
    (folder / names[1]).write_text(instance.crash_text())
    with (folder / names[0]).open("wb") as file:
        file.write(ends.head)
        if whole:
            file.seek(size - len(ends.tail))
            file.write(ends.tail)
    for file_name in names:
        moment = died.timestamp() + 45
        os.utime(folder / file_name, (moment, moment))
    return folder


def settings(root: Path, **more: Any) -> dict[str, Any]:
    return {"specs": None, "hosts": HOSTS, "directories": (CentralDirectory(path=root),), **more}


async def only(here: Stage) -> Any:
    (panic,) = await here.panics()
    return panic


async def test_a_dump_that_kdump_wrote_to_the_central_directory_is_told(tmp_path: Path) -> None:
    root = tmp_path / "kdump"
    died = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=2)
    saved(root, f"10.0.0.5-{died + timedelta(seconds=40):%Y-%m-%d-%H:%M:%S}", died=died)
    async with stage(tmp_path / "bot", **settings(root)) as here:
        run = await here.sweep("directories")
        panic = await only(here)
        assert (panic.host, panic.kind, panic.dump_state) == ("web-17", "oom_panic", DumpState.COMPLETE)
        assert panic.occurred_at == died  # the dead kernel's own word
        assert panic.dump_path.startswith(f"{root}/10.0.0.5-")
        assert panic.dump_note == "kdump wrote it to the central directory; none is missing on the host"
        told = await here.told(run.id or 0)
        assert "1 of 1 central directory looked at, 1 dump that nobody had told of" in told
        assert "kdump writes it there, none is missing on the host" in told
        (found,) = await here.found()
        assert found.body["central"] == str(root)
        parent = await here.world.db.read(lambda s: s.get_one(Incident, panic.incident_id))
        assert parent is not None
        again = await here.sweep("directories")
        assert (again.result["known"], again.result["found"]) == (1, [])


async def test_names_of_all_families_and_what_cannot_be_placed(tmp_path: Path) -> None:
    root = tmp_path / "kdump"
    now = datetime.now(UTC).replace(microsecond=0)
    for number, (name, form, family) in enumerate(
        [
            ("web-18", "%Y%m%d%H%M", "debian"),
            ("10.0.0.5", "%Y-%m-%d-%H-%M", "suse"),
            ("app-3", "%Y-%m-%d-%H:%M:%S", "rhel"),
            ("10.0.0.9", "%Y-%m-%d-%H:%M:%S", "rhel"),
            ("10.9.9.9", "%Y-%m-%d-%H:%M:%S", "rhel"),
            ("127.0.0.1", "%Y-%m-%d-%H:%M:%S", "rhel"),
            ("stranger", "%Y-%m-%d-%H:%M:%S", "rhel"),
        ]
    ):
        died = now - timedelta(hours=number + 1)
        saved(root, f"{name}-{died:{form}}", died=died, family=family)
    (root / "kdump-test-17").mkdir()
    (root / "lost+found").mkdir()
    (root / "_usr_bin_foo.0.crash").write_text("user space")
    async with stage(tmp_path / "bot", **settings(root)) as here:
        here.world.context.inventory = Inventory(HOSTS, closed=True)
        here.make_desk()
        run = await here.sweep("directories")
        assert sorted(p.host for p in await here.panics()) == ["app-3", "web-17", "web-18"]
        assert run.result["tests"] == 1
        assert [(called, why, count) for _, called, why, count in run.result["unplaced"]] == [
            ("10.0.0.9", "2 hosts of the inventory have this address: twin-1, twin-2", 1),
            ("10.9.9.9", "no host of the inventory has this address", 1),
            ("127.0.0.1", "every host has this address", 1),
            ("stranger", "the inventory does not know it", 1),
        ]
        assert "1 dump of `10.9.9.9`" in await here.told(run.id or 0)


async def test_a_dump_that_may_still_be_written_waits_and_an_incomplete_one_is_told_as_that(
    tmp_path: Path,
) -> None:
    root = tmp_path / "kdump"
    died = datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=90)
    folder = saved(root, f"web-17-{died:%Y-%m-%d-%H:%M:%S}", died=died, whole=False)
    async with stage(tmp_path / "bot", **settings(root)) as here:
        run = await here.sweep("directories")
        assert run.result["in_progress"] == [[str(root), folder.name]]
        assert await here.panics() == []
        assert "1 may still be written, left for the next sweep" in await here.told(run.id or 0)
        here.clock.forward(minutes=15)
        await here.sweep("directories")
        assert (await only(here)).dump_state is DumpState.INCOMPLETE


async def test_links_and_special_files_are_not_followed(tmp_path: Path) -> None:
    root = tmp_path / "kdump"
    died = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=2)
    secret = tmp_path / "shadow"
    secret.write_text("root:secret")
    folder = root / f"web-17-{died:%Y-%m-%d-%H:%M:%S}"
    folder.mkdir(parents=True)
    (folder / "vmcore-dmesg.txt").symlink_to(secret)
    os.mkfifo(folder / "vmcore")
    (root / f"web-18-{died:%Y-%m-%d-%H:%M:%S}").symlink_to(tmp_path)
    async with stage(tmp_path / "bot", **settings(root)) as here:
        run = await here.sweep("directories")
        assert await here.panics() == []
        assert run.result["empty"] == [[str(root), folder.name]]


async def test_a_directory_that_is_not_mounted_is_told(tmp_path: Path) -> None:
    async with stage(tmp_path / "bot", **settings(tmp_path / "absent")) as here:
        run = await here.sweep("directories")
        assert (await here.places())[str(tmp_path / "absent")].state is PlaceState.UNREACHABLE
        assert "No such file or directory" in await here.told(run.id or 0)


async def test_by_the_clock_once_after_a_restart_and_silent_when_there_is_nothing_new(tmp_path: Path) -> None:
    root = tmp_path / "kdump"
    root.mkdir()
    turns = {"enabled": True, "every": "6h", "window": "0s"}
    async with stage(tmp_path / "bot", **settings(root, **turns)) as here:
        here.desk.hosts_by_clock = False
        started = here.clock()
        due = await here.desk.due_at()
        assert due is not None
        assert timedelta(minutes=9) < due - started <= timedelta(minutes=10)
        here.clock.forward(minutes=11)
        here.start()
        run = await here.done(1)
        assert (run.scheduled, run.asked_by) == (True, "panicroom")
        assert run.result["places"] == {"host": {}, "directory": {"swept": 1}}
        await here.kill()
        here.make_desk().hosts_by_clock = False  # the next process knows that the clock has had its sweep
        assert await here.desk.due_at() == run.asked_at + timedelta(hours=6)
        assert await here.messages() == []
        here.clock.forward(hours=20)  # away for three turns: one sweep
        died = here.clock().replace(microsecond=0) - timedelta(hours=1)
        saved(root, f"web-17-{died:%Y-%m-%d-%H:%M:%S}", died=died)
        here.start()
        second = await here.done(2)
        assert await here.desk.due_at() == second.asked_at + timedelta(hours=6)
        (message,) = await here.messages()
        assert message.channel == "C0INCIDENTS"


def test_the_doctor_looks_at_the_directories_too(tmp_path: Path) -> None:
    root = tmp_path / "kdump"
    died = datetime.now(UTC)
    for name in ("10.0.0.5", "10.9.9.9"):
        (root / f"{name}-{died:%Y-%m-%d-%H:%M:%S}").mkdir(parents=True)
    directories = (CentralDirectory(path=root), CentralDirectory(path=tmp_path / "absent"))
    configured = Settings(sweep=SweepConfig(directories=directories), hosts=HOSTS)
    found = [(finding.verdict, finding.said) for finding in sweep_findings(configured)]
    assert found == [
        ("warn", "2 crash directories, those of 10.9.9.9 are no host's"),
        ("fail", "cannot be read: No such file or directory"),
    ]
    assert sweep_findings(Settings()) == []


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"directories": [{"path": "kdump"}]}, "must be an absolute path"),
        ({"directories": [{"path": "/a"}, {"path": "/a"}]}, "the same path stands twice"),
        ({"every": "30m", "window": "30m"}, "window must be shorter than every"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(wrong: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        SweepConfig(**wrong)
