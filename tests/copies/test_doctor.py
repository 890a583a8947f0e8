"""What `panicroom doctor` finds of a central store by trying it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bot.central import central_findings
from bot.settings import Settings
from commands.copies.config import CentralConfig
from tests.stores.sftpserver import SftpServer


def settings(url: str | None, ssh: Any = None, **central: Any) -> Settings:
    more = {"ssh": ssh} if ssh is not None else {}
    return Settings(central=CentralConfig(url=url, **central), **more)


async def test_a_directory_that_does(tmp_path: Path) -> None:
    tmp_path.chmod(0o750)
    findings = await central_findings(settings(tmp_path.as_uri(), keep_free=0))
    assert [f.verdict for f in findings] == ["ok", "ok"]
    assert not list(tmp_path.iterdir()), "it leaves nothing behind"


async def test_no_store_is_said(tmp_path: Path) -> None:
    (finding,) = await central_findings(settings(None))
    assert (finding.verdict, finding.said) == ("ok", "none is set: no dump is copied")


async def test_a_directory_that_everybody_can_look_into(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    findings = await central_findings(settings(tmp_path.as_uri(), keep_free=0))
    assert any(f.verdict == "warn" and "mode is 0755" in f.said for f in findings)
    tmp_path.chmod(0o777)
    findings = await central_findings(settings(tmp_path.as_uri(), keep_free=0))
    assert any(f.verdict == "fail" and "mode is 0777" in f.said for f in findings)


async def test_a_mount_that_is_missing_and_one_without_room(tmp_path: Path) -> None:
    (finding,) = await central_findings(settings((tmp_path / "no").as_uri()))
    assert finding.verdict == "fail"
    assert "mounted" in finding.said
    assert "central.url" in finding.remedy
    tmp_path.chmod(0o700)
    findings = await central_findings(settings(tmp_path.as_uri(), keep_free=10**18))
    assert [f.verdict for f in findings] == ["ok", "fail"]


async def test_an_sftp_server_needs_a_known_key(tmp_path: Path) -> None:
    server = SftpServer(tmp_path)
    server.start()
    try:
        (server.root / "panics").mkdir()
        url = f"sftp://store@127.0.0.1:{server.port}/panics"
        findings = await central_findings(settings(url, server.ssh(), keep_free=0))
        assert [f.verdict for f in findings] == ["ok", "ok"]
        assert "its host key is known" in findings[0].said
        (tmp_path / "known_hosts").write_text("")
        (finding,) = await central_findings(settings(url, server.ssh()))
        assert finding.verdict == "fail"
        assert "SHA256:" in finding.said
    finally:
        server.stop()
