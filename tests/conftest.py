"""Fixtures that several test files share."""

import functools
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from browsers import CHROMIUMS, FIREFOXES, installed
from changed_bundle import drop_decoder, rewritten

# Before torch is imported: on tensors as small as the tests' threads only wait for each other, and on a busy
# machine they wait long.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Each takes a gigabyte, and fixtures of the session are made once in each.
MOST_WORKERS = 4


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """`pytest` alone tests on all cores, file by file, if pytest-xdist is there; named tests run in here."""
    options = config.option
    whole = config.args_source is not pytest.Config.ArgsSource.ARGS
    here = "PYTEST_XDIST_WORKER" in os.environ or options.collectonly or options.usepdb
    if not whole or here or not config.pluginmanager.hasplugin("xdist"):
        return
    workers = min(os.cpu_count() or 1, MOST_WORKERS)
    if options.numprocesses is None and options.dist == "no" and workers > 1:
        options.numprocesses, options.dist = workers, "loadscope"


def pytest_runtest_setup() -> None:
    """In tests `torch.onnx.export` collects its 1,500 operators once, not for every graph."""
    registration = sys.modules.get("torch.onnx._internal.exporter._registration")
    if registration is not None and not hasattr(registration.ONNXRegistry.from_torchlib, "cache_info"):
        registry = registration.ONNXRegistry
        registry.from_torchlib = staticmethod(functools.cache(registry.from_torchlib))


@pytest.fixture(scope="session")
def tiny_source():
    """The tiny model as a `Source`."""
    pytest.importorskip("torch")
    from tiny_model import tiny_adapter

    from earmark.export.sources.adapter.source import from_adapter

    return from_adapter(tiny_adapter())


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory) -> Path:
    """A real bundle of the tiny model. Shared: copy it before changing it."""
    from tiny_model import tiny_adapter

    from earmark.export import export_bundle

    path = tmp_path_factory.mktemp("bundles") / "tiny"
    export_bundle(tiny_adapter(), path)
    return path


@pytest.fixture
def bundle(tiny_bundle, tmp_path):
    """A copy of it, to change; other files have fixtures of this name for other bundles."""
    return shutil.copytree(tiny_bundle, tmp_path / "bundle")


@pytest.fixture(scope="session")
def learnt_components():
    """Dictionary [F, 16] and theta [8, 16] for the shipped bundle, learnt from synthesised clips."""
    pytest.importorskip("sklearn")
    import components_bundle

    from earmark.evaluation.synthesis.clips import make_clip
    from earmark.runtime.explainer import SHIPPED, load

    labels = load(SHIPPED, device="cpu").labels
    clips = [
        (make_clip(label, [6, number, index], snr_db=20.0).waveform, [label])
        for number, label in enumerate(labels)
        for index in range(3)
    ]
    return components_bundle.learn(SHIPPED, clips, 16)


@pytest.fixture(scope="session")
def components_bundle(learnt_components, tmp_path_factory) -> Path:
    """The shipped bundle with components. Shared: copy it before changing it."""
    from components_bundle import write

    from earmark.runtime.explainer import SHIPPED

    return write(SHIPPED, tmp_path_factory.mktemp("components") / "bundle", *learnt_components)


@pytest.fixture
def without_decoder(tmp_path):
    """The shipped bundle as it would be without a decoder."""
    from earmark.runtime.explainer import SHIPPED

    folder = shutil.copytree(SHIPPED, tmp_path / "without_decoder")

    drop_decoder(folder)
    return folder


@pytest.fixture(scope="module")
def explainer(tiny_bundle):
    """Over the tiny model's bundle; other files have fixtures of this name for other bundles."""
    import earmark

    return earmark.load(tiny_bundle, device="cpu")


@pytest.fixture(scope="module")
def shipped():
    """Over the bundle that comes with the package."""
    import earmark
    from earmark.runtime.explainer import SHIPPED

    with earmark.load(SHIPPED, device="cpu") as explainer:
        yield explainer


@pytest.fixture(scope="module")
def variant(tiny_bundle, tmp_path_factory):
    """Makes a bundle of the tiny model whose manifest says something else about window or level."""
    import earmark

    def make(window=(), **changes):
        path = shutil.copytree(tiny_bundle, tmp_path_factory.mktemp("variant") / "bundle")

        with rewritten(path) as manifest:
            manifest["window"] |= dict(window)
            manifest.update(changes)
        return earmark.load(path, "cpu")

    return make


@pytest.fixture(scope="module")
def playwright():
    """Playwright, at work."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as started:
        yield started


@pytest.fixture(scope="module")
def chromium(playwright):
    """The system's Chromium, with a microphone that beeps; whether it is allowed, each test says."""
    arguments = ["--no-sandbox", "--use-fake-device-for-media-stream"]
    browser = playwright.chromium.launch(executable_path=installed(CHROMIUMS), args=arguments)
    yield browser
    browser.close()


@pytest.fixture(scope="session")
def sound_server(tmp_path_factory):
    """A sound card that nobody hears: Firefox plays nothing without one."""
    folder = tmp_path_factory.mktemp("pulse")
    socket = folder / "socket"
    modules = [f"module-native-protocol-unix socket={socket} auth-anonymous=1", "module-null-sink"]
    options = ["-n", "--daemonize=no", "--use-pid-file=no", "--exit-idle-time=-1", "--disable-shm=true"]
    options += [word for module in modules for word in ("-L", module)]
    own = {**os.environ, "PULSE_RUNTIME_PATH": str(folder), "PULSE_STATE_PATH": str(folder)}
    server = subprocess.Popen([installed(["pulseaudio"]), *options], env=own, stderr=subprocess.DEVNULL)
    for _ in range(200):
        if socket.exists():
            break
        time.sleep(0.05)
    assert socket.exists()
    yield f"unix:{socket}"
    server.terminate()
    server.wait()


@pytest.fixture(scope="module")
def firefox(playwright, sound_server):
    """Debian's, by WebDriver BiDi."""
    opened = playwright.firefox.launch(
        executable_path=installed(FIREFOXES),
        channel="moz-firefox",
        env={**os.environ, "PULSE_SERVER": sound_server},
        # A click by BiDi is none of a person.
        firefox_user_prefs={"media.autoplay.default": 0, "media.autoplay.blocking_policy": 0},
    )
    yield opened
    opened.close()


@pytest.fixture(scope="module", params=["chromium", "firefox"])
def browser(request):
    return request.getfixturevalue(request.param)
