"""`earmark serve` asked by a real client: the same answers as in Python, and one line for all else."""

import io
import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import jsonschema
import pytest
from http_server import FLAC, SLOW, flac, from_address, metric, served, until

from earmark.runtime.explainer import SHIPPED

CLIP = SHIPPED.with_name("example.flac")
SCHEMA = json.loads((Path(__file__).parents[2] / "runtime" / "schema-1.json").read_text())
HOSTILE = '"><img src=x onerror=alert(1)>\u202e\n.flac'

FORM = "multipart/form-data; boundary=x"
FILE = b'--x\r\nContent-Disposition: form-data; name="sound"; filename="a"\r\n\r\n'


@pytest.fixture(scope="module")
def server():
    options = ("--max-bytes", "1M", "--max-seconds", "20", "--concurrency", "1", "--queue", "2")
    with served(*options, "--per-client", "2", "--timeout", "30") as one:
        yield one


@pytest.fixture
def client(server):
    with server.client(headers=FLAC) as one:
        yield one


def error_of(response, status):
    """What an error of that status says; every error says it in the same place, on one line."""
    assert response.status_code == status
    error = response.json()["error"]
    assert set(error) == {"type", "message"}
    assert error["message"].isprintable()
    return error


def same(answer, record):
    """Equal but for times that were measured."""
    assert answer.status_code == 200
    answer = answer.json()
    jsonschema.validate(answer, SCHEMA)
    record = json.loads(json.dumps(record))
    for one in (answer, record):
        del one["timings_ms"]
        for detection in one.get("detections", []):
            del detection["explanation"]["timings_ms"]
    assert answer == record


def test_an_answer_is_that_of_python(client, shipped):
    asked = {"target": "bell", "methods": ["mask", "prototypes"], "top": 3, "windows": True, "seed": 4}
    answer = client.post("/v1/explain", params={**asked, "name": "a.flac"}, content=CLIP.read_bytes())
    result = shipped.explain(
        CLIP, name="a.flac", target="bell", methods=["mask", "prototypes"], seed=4, timeout_s=30.0
    )
    same(answer, result.to_dict(3, windows=True))


def test_a_form_is_taken_as_well(server, shipped):
    files, data = {"sound": ("b.flac", CLIP.read_bytes())}, {"methods": "none", "timeout_s": "5"}
    with server.client() as client:
        answer = client.post("/v1/explain", files=files, data=data)
    same(answer, shipped.explain(CLIP, name="b.flac", methods=[], timeout_s=5.0).to_dict())


def test_detections_are_those_of_python(client, shipped):
    sound = flac(8.0)
    asked = {"min_score": '{"*": 0.2, "bell": 0.1}', "merge_gap_s": 0.5, "name": "field"}
    answer = client.post("/v1/detect", params=asked, content=sound)
    found = shipped.detect(
        io.BytesIO(sound),
        name="field",
        min_score={"*": 0.2, "bell": 0.1},
        merge_gap_s=0.5,
        methods=["mask"],
        timeout_s=30.0,
    )
    assert len(found) > 0
    same(answer, found.to_dict())


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("target=belll", "did you mean 'bell'"),
        ("methods=maskk", "did you mean 'mask'"),
        ("methods=none&methods=mask", "none goes with no other method"),
        ("metods=mask", "did you mean 'methods'"),
        ("seed=x", "seed: Expected `int`"),
        ("seed=1&seed=2", "seed is given more than once"),
        ("seed=-1", "seed: "),
        ("level=loud", "level: "),
        ("hop_s=0", "hop_s is 0"),
        ("hop_s=1e-9", "this server takes at least 0.1 s"),
        ("hop_s=nan", "give a finite number"),
        ("timeout_s=0", "timeout_s is 0"),
        ("options=[", "options is not JSON"),
        ('options={"segments":{"callls":9}}', "unknown field `callls`"),
        ('options={"segments":{"calls":100}}', "add it to methods"),
        ('options={"segments":{"calls":10000000}}&methods=segments', "at most 10000"),
        ('options={"segments":{"segment_seconds":0.001}}&methods=segments', "at most 1000"),
        ('options={"segments":{"progress":1}}&methods=segments', "unknown field `progress`"),
        ("target=%3Cb%3E%0A%E2%80%AE", "no label"),
    ],
)
def test_what_cannot_be_asked_is_one_line(client, query, said):
    answer = client.post(f"/v1/explain?{query}", content=CLIP.read_bytes())
    assert said in error_of(answer, 400)["message"]


@pytest.mark.parametrize("query", ["min_score=2", "min_score={}x", "labels=belll", "top_per_window=0"])
def test_so_is_what_cannot_be_detected(client, query):
    assert error_of(client.post(f"/v1/detect?{query}", content=CLIP.read_bytes()), 400)


@pytest.mark.parametrize("path", ["/v1/explain", "/v1/detect"])
@pytest.mark.parametrize("content", [b"", b"no sound", b"RIFF\xff\xff\xff\xffWAVEfmt ", bytes(100_000)])
def test_what_is_no_sound_has_a_record_that_says_so(client, path, content):
    answer = client.post(path, params={"name": HOSTILE}, content=content)
    jsonschema.validate(answer.json(), SCHEMA)
    assert error_of(answer, 422)["type"] == "AudioError"
    assert answer.json()["bundle"] == "drum one-shots (demo)"
    assert answer.json()["input"].isprintable()


@pytest.mark.parametrize(
    ("kind", "content", "status", "said"),
    [
        ("text/plain", b"x", 415, "text/plain is not taken"),
        ("", b"x", 415, "a body without a type"),
        ("multipart/form-data", b"x", 400, "Missing boundary"),
        (FORM, b"rubbish", 400, "cannot be read"),
        (FORM, FILE + b"RI", 400, "no file in a field 'sound'"),
        (
            FORM,
            FILE.replace(b'; filename="a"', b"") + b"RIFF\r\n--x--\r\n",
            400,
            "no file in a field 'sound'",
        ),
        (FORM, 2 * (FILE + b"RI\r\n") + b"--x--\r\n", 400, "Too many files"),
    ],
)
def test_bodies_of_another_kind_are_refused(client, kind, content, status, said):
    answer = client.post("/v1/explain", content=content, headers={"content-type": kind})
    assert said in error_of(answer, status)["message"]


def test_a_compressed_body_is_refused(client):
    answer = client.post("/v1/explain", content=b"x", headers={"content-encoding": "gzip"})
    assert answer.status_code == 415


class Endless(httpx2.SyncByteStream):
    """A body that counts what was taken of it."""

    def __init__(self, pieces):
        self.pieces, self.sent = pieces, 0

    def __iter__(self):
        for _ in range(self.pieces):
            self.sent += 65536
            yield bytes(65536)


@pytest.mark.parametrize("declared", [True, False])
def test_two_gigabytes_are_refused_without_being_read(client, declared):
    body = Endless(1 << 15)
    length = {"content-length": str(1 << 31)} if declared else {}
    request = client.build_request("POST", "/v1/explain", content=body, headers=length)
    assert "content-length" in request.headers or request.headers["transfer-encoding"] == "chunked"
    answer = client.send(request)
    assert error_of(answer, 413)["message"].startswith("the upload is larger than 1048576 bytes")
    assert body.sent < 64 << 20
    # A form is counted as it comes, too.
    form = client.post("/v1/explain", content=FILE + bytes(3 << 20), headers={"content-type": FORM})
    assert form.status_code == 413


def test_a_small_file_that_holds_much_is_refused(client):
    silence = flac(600.0, seed=None)
    assert len(silence) < 1 << 15
    answer = client.post("/v1/explain", content=silence)
    assert error_of(answer, 413) == {
        "type": "ContentTooLarge",
        "message": "upload is longer than 20 s, the most that is taken of 1 channel(s) at 16000 Hz: cut it",
    }


def test_a_body_may_come_in_pieces(client, shipped):
    clip = CLIP.read_bytes()
    answer = client.post("/v1/explain?methods=none", content=iter([clip[:1000], clip[1000:]]))
    assert answer.status_code == 200
    assert answer.json()["target"] == shipped.explain(CLIP, methods=[]).target


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/explain", 405),
        ("PUT", "/v1/detect", 405),
        ("POST", "/healthz", 405),
        ("GET", "/v1/explain/", 404),
        ("GET", "/page/backend.js", 404),
        ("GET", "/..%2f..%2fetc/passwd", 404),
        ("GET", "/%3Cscript%3E", 404),
    ],
)
def test_other_paths_and_methods(client, method, path, status):
    answer = client.request(method, path)
    assert error_of(answer, status)
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "attacker.example"}, 421),
        ({"host": "127.0.0.1.attacker.example"}, 421),
        ({"host": "attacker.example:80"}, 421),
        ({"host": ""}, 421),
        ({"host": "localhost"}, 200),
        ({"host": "LOCALHOST.:9"}, 200),
        ({"host": "[::1]:9"}, 200),
        ({"origin": "http://attacker.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://localhost:1"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"sec-fetch-site": "same-origin"}, 200),
    ],
)
def test_pages_of_other_sites_cannot_ask(client, headers, status):
    assert (
        client.post("/v1/explain?methods=none", content=CLIP.read_bytes(), headers=headers).status_code
        == status
    )


def test_the_page_may_ask_and_be_framed_by_nobody(server, client):
    page = client.get("/")
    assert page.status_code == 200
    assert "startLive" in page.text
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    shown = client.post(
        "/page/explain", content=CLIP.read_bytes(), params={"name": HOSTILE}, headers={"origin": server.url}
    )
    assert shown.status_code == 200
    assert shown.json()["item"]["sounds"]["kept"]
    assert shown.json()["row"]["file"].isprintable()


def test_too_many_requests_are_told_when_to_come_again(server, client):
    clip = CLIP.read_bytes()
    with ThreadPoolExecutor(3) as pool, from_address(server, "127.0.0.2") as other:
        slow, noise = {**SLOW, "timeout_s": "0.8"}, flac(2.0)
        own = [pool.submit(client.post, "/v1/explain", params=slow, content=noise) for _ in range(2)]
        until(lambda: metric(client, "earmark_computing") + metric(client, "earmark_waiting") == 2)
        refused = client.post("/v1/explain", content=clip)
        assert refused.status_code == 429
        assert int(refused.headers["retry-after"]) >= 1
        theirs = pool.submit(other.post, "/v1/explain?methods=none", content=clip)
        until(lambda: metric(client, "earmark_waiting") == 2)
        refused = other.post("/v1/explain", content=clip)
        assert error_of(refused, 503)["type"] == "ServiceUnavailable"
        assert int(refused.headers["retry-after"]) >= 1
        # The event loop is free meanwhile.
        assert client.get("/healthz").elapsed.total_seconds() < 1.0
        assert [one.result().status_code for one in (*own, theirs)] == [200] * 3
        assert own[0].result().json()["partial"]
        assert theirs.result().json()["target"]


def test_an_answer_ends_when_nobody_waits_for_it(server, client):
    with server.client(headers=FLAC) as going, pytest.raises(httpx2.ReadTimeout):
        going.post("/v1/explain", params=SLOW, content=flac(2.0), timeout=0.3)
    begun = time.monotonic()
    until(lambda: metric(client, "earmark_computing") == 0)
    # It would have gone on for 30 s.
    assert time.monotonic() - begun < 10.0


def test_metrics_count_requests_and_sounds(client):
    before = metric(client, 'earmark_sounds_total{error="AudioError",kind="result"}')
    answered = metric(client, 'earmark_http_requests_total{endpoint="/v1/explain",status="422"}')
    client.post("/v1/explain", content=b"no sound")
    assert metric(client, 'earmark_http_requests_total{endpoint="/v1/explain",status="422"}') == answered + 1
    assert metric(client, "earmark_upload_bytes_total") > 0
    assert metric(client, 'earmark_sound_seconds_total{kind="result"}') > 0
    assert 'bundle="drum one-shots (demo)"' in client.get("/metrics").text
    # What is no sound at all never came to the explainer; what breaks off did.
    assert metric(client, 'earmark_sounds_total{error="AudioError",kind="result"}') >= before


def test_lines_tell_nothing_of_what_was_sent(server, client):
    client.post("/v1/explain?target=secretlabel&name=secretname", content=b"secretsound")
    client.get("/secretpath%0Aforged")
    until(lambda: any("GET other: 404" in line for line in server.lines))
    assert not any("secret" in line or "forged" in line for line in server.lines)


def test_openapi_describes_what_is_answered(client):
    document = client.get("/openapi.json").json()
    assert document["openapi"] == "3.1.0"
    posted = document["paths"]["/v1/explain"]["post"]
    assert {one["name"] for one in posted["parameters"]} >= {"target", "methods", "options", "timeout_s"}
    record = posted["responses"]["200"]["content"]["application/json"]["schema"]
    schema = {**record, "components": document["components"]}
    answer = client.post("/v1/explain", content=CLIP.read_bytes()).json()
    jsonschema.Draft202012Validator(schema).validate(answer)
    assert (
        json.loads(json.dumps(document).replace("#/components/schemas/", "#/$defs/"))["components"][
            "schemas"
        ]["Result"]
        == SCHEMA["$defs"]["Result"]
    )


def test_connections_are_kept_between_answers(server):
    asked = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port)) as one:
        # Two requests at once, one behind the other.
        one.sendall(2 * asked)
        got = b""
        while got.count(b"ok\n") < 2:
            got += one.recv(4096)
    assert got.count(b"200 OK") == 2
    assert threading.active_count() < 100
