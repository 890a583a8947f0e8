"""Alertmanager's webhook, read."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from integrations.inbound import InvalidReport, Unsigned
from integrations.inbound.alertmanager import (
    AlertmanagerConfig,
    authenticate,
    host_of,
    read_matchers,
    read_webhook,
)

TOKEN, PASSWORD = "token-0123456789abcdef", "password-0123456789"
LABELS = AlertmanagerConfig().host_labels


def alert(**more: Any) -> dict[str, Any]:
    return {
        "status": "firing",
        "labels": {"alertname": "InstanceDown", "instance": "web-17:9100", "job": "node"},
        "annotations": {"summary": "web-17 is down"},
        "startsAt": "2026-11-23T09:14:07.123456789Z",
        "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "http://prometheus.example.org/graph",
        "fingerprint": "c1d2e3f4a5b60718",
        **more,
    }


def webhook(*alerts: dict[str, Any], **more: Any) -> bytes:
    body = {
        "version": "4",
        "groupKey": '{}:{alertname="InstanceDown"}',
        "truncatedAlerts": 0,
        "status": "firing",
        "receiver": "panicroom",
        "groupLabels": {"alertname": "InstanceDown"},
        "commonLabels": {},
        "commonAnnotations": {},
        "externalURL": "http://alertmanager.example.org",
        "alerts": list(alerts or (alert(),)),
        **more,
    }
    return json.dumps(body).encode()


def test_a_notification_is_read_with_its_nanoseconds() -> None:
    read = read_webhook(webhook(truncatedAlerts=3))
    (one,) = read.alerts
    assert (one.name, one.firing, one.ends_at, read.truncated) == ("InstanceDown", True, None, 3)
    assert one.starts_at.isoformat() == "2026-11-23T09:14:07.123456+00:00"
    assert one.ident == "alert:c1d2e3f4a5b60718:2026-11-23T09:14:07.123456+00:00"
    assert read.group_key == '{}:{alertname="InstanceDown"}'


def test_a_zone_does_not_make_another_firing_of_it() -> None:
    a, b = (
        read_webhook(webhook(alert(startsAt=at))).alerts[0]
        for at in ("2026-11-23T09:14:07Z", "2026-11-23T10:14:07+01:00")
    )
    assert a.ident == b.ident


def test_resolved_says_when() -> None:
    (one,) = read_webhook(webhook(alert(status="resolved", endsAt="2026-11-23T09:20:00Z"))).alerts
    assert (one.firing, one.ends_at and one.ends_at.isoformat()) == (False, "2026-11-23T09:20:00+00:00")


def test_one_alert_that_cannot_be_read_does_not_take_the_others_with_it() -> None:
    wrong = [alert(startsAt="soon"), alert(labels={"a": 1}), alert(status="?"), "text"]
    read = read_webhook(webhook(alert(), *wrong))  # type: ignore[arg-type]
    assert len(read.alerts) == 1
    assert [problem.partition(":")[0] for problem in read.invalid] == [f"alerts[{n}]" for n in range(1, 5)]


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        (b"{", "bad_json", None),
        (b"[]", "bad_json", None),
        (b"\xff", "bad_json", None),
        (webhook(version="3"), "invalid_webhook", "version"),
        (webhook(status="pending"), "invalid_webhook", "status"),
        (webhook(alerts={}), "invalid_webhook", "alerts"),
        (webhook(truncatedAlerts=-1), "invalid_webhook", "truncatedAlerts"),
        (webhook(truncatedAlerts=True), "invalid_webhook", "truncatedAlerts"),
    ],
)
def test_what_is_no_notification_is_refused_with_the_reason(
    body: bytes, code: str, field: str | None
) -> None:
    with pytest.raises(InvalidReport) as error:
        read_webhook(body)
    assert (error.value.code, error.value.field) == (code, field)


_json = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=20), st.just("2026-11-23T09:14:07Z")),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=10), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(
    st.dictionaries(st.sampled_from(["labels", "status", "startsAt", "endsAt", "fingerprint"]), _json),
    st.dictionaries(st.sampled_from(["groupKey", "alerts", "truncatedAlerts"]), _json),
)
def test_whatever_stands_in_it_it_is_read_or_refused(one: dict[str, Any], more: dict[str, Any]) -> None:
    try:
        alerts = read_webhook(webhook(alert(**one), **more)).alerts
    except InvalidReport:
        alerts = ()
    for found in alerts:
        assert len(found.ident) < 190
        host_of(found.labels, LABELS)
        AlertmanagerConfig().fits(found.labels)


@pytest.mark.parametrize(
    ("labels", "host"),
    [
        ({"instance": "web-17:9100"}, "web-17"),
        ({"instance": "WEB-17.example.org"}, "web-17.example.org"),
        ({"instance": "10.0.0.7:9100"}, "10.0.0.7"),
        ({"instance": "[2001:db8::7]:9100"}, "2001:db8::7"),
        ({"instance": "2001:DB8::7"}, "2001:db8::7"),
        ({"instance": "http://web-17/metrics", "node": "web-17"}, "web-17"),
        ({"instance": "", "hostname": "web-17"}, "web-17"),
        ({"instance": "web 17; rm -rf"}, None),
        ({"job": "node"}, None),
    ],
)
def test_which_host_an_alert_is_about(labels: dict[str, str], host: str | None) -> None:
    assert host_of(labels, LABELS) == host


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("InstanceDown", True),
        ("HostDown", True),
        ("Node_Unreachable", True),
        ("HostRebooted", True),
        ("UnexpectedReboot", True),
        ("KubeNodeNotReady", True),
        ("NodeKernelPanic", True),
        ("HostRequiresReboot", False),
        ("HostHighCpuLoad", False),
        ("HostKernelVersionDeviations", False),
        ("", False),
    ],
)
def test_which_alerts_tell_of_a_crash_by_default(name: str, counts: bool) -> None:
    assert AlertmanagerConfig().fits({"alertname": name}) is counts


def test_matchers_are_those_of_alertmanager() -> None:
    config = AlertmanagerConfig(alerts=('alertname=~"Host.*", severity!="info",team=""', 'x="a\\"b"'))
    assert config.fits({"alertname": "HostX", "severity": "page"})
    assert not config.fits({"alertname": "HostX", "severity": "info"})
    assert not config.fits({"alertname": "HostX", "team": "lab"})
    assert not config.fits({"alertname": "MyHostX"})  # anchored
    assert config.fits({"x": 'a"b'})
    (not_like,) = read_matchers('a!~"b+"')
    assert not_like.fits({"a": "c"})
    assert not not_like.fits({"a": "bb"})


@pytest.mark.parametrize(
    "settings",
    [
        {"alerts": ("InstanceDown",)},
        {"alerts": ('alertname=~"("',)},
        {"alerts": ('a="b" c="d"',)},
        {"alerts": ()},
        {"bearer_token": "short"},
        {"basic_user": "a:b"},
        {"lag_minutes": 0},
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        AlertmanagerConfig.model_validate(settings)


def basic(user: str, password: str) -> str:
    return "Basic " + b64encode(f"{user}:{password}".encode()).decode()


BOTH = AlertmanagerConfig(bearer_token=SecretStr(TOKEN), basic_password=SecretStr(PASSWORD))
ONLY_TOKEN = AlertmanagerConfig(bearer_token=SecretStr(TOKEN))
ONLY_PASSWORD = AlertmanagerConfig(basic_user="am", basic_password=SecretStr(PASSWORD))


@pytest.mark.parametrize(
    ("config", "header"),
    [
        (BOTH, f"Bearer {TOKEN}"),
        (BOTH, f"bearer  {TOKEN} "),
        (BOTH, basic("alertmanager", PASSWORD)),
        (ONLY_TOKEN, f"Bearer {TOKEN}"),
        (ONLY_PASSWORD, basic("am", PASSWORD)),
    ],
)
def test_who_knows_the_secret_is_let_in(config: AlertmanagerConfig, header: str) -> None:
    authenticate(header, config)


@pytest.mark.parametrize(
    ("config", "header"),
    [
        (BOTH, None),
        (BOTH, ""),
        (BOTH, "Bearer"),
        (BOTH, f"Bearer {TOKEN}x"),
        (BOTH, f"Basic {TOKEN}"),
        (BOTH, "Basic ///"),
        (BOTH, f"Bearer {PASSWORD}"),
        (BOTH, basic("somebody", PASSWORD)),
        (ONLY_TOKEN, basic("alertmanager", "")),
        (ONLY_TOKEN, "Bearer "),
        (ONLY_PASSWORD, "Bearer "),
        (ONLY_PASSWORD, f"Bearer {PASSWORD}"),
        (BOTH, "Bearer \udcff"),
    ],
)
def test_nobody_else_is(config: AlertmanagerConfig, header: str | None) -> None:
    with pytest.raises(Unsigned):
        authenticate(header, config)
