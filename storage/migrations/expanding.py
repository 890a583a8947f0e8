"""The rule that lets replicas be restarted one after the other: a revision adds, and takes nothing away.

While a release is rolled out, processes of the one before go on working on tables that were upgraded under them.
They know nothing of what was added, and miss what was taken. So a column or a table goes, is renamed, or becomes
stricter only in a later release than the one that ceased to use it: such a revision says so with a line
`CONTRACTS = "0004"`, the revision of the last release whose code used it no more.
"""

from __future__ import annotations

import ast
from pathlib import Path

_TAKES = {
    "drop_table": "drops a table",
    "drop_column": "drops a column",
    "rename_table": "renames a table",
    "create_unique_constraint": "makes a column stricter",
    "create_check_constraint": "makes a column stricter",
    "create_foreign_key": "makes a column stricter",
    "execute": "runs SQL that nobody can judge",
}


def breaks(script: Path) -> list[str]:
    """What in `upgrade()` of this revision a process of the release before would stumble over, a line each; none where
    the revision says with CONTRACTS that it comes late enough."""
    tree = ast.parse(script.read_text(encoding="utf-8"))
    named = {
        target.id: node.value.value
        for node in tree.body
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and isinstance(node.value, ast.Constant)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name)
    }
    contracts, before = named.get("CONTRACTS"), named.get("down_revision")
    if contracts is not None:
        late = isinstance(contracts, str) and isinstance(before, str) and contracts <= before
        return [] if late else [f"CONTRACTS = {contracts!r} is no earlier revision"]
    upgrades = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "upgrade"]
    made = _new_tables(upgrades)
    return [
        f"line {call.lineno}: {why}"
        for function in upgrades
        for call in ast.walk(function)
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute)
        for why in [_why(call.func.attr, call, made)]
        if why
    ]


def _new_tables(functions: list[ast.FunctionDef]) -> set[object]:
    """Tables that the revision makes: nobody uses them yet."""
    return {
        _first(call)
        for function in functions
        for call in ast.walk(function)
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and call.func.attr == "create_table"
    }


def _why(method: str, call: ast.Call, made: set[object]) -> str | None:
    if method == "alter_column":
        return _stricter(call)
    if method == "add_column":
        return _needed(call)
    if method == "create_index" and _keyword(call, "unique") is True and _table_of_index(call) not in made:
        return "makes a column stricter"
    return _TAKES.get(method)


def _stricter(call: ast.Call) -> str | None:
    if _keyword(call, "nullable") is False:
        return "makes a column stricter"
    if any(k.arg == "new_column_name" for k in call.keywords):
        return "renames a column"
    if any(k.arg == "type_" for k in call.keywords):
        return "changes a column's type"
    return None


def _needed(call: ast.Call) -> str | None:
    """A column that must be given, and that inserts of the release before do not give."""
    columns = [a for a in call.args if isinstance(a, ast.Call)]
    for column in columns:
        given = any(k.arg == "server_default" for k in column.keywords)
        if _keyword(column, "nullable") is False and not given:
            return "adds a column that has no server_default and must not be null"
    return None


def _first(call: ast.Call) -> object:
    return call.args[0].value if call.args and isinstance(call.args[0], ast.Constant) else None


def _table_of_index(call: ast.Call) -> object:
    second = call.args[1] if len(call.args) > 1 else None
    return second.value if isinstance(second, ast.Constant) else None


def _keyword(call: ast.Call, name: str) -> object:
    for keyword in call.keywords:
        if keyword.arg == name and isinstance(keyword.value, ast.Constant):
            return keyword.value.value
    return None
