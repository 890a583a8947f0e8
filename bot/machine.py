"""What `panicroom doctor` finds on this machine: settings, database, reports that wait, store, port and SSH key."""

from __future__ import annotations

import os
import socket
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import paramiko
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import Session

from bot.settings import Settings
from commands.triage.runbook import RunbookError, doubts, load_runbook
from integrations.slack.text import clean
from integrations.ssh import SshConfigRefused
from integrations.ssh.ssh_config import SshConfigFile
from storage import ReportState, report_ref
from storage.database import make_engine
from storage.migrations import SchemaError, current, head
from storage.queries import reports_held, reports_waiting

Verdict = Literal["ok", "warn", "fail"]
_LISTED = 10  # reports that wait for a person, of each sort


@dataclass(frozen=True)
class Finding:
    """One result. `remedy` says what to do, and is empty when nothing is to be done. `details`: a line each."""

    name: str
    verdict: Verdict
    said: str
    remedy: str = ""
    details: tuple[str, ...] = ()


def settings_findings(settings: Settings, config: Path | None) -> list[Finding]:
    where = str(config) if config is not None else "the environment alone"
    findings = [Finding("settings", "ok", f"read from {where}; {len(settings.hosts)} hosts in the inventory")]
    if config is not None and stat.S_IMODE(config.stat().st_mode) & stat.S_IROTH:
        findings.append(
            Finding(
                "settings",
                "warn",
                f"{config} can be read by everybody on this machine",
                f"chmod 640 {config}, and keep tokens in files",
            )
        )
    if settings.inventory.closed and not settings.hosts:
        findings.append(
            Finding(
                "settings",
                "warn",
                "the inventory is closed and empty: every report is quarantined",
                "Add [[hosts]].",
            )
        )
    if not settings.access.admins:
        findings.append(
            Finding("settings", "warn", "nobody is an admin", "Set access.admins to user or group ids.")
        )
    return findings


def database_findings(settings: Settings) -> list[Finding]:
    shown = settings.database.shown
    remedy = "Check database.url, the server, and that the bot's user may write there."
    file = make_url(settings.database.url).database
    if settings.database.url.startswith("sqlite:") and file and not Path(file).exists():
        # Not made here: it would belong to whoever asked the doctor.
        store = store_findings(Path(file).parent)[0]
        if store.verdict == "fail":
            return [Finding("database", "fail", store.said, remedy)]
        return [Finding("database", "ok", f"{shown} is made at the first start")]
    try:
        revision = current(settings.database.url)
        engine = make_engine(settings.database.url)
        try:
            with (
                engine.connect().execution_options(panicroom_write=True) as connection,
                connection.begin() as work,
            ):
                connection.exec_driver_sql("CREATE TABLE panicroom_doctor (id INTEGER)")
                work.rollback()
        finally:
            engine.dispose()
    except (SQLAlchemyError, SchemaError, OSError) as error:
        return [Finding("database", "fail", f"{shown}: {str(error).splitlines()[0][:300]}", remedy)]
    findings = [Finding("database", "ok", f"{shown} can be written")]
    if revision is None:
        findings.append(Finding("schema", "ok", f"empty; the first start makes it (revision {head()})"))
    elif revision == head():
        findings.append(Finding("schema", "ok", f"revision {revision}, as this version needs"))
    else:
        said = f"revision {revision}, this version needs {head()}"
        findings.append(
            Finding("schema", "warn", said, "The next start upgrades it; make a backup first.")
            if revision < head()  # revisions are numbered: 0001, 0002
            else Finding("schema", "fail", said, "It was written by a newer version: start that one.")
        )
    return findings


def reports_findings(settings: Settings) -> list[Finding]:
    """What waits for a person. Says nothing of a database that is not there or not of this version."""
    url = make_url(settings.database.url)
    if url.get_backend_name() == "sqlite" and url.database and not Path(url.database).exists():
        return []
    try:
        if current(settings.database.url) != head():
            return []
        engine = make_engine(settings.database.url)
        try:
            with Session(engine) as session:
                counts = reports_waiting(session)
                command = settings.slack.command
                findings = [_held(session, s, counts[s], command) for s in _HELD if counts[s]]
        finally:
            engine.dispose()
    except (SQLAlchemyError, SchemaError, OSError) as error:
        return [Finding("reports", "fail", f"cannot be counted: {str(error).splitlines()[0][:300]}")]
    return findings or [Finding("reports", "ok", "none is parked or in quarantine")]


_HELD = {
    ReportState.PARKED: (
        "could not be read",
        "Mend what the error says (an update, a full disk), then `{command} quarantine accept {ref}`.",
    ),
    ReportState.QUARANTINED: (
        "from hosts that the inventory does not know",
        "Add the host to [[hosts]], or take one in: `{command} quarantine accept {ref}`.",
    ),
}


def _held(session: Session, state: ReportState, count: int, command: str) -> Finding:
    why, remedy = _HELD[state]
    reports = reports_held(session, state, limit=_LISTED)
    details = [
        f"{report_ref(r.id)} of {clean(r.host)}, {r.received_at:%Y-%m-%d %H:%M}Z"
        + (f": {' '.join(clean(r.error).split())[:200]}" if r.error else "")
        for r in reports
    ]
    if count > len(reports):
        details.append(f"and {count - len(reports)} more")
    noun = "report is" if count == 1 else "reports are"
    return Finding(
        "reports",
        "warn",
        f"{count} {noun} {state.value}: {why}",
        remedy.format(command=command, ref=report_ref(reports[0].id) if reports else "R-12"),
        tuple(details),
    )


def store_findings(directory: Path) -> list[Finding]:
    place = directory
    while not place.exists():
        place = place.parent
    try:
        with tempfile.NamedTemporaryFile(dir=place, prefix=".panicroom-doctor-"):
            pass
    except OSError as error:
        return [
            Finding(
                "store",
                "fail",
                f"{directory}: {error.strerror}",
                "Give the bot's user a directory it may write: store.dir.",
            )
        ]
    free = os.statvfs(place).f_bavail * os.statvfs(place).f_frsize
    said = f"{directory} can be written, {free / 1024**3:.1f} GiB free"
    if free < 1024**3:
        return [Finding("store", "warn", said, "Make room: bundles are kept there.")]
    return [Finding("store", "ok", said)]


def port_findings(settings: Settings) -> list[Finding]:
    listen, port = settings.server.listen, settings.server.port
    family = socket.AF_INET6 if ":" in listen else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((listen, port))
        except OSError as error:
            said = f"{listen}:{port} cannot be listened on: {error.strerror}"
            return [Finding("port", "warn", said, "Fine when the bot is running; else set server.port.")]
    return [Finding("port", "ok", f"{listen}:{port} is free")]


def ssh_findings(settings: Settings) -> list[Finding]:
    ssh = settings.ssh
    findings = []
    known_hosts = ssh.known_hosts.expanduser()
    try:
        lines = [line for line in known_hosts.read_text("utf-8", "replace").splitlines() if line.strip()]
        count = sum(not line.lstrip().startswith("#") for line in lines)
        findings.append(
            Finding("known hosts", "ok", f"{known_hosts}: {count} keys")
            if count
            else Finding(
                "known hosts", "warn", f"{known_hosts} is empty: every host is refused", _KNOWN_HOSTS
            )
        )
    except OSError as error:
        findings.append(Finding("known hosts", "fail", f"{known_hosts}: {error.strerror}", _KNOWN_HOSTS))
    if ssh.config_file is not None:
        try:
            SshConfigFile.read(ssh.config_file)
            findings.append(Finding("ssh config", "ok", f"{ssh.config_file} is followed"))
        except SshConfigRefused as error:
            findings.append(Finding("ssh config", "fail", str(error)[:300], "See docs/runbook.md."))
    if ssh.key_file is not None:
        findings.append(_ssh_key(ssh.key_file.expanduser()))
    elif ssh.agent:
        agent = os.environ.get("SSH_AUTH_SOCK", "")
        findings.append(
            Finding("ssh key", "ok", f"from the agent at {agent}")
            if agent and Path(agent).exists()
            else Finding(
                "ssh key",
                "fail",
                "ssh.agent is set, but there is no agent at SSH_AUTH_SOCK",
                "Start one, or set ssh.key_file.",
            )
        )
    else:
        findings.append(
            Finding(
                "ssh key",
                "fail",
                "there is neither ssh.key_file nor ssh.agent: triage cannot log in",
                "Set one of them.",
            )
        )
    return findings


_KNOWN_HOSTS = "Fill it from a source you trust, or with your host CA (`@cert-authority`): ssh.known_hosts."


def _ssh_key(file: Path) -> Finding:
    try:
        mode = stat.S_IMODE(file.stat().st_mode)
        key = paramiko.PKey.from_path(file)
    except (OSError, ValueError, TypeError, paramiko.SSHException) as error:
        return Finding(
            "ssh key",
            "fail",
            f"{file}: {error}"[:300],
            "ssh.key_file must be a private key without passphrase.",
        )
    if mode & 0o077:
        return Finding(
            "ssh key", "warn", f"{file} can be read by others (mode {mode:04o})", f"chmod 600 {file}"
        )
    return Finding("ssh key", "ok", f"{file} ({key.get_name()}, {key.fingerprint})")


def runbook_findings(settings: Settings) -> list[Finding]:
    """The runbook with the team's steps. What is wrong is told with the settings; this is what is hardly meant."""
    path = settings.triage.runbook
    try:
        runbook = load_runbook(path)
    except RunbookError as error:  # written anew since the settings were read
        remedy = "Correct the file as docs/runbook.md shows: triage.runbook."
        return [Finding("runbook", "fail", problem[:400], remedy) for problem in error.problems]
    commands = sum(len(step.command) for step in runbook.step)
    own = f", with steps of {path}" if path is not None else ""
    findings = [Finding("runbook", "ok", f"{len(runbook.step)} steps, {commands} commands{own}")]
    return findings + [
        Finding("runbook", "warn", f"{path}, {doubt}", "See docs/runbook.md.") for doubt in doubts(path)
    ]


def pager_findings(settings: Settings) -> list[Finding]:
    if not settings.pager.enabled:
        return [Finding("pager", "ok", "none is set")]
    return [Finding("pager", "ok", "is set; it is not called here, because that would page somebody")]
