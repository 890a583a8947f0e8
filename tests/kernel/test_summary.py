"""The JSON object of a crash."""

from __future__ import annotations

import json

from integrations.kernel import read_crash
from integrations.kernel.summary import summary
from tests.kernel import samples


def test_summary_is_plain_json() -> None:
    told = summary(
        read_crash(samples.X86_64 + samples.ARM64.replace("[   99.", "[  999.")), "dmesg.txt", explain=True
    )
    again = json.loads(json.dumps(told))
    assert again == told
    assert (told["file"], told["crash"], told["kind"]) == ("dmesg.txt", True, "null_deref")
    assert told["title"] == "NULL pointer dereference in labcrash_read_cookie"
    assert (told["function"], told["module"]) == ("labcrash_read_cookie", "labcrash")
    assert told["signature"]["key"] == "null_deref|labcrash_read_cookie|labcrash"
    assert (told["deliberate"], told["head_lost"]) == (False, False)
    assert (told["kernel"], told["arch"]) == ("6.1.0-56-cloud-amd64", "x86_64")
    assert told["frames"][0] == {
        "function": "labcrash_read_cookie",
        "offset": 5,
        "size": 16,
        "module": "labcrash",
    }
    assert [other["kind"] for other in told["others"]] == ["page_fault"]
    assert told["explain"]


def test_nothing_found() -> None:
    told = summary(read_crash(""), "-")
    assert (told["crash"], told["kind"], told["title"]) == (False, "unknown", "cause unknown: no crash text")
    assert "explain" not in told
