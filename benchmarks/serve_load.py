"""Many clients at once ask `earmark serve`, and its answers and memory are looked at.

    python benchmarks/serve_load.py                 50 clients for five minutes
    python benchmarks/serve_load.py --clients 8 --seconds 10

Each client has an address of its own (127.0.0.2 and on; Linux takes all of them) and asks again as soon as it
is answered: explanations, detections, and now and then something that is no sound, a label that does not
exist, an upload that is broken off. Answers must be those of one request after the other. Exits with 1 where
one differs, something else than an answer or a refusal comes, or memory grows after the first fifth of the
time by more than 10 % and 32 MB.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field

import httpx2
import numpy as np
import psutil
import soundfile
from measuring import run_main

RATE = 16_000
# Seconds of the sounds, and the share of requests that are broken on purpose.
LENGTHS = (0.5, 1.0, 2.0, 2.0, 3.5, 6.0)
BROKEN = 0.06


@dataclass(frozen=True)
class LoadRequest:
    """A request, and what it is answered when nothing else runs."""

    path: str
    parameters: dict[str, str]
    content: bytes
    status: int = 200
    answer: dict = field(default_factory=dict)


@dataclass
class Seen:
    """What came of all requests."""

    statuses: Counter = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    health: list[float] = field(default_factory=list)
    different: list[str] = field(default_factory=list)
    odd: list[str] = field(default_factory=list)
    memory: list[tuple[float, float, int, int]] = field(default_factory=list)


def sounds() -> list[bytes]:
    """Noise and tones as FLAC."""
    made = []
    for seed, seconds in enumerate(LENGTHS):
        random = np.random.default_rng(seed)
        time_s = np.arange(round(seconds * RATE)) / RATE
        wave = 0.05 * random.normal(size=len(time_s)) + 0.4 * np.sin(2 * np.pi * 200 * (seed + 1) * time_s)
        file = io.BytesIO()
        soundfile.write(file, wave, RATE, format="FLAC")
        made.append(file.getvalue())
    return made


def questions() -> list[LoadRequest]:
    """What is asked."""
    asked = []
    for number, sound in enumerate(sounds()):
        asked.append(LoadRequest("/v1/explain", {"name": f"{number}.flac"}, sound))
        asked.append(
            LoadRequest("/v1/explain", {"methods": "mask", "rescore": "true", "target": "bell"}, sound)
        )
        asked.append(LoadRequest("/v1/detect", {"min_score": "0.2", "name": f"{number}.flac"}, sound))
    asked.append(LoadRequest("/v1/explain", {}, b"this is no sound" * 100, 422))
    asked.append(LoadRequest("/v1/explain", {"target": "belll"}, b"", 400))
    return asked


def plain(answer: dict) -> dict:
    """An answer without the times that were measured."""
    rest = {name: value for name, value in answer.items() if name != "timings_ms"}
    if "detections" in rest:
        rest["detections"] = [
            {**one, "explanation": one["explanation"] and plain(one["explanation"])}
            for one in rest["detections"]
        ]
    return rest


def one_after_the_other(url: str) -> list[LoadRequest]:
    """The questions with their answers."""
    known = []
    with httpx2.Client(base_url=url, timeout=60.0, trust_env=False) as client:
        for one in questions():
            answer = client.post(
                one.path, params=one.parameters, content=one.content, headers={"content-type": "audio/flac"}
            )
            assert answer.status_code == one.status, answer.text
            known.append(LoadRequest(one.path, one.parameters, one.content, one.status, plain(answer.json())))
    return known


async def ask(number: int, url: str, known: list[LoadRequest], end: float, seen: Seen) -> None:
    """One client until the time is over."""
    random = np.random.default_rng(number)
    transport = httpx2.AsyncHTTPTransport(local_address=f"127.0.0.{number + 2}")
    async with httpx2.AsyncClient(base_url=url, transport=transport, timeout=120.0) as client:
        while time.monotonic() < end:
            if random.random() < BROKEN:
                await break_off(url, number)
                seen.statuses["broken off"] += 1
                continue
            one = known[random.integers(len(known))]
            begun = time.monotonic()
            answer = await client.post(
                one.path, params=one.parameters, content=one.content, headers={"content-type": "audio/flac"}
            )
            seen.statuses[answer.status_code] += 1
            if answer.status_code in {429, 503}:
                await asyncio.sleep(float(answer.headers["retry-after"]))
                continue
            seen.seconds.append(time.monotonic() - begun)
            if answer.status_code != one.status:
                seen.odd.append(f"{answer.status_code} in place of {one.status}: {answer.text[:200]}")
            elif plain(answer.json()) != one.answer:
                seen.different.append(f"{one.path} {one.parameters}")


async def break_off(url: str, number: int) -> None:
    """Begin an upload, and go."""
    host, port = url.removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, int(port), local_addr=(f"127.0.0.{number + 2}", 0))
    writer.write(
        b"POST /v1/explain HTTP/1.1\r\nHost: localhost\r\nContent-Type: audio/flac\r\n"
        b"Content-Length: 100000\r\n\r\n" + bytes(5000)
    )
    with contextlib.suppress(OSError):
        await writer.drain()
        writer.close()
        await writer.wait_closed()


async def watch(url: str, process: psutil.Process, end: float, seen: Seen) -> None:
    """Memory, files and threads each second, and how soon the event loop answers."""
    async with httpx2.AsyncClient(base_url=url, timeout=60.0) as client:
        begun = time.monotonic()
        while time.monotonic() < end:
            asked = time.monotonic()
            await client.get("/healthz")
            seen.health.append(time.monotonic() - asked)
            rss = process.memory_info().rss / 1e6
            seen.memory.append((time.monotonic() - begun, rss, process.num_fds(), process.num_threads()))
            await asyncio.sleep(1.0)


async def load(
    url: str, known: list[LoadRequest], clients: int, seconds: float, process: psutil.Process
) -> Seen:
    """All clients at once."""
    seen, end = Seen(), time.monotonic() + seconds
    asking = [ask(number, url, known, end, seen) for number in range(clients)]
    await asyncio.gather(watch(url, process, end, seen), *asking)
    return seen


@contextlib.contextmanager
def serving(*options: str):
    """A server; gives its address and process."""
    command = [sys.executable, "-m", "earmark.cli", "serve", "--port", "0", "--quiet", *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            found = None
            while found is None:
                line = process.stderr.readline()
                if not line:
                    raise SystemExit("the server did not start")
                found = re.search(r" at (http://\S+)", line)
            threading.Thread(target=process.stderr.read, daemon=True).start()
            yield found[1], psutil.Process(process.pid)
        finally:
            process.terminate()
            process.wait(60)


def main(*, clients: int = 50, seconds: float = 300.0, concurrency: str = "2", queue: str = "64") -> None:
    """Run it and print what came of it."""
    with serving("--concurrency", concurrency, "--queue", queue) as (url, process):
        known = one_after_the_other(url)
        seen = asyncio.run(load(url, known, clients, seconds, process))
    took = np.sort(seen.seconds)
    early = [rss for at, rss, *_ in seen.memory if at >= seconds / 5][:5]
    late = [rss for _, rss, *_ in seen.memory][-5:]
    grown = float(np.median(late) - np.median(early))
    report = {
        "clients": clients,
        "seconds": seconds,
        "cores": os.cpu_count(),
        "answers a second": round(len(took) / seconds, 1),
        "statuses": {str(name): count for name, count in sorted(seen.statuses.items(), key=str)},
        "different answers": len(seen.different),
        "odd answers": len(seen.odd),
        "latency_s p50 p95 p99 max": [round(float(np.quantile(took, q)), 3) for q in (0.5, 0.95, 0.99, 1.0)],
        "healthz_s p50 max": [round(float(np.quantile(seen.health, q)), 3) for q in (0.5, 1.0)],
        "memory_mb after a fifth, at the end, most": [
            round(float(value), 1)
            for value in (np.median(early), np.median(late), max(m[1] for m in seen.memory))
        ],
        "memory_mb each 20 s": [round(rss, 1) for at, rss, *_ in seen.memory if at % 20 < 1.05],
        "files most": max(m[2] for m in seen.memory),
        "threads most": max(m[3] for m in seen.memory),
    }
    print(json.dumps(report, indent=2))
    for line in (*seen.different[:5], *seen.odd[:5]):
        print(line, file=sys.stderr)
    if seen.different or seen.odd or grown > max(32.0, 0.1 * float(np.median(early))):
        sys.exit(1)


if __name__ == "__main__":
    run_main(main)
