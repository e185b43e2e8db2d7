"""Detect in sound that arrives over a socket; another thread plays the recorder.

A microphone is the same: in the callback of `sounddevice.InputStream(samplerate=RATE, channels=1)` put
`indata.T.copy()` into a queue, and push what comes out of it.
"""

from __future__ import annotations

import socket
import threading

import numpy as np

import earmark

RATE = 16_000


def recorder(connection: socket.socket) -> None:
    """Send 20 s of faint noise with two struck bells, as 16-bit samples, and hang up."""
    random = np.random.default_rng(0)
    wave = random.normal(0.0, 0.002, 20 * RATE)
    time = np.arange(RATE) / RATE
    for at in (6.0, 13.5):
        partials = zip((1.0, 2.0, 2.76, 5.4), (1.0, 0.6, 0.5, 0.25), strict=True)
        bell = sum(part * np.sin(2 * np.pi * 700.0 * ratio * time) for ratio, part in partials)
        wave[round(at * RATE) : round(at * RATE) + RATE] += 0.2 * bell * np.exp(-4.0 * time)
    connection.sendall((wave.clip(-1.0, 1.0) * 32767).astype("<i2").tobytes())
    connection.close()


def main() -> None:
    """Print what ends while the sound still comes."""
    ours, theirs = socket.socketpair()
    sender = threading.Thread(target=recorder, args=(theirs,))
    sender.start()
    explainer = earmark.load(device="cpu")
    stream = explainer.stream(RATE, min_score=0.9, leave_score=0.5, merge_gap_s=1.0, methods=["mask"])
    rest = b""
    with ours:
        while data := ours.recv(4097):
            data = rest + data
            whole = len(data) // 2 * 2
            rest = data[whole:]
            tell(stream.push(np.frombuffer(data[:whole], "<i2")))
    tell(stream.finish())
    sender.join()


def tell(items: list[earmark.ScoredWindow | earmark.Detection]) -> None:
    """A line for each detection; windows have their scores."""
    for one in items:
        if isinstance(one, earmark.Detection):
            evidence = ", ".join(f"{start:.2f}-{end:.2f} s" for start, end in one.evidence)
            print(f"{one.start_s:6.2f}-{one.end_s:6.2f} s  {one.label:<10} {one.score:.3f}  {evidence}")


if __name__ == "__main__":
    main()
