"""Derives bot/demo/workspace/blockkit/schema.json from npm's @slack/types.

    python tests/workspace/schema/derive.py            write it
    python tests/workspace/schema/derive.py --check    exit 1 when it differs from what is committed

Needs node and npm; installs the pinned packages into a temporary directory, or into --directory once. What it
changes in the generated schema: descriptions are dropped, definitions that nothing reaches too, and a view's
blocks are the known blocks (the type allows any object with a `type`, which would accept everything).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

PACKAGES = {"@slack/types": "3.2.0", "ts-json-schema-generator": "2.4.0"}
TARGET = Path(__file__).parents[3] / "bot" / "demo" / "workspace" / "blockkit" / "schema.json"
#: Exit status when npm cannot install the packages.
NO_PACKAGES = 3
#: What messages and views are made of.
ROOTS = ("KnownBlock", "HomeView", "ModalView", "MessageAttachment", "MessageMetadata")

_SOURCE = """import type { HomeView, KnownBlock, MessageAttachment, MessageMetadata, ModalView } from "@slack/types";
export interface Derived {
  block: KnownBlock; home: HomeView; modal: ModalView; attachment: MessageAttachment; metadata: MessageMetadata;
}
"""
_TSCONFIG = {
    "compilerOptions": {
        "target": "ES2022",
        "module": "NodeNext",
        "moduleResolution": "NodeNext",
        "strict": True,
    },
    "files": ["derived.ts"],
}


def generated(directory: Path) -> dict[str, Any]:
    """What ts-json-schema-generator makes of the types, in `directory`, where both are or get installed."""
    (directory / "derived.ts").write_text(_SOURCE)
    (directory / "tsconfig.json").write_text(json.dumps(_TSCONFIG))
    wanted, stated = json.dumps({"private": True, "dependencies": PACKAGES}), directory / "package.json"
    kept = stated.is_file() and stated.read_text() == wanted and (directory / "node_modules").is_dir()
    stated.write_text(wanted)
    if not kept:
        install = ["npm", "install", "--no-audit", "--no-fund", "--silent"]
        if subprocess.run(install, cwd=directory).returncode != 0:
            sys.exit(NO_PACKAGES)
    command = ["npx", "ts-json-schema-generator", "--path", "derived.ts", "--tsconfig", "tsconfig.json"]
    made = subprocess.run(
        [*command, "--type", "Derived", "--no-type-check"],
        cwd=directory,
        check=True,
        stdout=subprocess.PIPE,
    )
    document: dict[str, Any] = json.loads(made.stdout)
    return document


def derived(document: dict[str, Any]) -> dict[str, Any]:
    """The schema as it is committed: definitions only, in alphabetical order."""
    definitions = document["definitions"]
    definitions["AnyBlock"] = {"$ref": "#/definitions/KnownBlock"}
    kept: dict[str, Any] = {}
    waiting = list(ROOTS)
    while waiting:
        name = waiting.pop()
        if name not in kept:
            kept[name] = _bare(definitions[name])
            waiting += _references(kept[name])
    source = " with ".join(f"{name} {version}" for name, version in PACKAGES.items())
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "$comment": f"Derived from {source} by tests/workspace/schema/derive.py",
        "definitions": dict(sorted(kept.items())),
    }


def _bare(schema: Any, *, inside: str = "") -> Any:
    if isinstance(schema, list):
        return [_bare(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    dropped = () if inside == "properties" else ("description", "deprecated")
    return {key: _bare(value, inside=key) for key, value in sorted(schema.items()) if key not in dropped}


def _references(schema: Any) -> list[str]:
    if isinstance(schema, list):
        return [name for item in schema for name in _references(item)]
    if not isinstance(schema, dict):
        return []
    own = [schema["$ref"].rpartition("/")[2]] if isinstance(schema.get("$ref"), str) else []
    return own + [name for value in schema.values() for name in _references(value)]


def main() -> int:
    """Exit status 0; 1 when --check finds a difference; 3 when the packages cannot be installed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare, do not write")
    parser.add_argument("--directory", type=Path, help="work here and keep the packages (default: temporary)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        directory: Path = arguments.directory or Path(temporary)
        directory.mkdir(parents=True, exist_ok=True)
        text = json.dumps(derived(generated(directory)), indent=1) + "\n"
    if not arguments.check:
        TARGET.write_text(text)
        return 0
    if TARGET.read_text() != text:
        print(f"{TARGET} is not what the types give: run this script without --check", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
