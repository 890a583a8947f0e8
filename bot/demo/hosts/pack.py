"""Make the packaged captures from a directory of captures: `python -m bot.demo.hosts.pack CAPTURES [CASE…]`."""

from __future__ import annotations

import base64
import gzip
import json
import re
import sys
from pathlib import Path
from typing import Any

from bot.demo.hosts.captures import CASES
from bot.demo.hosts.timeline import captured_times

HEAD, TAIL = 64 * 1024, 4 * 1024
HOSTNAME = "crash-lab"
# name in the package: name in the capture
TEXTS = {
    "uname": "uname.txt",
    "cmdline": "cmdline.txt",
    "os-release": "os-release.txt",
    "uptime": "uptime.txt",
    "list-boots": "list-boots.txt",
    "list-boots.json": "list-boots.json",
    "journal-0": "journal-b-0-k.short-iso.txt",
    "journal-1": "journal-b-1-k.short-iso.txt",
    "journal-2": "journal-b-2-k.short-iso.txt",
    "journal-1-tail": "journal-b-1-tail.short-iso.txt",
    "journal-2-tail": "journal-b-2-tail.short-iso.txt",
    "dmesg": "dmesg-now.txt",
    "lsmod": "lsmod.txt",
    "meminfo": "meminfo.txt",
    "tainted": "tainted.txt",
    "last": "last.txt",
    "df": "df.txt",
    "df-inodes": "df-inodes.txt",
    "lscpu": "lscpu.txt",
    "kexec": "kexec_crash.txt",
    "kdump-status": "kdump-tools-status.txt",
    "kdump-show": "kdump-config-show.txt",
    "kdump-defaults": "default-kdump-tools.txt",
    "apt-history": "apt-history.txt",
    "dpkg": "dpkg-kernel.txt",
    "dmi": "dmi.txt",
    "sysctl": "sysctl-panic.txt",
    "pstore-status": "pstore-status.txt",
    "failed-units": "failed-units.txt",
}
_PRINTK = re.compile(r"^(?:<\d+>)?\[ *(\d+\.\d+)\]", re.MULTILINE)
_AUDIT = re.compile(r"^(?:<\d+>)?\[ *(\d+\.\d+)\] audit: type=2000 audit\((\d+\.\d+):", re.MULTILINE)


def pack(folder: Path) -> dict[str, Any]:
    """One case's packaged form (see `captures.load`) from its folder."""
    files = {name: _read(folder / source) for name, source in TEXTS.items() if (folder / source).exists()}
    boots = [
        {key: boot[key] for key in ("index", "boot_id", "first_entry", "last_entry")}
        for boot in json.loads(files["list-boots.json"])
    ]
    listing = []
    for line in _read(folder / "as-triage.txt").splitlines():
        cells = line.split("\t")
        if len(cells) == 4:
            listing.append(
                {"path": cells[0], "type": cells[1], "size": int(cells[2]), "mtime": float(cells[3])}
            )
    crash_files, dumps = _crash_directory(folder, listing, files)
    pstore = next(iter(sorted(folder.glob("pstore-archive/*/dmesg.txt"))), None)
    times = [t for text in (*files.values(), _read(folder / "as-triage.txt")) for t in captured_times(text)]
    stamps = [entry["path"] for entry in listing if entry["type"] == "d"]
    machine = re.search(r"/var/log/journal/([0-9a-f]{32})/", _read(folder / "journal-verify.txt"))
    uptime_since = files["uptime"].splitlines()[0]
    return {
        "hostname": HOSTNAME,
        "machine_id": machine[1] if machine else "",
        "crash": _crash_time(folder, crash_files, dumps, pstore),
        "booted": next(iter(captured_times(uptime_since))),
        "end": max(times),
        "crashed_boot": _crashed_boot(folder),
        "stamp": stamps[-1] if stamps else None,
        "boots": boots,
        "files": files,
        "crash_files": crash_files,
        "listing": listing,
        "dumps": dumps,
        "pstore": _read(pstore) if pstore else None,
    }


def _crash_directory(
    folder: Path, listing: list[dict[str, Any]], files: dict[str, str]
) -> tuple[dict[str, str], dict[str, dict[str, str]]]:
    texts: dict[str, str] = {}
    dumps: dict[str, dict[str, str]] = {}
    for entry in listing:
        path = folder / "crash" / entry["path"]
        name = path.name
        if entry["type"] != "f":
            continue
        if name.startswith("dump") and path.exists() and path.stat().st_size:
            with path.open("rb") as dump:
                head = dump.read(HEAD)
                dump.seek(-TAIL, 2)
                tail = dump.read()
            dumps[entry["path"]] = {
                "head": base64.b64encode(head).decode(),
                "tail": base64.b64encode(tail).decode(),
            }
        elif path.exists() or not entry["size"]:
            texts[entry["path"]] = _read(path) if path.exists() else ""
        elif name == "kexec_cmd":
            # kdump-config keeps the command that it shows in this file; the size tells that it is the same
            shown = files["kdump-show"].rsplit("kexec command:", 1)[1].strip() + "\n"
            if len(shown) == entry["size"]:
                texts[entry["path"]] = shown
    return texts, dumps


def _crash_time(
    folder: Path, crash_files: dict[str, str], dumps: dict[str, dict[str, str]], pstore: Path | None
) -> float:
    """CRASHTIME of VMCOREINFO; else the boot's start by the audit line, plus the last printk time of the report."""
    for ends in dumps.values():
        told = re.search(rb"^CRASHTIME=(\d+)$", base64.b64decode(ends["head"]), re.MULTILINE)
        if told:
            return float(told[1])
    text = _read(pstore) if pstore else max(crash_files.values(), key=len)
    audit = _AUDIT.search(text)
    if audit is None:
        audit = _AUDIT.search(_read(folder / "serial.log"))
    if audit is None:
        raise SystemExit(f"{folder}: no audit line tells when the crashed boot started")
    last = max(float(t) for t in _PRINTK.findall(text))
    if "Call Trace" not in text:
        console = _read(folder / "serial.log")
        panic = re.search(r"^\[ *(\d+\.\d+)\] Kernel panic - not syncing", console, re.MULTILINE)
        last = float(panic[1]) if panic else last
    return float(audit[2]) - float(audit[1]) + last


def _crashed_boot(folder: Path) -> int:
    """-2 where the capture kernel kept a journal of its own, else -1."""
    previous = folder / "journal-b-1-k.short-iso.txt"
    return -2 if "systemd.unit=kdump-tools-dump.service" in _read(previous)[:4096] else -1


def _read(path: Path) -> str:
    return path.read_bytes().decode("utf-8", "surrogateescape")


def main(arguments: list[str]) -> None:
    """Write `captures/<case>.json.gz` for the cases named (all known ones when none is)."""
    source = Path(arguments[0])
    target = Path(__file__).parent / "captures"
    for case in arguments[1:] or CASES:
        text = json.dumps(pack(source / case), ensure_ascii=True, sort_keys=True)
        data = gzip.compress(text.encode(), 9, mtime=0)
        (target / f"{case}.json.gz").write_bytes(data)
        print(f"{case}: {len(text)} -> {len(data)} bytes")


if __name__ == "__main__":
    main(sys.argv[1:])
