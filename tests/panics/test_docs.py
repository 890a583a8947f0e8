"""docs/commands.md describes every verb there is, and none that is not."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import pytest

from commands.changes.desk import ChangeDesk
from commands.changes.slack import register as register_changes
from commands.filters import KEYS, parse_filters
from commands.panics.manual import FILTER_HELP, GROUPS
from commands.trends.slack import register as register_trends

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "commands.md").read_text()
SECTIONS = dict(re.findall(r"^### `([a-z]+)`\n(.*?)(?=^##|\Z)", TEXT, flags=re.MULTILINE | re.DOTALL))


def registered() -> dict[str, str]:
    """{verb: usage} of every verb that the source registers, in whatever room."""
    found = {}
    for path in sorted((ROOT / "commands").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            usage = next((k.value for k in node.keywords if k.arg == "usage"), None)
            if (
                called == "verb"
                and usage is not None
                and node.args
                and isinstance(node.args[0], ast.Constant)
            ):
                assert isinstance(usage, ast.Constant), (
                    f"{path}: a usage that is put together cannot be checked"
                )
                found[str(node.args[0].value)] = str(usage.value)
    return found


VERBS = registered()


def test_the_source_was_read() -> None:
    assert {"list", "show", "help", "whoami", "link", "unlink"} <= set(VERBS)


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_every_verb_has_its_section_usage_and_examples(verb: str) -> None:
    assert verb in SECTIONS, f"docs/commands.md lacks a section ### `{verb}`"
    assert f"`/panic {VERBS[verb]}`" in SECTIONS[verb]
    assert re.search(rf"^    /panic {verb}\b", SECTIONS[verb], flags=re.MULTILINE)
    assert re.search(r"\((viewer|responder|admin|everybody)\b", SECTIONS[verb])


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_usages_look_alike(verb: str) -> None:
    """Without the command, which `/panic help` puts before each: it may have another name in a workspace."""
    assert re.match(rf"{verb}(?![\w/])", VERBS[verb])
    assert verb in {name for _title, names in GROUPS for name in names}, "no group of `/panic help` has it"


def test_help_names_no_verb_that_does_not_exist() -> None:
    names = [name for _title, names in GROUPS for name in names]
    assert sorted(names) == sorted(VERBS)


def test_nothing_is_described_that_does_not_exist() -> None:
    assert set(SECTIONS) <= set(VERBS)


async def test_roles_examples_and_aliases_are_those_of_the_router(desk: Any) -> None:
    register_changes(desk.router, ChangeDesk(desk.ctx, None))
    register_trends(desk.router, desk.ctx)
    for name, verb in desk.router.verbs.items():
        role = "everybody" if verb.role.word == "nobody" else verb.role.word
        assert f"({role}" in SECTIONS[name], name
        assert verb.example in SECTIONS[name]
        for alias in verb.aliases:
            assert alias.startswith("-") or f"`{alias}`" in SECTIONS[name], alias


def test_filters_are_described_in_the_page_in_help_and_by_examples_that_parse(now: Any) -> None:
    for key in KEYS:
        assert f"| `{key}:` |" in SECTIONS["list"]
    assert set(FILTER_HELP) == set(KEYS)
    examples = re.findall(r"^    /panic list(.*)$", SECTIONS["list"], flags=re.MULTILINE)
    rows = [row.rsplit("|", 2)[1] for row in SECTIONS["list"].splitlines() if row.startswith("| `")]
    examples += [e for row in rows for e in re.findall(r"`([^`]+)`", row)]
    assert len(examples) > 20
    for example in examples:
        parse_filters(example, now)
