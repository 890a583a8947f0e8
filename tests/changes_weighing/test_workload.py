"""sysstat's records and a PromQL endpoint, read to one shape; what counts as a shift; and that nothing is guessed."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from commands.changes import workload
from integrations.ssh import CommandResult
from integrations.workload import MEASURES, Load, WorkloadConfig, WorkloadRefused, WorkloadSilent
from integrations.workload.prometheus import PrometheusLoad, read_load, read_points
from integrations.workload.sysstat import files_for, read_loads, read_sadf, read_sar

DIED = datetime(2026, 11, 23, 0, 20, tzinfo=UTC)  # the hour before it lies in two days

# sadf 12.6.1 on Debian 12, shortened to one sample.
SADF = """{"sysstat": {"hosts": [{"nodename": "vm", "sysname": "Linux", "file-date": "2026-11-23",
 "timezone": "UTC", "statistics": [{
 "timestamp": {"date": "2026-11-23", "time": "00:10:02", "utc": 1, "interval": 600},
 "cpu-load": [{"cpu": "all", "user": 0.49, "nice": 0.00, "system": 0.98, "iowait": 0.00, "steal": 1.96, "idle": 96.57}],
 "io": {"tps": 15.00, "io-reads": {"rtps": 15.00, "bread": 760.00}, "io-writes": {"wtps": 0.00, "bwrtn": 0.00}},
 "memory": {"memfree": 23870312, "memused": 121516, "memused-percent": 0.49},
 "queue": {"runq-sz": 0, "plist-sz": 98, "ldavg-1": 1.33, "ldavg-5": 2.14, "ldavg-15": 2.91, "blocked": 0},
 "network": {"net-dev": [{"iface": "lo", "rxpck": 900.00, "txpck": 900.00},
 {"iface": "eth0", "rxpck": 40.00, "txpck": 2.50}]}}], "restarts": []}]}}"""

# sar of the same version, LC_ALL=C; the row after midnight stands in the old day's file.
SAR = """Linux 6.1.0-31-amd64 (vm) \t11/22/26 \t_x86_64_\t(2 CPU)

23:40:01        CPU     %user     %nice   %system   %iowait    %steal     %idle
23:50:01        all      0.49      0.00      0.98      0.00      1.96     96.57
00:00:01        all      0.50      0.00      0.50      0.50      0.99     90.00
Average:        all      0.49      0.00      0.74      0.25      1.48     97.04

23:40:01        IFACE   rxpck/s   txpck/s    rxkB/s    txkB/s   rxcmp/s   txcmp/s  rxmcst/s   %ifutil
23:50:01           lo    100.00    100.00      0.00      0.00      0.00      0.00      0.00      0.00
23:50:01         eth0     10.00      5.00      0.00      0.00      0.00      0.00      0.00      0.00
23:50:01         eth1      1.00      0.50      0.00      0.00      0.00      0.00      0.00      0.00
"""


def test_sadf_is_read() -> None:
    (sample,) = read_sadf(SADF)
    assert sample.at == datetime(2026, 11, 23, 0, 10, 2, tzinfo=UTC)
    assert {k: round(v, 2) for k, v in sample.values.items()} == {
        "cpu": 3.43, "load": 2.14, "memory": 0.49, "disk": 15.0, "network": 42.5,
    }  # fmt: skip
    local = read_sadf(SADF.replace('"utc": 1', '"utc": 0'), zone_offset=3600)
    assert local[0].at == sample.at - timedelta(hours=1)


def test_sar_is_read() -> None:
    first, second = read_sar(SAR, zone_offset=3600)
    assert first.at == datetime(2026, 11, 22, 22, 50, 1, tzinfo=UTC)
    assert {k: round(v, 2) for k, v in first.values.items()} == {"cpu": 3.43, "network": 16.5}
    assert second.at == datetime(2026, 11, 22, 23, 0, 1, tzinfo=UTC), "after midnight is the next day"
    twelve = SAR.replace("23:40:01 ", "11:40:01 PM ").replace("23:50:01 ", "11:50:01 PM ")
    assert read_sar(twelve.replace("00:00:01 ", "12:00:01 AM "), zone_offset=3600) == [first, second]


FIELDS = st.sampled_from(["sysstat", "hosts", "statistics", "timestamp", "cpu-load", "network", "io"])
JSON = st.recursive(
    st.none() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS, inner),
)


@settings(max_examples=40, deadline=None)
@given(st.text(max_size=300), JSON)
def test_whatever_a_host_prints_is_read_as_something_or_nothing(text: str, data: Any) -> None:
    for written in (text, json.dumps(data), SAR.replace("96.57", text), SADF.replace("96.57", text)):
        read_loads([*read_sadf(written), *read_sar(written)], DIED)
    files_for(text, DIED, 0)


def test_the_files_of_the_hours_are_chosen_by_the_hosts_calendar() -> None:
    listing = "/var/log/sa:\n" + "\n".join(f"sa{n:02d}" for n in range(10, 24)) + "\nsar22\nsa99; rm -rf /\n"
    at_utc = files_for(listing, DIED, 0)
    assert at_utc[:3] == ["/var/log/sa/sa22", "/var/log/sa/sa23", "/var/log/sa/sa21"]
    assert set(at_utc) == {f"/var/log/sa/sa{n}" for n in range(15, 24)}
    assert "/var/log/sa/sa23" not in files_for(listing, DIED, -7200), "there, it is the 22nd all the while"
    dated = files_for("/var/log/sysstat:\nsa20261122\nsa22\n", DIED, 0)
    assert dated == ["/var/log/sysstat/sa20261122"]
    assert files_for("ls: cannot access '/var/log/sa'", DIED, 0) == []


def _load(name: str, hour: float, *before: float) -> Load:
    return Load(MEASURES[name], hour, before)


def test_what_is_a_shift() -> None:
    usual = (26000, 27000, 28000, 27000, 26500, 27500, 27000)
    (shift,) = workload.shifts([_load("network", 84000, *usual), _load("cpu", 35, 20, 25, 30, 22, 28)])
    assert shift.told() == "network 84,000 packets/s, where 27,000 is usual (3.1 times)"
    state, words = workload.told([_load("network", 84000, *usual)])
    assert state == "warn"
    assert words.startswith(
        "workload: shifted in the hour before, against the same hour of the 7 days before: network"
    )
    assert workload.told([_load("network", 30000, *usual)])[0] == "ok"
    assert workload.shifts([_load("network", 84000, 9000, 80000, 70000, 20000)]) == [], (
        "it varies as much as that"
    )
    assert workload.told([_load("cpu", 99, 1, 1)]) == (
        "skipped", "workload: not checked, there are records of 2 of the 7 days before",
    )  # fmt: skip


# -- over SSH -----------------------------------------------------------------------------------------


class Host:
    """Answers commands as a host with these files would."""

    def __init__(self, answers: dict[tuple[str, ...], str]) -> None:
        self.answers = answers
        self.asked: list[tuple[str, ...]] = []

    async def __call__(self, argv: Sequence[str]) -> CommandResult:
        self.asked.append(tuple(argv))
        known = [text for words, text in self.answers.items() if set(words) <= set(argv)]
        return CommandResult(
            argv=tuple(argv), exit_status=0 if known else 127, stdout=known[0].encode() if known else b"",
            stderr=b"", seconds=0.01, started_at=DIED, truncated=False, timed_out=False,
        )  # fmt: skip


def _day(day: datetime, packets: float) -> str:
    rows = [
        {"timestamp": {"date": f"{at:%Y-%m-%d}", "time": f"{at:%H:%M:%S}", "utc": 1},
         "network": {"net-dev": [{"iface": "eth0", "rxpck": packets, "txpck": 0.0}]}}
        for n in range(144) if (at := day + timedelta(minutes=10 * n)).date() == day.date()
    ]  # fmt: skip
    return json.dumps({"sysstat": {"hosts": [{"statistics": rows}]}})


async def test_sysstat_on_the_host_tells_a_shift() -> None:
    at = datetime(2026, 11, 23, 9, 14, tzinfo=UTC)
    days = {n: datetime(2026, 11, n, tzinfo=UTC) for n in range(14, 24)}
    host = Host({(f"/var/log/sa/sa{n}",): _day(d, 90000 if n == 23 else 20000 + n) for n, d in days.items()})
    host.answers[("ls",)] = "/var/log/sa:\n" + "\n".join(f"sa{n}" for n in days)
    state, words = await workload.look(WorkloadConfig(), "web-1", at, run=host)
    assert (state, "network 90,000 packets/s, where 20,019 is usual (4.5 times)" in words) == ("warn", True)
    assert len(host.asked) == 9, "the listing, and one file a day"
    assert ("sadf", "-j", "/var/log/sa/sa23", "--", "-u", "-q", "-r", "-b", "-n", "DEV") in host.asked


async def test_an_old_sysstat_is_read_by_sar() -> None:
    host = Host({("ls",): "/var/log/sa:\nsa22\n", ("sar",): SAR})
    state, words = await workload.look(WorkloadConfig(), "web-1", DIED, run=host)
    assert (state, words) == ("skipped", "workload: not checked, there are records of 0 of the 7 days before")
    assert [argv[0] for argv in host.asked] == ["ls", "sadf", "env"]


async def test_with_neither_source_it_says_not_checked() -> None:
    said = await workload.look(WorkloadConfig(sysstat=False), "web-1", DIED, run=Host({}))
    assert said == ("skipped", "workload: not checked, no source for it is configured")
    state, words = await workload.look(WorkloadConfig(), "web-1", DIED, run=Host({}))
    assert (state, words) == (
        "skipped",
        "workload: not checked, the host keeps no records of sysstat for that time",
    )


# -- PromQL -------------------------------------------------------------------------------------------


class Endpoint:
    """A stand-in that answers range queries as Prometheus does: a matrix, values as texts."""

    def __init__(self) -> None:
        self.forms: list[dict[str, str]] = []
        self.tokens: list[str | None] = []
        self.status, self.body = 200, ""
        self.url = ""

    async def answer(self, request: web.Request) -> web.Response:
        form = {k: str(v) for k, v in (await request.post()).items()}
        self.forms.append(form)
        self.tokens.append(request.headers.get("Authorization"))
        if self.body:
            return web.Response(status=self.status, text=self.body)
        start, end, step = (float(form[k]) for k in ("start", "end", "step"))
        busy = "node_network_receive" in form["query"]
        points, at = [], start
        while at <= end + 0.001:
            points.append([at, "90000" if busy and at > end - 1 else "20000" if busy else "1"])
            at += step
        result = [{"metric": {}, "values": points}]
        return web.json_response({"status": "success", "data": {"resultType": "matrix", "result": result}})


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    made = Endpoint()
    app = web.Application()
    app.router.add_post("/prom/api/v1/query_range", made.answer)
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}/prom/"
    yield made
    await runner.cleanup()


async def test_a_promql_endpoint_tells_a_shift(endpoint: Endpoint) -> None:
    config = WorkloadConfig(prometheus_url=endpoint.url, bearer_token=SecretStr("t0ken"))
    state, words = await workload.look(config, "web-17.example.com", DIED, run=None)
    assert state == "warn"
    assert "network 90,000 packets/s, where 20,000 is usual (4.5 times)" in words
    assert len(endpoint.forms) == 5
    assert set(endpoint.tokens) == {"Bearer t0ken"}
    form = endpoint.forms[0]
    assert r'instance=~"web-17\\.example\\.com([.]' in form["query"]
    assert (float(form["end"]), float(form["end"]) - float(form["start"])) == (DIED.timestamp(), 7 * 86400)


@pytest.mark.parametrize(
    ("status", "body", "why"),
    [
        (401, "<html>log in</html>", "401"),
        (400, '{"status":"error","error":"parse error"}', "parse error"),
        (503, "try later", "503"),
        (200, '{"status":"success","data":{"result":[{"values":[[1]]}]}}', "not that of a range query"),
    ],
)
async def test_an_endpoint_that_refuses_is_said_and_nothing_is_guessed(
    endpoint: Endpoint, status: int, body: str, why: str
) -> None:
    endpoint.status, endpoint.body = status, body
    state, words = await workload.look(WorkloadConfig(prometheus_url=endpoint.url), "web-1", DIED)
    assert state == "skipped"
    assert words.startswith("workload: not checked: ")
    assert why in words


async def test_an_endpoint_that_is_not_there_is_said() -> None:
    config = WorkloadConfig(prometheus_url="http://127.0.0.1:9", timeout=2)
    assert (await workload.look(config, "web-1", DIED))[1].startswith(
        "workload: not checked: The metrics endpoint does"
    )
    with pytest.raises(WorkloadRefused):
        await PrometheusLoad(config).loads('x"} or vector(1)', DIED)


def test_an_answer_without_the_hour_is_no_answer() -> None:
    points = read_points(200, b'{"status":"success","data":{"result":[{"values":[[60,"1"],[120,"NaN"]]}]}}')
    assert points == {60.0: 1.0}
    assert read_load("cpu", points, DIED) is None
    assert read_points(200, b'{"status":"success","data":{"result":[]}}') == {}


@given(st.integers(100, 599), st.binary(max_size=100))
def test_any_answer_is_read_or_refused(status: int, body: bytes) -> None:
    with pytest.raises((WorkloadRefused, WorkloadSilent)):
        read_points(status, body)


def test_a_query_must_name_the_host_and_a_measure() -> None:
    with pytest.raises(ValidationError, match=r"does not say \$host"):
        WorkloadConfig(queries={"cpu": "up"})
    with pytest.raises(ValidationError, match="is no measure"):
        WorkloadConfig(queries={"heat": "x{$host}"})
