"""What `panicroom doctor` finds of the runbook with a team's steps, and of an OpenSSH client configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.machine import Finding, runbook_findings, ssh_findings
from bot.settings import Settings
from commands.triage.runbook import TriageConfig, shipped
from integrations.ssh.config import SshConfig

STEP = """
[[step]]
name = "raid"
title = "RAID"
timeout = 20

[[step.command]]
key = "mdstat"
argv = {argv}
check = "contains"
expect = "active"
{more}
"""


def runbook(file: Path, argv: str, more: str = "timeout = 10") -> list[Finding]:
    file.write_text(STEP.format(argv=argv, more=more))
    return runbook_findings(Settings(triage=TriageConfig(runbook=file)))


def test_the_shipped_runbook_is_counted() -> None:
    (found,) = runbook_findings(Settings())
    commands = sum(len(step.command) for step in shipped().step)
    assert (found.verdict, found.said) == ("ok", f"{len(shipped().step)} steps, {commands} commands")


def test_steps_of_a_team_are_counted_with_it(tmp_path: Path) -> None:
    file = tmp_path / "steps.toml"
    (found,) = runbook(file, '["cat", "/proc/mdstat"]')
    assert found.verdict == "ok"
    assert found.said.startswith(f"{len(shipped().step) + 1} steps, ")
    assert found.said.endswith(f", with steps of {file}")


@pytest.mark.parametrize(
    ("argv", "more", "said"),
    [
        (
            '["cat", "/proc/mdstat", "|", "head"]',
            "timeout = 10",
            "'|' is handed to cat as it is: no shell reads it",
        ),
        ('["echo", "$HOME"]', "timeout = 10", "'$HOME' is handed to echo"),
        (
            '["sudo", "mdadm", "--detail"]',
            "timeout = 10",
            "sudo without -n asks for a password that nobody gives",
        ),
        ('["cat", "/proc/mdstat"]', "timeout = 60", "its 60 s are cut by the step's 20 s"),
    ],
)
def test_what_is_hardly_meant_is_a_warning_with_its_place(
    tmp_path: Path, argv: str, more: str, said: str
) -> None:
    file = tmp_path / "steps.toml"
    first, doubt = runbook(file, argv, more)
    assert (first.verdict, doubt.verdict) == ("ok", "warn")
    assert doubt.said.startswith(f"{file}, step 'raid', command 'mdstat': ")
    assert said in doubt.said
    assert doubt.remedy == "See docs/runbook.md."


def test_a_file_that_is_not_there_any_more_is_told(tmp_path: Path) -> None:
    """The settings were read when it was."""
    file = tmp_path / "steps.toml"
    file.write_text(STEP.format(argv='["cat", "/proc/mdstat"]', more=""))
    settings = Settings(triage=TriageConfig(runbook=file))
    file.unlink()
    (found,) = runbook_findings(settings)
    assert (found.verdict, "cannot be read: No such file" in found.said) == ("fail", True)
    file.write_text("not [ toml")
    (found,) = runbook_findings(settings)
    assert found.verdict == "fail"
    assert "triage.runbook" in found.remedy


# -- ssh_config -------------------------------------------------------------------------------------------


def ssh_config(folder: Path, text: str | None) -> Finding:
    file = folder / "config"
    if text is not None:
        file.write_text(text)
    findings = ssh_findings(Settings(ssh=SshConfig(config_file=file, known_hosts=folder / "known_hosts")))
    (found,) = [f for f in findings if f.name == "ssh config"]
    return found


def test_a_client_configuration_that_can_be_followed(tmp_path: Path) -> None:
    found = ssh_config(tmp_path, "Host web-*\n  User triage\n  ProxyJump bastion\n")
    assert (found.verdict, found.said) == ("ok", f"{tmp_path}/config is followed")


def test_none_is_set_and_nothing_is_said(tmp_path: Path) -> None:
    findings = ssh_findings(Settings(ssh=SshConfig(known_hosts=tmp_path / "known_hosts")))
    assert [f for f in findings if f.name == "ssh config"] == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "cannot be read"),
        ("Include other\n", "other files are not read"),
        ('Match exec "true"\n  User root\n', "exec"),
        ("Host *\n  KnownHostsCommand /bin/keys\n", "no command is run to ask whom to trust"),
        ("Host *\n  RevokedHostKeys /etc/revoked\n", "@revoked"),
    ],
)
def test_what_would_run_or_is_not_read_is_refused(tmp_path: Path, text: str | None, said: str) -> None:
    found = ssh_config(tmp_path, text)
    assert (found.verdict, said in found.said) == ("fail", True), found
    assert found.remedy == "See docs/runbook.md."
