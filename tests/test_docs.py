"""Documentation that cannot rot: what the code has must stand in docs/, and what docs/ says must work."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import threading
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from bot import reference
from bot.manifest import BOT_SCOPES
from bot.metrics import Metrics
from bot.settings import Settings, load_settings
from commands.inventory import Inventory
from tests.support_http import RunningRoutes

DOCS = Path(__file__).parent.parent / "docs"
CONFIGURATION = (DOCS / "configuration.md").read_text(encoding="utf-8")
SLACK_APP = (DOCS / "slack-app.md").read_text(encoding="utf-8")


def test_the_reference_is_what_the_code_says() -> None:
    """After a change of settings, metrics or commands: `python -m bot.reference`."""
    assert reference.rewrite(CONFIGURATION) == CONFIGURATION


def test_every_setting_says_what_it_means() -> None:
    assert reference.undocumented() == []


def test_every_section_stands_in_the_reference() -> None:
    for name, info in Settings.model_fields.items():
        heading = f"### `[[{name}]]`" if reference.is_list(info.annotation) else f"### `[{name}]`"
        assert heading in CONFIGURATION


def test_every_metric_is_named() -> None:
    for name in Metrics().names():
        assert f"`{name}`" in CONFIGURATION


def test_every_route_is_named(routes: RunningRoutes) -> None:
    for method, path in [*routes.routes, ("POST", "/slack/events")]:
        assert f"`{method} {path}`" in CONFIGURATION


def test_every_error_code_of_the_route_is_explained() -> None:
    source = (Path(reference.__file__).parent / "http.py").read_text()
    codes = set(re.findall(r'Problem\(\s*\d{3},\s*"(\w+)"', source)) - {"internal"}
    assert codes
    codes |= {"bad_json", "invalid_report", "bad_signature", "stale_timestamp"}
    assert [code for code in codes if f"`{code}`" not in CONFIGURATION] == []


def test_every_field_of_a_report_is_named() -> None:
    from integrations.inbound import PanicReport

    assert [name for name in PanicReport.model_fields if f"`{name}`" not in CONFIGURATION] == []


def test_the_example_is_valid(tmp_path: Path) -> None:
    example = _fenced(CONFIGURATION, "toml")[0]
    _with_secrets(tmp_path, example)
    settings = load_settings(tmp_path / "panicroom.toml", {})
    assert settings.jira is not None
    assert settings.make_inventory().find("web-3") is not None
    assert settings.routing.channel_for("lab", "normal", None) == "C0LAB"


def test_the_example_of_the_guide_is_valid(tmp_path: Path) -> None:
    _with_secrets(tmp_path, _fenced(SLACK_APP, "toml")[0])
    assert load_settings(tmp_path / "panicroom.toml", {}).slack.mode == "http"


def test_every_scope_is_explained() -> None:
    assert [scope for scope in BOT_SCOPES if f"`{scope}`" not in SLACK_APP] == []


@pytest.fixture
def routes(tmp_path: Path) -> Iterator[RunningRoutes]:
    """The routes on a real port, in a thread of their own: curl and this test share no event loop."""
    running = RunningRoutes(
        tmp_path / "bot.db", (SecretStr("0123456789abcdef0123456789abcdef"),), Inventory()
    )
    thread = threading.Thread(target=running.run, daemon=True)
    thread.start()
    assert running.up.wait(30)
    yield running
    running.stop()
    thread.join(30)


def test_the_recipe_with_curl_and_openssl_works(routes: RunningRoutes, tmp_path: Path) -> None:
    missing = [tool for tool in ("curl", "openssl") if shutil.which(tool) is None]
    if missing and os.environ.get("CI"):
        pytest.fail(f"needs {missing}: apt-get install {' '.join(missing)}")
    if missing:
        pytest.skip(f"needs {missing}: apt-get install {' '.join(missing)}")
    between = SLACK_APP.split("<!-- recipe: run by tests/test_docs.py -->")[1].split(
        "<!-- end of recipe -->"
    )[0]
    (recipe,) = _fenced(between, "sh")
    (tmp_path / "secret").write_text("0123456789abcdef0123456789abcdef\nanother one, for the rotation\n")
    environ = {"PATH": os.environ["PATH"], "URL": routes.url, "SECRET_FILE": str(tmp_path / "secret")}

    def follow() -> dict[str, str]:
        done = subprocess.run(
            ["sh", "-eu"],
            input=recipe,
            env=environ,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        answer: dict[str, str] = json.loads(done.stdout)
        return answer

    assert follow() == {"report_id": "R-1", "status": "accepted"}
    assert follow() == {"report_id": "R-1", "status": "duplicate"}


def _fenced(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def _with_secrets(directory: Path, example: str) -> None:
    """The example in a file, and every secret file that it points to."""
    (directory / "panicroom.toml").write_text(example)
    tree = tomllib.loads(example)
    pointed = [
        v
        for section in tree.values()
        if isinstance(section, dict)
        for k, v in section.items()
        if k.endswith("_file")
    ]
    pointed += [h["secret"].removeprefix("file:") for h in tree.get("hosts", []) if "secret" in h]
    for name in pointed:
        (directory / name).parent.mkdir(exist_ok=True)
        (directory / name).write_text("0123456789abcdef0123456789abcdef\n")
