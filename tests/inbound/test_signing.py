from __future__ import annotations

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integrations.inbound import Secret, Stale, Unsigned, sign, signed_headers, verify

NOW = 1_763_901_247
BODY = b'{"id": "1"}'


def test_the_signature_is_the_one_of_the_contract() -> None:
    wanted = hmac.new(b"s3cret", b"v1:1763901247:" + BODY, hashlib.sha256).hexdigest()
    assert sign("s3cret", NOW, BODY) == f"v1={wanted}"


def test_the_first_fitting_secret_is_told() -> None:
    own, shared, older = Secret("own", "web-17"), Secret("shared"), Secret("older")
    for secret in (own, shared, older):
        headers = signed_headers(secret.value, NOW, BODY)
        assert verify(headers, BODY, [own, shared, older], now=NOW, window=300) is secret
    same = Secret("own", "another")
    assert verify(signed_headers("own", NOW, BODY), BODY, [own, same], now=NOW, window=300) is own


@pytest.mark.parametrize("drift", [-300, -299, 0, 299, 300])
def test_within_the_window(drift: int) -> None:
    verify(signed_headers("s", NOW + drift, BODY), BODY, [Secret("s")], now=NOW, window=300)


@pytest.mark.parametrize("drift", [-301, 301, -(10**9), 10**10])
def test_a_wrong_clock_is_stale_not_unsigned(drift: int) -> None:
    with pytest.raises(Stale, match="server_time"):
        verify(signed_headers("s", NOW + drift, BODY), BODY, [Secret("s")], now=NOW, window=300)


def test_only_who_signed_well_learns_that_the_time_is_wrong() -> None:
    with pytest.raises(Unsigned):
        verify(signed_headers("other", NOW - 9999, BODY), BODY, [Secret("s")], now=NOW, window=300)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-Panicroom-Timestamp", ""),
        ("X-Panicroom-Timestamp", "now"),
        ("X-Panicroom-Timestamp", "-5"),
        ("X-Panicroom-Timestamp", "1.5"),
        ("X-Panicroom-Timestamp", "١٢٣"),
        ("X-Panicroom-Timestamp", "9" * 400),
        ("X-Panicroom-Timestamp", f"{NOW}\n"),
        ("X-Panicroom-Signature", ""),
        ("X-Panicroom-Signature", "v1="),
        ("X-Panicroom-Signature", "v0=" + "0" * 64),
        ("X-Panicroom-Signature", "v1=" + "g" * 64),
        ("X-Panicroom-Signature", "v1=" + "0" * 64),
        ("X-Panicroom-Signature", "v1=" + "٠" * 64),
    ],
)
def test_a_header_that_is_wrong_is_named(name: str, value: str) -> None:
    headers = {**signed_headers("s", NOW, BODY), name: value}
    with pytest.raises(Unsigned) as error:
        verify(headers, BODY, [Secret("s")], now=NOW, window=300)
    assert error.value.field == name


@pytest.mark.parametrize("name", ["X-Panicroom-Timestamp", "X-Panicroom-Signature"])
def test_a_header_that_is_missing_is_named(name: str) -> None:
    headers = signed_headers("s", NOW, BODY)
    del headers[name]
    with pytest.raises(Unsigned, match="is missing") as error:
        verify(headers, BODY, [Secret("s")], now=NOW, window=300)
    assert error.value.field == name


def test_with_no_secrets_nothing_is_signed() -> None:
    with pytest.raises(Unsigned):
        verify(signed_headers("", NOW, BODY), BODY, [], now=NOW, window=300)


def test_a_secret_is_not_shown() -> None:
    assert "hunter2" not in repr(Secret("hunter2", "web-17"))


@given(st.text(min_size=1), st.binary(), st.binary(min_size=1), st.integers(0, 200))
def test_any_change_of_the_body_breaks_the_signature(secret: str, body: bytes, more: bytes, at: int) -> None:
    secret = secret.encode("utf-8", "replace").decode()
    headers = signed_headers(secret, NOW, body)
    assert verify(headers, body, [Secret("x" + secret), Secret(secret)], now=NOW, window=1).value == secret
    changed = body[:at] + more + body[at:]
    with pytest.raises(Unsigned):
        verify(headers, changed, [Secret(secret)], now=NOW, window=1)


@given(st.text(), st.text())
def test_any_headers_are_refused_without_another_error(stamp: str, signature: str) -> None:
    with pytest.raises(Unsigned):
        verify(
            {"X-Panicroom-Timestamp": stamp, "X-Panicroom-Signature": signature},
            b"",
            [Secret("s")],
            now=NOW,
            window=1,
        )
