"""Step "The dump exists": locally, whole or not, of this panic or not; and centrally."""

from __future__ import annotations

from typing import Any

from commands.hosts.crashdump import DumpReport, panic_columns, saved_at, size_words
from commands.hosts.desk import StepFinding
from commands.hosts.lastwords import LastWords
from commands.triage.identity import clock, worst
from storage import DumpState, Panic


def read_dump(
    report: DumpReport,
    panic: Panic,
    words: LastWords | None = None,
    central: tuple[str, str] = ("skipped", "central: no central store configured"),
) -> StepFinding:
    """Plain words about a look into the crash directory; `words` is what was read of a panic that came without text,
    `central` the line about the central store."""
    lines: list[tuple[str, str]] = []
    facts: dict[str, Any] = {}
    elsewhere = report.elsewhere
    if report.problem is not None:
        lines.append(("failed" if elsewhere is None else "warn", report.problem))
    elif elsewhere is not None:
        lines.append(("ok", "local: none, and none is missing: kdump writes to the central directory"))
    elif report.gone is not None:
        lines.append(("failed", f"local: {report.gone}"))
    elif report.chosen is None:
        others = sum(not d.test for d in report.dumps)
        of = f"; the {others} in the crash directory are of other times" if others else ""
        lines.append(("failed", f"local: there is no dump of this panic{of}"))
    else:
        lines += _local(report)
        facts["crash_directory"] = report.chosen.directory
        if report.chosen.dump is not None:
            facts["dump_size"] = report.chosen.dump.size
    if report.central is not None:
        word = {DumpState.COMPLETE: "ok", DumpState.UNVERIFIED: "warn"}.get(report.central.state, "failed")
        lines.append((word if elsewhere is not None else "warn", report.central.told))
        facts |= {"central_directory": report.central.directory, "central_path": report.central.path}
    if elsewhere is not None:
        facts["dump_size"] = elsewhere.size
        if central[0] != "ok":  # no copy in the store: there is no need of one
            central = (
                "ok",
                "central: it needs no copy from the host, it is in the central directory already",
            )
    if report.chosen is not None and report.chosen.dmesg is not None:
        dmesg = report.chosen.dmesg
        lines.append(
            ("ok" if dmesg.size else "warn", f"dmesg of the crash: {dmesg.path}, {size_words(dmesg.size)}")
        )
        facts["dmesg"] = dmesg.path
    if report.info is not None:
        facts |= {"build_id": report.info.build_id, "dump_release": report.info.release}
        if report.info.release and report.info.page_size:
            told = f"VMCOREINFO: kernel {report.info.release}, pages of {report.info.page_size} bytes"
            lines.append(("ok", told))
    if report.crash_time is not None:
        facts["crash_time"] = report.crash_time.isoformat()
        apart = abs((report.crash_time - panic.occurred_at).total_seconds())
        told = f"it crashed at {clock(report.crash_time)} (VMCOREINFO)"
        lines.append(
            ("ok", told) if report.sure else ("warn", f"{told}, {apart / 60:.0f} min from what was reported")
        )
    lines.append(central)
    words = words or LastWords()
    lines += words.lines
    outputs = (*report.outputs, *words.outputs)
    return StepFinding(worst(lines), tuple(lines), facts, outputs, panic_columns(report), words.report)


def _local(report: DumpReport) -> list[tuple[str, str]]:
    chosen = report.chosen
    assert chosen is not None
    if chosen.dump is None:
        return [
            (
                "failed",
                f"local: {chosen.directory} holds no dump" + (", only its dmesg" if chosen.dmesg else ""),
            )
        ]
    size = size_words(chosen.dump.size)
    reason = report.completeness.reason if report.completeness else "its content could not be read"
    word = {DumpState.COMPLETE: "ok", DumpState.UNVERIFIED: "warn"}.get(report.state, "failed")
    known = report.completeness is not None and report.completeness.format not in ("", "none")
    form = f", {report.completeness.format}" if report.completeness and known else ""
    lines = [(word, f"local: {report.state.value}, {chosen.dump.path}, {size}{form} ({reason})")]
    if not report.certain and not report.sure:
        told = "nobody told when it died; this is the newest dump that is of no other panic"
        lines.append(("warn", f"{told} (saved {clock(saved_at(chosen))})"))
    elif not report.sure and report.crash_time is None:
        lines.append(("warn", f"it was saved {clock(saved_at(chosen))}: of this panic only if that fits"))
    return lines
