"""`panicroom host-setup --check HOST`: what a host lacks for reports, triage and evidence, and what mends it.

Everything is asked over SSH as the bot itself goes there: its key, its user, its one sudo rule.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass

from bot.machine import Finding
from bot.settings import Settings
from commands.hosts.family import family_of, read_os_release
from commands.hosts.visits import host_as_entered
from commands.retention.kdump import CONFIGS, conflict, read_keeps
from integrations.slack.text import clean
from integrations.ssh import AuthRefused, CommandResult, HostKeyRefused, SshClient, SshError, route_to

HELPER_VERSION = 2
_JOURNAL_GROUPS = {"adm", "systemd-journal", "root"}
_CRASHKERNEL = {
    "debian": "apt-get install kdump-tools; put crashkernel=512M into GRUB_CMDLINE_LINUX_DEFAULT "
    "(/etc/default/grub.d/kdump-tools.cfg); update-grub; reboot",
    "rhel": "dnf install kdump-utils || dnf install kexec-tools; kdumpctl reset-crashkernel --kernel=ALL; "
    "systemctl enable kdump; reboot",
    "suse": "zypper install kdump; kdumptool commandline -u; systemctl enable kdump; reboot",
}
_LOAD = {
    "debian": "kdump-config load; kdump-config show; journalctl -b -u kdump-tools",
    "rhel": "systemctl enable --now kdump; kdumpctl status; journalctl -b -u kdump",
    "suse": "systemctl enable --now kdump; journalctl -b -u kdump",
}


@dataclass(frozen=True)
class Visitor:
    """How the bot comes: its user there, and the helper with what it is called by (`sudo -n`)."""

    user: str
    helper: tuple[str, ...]

    @property
    def path(self) -> str:
        return self.helper[-1]


@dataclass(frozen=True)
class Examination:
    """`reached` is false when nothing could be asked: then the only finding says why."""

    reached: bool
    findings: tuple[Finding, ...]


def questions(visitor: Visitor) -> dict[str, tuple[str, ...]]:
    """What is asked, by name; `report-check` goes through the bot's own HTTP route and back."""
    return {
        "groups": ("id", "-Gn"),
        "os": ("cat", "/etc/os-release"),
        "helper": ("stat", "-c", "%U:%G %a", visitor.path),
        "rules": ("sudo", "-n", "-l"),
        "facts": (*visitor.helper, "facts"),
        "list": (*visitor.helper, "list"),
        "secret": (*visitor.helper, "report-check"),
    }


async def examine(settings: Settings, name: str) -> Examination:
    """Go there and look. Never raises for what a host does; raises ValueError for a name that is no host's."""
    host = host_as_entered(name, settings.make_inventory().find(name))
    client = SshClient(settings.ssh)
    user = host.user or settings.ssh.user
    try:
        there = route_to(host, settings.ssh)[-1]
        user = there.user
        async with client.connect(host) as session:
            visitor = Visitor(user, settings.ssh.helper)
            asked = questions(visitor) | {"keeps": ("cat", *CONFIGS)}
            requests = [session.request(argv, cap=256 * 1024) for argv in asked.values()]
            answers = dict(zip(asked, await session.run_many(requests), strict=True))
    except SshError as error:
        return Examination(False, (_unreached(error, settings, user),))
    finally:
        client.close()
    entry = settings.make_inventory().find(name)
    latest = settings.retention.terms(entry.criticality if entry is not None else "normal").local
    found = (*judge(answers, visitor), *kept_by_kdump(answers["keeps"], latest))
    return Examination(True, (Finding("login", "ok", there.spoken), *found))


def kept_by_kdump(done: CommandResult, latest: int) -> list[Finding]:
    """A warning where the host's own kdump removes dumps against the policy, which keeps the latest `latest` there."""
    told = conflict(read_keeps(clean(done.text)), latest)
    if told is None:
        return []
    remedy = (
        f"set it to 0 in {' or '.join(CONFIGS)}: Panicroom removes what has a verified copy (`[retention]`)"
    )
    return [Finding("kept dumps", "warn", told, remedy)]


def _unreached(error: SshError, settings: Settings, user: str) -> Finding:
    remedy = ""
    if isinstance(error, AuthRefused):
        key = settings.ssh.key_file
        public = f"$(cat {shlex.quote(f'{key}.pub')})" if key is not None else "the bot's public key"
        home = f"~{user}"
        remedy = (
            f"on the host: useradd --system --create-home --shell /bin/sh {user}; "
            f"install -d -m 0700 -o {user} -g {user} {home}/.ssh; "
            f'echo "restrict {public}" >> {home}/.ssh/authorized_keys; '
            f"chown {user}: {home}/.ssh/authorized_keys; chmod 0600 {home}/.ssh/authorized_keys"
        )
    elif isinstance(error, HostKeyRefused):
        remedy = "see docs/host-setup.md, 'Host keys'"
    return Finding("login", "fail", _line(str(error))[:600], remedy)


def judge(answers: Mapping[str, CommandResult], visitor: Visitor) -> list[Finding]:
    """What the answers say, in the order in which it is to be mended. Pure."""
    family = family_of(read_os_release(answers["os"].text))
    findings = [_groups(answers["groups"], visitor, family), *_helper(answers, visitor)]
    facts = _facts(answers["facts"])
    if not facts:
        return findings
    findings += [_rules(answers["rules"], visitor), _crash_directory(answers["list"], facts)]
    findings += [_journal(facts), _kdump(facts, family)]
    return [*findings, *_reporter(facts, answers["secret"])]


def _facts(done: CommandResult) -> dict[str, str]:
    """KEY=VALUE lines of the helper's `facts`; empty when it did not answer so."""
    if not done.ok:
        return {}
    pairs = (line.partition("=") for line in clean(done.text).splitlines() if "=" in line)
    found = {key: value for key, _, value in pairs}
    return found if "helper_version" in found else {}


def _line(text: str) -> str:
    return " ".join(clean(text).split())


def _said(done: CommandResult) -> str:
    words = _line(done.stderr.decode("utf-8", "replace"))[:200]
    return f"{done.outcome}{': ' + words if words else ''}"


def _groups(done: CommandResult, visitor: Visitor, family: str | None) -> Finding:
    groups = clean(done.text).split()
    if _JOURNAL_GROUPS & set(groups):
        return Finding("groups", "ok", f"{visitor.user} is in {', '.join(groups)}")
    wanted = "adm,systemd-journal" if family == "debian" else "systemd-journal"
    said = f"{visitor.user} is in {', '.join(groups) or 'no group'}: it cannot read the journal"
    return Finding("groups", "fail", said, f"usermod -aG {wanted} {visitor.user}")


def _install(path: str) -> str:
    return f"install -o root -g root -m 0755 deploy/host/panicroom-host {shlex.quote(path)}"


def _helper(answers: Mapping[str, CommandResult], visitor: Visitor) -> list[Finding]:
    looked, facts = answers["helper"], answers["facts"]
    words = clean(looked.text).split()
    if not looked.ok or len(words) != 2:
        return [Finding("helper", "fail", f"there is no {visitor.path}", _install(visitor.path))]
    owner, mode = words
    findings = []
    if owner != "root:root" or not mode.isdigit() or int(mode, 8) & 0o022:
        said = f"{visitor.path} is {owner}, mode {mode}: whoever can change it is root"
        findings.append(Finding("helper", "fail", said, _install(visitor.path)))
    found = _facts(facts)
    if found:
        version = found["helper_version"]
        if not version.isdigit() or int(version) < HELPER_VERSION:
            said = f"{visitor.path} is of version {version[:20]}, not {HELPER_VERSION}"
            findings.append(Finding("helper", "fail", said, _install(visitor.path)))
        return findings or [
            Finding("helper", "ok", f"{visitor.path}, version {version}, {owner}, mode {mode}")
        ]
    if facts.exit_status == 64:
        said = f"{visitor.path} knows no `facts`: it is an older one"
        return [*findings, Finding("helper", "fail", said, _install(visitor.path))]
    rule = f"{visitor.user} ALL=(root) NOPASSWD: {visitor.path}"
    remedy = (
        f"echo {shlex.quote(rule)} > /etc/sudoers.d/panicroom; "
        f"echo {shlex.quote(f'Defaults:{visitor.user} !use_pty, !requiretty')} >> /etc/sudoers.d/panicroom; "
        "chmod 0440 /etc/sudoers.d/panicroom; visudo -cf /etc/sudoers.d/panicroom"
    )
    return [*findings, Finding("sudo", "fail", f"`{shlex.join(facts.argv)}`: {_said(facts)}", remedy)]


def _rules(done: CommandResult, visitor: Visitor) -> Finding:
    """Nothing but our scripts, each by its bare path: a wildcard in a sudo rule matches slashes and spaces."""
    if visitor.helper[0] != "sudo":
        return Finding("sudo", "ok", f"the helper is called as `{shlex.join(visitor.helper)}`")
    folder = visitor.path.rpartition("/")[0]
    ours = {visitor.path, f"{folder}/panicroom-host-delete", f"{folder}/panicroom-host-drill"}
    allowed = [
        command.strip()
        for line in clean(done.text).splitlines()
        if line.strip().startswith("(") and ")" in line
        for command in line.partition(")")[2].replace("NOPASSWD:", "").split(",")
    ]
    more = [command for command in allowed if command and command not in ours]
    if more:
        said = f"{visitor.user} may do more as root than it needs: {', '.join(more)[:200]}"
        return Finding("sudo", "warn", said, f"remove it: sudo -l -U {visitor.user} says where it stands")
    return Finding("sudo", "ok", f"{', '.join(allowed)[:300] or 'the rule'} works without a password")


def _crash_directory(done: CommandResult, facts: Mapping[str, str]) -> Finding:
    place = facts.get("crash_dir", "")[:200] or "none"
    if facts.get("crash_dir_exists") != "yes":
        return Finding("crash dir", "fail", f"there is no {place}", f"mkdir -m 0755 {shlex.quote(place)}")
    if not done.ok:
        return Finding("crash dir", "fail", f"{place} cannot be listed: {_said(done)}")
    free = facts.get("crash_dir_free", "")
    room = f", {int(free) / 1e9:.1f} GB free" if free.isdigit() and len(free) < 20 else ""
    return Finding("crash dir", "ok", f"{place}{room}")


def _journal(facts: Mapping[str, str]) -> Finding:
    if facts.get("journal") == "persistent":
        return Finding("journal", "ok", "kept on disk")
    said = "the journal is kept in memory only: nothing remains of the boot that crashed"
    remedy = (
        "mkdir -p /var/log/journal; systemd-tmpfiles --create --prefix /var/log/journal; journalctl --flush"
    )
    return Finding("journal", "fail", said, remedy)


def _kdump(facts: Mapping[str, str], family: str | None) -> Finding:
    size = facts.get("kexec_crash_size", "")
    reserved = int(size) if size.isdigit() and len(size) < 20 else 0
    if facts.get("kexec_crash_loaded") == "1":
        return Finding("kdump", "ok", f"loaded, {reserved // (1024 * 1024)} MiB reserved")
    if not reserved:
        remedy = _CRASHKERNEL.get(family or "", "reserve memory with crashkernel=… and reboot")
        return Finding("kdump", "fail", "no memory is reserved for the capture kernel (crashkernel=)", remedy)
    remedy = _LOAD.get(family or "", "load the capture kernel: see the distribution's kdump service")
    return Finding("kdump", "fail", "memory is reserved, but no capture kernel is loaded", remedy)


def _reporter(facts: Mapping[str, str], check: CommandResult) -> list[Finding]:
    if not facts.get("report_script"):
        remedy = "on the host, as root, from a copy of deploy/host: sh install.sh URL < SECRET-FILE"
        return [
            Finding("reporter", "warn", "panicroom-report is not installed: the host tells nothing", remedy)
        ]
    findings = []
    enabled = facts.get("report_timer", "")[:40]
    if enabled != "enabled":
        said = f"panicroom-report.timer is {enabled or 'not there'}"
        remedy = "systemctl daemon-reload; systemctl enable --now panicroom-report.timer"
        findings.append(Finding("reporter", "fail", said, remedy))
    else:
        findings.append(_last(facts))
    return [*findings, _secret(facts, check)]


def _last(facts: Mapping[str, str]) -> Finding:
    last = facts.get("report_last", "")[:200] or "it has not run yet"
    waiting, refused = facts.get("report_waiting", "0")[:10], facts.get("report_refused", "0")[:10]
    if refused not in ("", "0"):
        remedy = "less /var/lib/panicroom/refused/*.answer; mend it; panicroom-report --again"
        return Finding("reporter", "fail", f"{refused} reports were refused for good; last: {last}", remedy)
    if waiting not in ("", "0"):
        remedy = "journalctl -u panicroom-report; panicroom-report --check"
        return Finding("reporter", "warn", f"{waiting} reports wait for the bot; last: {last}", remedy)
    return Finding("reporter", "ok", f"enabled; last: {last}")


def _secret(facts: Mapping[str, str], check: CommandResult) -> Finding:
    kept = facts.get("report_secret", "").split()
    if check.exit_status == 0:
        if kept and (kept[0].partition(":")[0] != "root" or kept[-1] not in ("600", "400")):
            said = f"valid, but its file is {' '.join(kept)[:60]}"
            return Finding(
                "secret",
                "fail",
                said,
                "chown root:root /etc/panicroom/secret; chmod 0600 /etc/panicroom/secret",
            )
        return Finding("secret", "ok", "the bot takes it")
    said = _line(check.text)[:300] or _said(check)
    if check.exit_status == 2:
        remedy = "put the host's `secret` (or a shared one) of the bot's settings into /etc/panicroom/secret"
        return Finding("secret", "fail", said, remedy)
    if check.exit_status == 78:
        return Finding("secret", "fail", _said(check), "mend /etc/panicroom/report.conf")
    return Finding("secret", "warn", said, "from the host: curl -sS URL/healthz, with the url of report.conf")
