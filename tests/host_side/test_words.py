"""What panicroom-report makes of arbitrary bytes: JSON strings and signatures."""

from __future__ import annotations

import hashlib
import hmac
import json
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.host_side.support import functions

_EDGES = st.sampled_from(
    [b"\xc0\x80", b"\xe0\x80\x80", b"\xed\xa0\x80", b"\xf0\x9f\x92\xa5", b"\xf4\x90\x80\x80", b"\xf0\x9f\x92",
     b"\xe2\x82", b"\xff", b"\xc3\xa9", b"\xef\xbf\xbd", b"\x00", b"\x1b[31m", b'"\\', b"\r\n", b"\n", b"%s\\n", b"\t"]
)  # fmt: skip
_TEXTS = st.one_of(
    st.binary(max_size=200),
    st.lists(st.one_of(_EDGES, st.binary(max_size=4)), max_size=30).map(b"".join),
    st.text(max_size=80).map(lambda t: t.encode("utf-8", "surrogatepass")),
    st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=80).map(
        lambda t: t.encode() + b"\n"
    ),
)


@pytest.fixture
def words(tmp_path: Path, shell: str) -> list[str]:
    code = """cd "$1"; escape_file in | tr -d '\\n' >out; escape <in | tr -d '\\n' >slow"""
    return [*functions(shell, tmp_path, code), str(tmp_path)]


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=_TEXTS)
@example(data=b"")
@example(data=bytes(range(256)) * 20)
@example(data=b"x" * 5000 + b"\xe2\x82\xac" * 900)
@example(data=b'a "plain" \\log\\n\twith % and $(id) `id` in it\n' * 50)
@example(data=b"no newline at the end")
def test_any_bytes_become_the_string_that_the_bot_s_decoder_makes_of_them(
    words: list[str], tmp_path: Path, data: bytes
) -> None:
    (tmp_path / "in").write_bytes(data)
    subprocess.run(words, check=True, timeout=20)
    for name in ("out", "slow"):
        made = (tmp_path / name).read_bytes()
        assert made.isascii()
        assert json.loads(b'"' + made + b'"') == data.decode("utf-8", "replace"), name


@pytest.fixture
def signs(tmp_path: Path, shell: str) -> list[str]:
    code = 'CONFIG=none; secret_file=$1/secret; read_secret; signature 1763901247 "$1/in"'
    return [*functions(shell, tmp_path, code), str(tmp_path)]


_KEYS = st.text(st.characters(min_codepoint=33, max_codepoint=0x2FF), min_size=16, max_size=40)


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(secret=_KEYS, body=st.binary(max_size=300))
@example(secret="6" * 20, body=b"6 is 0x36: it becomes a NUL under the inner pad")
@example(secret="\\%" * 40, body=b"\0\xff")
@example(secret="k" * 64, body=b"as long as a block")
@example(secret="k" * 65, body=b"longer than a block: its digest is the key")
@example(secret="k" * 500, body=b"")
def test_the_signature_is_hmac_sha256(signs: list[str], tmp_path: Path, secret: str, body: bytes) -> None:
    (tmp_path / "secret").write_bytes(f" {secret} \nthe next one\n".encode())
    (tmp_path / "secret").chmod(0o600)
    (tmp_path / "in").write_bytes(body)
    done = subprocess.run(signs, capture_output=True, check=True, timeout=20)
    key = secret.encode().strip(b" \t\r\n\v\f")
    assert done.stdout.decode().strip() == hmac.new(key, b"v1:1763901247:" + body, hashlib.sha256).hexdigest()
