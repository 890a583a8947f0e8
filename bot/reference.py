"""Writes the reference in docs/configuration.md from the code: `python -m bot.reference docs/configuration.md`.

Settings, metrics and the command line each stand between two marks; what is outside of them is written by hand.
"""

from __future__ import annotations

import re
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from typer.main import get_command

from bot.cli import app
from bot.metrics import Metrics
from bot.settings import Settings
from bot.sources import is_list, is_secret, is_table, submodel
from commands.durations import write_duration

SECTIONS = {
    "server": "The HTTP port of the bot, and what it takes from hosts.",
    "database": "Where the bot keeps what it knows.",
    "store": "Where evidence bundles and panic texts are kept.",
    "slack": "How the workspace is reached. See [slack-app.md](slack-app.md).",
    "routing": "Which channel an incident is told in, and who is mentioned.",
    "access": "Who may: Slack user ids (`U…`, `W…`) and user group ids (`S…`). Each role may do all that the one "
    "before it may: viewer (list, show), responder (triage, evidence, link, acknowledge, resolve), admin (merge, "
    "split, reclassify, quarantine).",
    "incident": "Windows and limits in the life of an incident.",
    "incident.storm": "When hosts come faster than a person reads. See [reliability.md](reliability.md).",
    "intake": "How stored reports become panics.",
    "ssh": "How hosts are reached. Keys, certificates or an agent; a password has no place here.",
    "triage": "How far back the runbook looks.",
    "triage.patience": "How long a host that does not answer is waited for, before triage. It may still reboot.",
    "evidence": "How large and how slow one piece of evidence may be, and what Slack gets to see of it.",
    "redaction": "What is taken out of host text before Slack sees it, each rule on or off. What is taken out gets a "
    "name, the same for the same thing in every message and file of this installation; the store keeps the original.",
    "analysis": "Where debug information of kernels comes from, and what a program that reads a dump may take. See "
    "[analysis.md](analysis.md).",
    "evidence.patience": "How long a host that does not answer is waited for, before the evidence is collected.",
    "central": "Where vmcores are copied to, and how gently. See [central-store.md](central-store.md).",
    "central.patience": "How long a host or a store that does not answer is waited for while a dump is copied; counted "
    "anew with each part that has come.",
    "retention": "How long dumps are kept, on hosts and in central. See [retention.md](retention.md).",
    "retention.low": "Of hosts of criticality `low`.",
    "retention.normal": "Of hosts of criticality `normal`.",
    "retention.critical": "Of hosts of criticality `critical`.",
    "sweep": "The look for dumps that nobody reported. See [sweep.md](sweep.md).",
    "ready": "Whether the hosts are ready for the next panic, watched. See [readiness.md](readiness.md).",
    "sweep.directories": "A directory that the hosts' kdump itself writes to over NFS or SSH, mounted where the bot "
    "runs.",
    "feed": "Changes that a pipeline or a file tells. See [changes-feed.md](changes-feed.md).",
    "workload": 'Where the runbook asks how busy a host was. With neither source it says "not checked".',
    "jira": "The tracker of changes. Leave the section out, and nothing can be linked.",
    "changes": "When the bot looks for a change by itself, and what it does while the tracker does not answer.",
    "pager": "The way out when nobody acknowledges, or when Slack is down.",
    "inventory": "Where hosts are read from besides `[[hosts]]`, and whether they are all that there are. See "
    "[inventory.md](inventory.md).",
    "hosts": "One entry a host, or one for many by pattern. A host's own name wins over a pattern; of the patterns "
    "the first that fits.",
    "routing.rules": "Other channels. All conditions that are given must hold; the first rule that fits wins.",
    "log": "What the bot writes to standard error. Secrets are never written.",
}

# For fields whose models say it in another way (a comment, a docstring).
DESCRIPTIONS = {
    "slack.mode": "`http`: Slack calls the bot's public address. `socket`: the bot calls Slack, nothing need reach it.",
    "slack.api_url": "Address of the Web API; another one for a proxy or a stand-in.",
    "slack.bot_token": "The bot token of the installed app (`xoxb-…`).",
    "slack.app_token": "The app-level token with `connections:write` (`xapp-…`), for Socket Mode.",
    "slack.signing_secret": "The app's signing secret, for HTTP mode.",
    "slack.command": "The slash command, as in the app's manifest.",
    "slack.admin_channel": "Id of the channel that is told of quarantined and unreadable reports.",
    "slack.timeout": "Seconds to wait for an answer of Slack.",
    "access.everyone": "The role of everybody who is named nowhere below.",
    "access.viewers": "Users and user groups who may look.",
    "access.dump_readers": "Users and user groups who may ask for links to dumps, as admins may (`/panic fetch`).",
    "access.responders": "Users and user groups who may act.",
    "access.admins": "Users and user groups who may correct the bot.",
    "ssh.user": "The unprivileged user to log in as.",
    "ssh.key_file": "Private key without a passphrase.",
    "ssh.certificate": "Its certificate, where it is not at KEY-cert.pub.",
    "ssh.agent": "Use the keys of the agent at SSH_AUTH_SOCK.",
    "ssh.known_hosts": "OpenSSH known_hosts file; hashed names, `@cert-authority` and `@revoked` count. A host whose "
    "key is not in it is refused.",
    "ssh.jump": "Jump hosts, `user@bastion:22`; several, separated by commas, are gone through in order.",
    "ssh.connect_timeout": "Seconds, for each of TCP, handshake and login.",
    "ssh.command_timeout": "Seconds for a command, where its step states none.",
    "ssh.output_cap": "Bytes of a command's output that are kept.",
    "ssh.threads": "Connections and commands at work at the same time.",
    "ssh.helper": "The one command with privileges, as a list of words.",
    "triage.change_window_days": "How many days back the runbook looks for changes of packages.",
    "triage.seen_window_days": 'How many days back "seen before" looks.',
    "evidence.journal_cap": "Bytes of one journal or dmesg that are kept.",
    "evidence.journal_timeout": "Seconds for one journal.",
    "evidence.redact": "Redact the text of the bundle that goes to Slack; false only where Slack may hold what the "
    "host holds.",
    "jira.url": "Address of Jira at which people browse, with its context path.",
    "jira.api_url": "Where the REST API is asked, when not at `jira.url`: `https://api.atlassian.com/ex/jira/CLOUD-ID` "
    "for an API token with scopes.",
    "jira.flavour": "`cloud` (email and API token) or `datacenter` (personal access token, no email).",
    "jira.email": "The account of the token, for Cloud.",
    "jira.token": "API token or personal access token.",
    "jira.projects": "Keys of the projects that hold changes.",
    "jira.jql": "The search. `{projects}` and `{names}` are put in quoted, `{since}` is a period such as `-180m`; "
    "`{names}` and `{since}` must be there.",
    "jira.project_jql": 'For projects that need a search of their own: `[jira.project_jql]` with `NET = "…"`.',
    "jira.name_fields": "Ids of the fields in which a ticket names hosts, rings, services and hardware.",
    "jira.started_field": "Id of the field that says when a change begins.",
    "jira.ended_field": "Id of the field that says when a change ends.",
    "jira.timeout": "Seconds for a connection, and for each wait for bytes.",
    "jira.max_results": "Tickets asked for in one search at most.",
    "jira.webhook_secret": "What Jira must know to say at POST /v1/jira that a ticket has changed, at least 16 "
    "characters. Without it the route is closed, and linked tickets are read from time to time.",
    "hosts.name": "Name as the host reports it, or a pattern: `web-*`, `db-[0-9]`.",
    "hosts.address": "Address for SSH. Default: the name.",
    "hosts.port": "Port for SSH.",
    "hosts.ring": "Deployment ring, for routing, filters and comparison.",
    "hosts.hardware": "Model, where the host does not report it.",
    "hosts.service": "What runs on it: a change may be made to a service.",
    "hosts.criticality": "A critical host's incident mentions `routing.mention_group` and may call the pager.",
    "hosts.owner": "Team or service that owns it, for routing.",
    "hosts.secret": "The host's own reporting secret: with it a report may speak for this host (or the hosts of this "
    "pattern) alone. At least 16 characters; a list of two during a rotation.",
    "hosts.user": "SSH user, when it differs from `ssh.user`.",
    "hosts.jump": "Jump hosts, when they differ from `ssh.jump`; empty for none.",
    "patience.first": "Seconds before the second attempt.",
    "patience.factor": "Each wait is this many times the one before.",
    "patience.longest": "The longest wait between two attempts, in seconds.",
    "patience.give_up_after": "Seconds after which a host that does not answer is given up.",
    "patience.refusals": "A refused key counts as a host that still boots this often before it counts as a refusal.",
    "patience.breaks": "How often a connection may break in mid-run before the step that it broke is given up.",
}

_HIDDEN = frozenset({"changes.jira"})  # a section of its own: [jira]


def settings_reference() -> str:
    """A table for each section, in the order of `Settings`."""
    parts: list[str] = []
    for name, info in Settings.model_fields.items():
        parts += _section(name, info)
    return "\n\n".join(parts)


def undocumented() -> list[str]:
    """Settings and sections of which nothing is said."""
    text = settings_reference()
    return re.findall(r"UNDOCUMENTED ([\w.]+)", text)


def metrics_reference() -> str:
    rows = ["| metric | what it counts |", "|---|---|"]
    for family in sorted(Metrics().registry.collect(), key=lambda f: f.name):
        if family.name.startswith("panicroom_"):
            suffix = "_total" if family.type == "counter" else ""
            rows.append(f"| `{family.name}{suffix}` ({family.type}) | {family.documentation} |")
    return "\n".join(rows)


def command_reference() -> str:
    """Every command with its arguments and options."""
    parts: list[str] = []

    def walk(command: Any, path: str) -> None:
        subcommands = getattr(command, "commands", {})
        if not subcommands:
            parts.append(f"### `{path}`\n\n{(command.help or '').strip()}")
        rows = [f"- {_parameter(p)}" for p in command.params if not getattr(p, "hidden", False)]
        if rows:
            parts.append("\n".join(rows))
        for name, inner in subcommands.items():
            walk(inner, f"{path} {name}")

    walk(get_command(app), "panicroom")
    return "\n\n".join(parts)


def rewrite(text: str) -> str:
    """The document with what stands between its marks made anew. Raises ValueError when a mark is missing."""
    for name, made in (
        ("settings", settings_reference()),
        ("metrics", metrics_reference()),
        ("command line", command_reference()),
    ):
        begin, end = f"<!-- {name}: made by `python -m bot.reference` -->", f"<!-- end of {name} -->"
        if begin not in text or end not in text:
            raise ValueError(f"the marks {begin} and {end} must stand in the document")
        head, rest = text.split(begin, 1)
        text = f"{head}{begin}\n\n{made}\n\n{end}{rest.split(end, 1)[1]}"
    return text


def _section(path: str, info: FieldInfo) -> list[str]:
    model = submodel(info.annotation)
    assert model is not None
    several = is_list(info.annotation)
    heading = f"[[{path}]]" if several else f"[{path}]"
    said = SECTIONS.get(path) or _first_paragraph(model) or f"UNDOCUMENTED {path}"
    rows = ["| key | default | allowed | what it means |", "|---|---|---|---|"]
    inner: list[str] = []
    for name, field in model.model_fields.items():
        here = f"{path}.{name}"
        if here in _HIDDEN:
            continue
        if submodel(field.annotation) is not None:
            inner += _section(here, field)
            continue
        rows.append(
            f"| `{name}` | {_default(name, field)} | {_allowed(name, field)} | {_meaning(here, model, field)} |"
        )
    body = [f"### `{heading}`", said]
    if len(rows) > 2:
        body.append("\n".join(rows))
    return body + inner


def _meaning(path: str, model: type[BaseModel], field: FieldInfo) -> str:
    by_model = f"{model.__name__.lower()}.{path.rsplit('.', 1)[-1]}"
    said = field.description or DESCRIPTIONS.get(path) or DESCRIPTIONS.get(by_model) or f"UNDOCUMENTED {path}"
    return " ".join(said.split()).replace("|", "\\|")


def _default(name: str, field: FieldInfo) -> str:
    value: Any = field.default
    if value is PydanticUndefined:
        return "**required**"
    if isinstance(value, SecretStr) or value is None or value in ("", ()):
        return "–"
    if isinstance(value, timedelta):
        return f"`{write_duration(value)}`"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return "`[" + ", ".join(f'"{item}"' for item in value) + "]`"
    if isinstance(value, (str, Path)):
        return f'`"{value}"`'.replace("|", "\\|")
    return f"`{value}`"


def _allowed(name: str, field: FieldInfo) -> str:
    annotation = field.annotation
    kinds = set(_leaves(annotation))
    if is_secret(name, field):
        several = "secret, or a list of them" if name == "secret" else "secrets"
        return several if is_list(annotation) else "secret"
    pattern = next((p for m in field.metadata if (p := getattr(m, "pattern", None)) is not None), None)
    choice = re.fullmatch(r"\^\(([\w|-]+)\)\$", str(pattern))
    options = [*choice.group(1).split("|")] if choice else [k for k in kinds if isinstance(k, str)]
    if options:
        order = options if choice else [o for o in _leaves(annotation) if isinstance(o, str)]
        return ", ".join(f"`{option}`" for option in order)
    if is_list(annotation):
        return "list of texts"
    if is_table(annotation):
        return "table of texts"
    if bool in kinds:
        return "`true`, `false`"
    if timedelta in kinds:
        return "length of time"
    if Path in kinds:
        return "path"
    if int in kinds or float in kinds:
        return ("number" if float in kinds else "whole number") + _bounds(field)
    return "text"


def _bounds(field: FieldInfo) -> str:
    low = next(
        (
            f"{w} {v}"
            for m in field.metadata
            for w, a in (("from", "ge"), ("over", "gt"))
            if (v := getattr(m, a, None)) is not None
        ),
        "",
    )
    high = next((f"to {v}" for m in field.metadata if (v := getattr(m, "le", None)) is not None), "")
    return f", {' '.join(part for part in (low, high) if part)}" if low or high else ""


def _leaves(annotation: Any) -> list[Any]:
    if get_origin(annotation) is Literal:
        return list(get_args(annotation))
    inner = get_args(annotation)
    return [leaf for part in inner for leaf in _leaves(part)] if inner else [annotation]


def _first_paragraph(model: type[BaseModel]) -> str:
    return " ".join((model.__doc__ or "").strip().split("\n\n")[0].split())


def _parameter(parameter: Any) -> str:
    """typer brings its own copy of click, so a parameter is known by what it says of itself."""
    help_text = getattr(parameter, "help", None) or ""
    if parameter.param_type_name == "option":
        names = ", ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))
        variable = f" Variable: `{parameter.envvar}`." if isinstance(parameter.envvar, str) else ""
        return f"{names}: {help_text}{variable}"
    return f"`{(parameter.name or '').upper()}`: {help_text}"


if __name__ == "__main__":
    document = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/configuration.md")
    document.write_text(rewrite(document.read_text(encoding="utf-8")), encoding="utf-8")
