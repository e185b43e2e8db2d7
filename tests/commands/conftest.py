"""Fixtures of the command line's tests."""

import pytest
import soundfile
from detect_field import PLANTED, WRITTEN, detect, plant
from runtime_sounds import RATE, WAVE


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
def whole(field, tmp_path_factory):
    """What a run over the field says, and its folder."""
    out = tmp_path_factory.mktemp("whole") / "out"
    return detect("-r", field, "-o", out, *WRITTEN), out
