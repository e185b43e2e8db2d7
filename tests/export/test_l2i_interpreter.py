"""Psi, theta and the loss, each by itself: lengths, cost, and the paper's formulas written out in numpy."""

import functools
import importlib
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from later import later

from earmark.errors import RunError, SourceError
from earmark.export.training.l2i.settings import L2iSettings
from earmark.runtime.bundle.manifest import AnalysisSpec

torch = later("torch")
RecipeTheta = later("earmark.export.models.cnn14_interpreter", "RecipeTheta")
CompactPsi = later("earmark.export.models.compact_interpreter", "CompactPsi")
interpolated = later("earmark.export.models.compact_interpreter", "interpolated")
SoundFit = later("earmark.export.models.interpreter", "SoundFit")
Theta = later("earmark.export.models.interpreter", "Theta")
forms = later("earmark.export.training.forms")
InterpreterForm = later("earmark.export.models.interpreters", "InterpreterForm")
cost = later("earmark.export.training.forms", "cost")
interpreter_form = later("earmark.export.training.forms", "interpreter_form")
RunDirectory = later("earmark.export.sources.run.directory", "RunDirectory")
Scale = later("earmark.export.models.scales", "Scale")
load = later("earmark.export.sources.run.source", "load")
models = later("earmark.export.models.compact_classifier")
configs = later("earmark.export.sources.run.config")
cross_entropy = later("earmark.export.training.l2i.loss", "cross_entropy")
nmf_terms = later("earmark.export.training.l2i.loss", "nmf_terms")
relevance = later("earmark.export.training.l2i.loss", "relevance")
removal = later("earmark.export.training.l2i.loss", "removal")
soft_mask = later("earmark.export.training.l2i.loss", "soft_mask")


@functools.cache
def scales():
    return [
        Scale(tap="c", channels=8, rows=4, stride=8, hz=[]),
        Scale(tap="b", channels=6, rows=8, stride=4, hz=[]),
        Scale(tap="a", channels=4, rows=16, stride=2, hz=[]),
    ]


def of(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def maps_for(frames, seed=0):
    return [of(2, s.channels, max(1, frames // s.stride), s.rows, seed=seed) for s in scales()]


@settings(max_examples=20, deadline=None)
@given(frames=st.integers(8, 80))
def test_psi_of_any_length(frames):
    torch.manual_seed(0)
    psi = CompactPsi(scales(), 5, width=12).eval()
    with torch.no_grad():
        made = psi(torch.zeros(2, frames, 3), *maps_for(frames))
    assert made.shape == (2, 5, frames)
    assert made.min() >= 0
    assert torch.isfinite(made).all()


@pytest.mark.parametrize(("coarse", "fine"), [(8, 4), (3, 1), (5, 2), (1, 1)])
def test_cells_are_read_at_the_centres_of_finer_cells(coarse, fine):
    """Against NumPy's straight lines; what a map is too short for is as its last cell."""
    cells = of(2, 3, 7)
    rows = 9 * coarse // fine
    centres = (np.arange(7) + 0.5) * coarse
    places = (np.arange(rows) + 0.5) * fine
    wanted = [[np.interp(places, centres, row) for row in one] for one in cells.numpy()]
    np.testing.assert_allclose(interpolated(cells, coarse, rows, fine).numpy(), wanted, atol=1e-6)


def test_psi_places_what_it_hears():
    """A change in the finest map moves the activations around its place and nowhere else."""
    torch.manual_seed(0)
    psi = CompactPsi([scales()[2]], 5, width=32).eval()
    fine = of(1, 4, 50, 16)
    other = fine.clone()
    other[:, :, 30] += 1.0
    with torch.no_grad():
        moved = (psi(torch.zeros(1, 100, 3), fine) - psi(torch.zeros(1, 100, 3), other)).abs().amax((0, 1))
    frames = torch.nonzero(moved > 1e-6).flatten()
    # A map's frame is two of the spectrum's; a convolution over five frames reaches two to either side, and
    # straight lines to the next centre.
    assert frames.min() >= 55
    assert frames.max() <= 66
    assert moved[60:62].max() > 0


@pytest.fixture
def flutter(monkeypatch):
    """What benchmarks/components_flutter.py measures."""
    monkeypatch.syspath_prepend(Path(__file__).resolve().parents[2] / "benchmarks")
    return importlib.import_module("components_flutter").at_half_rate


@pytest.mark.parametrize("frames", [250, 251])
def test_how_flutter_is_measured(flutter, frames):
    """Against the definition, summed over all the frequencies of a whole DFT."""
    places = np.arange(frames)
    steady, comb, slow = np.ones(frames), places % 2.0, 1.0 + np.cos(2.0 * np.pi * places / 50.0)
    np.testing.assert_allclose(flutter(np.stack([steady, slow])), 0.0, atol=1e-4)
    assert flutter(comb) == pytest.approx(0.5)
    assert np.isnan(flutter(np.zeros(frames)))
    lively = np.random.default_rng(0).standard_normal((3, frames))
    power = np.abs(np.fft.fft(lively[:, :250], axis=1)) ** 2
    wanted = power[:, np.abs(np.fft.fftfreq(250)) * 2.0 >= 0.98].sum(1) / power.sum(1)
    np.testing.assert_allclose(flutter(lively), wanted, rtol=1e-9)


@pytest.mark.parametrize("stride", [2, 4])
def test_no_component_sounds_at_every_other_frame(flutter, stride):
    """Untrained, over maps that change as fast as they can, and over steady ones."""
    torch.manual_seed(0)
    finest = Scale(tap="a", channels=4, rows=16, stride=stride, hz=[])
    psi, spectrum = CompactPsi([finest], 12, width=32).eval(), torch.zeros(1, 241, 3)
    with torch.no_grad():
        activations = psi(spectrum, of(1, 4, 241 // stride, 16, seed=1))[0]
    assert activations.shape == (12, 241)
    assert float(np.nanmax(flutter(activations.numpy()))) < 0.01
    with torch.no_grad():
        steady = psi(spectrum, of(1, 4, 1, 16).expand(1, 4, 241 // stride, 16))[0, :, 16:224]
    assert steady.max() > 0.1
    torch.testing.assert_close(steady, steady[:, :1].expand_as(steady))


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """The classifier of the recipe at its full size, untrained."""
    config = configs.ClassifierConfig(
        name="full",
        labels=[f"class {index}" for index in range(10)],
        sample_rate=16000,
        window_seconds=5.0,
        level="peak",
        analysis=AnalysisSpec(n_fft=640, window_length=640, hop=320, window="hann"),
        classifier=models.ClassifierForm(mels=64, width=24),
    )
    run = RunDirectory(tmp_path_factory.mktemp("runs") / "full", "classifier")
    run.write_config(config)
    torch.manual_seed(0)
    run.write_weights(config.build().state_dict())
    return load(run.path)


def test_it_costs_less_than_a_tenth_of_the_classifier(source):
    form = interpreter_form(source, 96)
    unfitted = msgspec.structs.replace(form, updates=0)
    own, classifier = cost(source, unfitted)
    assert own <= forms.INTERPRETER_SHARE * classifier < 0.1 * classifier
    wider = msgspec.structs.replace(unfitted, width=form.width + 8)
    assert cost(source, wider)[0] > forms.INTERPRETER_SHARE * classifier
    # The updates by the sound come on top.
    assert cost(source, form)[0] < 0.17 * classifier
    assert msgspec.convert(msgspec.to_builtins(form), type(form)) == form


def test_reference_layers_are_for_cnn14(source):
    with pytest.raises(SourceError, match="train a compact interpreter"):
        interpreter_form(source, 8, "reference")
    broken = InterpreterForm(
        architecture="compact",
        width=8,
        components=6,
        spectra=3,
        scales=[],
        spectrum="stft",
        classes=2,
    )
    with pytest.raises(RunError, match="damaged"):
        broken.build()
    with pytest.raises(RunError, match=r"of an earlier release.*train it again"):
        msgspec.structs.replace(broken, spectra=0).build()


def test_the_fit_is_multiplicative_updates_by_the_sound():
    """Against the updates written out; each is nearer the sound, and evidence keeps its share."""
    random = np.random.default_rng(0)
    W, H, scale = random.random((9, 4)), random.random((2, 2, 4, 6)), random.random((2, 4))
    H[:, 0, 1] = H[:, :, 2] = 0.0
    begun = H.copy()
    begun[:, 1] += 0.1 * scale.sum(0)[:, None]
    stft = random.standard_normal((2, 6, 9, 2))
    X = np.log1p(np.linalg.norm(stft, axis=-1)).transpose(0, 2, 1)
    whole, errors = begun.sum(1), []
    for updates in range(4):
        fit = SoundFit(4, 9, updates, 0.1).double()
        fit.set_dictionary(torch.from_numpy(np.tile(W, 2)), torch.from_numpy(scale.ravel()))
        fitted = fit(torch.from_numpy(stft), torch.from_numpy(H.reshape(2, 8, 6))).numpy().reshape(H.shape)
        np.testing.assert_allclose(fitted, begun * (whole / begun.sum(1))[:, None], rtol=1e-3)
        errors.append(np.linalg.norm(X - W @ whole))
        whole = whole * (W.T @ X) / (W.T @ W @ whole)
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < errors[0]
    # What psi leaves silent is no evidence, but sounds where the sound has it.
    assert not fitted[:, 0, 1:3].any()
    assert (fitted[:, 1, 2] > 0).all()
    silent = fit(torch.zeros(1, 6, 9, 2, dtype=torch.float64), torch.ones(1, 8, 6, dtype=torch.float64))
    assert silent.max() < 1e-6


def test_the_answer_is_that_of_psi_and_the_activations_are_the_sounds(source):
    """Relevance and logits come from psi's own evidence; what is the rest of a spectrum says nothing."""
    form = interpreter_form(source, 8, width=16)
    assert form.components == 16
    torch.manual_seed(0)
    interpreter = form.build().eval()
    spectra = of(form.bins, 8)
    interpreter.set_dictionary(torch.cat([spectra, spectra], 1), torch.full((16,), 0.5))
    with torch.no_grad():
        tensors = source.forward_pass(0.1 * torch.randn(1, 16000))
        inputs = [tensors[name] for name in form.inputs]
        fitted, z, logits = interpreter(*inputs)
        own, own_z, own_logits = interpreter.unfitted(*inputs)
        bare = msgspec.structs.replace(form, updates=0).build()
        assert bare.fit is None
        assert bare.fitted(inputs[0], own) is own
        torch.testing.assert_close(fitted, interpreter.fit(inputs[0], own))
        torch.testing.assert_close(z[:, :8], interpreter.theta.pooled(own[:, :8]))
    torch.testing.assert_close((z, logits), (own_z, own_logits))
    assert own.shape == fitted.shape == (1, 16, 51)
    assert not z[:, 8:].any()
    assert not interpreter.weight[:, 8:].any()
    torch.testing.assert_close(z @ interpreter.weight.T, logits)


@settings(max_examples=25, deadline=None)
@given(frames=st.integers(1, 60), factor=st.floats(0.1, 10))
def test_theta_of_any_length_and_scale(frames, factor):
    torch.manual_seed(1)
    theta = Theta(4, 3)
    with torch.no_grad():
        theta.shared.normal_()
        steady = of(1, 4, 1).expand(1, 4, frames)
        z, logits = theta(steady)
        # Weights of attention sum to one.
        torch.testing.assert_close(z, steady[:, :, 0])
        torch.testing.assert_close(logits, z @ theta.weight.T)
        lively = of(2, 4, frames, seed=2)
        order = torch.randperm(frames)
        torch.testing.assert_close(theta(lively)[1], theta(lively[:, :, order])[1], atol=1e-5, rtol=1e-4)
        # Another scale of the activations is another theta, not another answer.
        before = theta(lively)[1]
        theta.scale.fill_(factor)
        torch.testing.assert_close(theta(factor * lively)[1], before, atol=1e-4, rtol=1e-4)


def test_theta_goes_from_mean_to_maximum():
    theta = Theta(2, 2)
    activations = of(1, 2, 40)
    with torch.no_grad():
        theta.own.zero_()
        torch.testing.assert_close(theta.pooled(activations), activations.mean(2))
        theta.own.fill_(2000.0)
        torch.testing.assert_close(theta.pooled(activations), activations.amax(2))


def test_the_recipes_theta():
    attention, weight = torch.randn(431), torch.randn(5, 7)
    theta = RecipeTheta(attention, weight)
    torch.testing.assert_close(theta.over(431), attention, rtol=0, atol=0)
    activations = of(2, 7, 431)
    z, logits = theta(activations)
    torch.testing.assert_close(z, (activations * attention).sum(2), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(logits, z @ weight.T)
    flat = RecipeTheta(torch.full((431,), 0.01), weight)
    for frames in (32, 200, 900):
        steady = torch.ones(1, 7, frames)
        torch.testing.assert_close(flat(steady)[0], torch.full((1, 7), 4.31), rtol=1e-4, atol=1e-4)


def test_the_papers_formulas():
    random = np.random.default_rng(0)
    W, H = random.random((9, 4)), random.random((2, 4, 6))
    X, theta, z = random.random((2, 6, 9)), random.standard_normal((3, 4)), random.random((2, 4))
    chosen = np.array([[1, 0, 1, 0], [0, 0, 1, 1]], float)
    tensors = [torch.from_numpy(a) for a in (H, W, X)]
    weights = L2iSettings(alpha=7.0, beta=0.3)
    rebuilt = np.einsum("fk,bkt->btf", W, H)
    # The paper's terms, and the error once more of what the sound makes of the activations.
    both = np.mean((rebuilt - X) ** 2) + np.mean((2.0 * rebuilt - X) ** 2)
    expected = 7.0 * both + 0.3 * np.mean(np.abs(H))
    ours = nmf_terms((tensors[0], 2.0 * tensors[0]), *tensors[1:], weights)
    assert float(ours) == pytest.approx(expected, rel=1e-9)
    said = theta[[2, 0]] * z
    ours = relevance(torch.from_numpy(theta), torch.from_numpy(z), torch.tensor([2, 0])).numpy()
    np.testing.assert_allclose(ours, said / np.abs(said).max(1, keepdims=True))
    part = np.einsum("fk,bkt->btf", W, H * chosen[:, :, None]) / (rebuilt + 1e-10)
    mask = soft_mask(tensors[1], tensors[0], torch.from_numpy(chosen), 1.0)
    np.testing.assert_allclose(mask.numpy(), part)
    rest = soft_mask(tensors[1], tensors[0], torch.from_numpy(1 - chosen), 1.0)
    np.testing.assert_allclose((mask + rest).numpy(), 1.0, atol=1e-8)


def test_cross_entropies():
    logits, scores = torch.randn(4, 3), torch.softmax(torch.randn(4, 3), 1)
    single = -(scores * torch.log_softmax(logits, 1)).sum(1).mean()
    torch.testing.assert_close(cross_entropy(logits, scores, "single_label"), single)
    p = torch.sigmoid(logits)
    several = -(scores * p.log() + (1 - scores) * (1 - p).log()).sum(1).mean()
    torch.testing.assert_close(cross_entropy(logits, scores, "multi_label"), several)


def test_removal_teaches_to_select_what_the_score_needs():
    """The score hangs on the bins of component 0, which is not selected; descending the term selects it."""
    W, H = torch.eye(6)[:, :3], torch.ones(1, 3, 5)
    z = torch.ones(1, 3)
    weight = torch.tensor([[0.1, 1.0, 1.0]], requires_grad=True)
    logits = torch.zeros(1, 1)

    def scores_of(gains):
        return gains[:, :, 0].mean(1, keepdim=True)

    optimizer = torch.optim.Adam([weight], 0.02)
    for _ in range(60):
        optimizer.zero_grad()
        removal(logits, (H, weight, z), W, 0.2, scores_of).backward()
        optimizer.step()
    assert relevance(weight.detach(), z, torch.tensor([0]))[0, 0] > 0.4
