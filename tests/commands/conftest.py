"""Fixtures of the command line's tests."""

import pytest
import soundfile
from click.testing import CliRunner
from detect_field import PLANTED, WRITTEN, plant
from runtime_sounds import RATE, WAVE

from earmark.cli import main
from earmark.runtime.explainer import SHIPPED


@pytest.fixture
def clip(tmp_path):
    """A sound file."""
    path = tmp_path / "clip.wav"
    soundfile.write(path, WAVE, RATE)
    return path


@pytest.fixture(scope="session")
def field(tmp_path_factory):
    """Three recordings of two sites; shared: copy it before changing it."""
    folder = tmp_path_factory.mktemp("detect") / "field"
    for name, events in PLANTED.items():
        plant(folder / f"{name}.wav", events)
    return folder


@pytest.fixture(scope="session")
def detect():
    """`earmark detect` with the shipped bundle."""

    def invoke(*arguments, **options):
        command = ["detect", "-b", SHIPPED, "--device", "cpu", "--min-score", 0.8, *arguments]
        return CliRunner().invoke(main, list(map(str, command)), **options)

    return invoke


@pytest.fixture(scope="session")
def whole(detect, field, tmp_path_factory):
    """What a run over the field says, and its folder."""
    out = tmp_path_factory.mktemp("whole") / "out"
    return detect("-r", field, "-o", out, *WRITTEN), out
