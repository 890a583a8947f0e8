"""The central store on a directory, an SFTP server and an S3 server: parts, their sha256, what goes wrong."""

from __future__ import annotations

import hashlib
import os
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.central import make_store
from commands.copies.config import CentralConfig
from integrations.ssh import SshConfig
from integrations.stores import (
    BadStoreUrl,
    CentralStore,
    NotKept,
    PartWriter,
    StoreFull,
    StoreRefused,
    StoreUnreachable,
    UnsafeName,
    read_url,
)
from tests.stores.sftpserver import SftpServer

MIB = 1024 * 1024


@pytest.fixture(scope="module")
def s3_server() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="module")
def sftp_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SftpServer]:
    server = SftpServer(tmp_path_factory.mktemp("sftp"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(params=["file", "sftp", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> CentralStore:
    if request.param == "file":
        return _of(CentralConfig(url=tmp_path.as_uri()))
    if request.param == "sftp":
        return sftp_store(request.getfixturevalue("sftp_server"))
    endpoint = request.getfixturevalue("s3_server")
    return s3_store(endpoint, f"bucket-{os.urandom(4).hex()}")


def _of(config: CentralConfig, ssh: SshConfig | None = None) -> CentralStore:
    store = make_store(config, ssh or SshConfig())
    assert store is not None
    return store


def sftp_store(server: SftpServer, **changes: Any) -> CentralStore:
    (server.root / "panics").mkdir(exist_ok=True)
    config = CentralConfig(url=f"sftp://store@127.0.0.1:{server.port}/panics")
    return _of(config, server.ssh().model_copy(update=changes))


def s3_store(endpoint: str, bucket: str, *, make: bool = True) -> CentralStore:
    from s3fs import S3FileSystem

    keys: dict[str, Any] = {"key": "x", "secret": "y", "endpoint_url": endpoint}
    if make:
        S3FileSystem(**keys, skip_instance_cache=True).call_s3("create_bucket", Bucket=bucket)
    config = CentralConfig(
        url=f"s3://{bucket}/panics", endpoint=endpoint, region="us-east-1", access_key="x", secret_key="y"
    )
    return _of(config)


def fill(writer: PartWriter, size: int) -> None:
    for start in range(0, size, MIB):
        writer.write(bytes(min(MIB, size - start)))
    writer.finish()


def test_a_part_is_there_whole_or_not_at_all(store: CentralStore) -> None:
    body = os.urandom(6 * MIB + 17)
    with store.open("P-1-web-17-abc") as shelf:
        shelf.make()
        shelf.make()  # after a restart it is there already
        assert shelf.sizes() == {}
        writer = shelf.part(1)
        for start in range(0, len(body), MIB):
            writer.write(body[start : start + MIB])
        assert shelf.sizes() == {}, "a part that is not finished is not there"
        part = writer.finish()
        writer.abandon()
        assert (part.number, part.size, part.sha256) == (1, len(body), hashlib.sha256(body).hexdigest())
        assert shelf.sizes() == {1: len(body)}
        cut = shelf.part(2)
        cut.write(body)
        cut.abandon()
        assert shelf.sizes() == {1: len(body)}
        assert b"".join(shelf.read(1)) == body
        assert b"".join(shelf.read(1, 5 * MIB, MIB + 5)) == body[5 * MIB : 6 * MIB + 5]
        with pytest.raises(NotKept):
            b"".join(shelf.read(2))
        again = shelf.part(1)
        again.write(b"other")
        again.finish()
        assert b"".join(shelf.read(1)) == b"other"
        shelf.write_manifest(b"{}")
        shelf.remove()
        assert shelf.sizes() == {}
    assert shelf.url == f"{store.url}/P-1-web-17-abc"


def test_the_doctors_probe_leaves_nothing(store: CentralStore) -> None:
    found = store.probe()
    assert found.removes
    assert (found.free is None) == (store.kind == "s3")
    with store.open("x") as shelf:
        left = shelf._place.fs.find(shelf._place.root)
    assert not [name for name in left if "doctor" in name]


def test_a_folder_of_the_bot_is_nobody_elses(tmp_path: Path) -> None:
    with _of(CentralConfig(url=tmp_path.as_uri())).open("x") as shelf:
        shelf.make()
        shelf.part(1).finish()
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "x" / "vmcore.part-000001").stat().st_mode) == 0o600


def test_a_directory_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(StoreRefused, match="mounted"),
        _of(CentralConfig(url=(tmp_path / "no").as_uri())).open("x"),
    ):
        pass


def test_an_unknown_host_key_is_refused_and_nothing_sent(sftp_server: SftpServer, tmp_path: Path) -> None:
    """fsspec's own SFTP would have taken it."""
    empty = tmp_path / "known_hosts"
    empty.write_text("")
    before = len(sftp_server.opened)
    with pytest.raises(StoreRefused, match="SHA256:"), sftp_store(sftp_server, known_hosts=empty).open("x"):
        pass
    assert len(sftp_server.opened) == before


def test_a_full_sftp_server_is_told_as_full(tmp_path: Path) -> None:
    """The protocol has no word for it: a server says "Failure"."""
    server = SftpServer(tmp_path, room=2 * MIB)
    server.start()
    try:
        with sftp_store(server).open("x") as shelf:
            shelf.make()
            writer = shelf.part(1)
            with pytest.raises(StoreFull):
                fill(writer, 8 * MIB)
            writer.abandon()
    finally:
        server.stop()


def test_a_store_that_is_down_is_unreachable_and_may_come_back(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        config = CentralConfig(url=f"sftp://store@127.0.0.1:{taken.getsockname()[1]}/x")
        with pytest.raises(StoreUnreachable) as told, _of(config).open("x"):
            pass
    assert not told.value.permanent


def test_a_bucket_that_is_not_there_or_not_ours(s3_server: str) -> None:
    with s3_store(s3_server, "nowhere", make=False).open("x") as shelf:
        writer = shelf.part(1)
        with pytest.raises(StoreRefused):
            fill(writer, 10)
        writer.abandon()


@pytest.mark.parametrize(
    ("status", "code", "error"),
    [
        (507, "XMinioStorageFull", StoreFull),
        (403, "AccessDenied", StoreRefused),
        (503, "SlowDown", StoreUnreachable),
    ],
)
def test_what_a_bucket_answers_is_told_apart(status: int, code: str, error: type[Exception]) -> None:
    """A server that gives S3's own error documents."""
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    class Refusing(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"  # which answers `Expect: 100-continue`

        def do_PUT(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>no</Message></Error>".encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    store = s3_store(f"http://127.0.0.1:{server.server_port}", "b", make=False)
    try:
        with store.open("x") as shelf:
            shelf._place.fs.retries = 1
            writer = shelf.part(1)
            writer.write(b"x")
            with pytest.raises(error):
                writer.finish()
            writer.abandon()
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "file://",
        "file:///",
        "file://other/x",
        "ftp://h/x",
        "sftp://h",
        "sftp://u:p@h/x",
        "s3://",
        "/srv/x",
        "s3://b/x?y=1",
    ],
)
def test_what_is_no_store(url: str) -> None:
    with pytest.raises(BadStoreUrl):
        read_url(url)


@given(st.text(max_size=60))
def test_a_url_is_read_or_refused(text: str) -> None:
    for prefix in ("", "file://", "file:///", "sftp://h/", "s3://b/"):
        try:
            kind, rest = read_url(prefix + text)
        except BadStoreUrl:
            continue
        where = rest if isinstance(rest, str) else rest.directory
        assert ".." not in where.split("/")
        assert kind in ("file", "sftp", "s3")


@given(st.text(max_size=40))
def test_a_folder_is_a_plain_name(name: str) -> None:
    store = CentralStore("file:///tmp", sftp=lambda _address: None)  # type: ignore[arg-type, return-value]
    try:
        with store.open(name) as shelf:
            assert "/" not in shelf.folder
            assert not shelf.folder.startswith(".")
    except UnsafeName:
        pass
