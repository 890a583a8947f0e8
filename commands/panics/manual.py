"""`/panic help` and `/panic whoami`, drawn from what the router knows, for a reader woken at night."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence

from commands.access import Role
from commands.errors import BadArguments
from commands.filters import KEYS
from commands.router import Router, Verb
from integrations.slack import blocks as b
from integrations.slack.text import code, shorten

# In the order in which a night goes. A verb that is in no group is still listed, under "More".
GROUPS: Sequence[tuple[str, tuple[str, ...]]] = (
    (
        ":fire: A host panicked",
        ("triage", "report", "cancel", "evidence", "copy", "analyze", "link", "unlink"),
    ),
    (
        ":busts_in_silhouette: The incident",
        ("ack", "assign", "note", "known", "unknown", "resolve", "reopen"),
    ),
    (
        ":mag: Looking back",
        ("list", "show", "card", "similar", "timeline", "top", "trends", "export", "sweep", "ready"),
    ),
    (":pencil2: Correcting the bot", ("merge", "split", "reclassify", "undo")),
    (":file_cabinet: What is kept", ("retention", "pin", "unpin", "hold", "release", "fetch", "forget")),
    (":no_bell: Planned work", ("silence", "unsilence", "silences")),
    (":key: For admins", ("quarantine", "inventory")),
    (":grey_question: About this", ("help", "whoami")),
)
FILTER_HELP: Mapping[str, str] = {
    "host": "a name or its beginning; `web-*` a glob, `=web-1` exactly, `a,b` either",
    "kernel": "a release or its beginning; `6.1.*` a glob; `6.1.0-20..6.1.0-31` a range",
    "since": "an age (30m, 24h, 7d, 2w), today, yesterday, a date or a time (UTC where no zone is given)",
    "until": "likewise; a date means its whole day",
    "kind": "what killed it: null_deref, soft_lockup, hung_task, mce, panic, unknown …",
    "state": "open, acknowledged, active (both), resolved, merged, none",
    "ring": "a ring or its beginning",
    "hw": "any part of the hardware's name",
    "sig": "the beginning of a signature, or a panic: the same signature as that one",
    "change": "a ticket that is linked to the panic, or likely for its incident",
    "has": "`dump`: something of a vmcore is there",
    "sort": "newest (as without it), oldest, host, kernel",
}


def grouped(verbs: Iterable[Verb]) -> list[tuple[str, list[Verb]]]:
    """The visible verbs, each in exactly one group; empty groups are left out."""
    left = {v.name: v for v in verbs if not v.hidden}
    made = [(title, [left.pop(n) for n in names if n in left]) for title, names in GROUPS]
    made.insert(-1, ("More", [left[n] for n in sorted(left)]))
    return [(title, members) for title, members in made if members]


def help_message(router: Router, role: Role) -> tuple[str, list[b.Block]]:
    """All verbs a line each; those beyond the reader's role are marked."""
    command = router.command
    made = [
        b.section(
            f"*Panicroom* · each panic has its thread. Press the buttons there, or type `{command} triage P-41` in "
            "any channel. Inside a thread Slack takes no slash commands: `@panicroom triage` works there."
        )
    ]
    for title, verbs in grouped(router.verbs.values()):
        lines = [f"*{title}*"]
        for verb in verbs:
            need = f" _({verb.role.word})_" if verb.role > role else ""
            lines.append(f"{code(_usage(router, verb))} {verb.help}{need}")
        made.append(b.section("\n".join(lines)))
    detail = f"One verb in detail: `{command} help list`"
    made.append(b.context(f"{detail} · your role is *{role.word}* (`{command} whoami`)"))
    return f"What {command} can do", made


def verb_message(router: Router, name: str) -> tuple[str, list[b.Block]]:
    """One verb in detail. Raises BadArguments for a verb that does not exist, with the nearest that does."""
    verb = router.find_verb(name) if name.strip() else None
    if verb is None or verb.hidden:
        names = [n for n, v in router.verbs.items() if not v.hidden]
        near = difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.5)
        hint = f" Did you mean {code(near[0])}?" if near else ""
        raise BadArguments(
            f"I do not know {code(shorten(name, 40))}.{hint}",
            example=f"{router.command} help {near[0] if near else 'list'}",
        )
    lines = [f"*{code(_usage(router, verb))}*", verb.help, f"For example: {code(_example(router, verb))}"]
    if verb.aliases:
        lines.append("Also: " + ", ".join(code(a) for a in verb.aliases))
    lines.append(f"Needs the role *{verb.role.word}*." if verb.role else "Everybody may.")
    made = [b.section("\n".join(lines))]
    if verb.name == "list":
        filters = [f"{code(KEYS[key])} {what}" for key, what in FILTER_HELP.items()]
        made.append(
            b.section("*Filters* (all must hold; free words search titles and frames)\n" + "\n".join(filters))
        )
    return f"{router.command} {verb.name}: {verb.help}", made


def whoami_message(router: Router, role: Role) -> tuple[str, list[b.Block]]:
    """The reader's role, what it allows, and who can change it."""
    may = [v.name for v in router.verbs.values() if not v.hidden and v.role <= role]
    not_yet = [(v.name, v.role.word) for v in router.verbs.values() if not v.hidden and v.role > role]
    text = f"Your role is {role.word}."
    lines = [f"Your role is *{role.word}*."]
    lines.append("You may: " + (", ".join(code(n) for n in sorted(may)) or "nothing yet") + ".")
    if not_yet:
        lines.append("Beyond it: " + ", ".join(f"{code(n)} ({w})" for n, w in sorted(not_yet)) + ".")
        lines.append("An admin of Panicroom can give you another role (`[access]` in panicroom.toml).")
    return text, [b.section("\n".join(lines))]


def _usage(router: Router, verb: Verb) -> str:
    return f"{router.command} {verb.usage}"


def _example(router: Router, verb: Verb) -> str:
    """With the command as this workspace has it."""
    return re.sub(r"\A/panic\b", lambda _: router.command, verb.example)
