"""Fixtures of the command line's tests."""

import pytest
import soundfile
from runtime_sounds import RATE, WAVE


@pytest.fixture
def clip(tmp_path):
    """A sound file."""
    path = tmp_path / "clip.wav"
    soundfile.write(path, WAVE, RATE)
    return path
