"""`panicroom host-setup --check HOST`: what it makes of answers, and the command against a real OpenSSH server."""

from __future__ import annotations

import getpass
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.host_setup import Visitor, judge, questions
from integrations.ssh import CommandResult
from tests.forks import panicroom
from tests.host_side.support import DEPLOY
from tests.ssh.conftest import Sshd, free_port, start_sshd

__all__ = ["start_sshd"]

HELPER = "/usr/local/sbin/panicroom-host"
VISITOR = Visitor("triage", ("sudo", "-n", HELPER))
FACTS = {
    "helper_version": "2",
    "family": "debian",
    "crash_dir": "/var/crash",
    "crash_dir_exists": "yes",
    "crash_dir_free": "75331194880",
    "kexec_crash_loaded": "1",
    "kexec_crash_size": "201326592",
    "journal": "persistent",
    "report_script": "root:root 755",
    "report_secret": "root:root 600",
    "report_timer": "enabled",
    "report_last": "2026-11-23T05:38:40Z sent dump:202611230532: R-1",
    "report_waiting": "0",
    "report_refused": "0",
}
RULES = "User triage may run the following commands on web-17:\n    (root) NOPASSWD: {}\n"


def lines(**changes: str) -> str:
    return "".join(f"{key}={value}\n" for key, value in (FACTS | changes).items())


Answer = tuple[str, int]
GOOD: dict[str, Answer] = {
    "groups": ("triage adm systemd-journal\n", 0),
    "os": ('ID=debian\nVERSION_ID="12"\n', 0),
    "helper": ("root:root 755\n", 0),
    "rules": (RULES.format(HELPER), 0),
    "facts": (lines(), 0),
    "list": ("", 0),
    "secret": ("secret=valid\n", 0),
}


def results(**changes: Answer) -> dict[str, CommandResult]:
    made = {}
    for name, argv in questions(VISITOR).items():
        text, status = changes.get(name, GOOD[name])
        out, err = (text, "") if status == 0 or name == "secret" else ("", text)
        made[name] = CommandResult(
            argv, status, out.encode(), err.encode(), False, False, datetime(2026, 11, 23, tzinfo=UTC), 0.1
        )
    return made


def test_a_host_that_lacks_nothing() -> None:
    findings = judge(results(), VISITOR)
    assert [f.name for f in findings if f.verdict != "ok" or f.remedy] == []
    assert [f.name for f in findings] == [
        "groups", "helper", "sudo", "crash dir", "journal", "kdump", "reporter", "secret",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "name", "verdict", "remedy"),
    [
        ({"groups": ("triage\n", 0)}, "groups", "fail", "usermod -aG adm,systemd-journal triage"),
        ({"groups": ("triage\n", 0), "os": ("ID=rocky\n", 0)}, "groups", "fail", "usermod -aG systemd-journal triage"),
        ({"helper": ("No such file", 1), "facts": ("", 1)}, "helper", "fail",
         f"install -o root -g root -m 0755 deploy/host/panicroom-host {HELPER}"),
        ({"helper": ("triage:root 755\n", 0)}, "helper", "fail", "install -o root"),
        ({"helper": ("root:root 775\n", 0)}, "helper", "fail", "install -o root"),
        ({"facts": ("panicroom-host: usage", 64)}, "helper", "fail", "install -o root"),
        ({"facts": (lines(helper_version="1"), 0)}, "helper", "fail", "install -o root"),
        ({"facts": ("sudo: a password is required", 1)}, "sudo", "fail", f"triage ALL=(root) NOPASSWD: {HELPER}"),
        ({"rules": (RULES.format("ALL"), 0)}, "sudo", "warn", "sudo -l -U triage"),
        ({"rules": (RULES.format(f"{HELPER}, /usr/bin/cat /var/crash/*"), 0)}, "sudo", "warn", "sudo -l -U triage"),
        ({"facts": (lines(crash_dir_exists="no"), 0)}, "crash dir", "fail", "mkdir -m 0755 /var/crash"),
        ({"facts": (lines(journal="volatile"), 0)}, "journal", "fail", "mkdir -p /var/log/journal"),
        ({"facts": (lines(kexec_crash_loaded="0"), 0)}, "kdump", "fail", "kdump-config load"),
        ({"facts": (lines(kexec_crash_loaded="0", kexec_crash_size="0"), 0)}, "kdump", "fail", "update-grub"),
        ({"facts": (lines(kexec_crash_loaded="0", kexec_crash_size="0"), 0), "os": ("ID=x\nID_LIKE='suse'\n", 0)},
         "kdump", "fail", "zypper install kdump"),
        ({"facts": (lines(kexec_crash_loaded="0"), 0), "os": ("ID=ol\nID_LIKE=fedora\n", 0)},
         "kdump", "fail", "kdumpctl status"),
        ({"facts": (lines(report_script=""), 0)}, "reporter", "warn", "install.sh"),
        ({"facts": (lines(report_timer="disabled"), 0)}, "reporter", "fail", "enable --now panicroom-report.timer"),
        ({"facts": (lines(report_waiting="2"), 0)}, "reporter", "warn", "panicroom-report --check"),
        ({"facts": (lines(report_refused="1"), 0)}, "reporter", "fail", "panicroom-report --again"),
        ({"secret": ("secret=refused (HTTP 401: x)\n", 2)}, "secret", "fail", "/etc/panicroom/secret"),
        ({"secret": ("secret=unknown (https://x: HTTP 000)\n", 1)}, "secret", "warn", "curl"),
        ({"secret": ("", 78)}, "secret", "fail", "report.conf"),
        ({"facts": (lines(report_secret="root:root 644"), 0)}, "secret", "fail", "chmod 0600"),
    ],
)  # fmt: skip
def test_each_thing_that_is_missing_comes_with_what_mends_it(
    changes: dict[str, Answer], name: str, verdict: str, remedy: str
) -> None:
    bad = [f for f in judge(results(**changes), VISITOR) if f.verdict != "ok"]
    assert [(f.name, f.verdict) for f in bad] == [(name, verdict)]
    assert remedy in bad[0].remedy


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(sorted(GOOD)), st.tuples(st.text(max_size=60), st.sampled_from([0, 1, 2, 64, 127]))
    ),
    st.dictionaries(st.sampled_from(sorted(FACTS)), st.text(max_size=30)),
)
def test_whatever_a_host_answers_is_told_on_one_line(
    answers: dict[str, Answer], facts: dict[str, str]
) -> None:
    for finding in judge(results(**{"facts": (lines(**facts), 0), **answers}), VISITOR):
        assert "\n" not in finding.said
        assert "\x1b" not in finding.said
        assert finding.verdict == "ok" or finding.said


@pytest.fixture
def look(tmp_path: Path, start_sshd: Callable[..., Sshd]) -> Callable[..., tuple[int, str, str]]:
    """Runs the command against a real sshd with the shipped helper, whose crash directory is the test's."""
    sshd = start_sshd()
    known = sshd.folder / "known_hosts"
    known.write_text(f"[127.0.0.1]:{sshd.port} {sshd.host_key}\n")
    (tmp_path / "crash").mkdir()
    script = tmp_path / "panicroom-host"
    source = (DEPLOY / "panicroom-host").read_text()
    script.write_text(source.replace("found=/var/crash", f"found={tmp_path}/crash"))
    script.chmod(0o755)

    def run(*, port: int = sshd.port, key: str = "client_key", name: str = "web-17") -> tuple[int, str, str]:
        (tmp_path / "panicroom.toml").write_text(
            f"""server.shared_secrets = ["0123456789abcdef"]
slack.bot_token = "xoxb-x"
slack.signing_secret = "s"
routing.channel = "C0INCIDENTS"
[ssh]
user = {json.dumps(getpass.getuser())}
key_file = {json.dumps(str(sshd.folder / key))}
known_hosts = {json.dumps(str(known))}
helper = ["sh", {json.dumps(str(script))}]
[[hosts]]
name = "web-17"
address = "127.0.0.1"
port = {port}
"""
        )
        done = panicroom("host-setup", "--check", name, cwd=tmp_path)
        return done.returncode, done.stdout, done.stderr

    return run


def test_the_command_over_a_real_sshd(look: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    status, out, err = look()
    assert status == 1, err
    assert "ok   login        web-17 (127.0.0.1:" in out
    assert f"ok   crash dir    {tmp_path}/crash, " in out
    assert "panicroom-report is not installed" in out
    assert out.rstrip().endswith("to mend.")
    (tmp_path / "crash").rmdir()
    assert f"-> mkdir -m 0755 {tmp_path}/crash" in look()[1]


def test_a_host_that_cannot_be_asked(look: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    status, out, _ = look(port=free_port())
    assert (status, "login" in out, out.count("fail ")) == (2, True, 1)
    status, out, _ = look(key="host_key")
    assert status == 2
    assert "authorized_keys" in out
    status, out, err = look(name="no host; id")
    assert (status, out) == (2, "")
    assert "--check must be a host name" in err


def test_the_port_of_ssh_config_holds_where_the_inventory_says_none(
    look: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    """As triage goes there: what an entry leaves open is for ssh_config, and for no default of the inventory."""
    assert look()[0] == 1  # with the port in the inventory, and the settings written
    settings = tmp_path / "panicroom.toml"
    text = settings.read_text()
    port = text.rsplit("port = ", 1)[1].strip()
    (tmp_path / "ssh_config").write_text(f"Host web-17\n    Port {port}\n")
    text = text.replace(f"port = {port}\n", "").replace(
        "[[hosts]]", f"config_file = {json.dumps(str(tmp_path / 'ssh_config'))}\n[[hosts]]"
    )
    settings.write_text(text)
    done = panicroom("host-setup", "--check", "web-17", cwd=tmp_path)
    assert f"ok   login        web-17 (127.0.0.1:{port})" in done.stdout, done.stdout + done.stderr
