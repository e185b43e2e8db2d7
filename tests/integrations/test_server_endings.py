"""How requests and servers end that do not end by themselves: slow clients, signals, many clients at once."""

import json
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import httpx2
import psutil
import pytest
from http_server import FLAC, SLOW, flac, from_address, metric, served, until

from earmark.integrations.server.settings import HEAD_S, STALL_S

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


def held(server, sent, *, drip=b""):
    """What a client got that sends this and then only drips, and after how many seconds it ended."""
    begun = time.monotonic()
    got = b""
    with socket.create_connection(("127.0.0.1", server.port)) as one, suppress(ConnectionError):
        one.settimeout(1.0)
        one.sendall(sent)
        while time.monotonic() - begun < 30:
            with suppress(TimeoutError):
                if drip:
                    one.sendall(drip)
                got += (piece := one.recv(65536))
                if not piece:
                    break
    return got, time.monotonic() - begun


def unread(server, sent):
    """After how many seconds a connection is ended whose client asks and never reads."""
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        one.connect(("127.0.0.1", server.port))
        own = one.getsockname()
        one.sendall(sent)
        process = psutil.Process(server.process.pid)
        with server.client() as client:
            until(
                lambda: (
                    metric(client, 'earmark_http_requests_total{endpoint="/page/explain",status="200"}') == 1
                )
            )
        begun = time.monotonic()
        until(lambda: not any(other.raddr == own for other in process.net_connections("tcp")))
        return time.monotonic() - begun


def test_slow_clients_hold_nothing_for_long():
    head = b"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: audio/flac\r\n"
    sound = flac(150.0)
    asks = head % b"/page/explain?methods=mask" + b"Content-Length: %d\r\n\r\n" % len(sound) + sound
    with served() as server, ThreadPoolExecutor(5) as pool, server.client() as client:
        silent = pool.submit(held, server, b"")
        endless_head = pool.submit(held, server, b"GET / HTTP/1.1\r\nX: ", drip=b"x")
        stalled_body = pool.submit(held, server, head % b"/v1/explain" + b"Content-Length: 9999\r\n\r\nab")
        not_read = pool.submit(unread, server, asks)
        for one in (silent, endless_head):
            got, seconds = one.result()
            assert got == b""
            assert seconds == pytest.approx(HEAD_S, abs=5)
        got, seconds = stalled_body.result()
        assert got.startswith(b"HTTP/1.1 408")
        assert seconds == pytest.approx(STALL_S, abs=5)
        assert not_read.result() == pytest.approx(STALL_S, abs=5)
        assert metric(client, "earmark_waiting") == 0


def test_sigterm_lets_answers_finish_and_refuses_those_that_wait():
    # Several windows, none of whose segments are settled in time.
    noise = flac(8.0)
    with served("--concurrency", "1") as server, ThreadPoolExecutor(2) as pool, server.client() as client:
        asked = {"params": {**SLOW, "timeout_s": "3"}, "content": noise, "headers": FLAC}
        running = pool.submit(client.post, "/v1/explain", **asked)
        until(lambda: metric(client, "earmark_computing") == 1)
        other = from_address(server, "127.0.0.3")
        waiting = pool.submit(other.post, "/v1/explain", **asked)
        until(lambda: metric(client, "earmark_waiting") == 1)
        begun = time.monotonic()
        server.process.terminate()
        refused = waiting.result()
        assert refused.status_code == 503
        assert "stopping" in refused.json()["error"]["message"]
        assert int(refused.headers["retry-after"]) >= 1
        assert time.monotonic() - begun < 2.0
        with pytest.raises(httpx2.ConnectError):
            httpx2.get(f"{server.url}/healthz", trust_env=False)
        answer = running.result()
        assert answer.status_code == 200
        assert answer.json()["partial"]
        assert server.process.wait(30) == 0
        assert not any("Traceback" in line or "Error" in line for line in server.lines)
        other.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_other_signals_stop_it_as_well(number):
    # Whoever runs the tests may ignore hang-ups, as nohup does: a server that is started so goes on.
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        with served() as server:
            assert server.stop(number) == 0
            assert not any("Traceback" in line for line in server.lines)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_what_runs_too_long_is_cut_off():
    with served("--grace", "1") as server, ThreadPoolExecutor(1) as pool, server.client() as client:
        asked = {"params": {**SLOW, "timeout_s": "50"}, "content": flac(2.0), "headers": FLAC}
        running = pool.submit(client.post, "/v1/explain", **asked)
        until(lambda: metric(client, "earmark_computing") == 1)
        begun = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - begun < 10.0
        assert running.result().status_code == 503


def test_an_upload_for_which_there_is_no_room_is_refused():
    with served() as server, server.client() as client:
        psutil.Process(server.process.pid).rlimit(psutil.RLIMIT_FSIZE, (1 << 20, 1 << 20))
        refused = client.post("/v1/explain", content=flac(150.0), headers=FLAC)
        assert refused.status_code == 503
        assert refused.json()["error"]["message"] == (
            "there is no room for the upload (File too large): try again later"
        )
        assert client.post("/v1/explain", content=flac(1.0), headers=FLAC).status_code == 200


def test_no_upload_is_left_behind_by_a_kill(tmp_path):
    sound = flac(300.0)
    assert len(sound) > 4 << 20
    with (
        served("--max-seconds", "600", TMPDIR=str(tmp_path)) as server,
        ThreadPoolExecutor(1) as pool,
        server.client() as client,
    ):
        running = pool.submit(
            client.post, "/v1/explain", params={"methods": "mask"}, content=sound, headers=FLAC
        )
        until(lambda: metric(client, "earmark_computing") == 1)
        deleted = [
            link
            for link in Path(f"/proc/{server.process.pid}/fd").iterdir()
            if str(link.readlink()).startswith(str(tmp_path))
        ]
        # The upload lies there, and has no name.
        assert deleted
        assert list(tmp_path.rglob("*")) == []
        server.process.kill()
        server.process.wait(30)
        assert isinstance(running.exception(), httpx2.HTTPError)
    assert list(tmp_path.rglob("*")) == []


def test_many_clients_get_the_answers_of_one():
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "serve_load.py"), "--clients", "12", "--seconds", "4"],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert report["different answers"] == report["odd answers"] == 0
    assert report["statuses"]["200"] > 5
