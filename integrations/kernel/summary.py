"""A `Crash` as the JSON object that `panicroom parse --json` prints, one a file."""

from __future__ import annotations

from typing import Any

from integrations.kernel.crash import Crash, Frame


def _frame(frame: Frame) -> dict[str, Any]:
    return {
        "function": frame.function,
        "offset": frame.offset,
        "size": frame.size,
        "module": frame.module,
    }


def summary(crash: Crash, file: str, *, explain: bool = False) -> dict[str, Any]:
    """Plain data only (strings, numbers, booleans, null, lists, objects). `explain` adds every rule that fired."""
    told: dict[str, Any] = {
        "file": file,
        "crash": crash.crash,
        "kind": str(crash.kind),
        "title": crash.title,
        "function": crash.function,
        "module": crash.module,
        "frames": [_frame(frame) for frame in crash.frames],
        "doubtful": [_frame(frame) for frame in crash.doubtful],
        "signature": {
            "key": crash.signature.key,
            "title": crash.signature.title,
            "detail": list(crash.signature.detail),
        },
        "deliberate": crash.deliberate,
        "head_lost": crash.head_lost,
        "kernel": crash.kernel,
        "kernel_build": crash.kernel_build,
        "arch": crash.arch,
        "hardware": crash.hardware,
        "command_line": crash.command_line,
        "process": crash.process,
        "pid": crash.pid,
        "cpu": crash.cpu,
        "taint": list(crash.taint),
        "taint_flags": crash.taint_flags,
        "modules": list(crash.modules),
        "uptime": crash.uptime,
        "lines": list(crash.lines),
        "others": [
            {
                "crash": other.crash,
                "kind": str(other.kind),
                "title": other.title,
                "function": other.function,
                "module": other.module,
                "signature": other.signature.key,
                "uptime": other.uptime,
            }
            for other in crash.others
        ],
    }
    if explain:
        told["explain"] = list(crash.explain)
    return told
