"""Where the corpus and the captures lie; tests that need them skip with a message where they are absent."""

from __future__ import annotations

import json
import os
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import pytest

SHARED = Path(__file__).resolve().parents[3] / "shared"


def corpora() -> Path:
    named = os.environ.get("PANICROOM_CORPORA")
    return Path(named) if named else SHARED / "corpora"


def captures() -> Path:
    named = os.environ.get("PANICROOM_CAPTURES")
    return Path(named) if named else SHARED / "captures"


@cache
def labelled() -> list[dict[str, Any]]:
    path = corpora() / "crash-logs.jsonl"
    return [json.loads(line) for line in path.open(encoding="utf-8")] if path.exists() else []


needs_corpus = pytest.mark.skipif(
    not (corpora() / "crash-logs.jsonl").exists(),
    reason="no corpus: set PANICROOM_CORPORA to the directory of crash-logs.jsonl",
)
needs_captures = pytest.mark.skipif(
    not captures().is_dir(), reason="no captures: set PANICROOM_CAPTURES to their directory"
)


def need_tool(name: str, package: str) -> None:
    """Skips where the tool is absent, and says what to install; under CI that is a failure."""
    if shutil.which(name) is not None:
        return
    hint = f"needs {name}: apt-get install {package}"
    if os.environ.get("CI"):
        pytest.fail(hint)
    pytest.skip(hint)
