from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integrations.inbound import InvalidReport, host_name, read_report

LEAST = {"id": "boot-1", "host": "web-17", "text": ""}


def report(**more: Any) -> bytes:
    return json.dumps({**LEAST, **more}).encode()


def test_all_fields() -> None:
    read = read_report(
        report(
            host="Web-17.Example.ORG.",
            text="BUG: kernel NULL pointer dereference",
            source="pstore",
            occurred_at="2026-11-23T09:14:07+02:00",
            reported_at="2026-11-23T07:20:00Z",
            boot_id="b2",
            crashed_boot_id="b1",
            kernel="6.1.0-31-amd64",
            down_since="2026-11-23T07:14:07.5Z",
            back_at="2026-11-23T07:19:00Z",
            hardware="Dell R640",
            crash_dir="/var/crash/202611230714",
            dump={"path": "202611230714/dump.202611230714", "size": 2**40, "complete": None},
        )
    )
    assert read.host == "web-17.example.org"
    assert read.occurred_at == datetime(2026, 11, 23, 7, 14, 7, tzinfo=UTC)
    body = read.as_body()
    assert body["occurred_at"] == "2026-11-23T07:14:07Z"
    assert body["dump"] == {"path": "202611230714/dump.202611230714", "size": 2**40}
    assert json.loads(json.dumps(body)) == body


def test_the_least_report() -> None:
    assert read_report(report()).as_body() == {
        "id": "boot-1",
        "host": "web-17",
        "text": "",
        "source": "report",
    }


@pytest.mark.parametrize(
    ("change", "field", "why"),
    [
        ({"id": ""}, "id", "at least 1 character"),
        ({"id": "x" * 201}, "id", "at most 200 characters"),
        ({"id": 7}, "id", "valid string"),
        ({"id": "a\nb"}, "id", "one line"),
        ({"host": "web 17"}, "host", "host name"),
        ({"host": "<!channel>"}, "host", "host name"),
        ({"host": "-web"}, "host", "host name"),
        ({"host": "a..b"}, "host", "host name"),
        ({"host": "x" * 64}, "host", "host name"),
        ({"host": ""}, "host", "at least 1 character"),
        ({"host": "wéb"}, "host", "host name"),
        ({"text": None}, "text", "valid string"),
        ({"text": ["a"]}, "text", "valid string"),
        ({"source": "carrier pigeon"}, "source", "'report', 'pstore', 'console'"),
        ({"occurred_at": "2026-11-23T09:14:07"}, "occurred_at", "timezone"),
        ({"occurred_at": 1763901247}, "occurred_at", "ISO 8601"),
        ({"occurred_at": "yesterday"}, "occurred_at", "ISO 8601"),
        ({"occurred_at": "0001-01-01T00:00:00+14:00"}, "occurred_at", "1970"),
        ({"occurred_at": "9999-12-31T23:59:59-12:00"}, "occurred_at", "2200"),
        ({"kernel": "x" * 201}, "kernel", "at most 200"),
        ({"dump": {"path": "d", "size": -1}}, "dump.size", "greater than or equal to 0"),
        ({"dump": {"path": "d", "size": "1"}}, "dump.size", "valid integer"),
        ({"dump": {"size": 1}}, "dump.path", "is missing"),
        ({"dump": {"path": "d", "size": 1, "complete": "yes"}}, "dump.complete", "valid boolean"),
        ({"dump": "yes"}, "dump", "valid dictionary"),
    ],
)
def test_a_wrong_field_is_named_with_the_reason(change: dict[str, Any], field: str, why: str) -> None:
    with pytest.raises(InvalidReport) as error:
        read_report(report(**change))
    assert error.value.code == "invalid_report"
    assert error.value.field == field
    assert why in error.value.message
    assert error.value.message.startswith(field)


@pytest.mark.parametrize("field", ["id", "host", "text"])
def test_a_missing_field_is_named(field: str) -> None:
    with pytest.raises(InvalidReport, match=f"{field} is missing") as error:
        read_report(json.dumps({k: v for k, v in LEAST.items() if k != field}).encode())
    assert error.value.field == field


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b"null", b'"x"', b"\xff", b'{"id": NaN}', b"[" * 100_000, b'{"a":' * 50_000,
        b'{"id": ' + b"9" * 5000 + b"}", b'{"id": "a" "b"}', b"\xef\xbb\xbf{}",
    ],
)  # fmt: skip
def test_what_is_no_json_object(body: bytes) -> None:
    with pytest.raises(InvalidReport) as error:
        read_report(body)
    assert error.value.code == "bad_json"
    assert error.value.field is None


def test_unknown_keys_lose_no_panic_and_are_told() -> None:
    read = read_report(report(crased_boot_id="x", extra=1, **{"\ud800": 1}))
    assert read.ignored == ("crased_boot_id", "extra", "�")
    assert "extra" not in read.as_body()


def test_a_firmware_clock_loses_no_panic() -> None:
    assert read_report(report(occurred_at="1970-01-01T00:02:11Z")).occurred_at is not None


def test_what_no_database_can_hold_is_replaced_not_refused() -> None:
    assert read_report(report(text="a\x00b\ud800c", hardware="H\x00P")).as_body()["text"] == "a�b�c"


@pytest.mark.parametrize("name", ["web-17", "10.0.0.7", "a.b.c.example.org", "db_1", "a" * 63, "WEB-17."])
def test_host_names(name: str) -> None:
    assert host_name(name) == name.lower().removesuffix(".")


_json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


@given(
    st.dictionaries(
        st.sampled_from(["id", "host", "text", "source", "occurred_at", "dump", "kernel", "boot_id", "zzz"]),
        _json_values
        | st.sampled_from(["a", "web-17", "2026-11-23T09:14:07Z", "2026-13-45T99:99:99Z"])
        | st.fixed_dictionaries({"path": st.text(), "size": st.integers()}),
    )
)
def test_any_object_is_a_report_or_names_what_is_wrong(data: dict[str, Any]) -> None:
    try:
        body = read_report(json.dumps(data).encode()).as_body()
    except InvalidReport as error:
        refusal: InvalidReport | None = error
    else:
        refusal = None
    if refusal is not None:
        assert refusal.field or refusal.code == "bad_json"
        assert refusal.message
    else:
        json.dumps(body, ensure_ascii=False).encode("utf-8")
        assert "\x00" not in json.dumps(body, ensure_ascii=False)


@given(st.binary(max_size=300))
def test_any_bytes_are_refused_without_another_error(body: bytes) -> None:
    with pytest.raises(InvalidReport):
        read_report(body)
