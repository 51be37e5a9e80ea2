"""A load of signed deliveries over keep-alive connections; a process of its own, so that its work is not the server's.

``python -m bench.load HOST PORT PROJECT COMMIT CONCURRENCY COUNT`` with the secret on the standard input prints JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
import uuid

from tests import payloads

SIZE = 10_000


def request_of(project: str, host: str, body: bytes, secret: str) -> bytes:
    """One delivery as it goes over the wire, with an identity of its own."""
    headers = payloads.headers_of(body, secret=secret, delivery=str(uuid.uuid4()))
    lines = [f"POST /hooks/{project} HTTP/1.1", f"Host: {host}", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


async def send(host: str, port: int, requests: list[bytes], seconds: list[float], codes: dict[str, int]) -> None:
    """Send requests from the common list, one after the other, until it is empty."""
    reader, writer = await asyncio.open_connection(host, port)
    while requests:
        request = requests.pop()
        started = time.perf_counter()
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        await reader.readexactly(length)
        seconds.append(time.perf_counter() - started)
        code = head.split(b" ", 2)[1].decode()
        codes[code] = codes.get(code, 0) + 1
    writer.close()


async def measure(
    host: str, port: int, project: str, commit: str, secret: str, concurrency: int, count: int
) -> dict[str, object]:
    """Deliver `count` pushes over `concurrency` connections."""
    body = payloads.padded(payloads.push(after=commit), SIZE)
    requests = [request_of(project, host, body, secret) for _ in range(count)]
    seconds: list[float] = []
    codes: dict[str, int] = {}
    started = time.perf_counter()
    await asyncio.gather(*(send(host, port, requests, seconds, codes) for _ in range(concurrency)))
    wall = time.perf_counter() - started
    seconds.sort()
    return {
        "per_second": count / wall,
        "median_ms": seconds[len(seconds) // 2] * 1000,
        "p99_ms": seconds[int(len(seconds) * 0.99)] * 1000,
        "codes": codes,
    }


def main() -> None:
    """Measure what the command line says."""
    host, port, project, commit, concurrency, count = sys.argv[1:]
    secret = sys.stdin.readline().strip()
    result = asyncio.run(measure(host, int(port), project, commit, secret, int(concurrency), int(count)))
    json.dump(result, sys.stdout)


if __name__ == "__main__":
    main()
