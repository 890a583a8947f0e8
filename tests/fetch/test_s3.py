"""A store that signs its own addresses: the dump goes from it to the person, and not through the bot."""

from __future__ import annotations

from collections.abc import Iterator

import boto3
import pytest

from bot.central import make_store
from commands.copies.config import CentralConfig
from integrations.ssh import SshConfig
from tests.fetch.conftest import Make, Scene

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def s3_server() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    keys = {"aws_access_key_id": "k", "aws_secret_access_key": "s", "region_name": "us-east-1"}
    boto3.client("s3", endpoint_url=url, **keys).create_bucket(Bucket="dumps")
    yield url
    server.stop()


@pytest.mark.parametrize("direct", [True, False])
async def test_the_stores_own_addresses(make_scene: Make, s3_server: str, direct: bool) -> None:
    config = CentralConfig(
        url="s3://dumps/panics", endpoint=s3_server, region="us-east-1", access_key="k", secret_key="s"
    )
    store = make_store(config, SshConfig())
    scene: Scene = await make_scene(
        store=store, direct=direct, public_url=None if direct else "https://x.example"
    )
    await scene.copy(size=150_000)
    if not direct:
        assert (await scene.get(await scene.link()))[1] == scene.content
        return
    said = await scene.say("fetch P-1")
    urls = [piece.split("'", 1)[0].replace("&amp;", "&") for piece in said.split("curl -f '")[1:]]
    assert len(urls) == 2
    assert all("Signature=" in url and "secret" not in url for url in urls)
    assert b"".join([(await scene.get(url))[1] for url in urls]) == scene.content
    (told,) = await scene.audits()
    assert "signed by the store" in told[4]
    assert (await scene.links())[0].direct
    assert (await scene.refused(f"{scene.url}/v1/dumps/1.{'A' * 43}")) == (403, "bad_link")
