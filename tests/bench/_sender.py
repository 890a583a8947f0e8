"""Hosts that report, as cheaply as Python sends.

`python -m tests.bench._sender PORT COUNT RATE CONNECTIONS FIRST BYTES`.

Bodies are made and signed before the clock starts, and written to open sockets as bytes: what is measured is the bot,
on a machine that both share. Waits for a line on stdin, sends, and prints one JSON object: seconds of each answer,
statuses, its own processor seconds. RATE 0: as fast as the connections take turns.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter, deque

from bot.demo.hosts import captures
from integrations.inbound import signed_headers
from tests.bench._process import REPORT_SECRET


def requests(count: int, first: int, size: int) -> list[bytes]:
    words = next(iter(captures.load("null-deref").crash_files.values()))
    words += "".join(
        f"[    1.{n:06}] filler: driver initialised\n" for n in range(max(0, size - len(words)) // 42)
    )
    stamp, made = int(time.time()), []
    for number in range(first, first + count):
        host = f"rack-{number:06}"
        body = json.dumps({"id": f"{host}-boot", "host": host, "text": words}).encode()
        headers = signed_headers(REPORT_SECRET, stamp, body) | {
            "Host": "bot",
            "Content-Length": str(len(body)),
        }
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        made.append(f"POST /v1/panics HTTP/1.1\r\n{lines}\r\n".encode() + body)
    return made


class Sending:
    def __init__(self, waiting: deque[tuple[float, bytes]]) -> None:
        self.waiting = waiting
        self.seconds: list[float] = []
        self.statuses: Counter[str] = Counter()
        self.last = 0.0

    async def connection(self, port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while self.waiting:
            at, request = self.waiting.popleft()
            if at > time.monotonic():
                await asyncio.sleep(at - time.monotonic())
            began = max(at, 0.0) or time.monotonic()
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length:", 1)[1].split(b"\r\n", 1)[0])
            await reader.readexactly(length)
            self.last = time.monotonic()
            self.seconds.append(self.last - began)
            self.statuses[head[9:12].decode()] += 1
        writer.close()


async def send(port: int, made: list[bytes], rate: float, connections: int) -> Sending:
    began = time.monotonic()
    moments = (began + n / rate if rate else 0.0 for n in range(len(made)))
    sending = Sending(deque(zip(moments, made, strict=False)))
    await asyncio.gather(*(sending.connection(port) for _ in range(connections)))
    return sending


def main() -> int:
    port, count, rate, connections, first, size = (int(word) for word in sys.argv[1:7])
    made = requests(count, first, size)
    print(len(made[0]), flush=True)
    sys.stdin.readline()
    busy, began = time.process_time(), time.monotonic()
    sending = asyncio.run(send(port, made, rate, connections))
    result = {
        "began": began,
        "ended": sending.last,
        "seconds": sending.seconds,
        "statuses": sending.statuses,
        "busy": time.process_time() - busy,
    }
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
