"""How `earmark serve` may be started: its token, its settings, wrong usage in one line."""

import socket

import httpx2
import pytest
from command_line import invoke

from earmark.errors import SettingsError
from earmark.integrations.server.app import application
from earmark.integrations.server.service import Service
from earmark.integrations.server.settings import ServerSettings


@pytest.fixture(scope="module")
def guarded(shipped):
    settings = ServerSettings(token="0123456789abcdef", names=("earmark.example",))
    return application(Service(shipped, settings), pytest.fail)


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/v1/bundle", {}, 401),
        ("/v1/bundle", {"authorization": "Bearer 0123456789abcdeg"}, 401),
        ("/v1/bundle", {"authorization": "Bearer"}, 401),
        ("/v1/bundle", {"authorization": "Basic 0123456789abcdef"}, 401),
        ("/v1/bundle", {"authorization": "Bearer \xff".encode("latin-1")}, 401),
        ("/v1/bundle", {"authorization": "Bearer 0123456789abcdef"}, 200),
        ("/v1/bundle", {"authorization": "bearer 0123456789abcdef"}, 200),
        ("/metrics", {}, 401),
        ("/openapi.json", {}, 401),
        ("/nowhere", {}, 401),
        ("/", {}, 200),
        ("/healthz", {}, 200),
        ("/healthz", {"host": "10.1.2.3:80"}, 200),
        ("/healthz", {"host": "pod.cluster.local"}, 200),
        ("/", {"host": "pod.cluster.local"}, 421),
        ("/", {"host": "Earmark.Example:443"}, 200),
    ],
)
def test_a_token_is_asked_for(guarded, path, headers, status):
    async def ask():
        transport = httpx2.ASGITransport(guarded)
        async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.get(path, headers=headers)

    import anyio

    answer = anyio.run(ask)
    assert answer.status_code == status
    if status == 401:
        assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize(
    ("options", "environment", "said"),
    [
        (["--host", "0.0.0.0"], {}, "is reached from other machines: give --token-file"),
        (["--token-file", "/nowhere"], {}, "cannot be read"),
        ([], {"EARMARK_TOKEN": "short"}, "EARMARK_TOKEN holds no token"),
        ([], {"EARMARK_TOKEN": ""}, "EARMARK_TOKEN holds no token"),
        (["--max-bytes", "many"], {}, "no number of bytes"),
        (["--max-bytes", "0"], {}, "no number of bytes"),
        (["--port", "70000"], {}, "--port"),
    ],
)
def test_wrong_usage_is_one_line(options, environment, said):
    invoke("serve", *options, env=environment, code=2, says=said)


def test_a_port_that_is_taken_is_one_line():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ended = invoke("serve", "--port", taken.getsockname()[1])
    assert ended.exit_code == 1
    assert "cannot be listened on (Address already in use): choose another" in ended.stderr


@pytest.mark.parametrize(
    ("field", "value"),
    [("port", 65536), ("max_bytes", 0), ("timeout_s", 0.0), ("timeout_s", float("nan")), ("concurrency", 0)],
)
def test_a_setting_out_of_range_is_refused_by_name(field, value):
    with pytest.raises(SettingsError, match=f"^{field} is "):
        ServerSettings(**{field: value})
