from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from integrations.ssh import BadAddress, SshConfig, parse_jump
from integrations.ssh.host_certificate import problem_of
from integrations.ssh.known_hosts import KnownHosts, fingerprint, preferred_types


def key(kind: str = "ssh-ed25519", body: bytes = b"k") -> tuple[str, bytes]:
    blob = len(kind).to_bytes(4, "big") + kind.encode() + body
    return f"{kind} {base64.b64encode(blob).decode()}", blob


LINE, BLOB = key()


@pytest.mark.parametrize(
    ("patterns", "name", "port", "known"),
    [
        ("web-17", "web-17", 22, True),
        ("WEB-17", "web-17", 22, True),
        ("web-17,10.0.0.7", "10.0.0.7", 22, True),
        ("web-*", "web-17", 22, True),
        ("web-?", "web-17", 22, False),
        ("web-*,!web-17", "web-17", 22, False),
        ("web-*,!web-17", "web-18", 22, True),
        ("[web-17]:2222", "web-17", 2222, True),
        ("[web-17]:2222", "web-17", 22, False),
        ("[web-17]:2222", "web-17", 2223, False),
        ("web-17", "web-17", 2222, True),  # ssh looks for the bare name when there is no line for the port
        ("[web-1[0-9]]:2222", "web-17", 2222, False),  # brackets are no character class
    ],
)
def test_names(patterns: str, name: str, port: int, known: bool) -> None:
    hosts = KnownHosts.parse(f"{patterns} {LINE} a comment\n")
    assert bool(hosts.keys_of([name], port)) is known


def test_markers_and_unreadable_lines() -> None:
    hosts = KnownHosts.parse(
        f"# a comment\n\n@cert-authority *.example.org {LINE}\n@revoked * {LINE}\n"
        f"@unknown x {LINE}\nbroken\nx ssh-ed25519 %%%\nx ssh-rsa {LINE.split()[1]}\n"
    )
    assert len(hosts.keys) == 2
    assert hosts.authorities_of(["a.example.org"], 22)
    assert not hosts.keys_of(["a.example.org"], 22)
    assert hosts.is_revoked(BLOB)
    assert not hosts.is_revoked(b"other")


def test_what_can_be_verified_is_asked_for_first() -> None:
    rsa = KnownHosts.parse(f"h {key('ssh-rsa')[0]}\n").keys
    assert preferred_types(rsa, ())[:2] == ("rsa-sha2-512", "rsa-sha2-256")
    authority = KnownHosts.parse(f"@cert-authority h {LINE}\n").keys
    assert preferred_types((), authority)[0] == "ssh-ed25519-cert-v01@openssh.com"
    assert "ssh-rsa" not in preferred_types(rsa, authority)


def test_a_fingerprint_is_as_ssh_keygen_prints_it() -> None:
    assert fingerprint(b"abc") == "SHA256:ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0"


@given(st.text(), st.text(max_size=30), st.integers(1, 65535))
def test_any_file_is_read_without_an_error(text: str, name: str, port: int) -> None:
    hosts = KnownHosts.parse(text)
    hosts.keys_of([name], port)
    hosts.authorities_of([name], port)


@given(st.binary(max_size=300))
def test_no_garbage_is_a_certificate(blob: bytes) -> None:
    assert problem_of(blob, ["h"], (), 0.0) is not None


def test_jump_hosts() -> None:
    one, two = parse_jump("ops@bastion:2222, [2001:db8::1]:22")
    assert (one.user, one.target, one.port) == ("ops", "bastion", 2222)
    assert (two.user, two.target, two.port) == (None, "2001:db8::1", 22)
    assert parse_jump("") == ()


@pytest.mark.parametrize("text", ["a b", "x:99999", "x:0", "-o@h", "h;id", "u$@h", "ssh://h", "[::1"])
def test_what_is_no_jump_host(text: str) -> None:
    with pytest.raises(BadAddress):
        parse_jump(text)
    with pytest.raises(ValidationError, match="jump"):
        SshConfig(jump=text)


def test_a_password_has_no_place() -> None:
    with pytest.raises(ValidationError, match="password"):
        SshConfig(password="x")  # type: ignore[call-arg]
