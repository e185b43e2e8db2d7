"""What tests of pages in browsers share: Firefox with a sound card, pages of one result and of many."""

import os
import subprocess
import time

import numpy as np
import pytest
from browsers import FIREFOXES, installed

import earmark
from earmark.evaluation.synthesis.clips import make_clip
from earmark.runtime.explainer import SHIPPED
from earmark.runtime.report.gather import item_of
from earmark.runtime.report.items import Row, SearchedSound
from earmark.runtime.report.page import ReportWriter

RATE = 16000


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


@pytest.fixture(scope="session")
def whole(components_bundle):
    """An explanation by every method."""
    sound = np.float32(make_clip("bell", [6, 0, 0], snr_db=20.0).waveform)
    methods = ["mask", "segments", "components", "prototypes"]
    return earmark.load(components_bundle, "cpu").explain((sound, RATE), methods=methods, rescore=True)


@pytest.fixture(scope="session")
def page_of_all(whole, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "all.html"
    whole.to_html(path)
    return path


@pytest.fixture(scope="session")
def page_of_many(tmp_path_factory):
    """A thousand detections; as many as fit have sound and pictures; every third agrees with its folder."""
    explainer = earmark.load(SHIPPED, "cpu")
    item = item_of(explainer.explain(SHIPPED.with_name("example.flac"), methods=["mask"]))
    labels = explainer.labels
    path = tmp_path_factory.mktemp("page") / "many.html"
    with ReportWriter("A thousand", "detections", tuple(labels)) as report:
        for name in ("one", "two"):
            report.add_sound(SearchedSound(f"/field/{name}.wav", f"/field/{name}.wav", 1000.0, RATE))
        for number in range(1000):
            name = f"/field/{'one' if number < 500 else 'two'}.wav"
            label = labels[number % 8]
            truth = label if number % 3 == 0 else labels[(number + 1) % 8]
            start = 2.0 * (number % 500)
            place = (start, start + 2.0, 100.0, 900.0)
            row = Row(f"id-{number}", name, name, label, (number % 100) / 100, *place, truth=truth)
            report.add(row, item)
        report.write(path)
    return path
