"""Names of components, on sounds made for each word."""

import numpy as np
import pytest

from earmark.export.models.component_facts import component_facts
from earmark.runtime.audio.sound import open_sound
from earmark.runtime.audio.stft import forward
from earmark.runtime.bundle.manifest import AnalysisSpec, ComponentsSpec
from earmark.runtime.inference.window import WindowPlan
from earmark.runtime.methods.components.dictionary import ComponentDictionary
from earmark.runtime.methods.components.names import ComponentAcoustics, kind_of, name_of
from earmark.runtime.methods.components.tracks import Tracks
from earmark.runtime.methods.evidence import spans_of

RATE, SECONDS = 16000, 2.0
SPEC = AnalysisSpec(n_fft=512, window_length=512, hop=160, window="hann")
TIME = np.arange(int(SECONDS * RATE)) / RATE
NOISE = np.random.default_rng(0).standard_normal(len(TIME))


def during(sound, start, end):
    """The sound between two times, with ends that do not click."""
    fade = np.clip(np.minimum(TIME - start, end - TIME) / 0.01, 0.0, 1.0)
    return sound * fade


def filtered(low, high):
    """Noise between two frequencies."""
    spectrum = np.fft.rfft(NOISE)
    hz = np.fft.rfftfreq(len(TIME), 1 / RATE)
    return np.fft.irfft(spectrum * ((hz >= low) & (hz <= high)))


def stack(fundamental, count):
    return sum(np.sin(2 * np.pi * n * fundamental * TIME) / n for n in range(1, count + 1))


def gliding(first, last, start, end):
    """A tone that glides from `first` to `last` Hz by equal ratios, with silence before and behind."""
    part = np.clip((TIME - start) / (end - start), 0.0, 1.0)
    phase = 2 * np.pi * np.cumsum(first * (last / first) ** part) / RATE
    return during(np.sin(phase), start, end)


def clicks(*times):
    """The same burst of 30 ms at each time."""
    sound = np.zeros(len(TIME))
    for at in times:
        sound[round(at * RATE) :][:480] += NOISE[:480]
    return sound


def measured(sound):
    """What is measured of a dictionary of one component, the mean spectrum of the sound."""
    sound = (0.3 * sound / np.abs(sound).max()).astype(np.float32)
    spectrum = np.log1p(np.abs(forward(sound, SPEC)))
    column = spectrum.mean(axis=0)
    column = (column / np.linalg.norm(column)).astype(np.float32)[:, None]
    activations = (spectrum @ column).T.astype(np.float32)
    (fact,) = component_facts(column, np.ones((1, 1)), ["it"], sample_rate=RATE, frame_seconds=0.01)
    spec = ComponentsSpec(
        file="d.npz",
        count=1,
        sample_rate=RATE,
        analysis=SPEC,
        threshold=0.2,
        mask_power=3.0,
        by_design=False,
        components=[fact],
    )
    dictionary = ComponentDictionary(column, np.ones((1, 1), np.float32), RATE / 512, spec)
    plan = WindowPlan(RATE, RATE // 2)
    tracks = Tracks(open_sound(sound, RATE, RATE), SPEC, dictionary, activations, plan)
    # Squares of cubes of what is faint are still numbers.
    with np.errstate(divide="raise", over="raise", invalid="raise"):
        glide = tracks.glides[0]
    spans = spans_of(activations[0], 0.01, SECONDS)
    fundamental = float(tracks.fundamentals[0])
    return ComponentAcoustics(fact.peak_hz, fact.bandwidth_hz, fundamental, spans, glide, fact.bands_hz)


@pytest.mark.parametrize(
    ("sound", "name"),
    [
        (stack(120.0, 8), "hum on 120 Hz, throughout"),
        (during(stack(220.0, 10), 0.5, 1.5), "harmonic stack on 220 Hz, 0.5-1.5 s"),
        (during(stack(500.0, 10), 0.5, 1.5), "harmonic stack on 500 Hz, 0.5-1.5 s"),
        (np.sin(2 * np.pi * 1200 * TIME), "narrow tone at 1.2 kHz, throughout"),
        (filtered(3500, 7500), "hiss 3.9-7.1 kHz"),
        (filtered(20, 180), "rumble 31-188 Hz"),
        (filtered(900, 1500), "band 1.0-1.4 kHz"),
        (NOISE, "broad noise 0.8-7.2 kHz, throughout"),
        (during(filtered(300, 2500), 0.5, 1.5), "broad noise 0.5-2.3 kHz, 0.5-1.5 s"),
        (during(filtered(300, 2500), 0.6, 0.8), "noise burst 0.5-2.3 kHz, 0.60-0.80 s"),
        (
            during(filtered(300, 2500), 0.6, 0.8) + during(filtered(300, 2500), 1.1, 1.3),
            "noise bursts 0.5-2.3 kHz, 0.60-0.80 s and 1.10-1.29 s",
        ),
        (filtered(400, 700) + filtered(2000, 2600), "two bands 438-688 Hz and 2.1-2.5 kHz, throughout"),
        (clicks(0.2, 0.45, 0.7, 0.95, 1.2, 1.45, 1.7), "click train 0.8-7.5 kHz"),
        (clicks(0.2, 0.35, 1.2, 1.9), "clicks 0.8-7.5 kHz"),
        (clicks(1.0), "click 0.8-7.5 kHz"),
        (gliding(500, 2000, 0.4, 1.6), "rising sweep from"),
        (gliding(6000, 1500, 0.4, 1.6), "falling sweep from"),
        (gliding(1000, 4000, 0.9, 1.1), "rising chirp from"),
    ],
)
def test_sounds_have_their_names(sound, name):
    assert name_of(measured(sound), SECONDS).startswith(name)


def test_a_train_has_its_rate_and_a_sweep_its_ends():
    train = kind_of(measured(clicks(*np.arange(0.2, 1.8, 0.2))))
    assert train.endswith(", 5 per second")
    first, last = measured(gliding(500, 2000, 0.4, 1.6)).glide_hz
    # Its ends are quieter in the component than its middle, and not part of the stretch.
    assert first == pytest.approx(500, rel=0.25)
    assert last == pytest.approx(2000, rel=0.25)


@pytest.mark.parametrize("fundamental", [140.0, 187.5, 333.0, 611.0, 1100.0])
@pytest.mark.parametrize("level", [1e-4, 1.0])
def test_fundamentals_are_those_of_the_stack(fundamental, level):
    found = measured(stack(fundamental, int(7900 / fundamental)) + level * 1e-3 * NOISE)
    assert found.fundamental_hz == pytest.approx(fundamental, rel=0.01)


@pytest.mark.parametrize("sound", [NOISE, filtered(200, 5000), np.sin(2 * np.pi * 440 * TIME), clicks(0.5)])
def test_what_is_no_stack_has_no_fundamental(sound):
    assert measured(sound).fundamental_hz == 0.0
