"""`earmark serve` as a process, for tests."""

import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx2
import numpy as np
import soundfile

RATE = 16_000
FLAC = {"content-type": "audio/flac"}
# Goes on until its time is over, and stops at once when it is cancelled.
SLOW = {"methods": "segments", "options": json.dumps({"segments": {"calls": 10_000, "surrogate": "ridge"}})}


@dataclass
class Served:
    """A server that runs: its address, its process, and the lines it wrote on stderr so far."""

    process: subprocess.Popen
    url: str = ""
    lines: list[str] = field(default_factory=list)

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def client(self, **options):
        return httpx2.Client(base_url=self.url, timeout=60.0, trust_env=False, **options)

    def stop(self, number=signal.SIGTERM) -> int:
        """The exit code after a signal."""
        self.process.send_signal(number)
        return self.process.wait(60)


@contextmanager
def served(*options, **environment):
    """Serve the shipped bundle on a free port until the block ends."""
    process = subprocess.Popen(
        [sys.executable, "-m", "earmark.cli", "serve", "--port", "0", "--device", "cpu", *options],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        env={**os.environ, **environment},
    )
    one = Served(process)

    def read():
        for line in process.stderr:
            one.lines.append(line.rstrip("\n"))

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        until(lambda: process.poll() is not None or any(" at http://" in line for line in one.lines))
        told = [re.search(r" at (http://\S+)", line) for line in one.lines]
        found = next((match for match in told if match), None)
        assert found, one.lines
        one.url = found[1]
        with one.client() as client:
            until(lambda: client.get("/readyz").status_code == 200)
        yield one
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(60)
        reader.join(10)
        process.stderr.close()


def until(holds, seconds=60.0):
    """Wait until it holds."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.01)


def flac(seconds, seed=0):
    """Noise, or with seed=None silence, at 16 kHz."""
    file = io.BytesIO()
    count = round(seconds * RATE)
    samples = np.zeros(count) if seed is None else np.random.default_rng(seed).normal(0.0, 0.1, count)
    soundfile.write(file, samples, RATE, format="FLAC")
    return file.getvalue()


def metric(client, line):
    """A line of /metrics, as a number."""
    found = [one for one in client.get("/metrics").text.splitlines() if one.startswith(line + " ")]
    return float(found[0].rpartition(" ")[2]) if found else 0.0


def from_address(server, address):
    """A client with another address of this machine."""
    return httpx2.Client(
        base_url=server.url,
        transport=httpx2.HTTPTransport(local_address=address),
        headers=FLAC,
        timeout=60.0,
    )
