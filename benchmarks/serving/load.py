"""Load on one URL: wrk where it is installed, else a small client on asyncio (a different generator, so compare within a run)."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

_LUA = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = [==[{body}]==]
done = function(summary, latency, requests)
  io.write(string.format("RESULT %d %d %d %d\\n", summary.requests, summary.duration, latency:percentile(99),
    summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout))
end
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What a generator saw."""

    requests_per_second: float
    seconds: float
    p99_ms: float
    errors: int


def generator() -> str:
    return "wrk" if shutil.which("wrk") else "asyncio"


def run(url: str, body: str, *, connections: int, seconds: int, folder: Path) -> Load:
    """Posts ``body`` over ``connections`` connections at once, as fast as the answers come."""
    return (
        _wrk(url, body, connections, seconds, folder)
        if generator() == "wrk"
        else asyncio.run(_clients(url, body, connections, seconds))
    )


def _wrk(url: str, body: str, connections: int, seconds: int, folder: Path) -> Load:
    script = folder / "post.lua"
    script.write_text(_LUA.format(body=body), encoding="utf-8")
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s", "-s", str(script), url]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = re.search(r"RESULT (\d+) (\d+) (\d+) (\d+)", output)
    if found is None:
        raise RuntimeError(f"wrk printed no result:\n{output}")
    requests, microseconds, p99, errors = map(int, found.groups())
    return Load(requests_per_second=requests / microseconds * 1e6, seconds=microseconds / 1e6, p99_ms=p99 / 1000, errors=errors)


async def _clients(url: str, body: str, connections: int, seconds: int) -> Load:
    host, port, path = re.fullmatch(r"http://([^:/]+):(\d+)(/.*)", url).groups()  # type: ignore[union-attr]
    content = body.encode()
    request = (
        f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    ).encode() + content
    times: list[float] = []
    errors = 0
    end = time.perf_counter() + seconds

    async def client() -> None:
        nonlocal errors
        reader, writer = await asyncio.open_connection(host, int(port))
        while time.perf_counter() < end:
            began = time.perf_counter()
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
            await reader.readexactly(int(length.group(1)) if length else 0)
            times.append(time.perf_counter() - began)
            errors += not head.startswith(b"HTTP/1.1 200")
        writer.close()

    await asyncio.gather(*(client() for _ in range(connections)))
    times.sort()
    return Load(
        requests_per_second=len(times) / seconds, seconds=seconds, p99_ms=times[int(len(times) * 0.99)] * 1000, errors=errors
    )
