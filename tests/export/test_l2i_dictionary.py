"""The NMF dictionary: against scikit-learn and SciPy, planted components, its bounds, what it refuses."""

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from later import later
from refusals import refuses

from earmark.errors import DataError, RunError
from earmark.export.models.component_facts import component_facts
from earmark.export.training.l2i.dictionary import FrameSample, activate, lasting_part, learn_dictionary
from earmark.runtime.audio.stft import forward
from earmark.runtime.bundle.manifest import AnalysisSpec
from earmark.runtime.explainer import SHIPPED

later("sklearn")

PLANTED = 6


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    """log1p|STFT| [T, F] of the example that the package ships."""
    wave, _ = soundfile.read(SHIPPED.parent / "example.flac", dtype="float32")
    analysis = AnalysisSpec(n_fft=512, window_length=512, hop=64, window="hann")
    return np.log1p(np.abs(forward(wave[None] / np.abs(wave).max(), analysis)[0])).astype(np.float32)


def planted(clips=10, frames=60, bins=48, seed=0):
    """(clips, their W [F, 6]): bumps far apart, each frame some of them."""
    random = np.random.default_rng(seed)
    centres = np.linspace(4, bins - 5, PLANTED)
    bumps = np.exp(-0.5 * ((np.arange(bins)[:, None] - centres) / 1.5) ** 2)
    bumps /= np.linalg.norm(bumps, axis=0)
    for index in range(clips):
        strengths = random.gamma(1.0, 2.0, (frames, PLANTED)) * (random.random((frames, PLANTED)) < 0.4)
        yield f"clip{index}", (strengths @ bumps.T + 0.01 * random.random((frames, bins))).astype(np.float32)


def bumps(bins=48):
    columns = np.exp(-0.5 * ((np.arange(bins)[:, None] - np.linspace(4, bins - 5, PLANTED)) / 1.5) ** 2)
    return columns / np.linalg.norm(columns, axis=0)


def test_planted_components_are_found():
    found = learn_dictionary(planted(), PLANTED, sparsity=0.1)
    alike = bumps().T @ found.values
    assert (alike.max(axis=1) > 0.97).all()
    assert sorted(alike.argmax(axis=1)) == list(range(PLANTED))
    assert found.error < 0.1
    assert found.values.dtype == np.float32
    assert found.values.min() >= 0
    np.testing.assert_allclose(np.linalg.norm(found.values, axis=0), 1.0, rtol=1e-5)
    # The loudest first.
    assert (np.diff(found.scale) <= 0).all()


def test_without_a_number_as_many_as_there_are():
    """96 fit into 48 bins no more, and of these the penalty leaves the six that there are, and few more."""
    found = learn_dictionary(planted(clips=12), sparsity=1.0)
    assert PLANTED <= found.components < 48
    assert found.error < 0.1


def tones_and_clicks(clips=6, frames=120, bins=64):
    """(clips, a click's spectrum): two tones, one after the other, with broad clicks every ten frames."""
    click = np.exp(-np.arange(bins) / 40.0)
    for index in range(clips):
        spectrum = np.zeros((frames, bins))
        spectrum[: frames // 2, 20] = spectrum[frames // 2 :, 45] = 2.0
        spectrum[5 + index :: 10] += click
        yield f"clip{index}", spectrum.astype(np.float32)


def test_what_lasts_is_told_from_what_does_not():
    _, spectrum = next(tones_and_clicks())
    lasting, clicks = lasting_part(spectrum), np.zeros(120, bool)
    clicks[5::10] = True
    np.testing.assert_allclose(lasting[10:50, 20], spectrum[10:50, 20], rtol=0.2)
    assert lasting[np.ix_(clicks, range(30, 40))].max() < 0.01
    # The rest of a tone's frames between clicks is nothing.
    assert (spectrum - lasting)[~clicks].max() < 0.2


def test_tones_and_clicks_get_components_of_their_own():
    """Learnt apart, each tone is a column of one bin, and a click is none of them."""
    values = learn_dictionary(tones_and_clicks(), 4, separate=True).values
    tones = [column for column in values.T if column.max() > 0.95]
    assert {int(column.argmax()) for column in tones} >= {20, 45}
    click = np.exp(-np.arange(64) / 40.0)
    click /= np.linalg.norm(click)
    assert (click @ values).max() > 0.9


def test_as_good_as_scikit_learns_own(speech):
    """The mini-batches over a sample lose little to full NMF on all frames, judged by SciPy's NNLS."""
    from scipy.optimize import nnls
    from sklearn.decomposition import NMF

    frames = speech[speech.max(axis=1) > 1e-3]
    learnt, held = frames[::2], frames[1::20]
    ours = learn_dictionary([("speech", learnt)], 12, sparsity=0.0).values.astype(np.float64)
    model = NMF(12, init="nndsvda", max_iter=400, random_state=0).fit(learnt.astype(np.float64))

    def error(columns):
        rest = [nnls(columns, frame.astype(np.float64))[1] for frame in held]
        return np.linalg.norm(rest) / np.linalg.norm(held)

    assert error(ours) < 1.12 * error(model.components_.T)


def test_activations_are_nnls(speech):
    from scipy.optimize import nnls

    values = learn_dictionary([("speech", speech)], 8).values
    frames = speech[::40]
    ours = activate(values, frames, sweeps=2000)
    theirs = np.stack([nnls(values.astype(np.float64), f.astype(np.float64))[0] for f in frames])
    np.testing.assert_allclose(ours, theirs, atol=2e-2 * theirs.max())


def test_sparsity_makes_columns_sparse(speech):
    dense, sparse = (learn_dictionary([("speech", speech)], 8, sparsity=s).values for s in (0.0, 2.0))
    # Unit columns: the L1 norm says how spread out they are.
    assert np.abs(sparse).sum() < 0.97 * np.abs(dense).sum()


def test_seeded():
    one, again = (learn_dictionary(planted(), PLANTED, seed=3) for _ in range(2))
    np.testing.assert_array_equal(one.values, again.values)
    np.testing.assert_array_equal(one.scale, again.scale)


@settings(max_examples=25, deadline=None)
@given(lengths=st.lists(st.integers(1, 40), min_size=1, max_size=30), most=st.integers(1, 60))
def test_the_sample_is_bounded_and_of_the_clips(lengths, most):
    sample = FrameSample(0, most)
    given_ = []
    for index, length in enumerate(lengths):
        spectrum = np.full((length, 3), 1.0 + index, np.float32)
        given_.append(spectrum[0, 0])
        sample.add(str(index), spectrum)
    frames = sample.shuffled().sum(axis=1).round(3)
    assert len(frames) == min(most, sum(lengths))
    assert set(frames[:, 0]) <= set(given_)


def test_the_sample_favours_no_clip():
    counts = np.zeros(20)
    for seed in range(60):
        sample = FrameSample(seed, 40)
        for index in range(20):
            sample.add(str(index), np.full((10, 2), 1.0 + index, np.float32))
        counts += np.bincount(sample.shuffled().sum(axis=1)[:, 0].round().astype(int) - 1, minlength=20)
    # 120 each are expected, with a standard deviation of about 10.
    assert counts.min() > 75
    assert counts.max() < 170


def test_silent_clips_are_left_out_and_named():
    quiet = [("still", np.full((20, 48), 1e-7, np.float32)), ("empty", np.zeros((0, 48), np.float32))]
    found = learn_dictionary([*quiet, *planted()], PLANTED)
    assert found.silent == ["still", "empty"]
    np.testing.assert_array_equal(found.values, learn_dictionary(planted(), PLANTED).values)


@pytest.mark.parametrize(
    ("clips", "components", "said"),
    [
        ([("a", np.full((9, 4), np.nan))], 2, "a: its spectrogram holds NaN"),
        ([("b", -np.ones((9, 4)))], 2, "b: its spectrogram is negative"),
        ([("c", np.ones((9, 4))), ("d", np.ones((9, 5)))], 2, "d: a spectrogram of shape"),
        ([("e", np.zeros((9, 4)))], 2, "every one is silent"),
        ([("f", np.random.default_rng(0).random((5, 40)))], 2, "too few"),
        (list(planted(clips=1)), 100, "allow 1 to 12"),
        ([("g", np.random.default_rng(0).random((500, 8)))], 9, "allow 1 to 8"),
    ],
)
def test_what_data_do_not_allow_is_said(clips, components, said):
    refuses(DataError, said, learn_dictionary, clips, components)


def test_more_components_than_the_penalty_leaves():
    with pytest.raises(DataError, match=r"of them stay empty.*a sparsity below 20"):
        learn_dictionary(planted(), 30, sparsity=20.0)


def test_negative_sparsity():
    with pytest.raises(RunError, match="sparsity"):
        learn_dictionary(planted(), 2, sparsity=-1.0)


def test_facts():
    """Peak, band, label and the loudest moment of two components."""
    bins = 101
    columns = np.zeros((bins, 2), np.float32)
    columns[20, 0], columns[60:71, 1] = 1.0, 1.0 / np.sqrt(11)
    theta = np.array([[-1.0, -1.0], [2.0, -3.0]], np.float32)
    quiet, loud = np.zeros((2, 50), np.float32), np.zeros((2, 50), np.float32)
    quiet[0, 7], loud[0, 30:34], loud[1, 5] = 1.0, [1.5, 4.0, 3.0, 1.0], 2.0
    facts = component_facts(
        columns,
        theta,
        ["rain", "dog"],
        sample_rate=2000,
        frame_seconds=0.1,
        windows=[("a.wav", 0.0, quiet), ("b.wav", 5.0, loud)],
    )
    assert (facts[0].peak_hz, facts[0].label, facts[0].clip) == (200.0, "dog", "b.wav")
    assert facts[0].bandwidth_hz == 10.0
    # Frames 31 and 32 keep half of 4; a frame reaches half a frame to either side.
    assert (facts[0].start_s, facts[0].end_s) == (pytest.approx(8.05), pytest.approx(8.25))
    assert facts[1].label == ""
    assert 80.0 <= facts[1].bandwidth_hz <= 110.0
    assert facts[0].bands_hz == ((200.0, 200.0),)
    assert facts[1].bands_hz == ((610.0, 690.0),)
