"""The files in deploy/: what they set is what the bot knows, and what they ask of it is there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web

from bot.http import make_http
from bot.metrics import Metrics
from bot.replicas.leadership import END_STATUS
from bot.settings import ServerConfig, Settings, load_settings
from commands.inventory import Inventory
from storage import Database
from storage.inbox import ReportInbox
from storage.lease import is_replicated

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
OBJECTS: list[dict[str, Any]] = list(yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text()))
SECRETS = {
    "database_url": "postgresql://panicroom:word@postgres/panicroom",
    "report_secret": "0123456789abcdef0123456789abcdef",
    "bot_token": "xoxb-x",
    "app_token": "xapp-x",
    "triage_key": "a key",
    "known_hosts": "",
}


def _of_kind(kind: str) -> list[dict[str, Any]]:
    return [one for one in OBJECTS if one["kind"] == kind]


DEPLOYMENT = _of_kind("Deployment")[0]["spec"]
POD = DEPLOYMENT["template"]["spec"]
CONTAINER = POD["containers"][0]
TOML = {
    "compose": COMPOSE["configs"]["panicroom"]["content"],
    "kubernetes": _of_kind("ConfigMap")[0]["data"]["panicroom.toml"],
}


def _settings(folder: Path, toml: str, environ: dict[str, str]) -> Settings:
    for name, content in SECRETS.items():
        (folder / name).write_text(content)
    named = set(re.findall(r"/run/secrets/panicroom/(\w+)", toml))
    assert named == set(SECRETS)
    (folder / "panicroom.toml").write_text(toml.replace("/run/secrets/panicroom", str(folder)))
    return load_settings(folder / "panicroom.toml", environ)


@pytest.mark.parametrize("where", TOML)
def test_the_settings_are_the_bots_own_and_made_for_replicas(where: str, tmp_path: Path) -> None:
    environ = {variable["name"]: "pod-1" for variable in CONTAINER["env"]} if where == "kubernetes" else {}
    settings = _settings(tmp_path, TOML[where], environ)
    assert is_replicated(settings.database.url)
    assert settings.server.port == 8080
    assert settings.server.listen == "0.0.0.0"
    assert settings.store.dir == Path("/var/lib/panicroom/store")
    if where == "kubernetes":
        assert settings.replicas.name == "pod-1"


async def test_the_probes_ask_for_routes_that_are_there(tmp_path: Path) -> None:
    db = Database(f"sqlite:///{tmp_path}/bot.db")
    app: web.Application = make_http(
        server=ServerConfig(), inventory=Inventory(), inbox=ReportInbox(db), metrics=Metrics(), checks={}
    )
    db.close()
    routes = {route.resource.canonical for route in app.router.routes() if route.resource is not None}
    probes = {name: CONTAINER[name] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert {probe["httpGet"]["path"] for probe in probes.values()} <= routes
    assert probes["livenessProbe"]["httpGet"]["path"] == "/healthz"
    assert probes["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert {probe["httpGet"]["port"] for probe in probes.values()} <= {p["name"] for p in CONTAINER["ports"]}
    asked = re.findall(r"httpchk GET (\S+)", COMPOSE["configs"]["spreader"]["content"])
    assert set(asked) == {"/healthz", "/readyz"}
    assert set(asked) <= routes


def test_three_of_them_and_two_stay() -> None:
    assert DEPLOYMENT["replicas"] == COMPOSE["services"]["panicroom"]["deploy"]["replicas"] == 3
    (budget,) = _of_kind("PodDisruptionBudget")
    assert budget["spec"]["minAvailable"] == 2
    rolling = DEPLOYMENT["strategy"]["rollingUpdate"]
    assert rolling["maxUnavailable"] == 1
    labels = DEPLOYMENT["template"]["metadata"]["labels"]
    selectors = [
        DEPLOYMENT["selector"]["matchLabels"],
        budget["spec"]["selector"]["matchLabels"],
        *(service["spec"]["selector"] for service in _of_kind("Service")),
    ]
    assert all(selector.items() <= labels.items() for selector in selectors)


def test_one_that_ends_itself_is_started_again() -> None:
    assert COMPOSE["services"]["panicroom"]["restart"] == "always"
    assert POD.get("restartPolicy", "Always") == "Always"
    assert f"status {END_STATUS}" in (DEPLOY / "compose.yaml").read_text()


def test_secrets_are_referred_to_and_every_volume_is_there() -> None:
    volumes = {volume["name"]: volume for volume in POD["volumes"]}
    mounts = {mount["name"]: mount for mount in CONTAINER["volumeMounts"]}
    assert set(volumes) == set(mounts)
    assert volumes["secrets"]["secret"]["secretName"] == "panicroom"
    assert mounts["secrets"]["mountPath"] == "/run/secrets/panicroom"
    assert mounts["secrets"]["readOnly"]
    (claim,) = _of_kind("PersistentVolumeClaim")
    assert volumes["store"]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    assert not _of_kind("Secret")
    assert not [
        word for word in ("xoxb-", "xapp-", "PRIVATE KEY") if word in (DEPLOY / "kubernetes.yaml").read_text()
    ]


def test_the_store_is_one_for_all_of_composes() -> None:
    assert "store:/var/lib/panicroom" in COMPOSE["services"]["panicroom"]["volumes"]
    assert set(COMPOSE["volumes"]) == {"database", "store"}


def test_images_are_plain_names_and_what_is_copied_exists() -> None:
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    images = [CONTAINER["image"], *re.findall(r"^ARG \w+_IMAGE=(\S+)", dockerfile, re.MULTILINE)]
    for service in COMPOSE["services"].values():
        images += re.findall(r":-([^}]+)\}", service["image"])
    assert len(images) == 5
    assert not [image for image in images if "/" in image]
    let_in = {
        line[1:] for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines() if line[0] == "!"
    }
    copied = {
        word for line in re.findall(r"^COPY (.+)", dockerfile, re.MULTILINE) for word in line.split()[:-1]
    }
    assert copied == let_in
    assert not [name for name in copied if not (ROOT / name).exists()]
