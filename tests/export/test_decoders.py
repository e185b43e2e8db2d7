"""Decoders for any classifier: cost, lengths, scales that are measured, training over a stranger's model."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner
from later import later

import earmark
from earmark.cli import main
from earmark.errors import RunError, SourceError
from earmark.export.bundle.write import write_bundle
from earmark.export.training.options import OverSourceOptions
from earmark.export.training.settings import LmacSettings
from earmark.runtime.bundle.manifest import AnalysisSpec

torch = later("torch")
load_file = later("safetensors.torch", "load_file")
stranger_model = later("stranger_model")
Linear = later("stranger_model", "Linear")
sound = later("stranger_model", "sound")
stranger = later("stranger_model", "stranger")
taught = later("stranger_model", "taught")
write_sounds = later("stranger_model", "write_sounds")
nn = later("torch.nn")
CompactClassifier = later("earmark.export.models.compact_classifier", "CompactClassifier")
CompactDecoder = later("earmark.export.models.compact_decoder", "CompactDecoder")
spread = later("earmark.export.models.compact_decoder", "spread")
stretched = later("earmark.export.models.scales", "stretched")
cost = later("earmark.export.training.forms", "cost")
decoder_form = later("earmark.export.training.forms", "decoder_form")
multiply_adds = later("earmark.export.training.forms", "multiply_adds")
StftFrontend = later("earmark.export.graphs.stft", "StftFrontend")
Scale = later("earmark.export.models.scales", "Scale")
measure_scales = later("earmark.export.models.scales", "measure_scales")
mel_rows = later("earmark.export.models.scales", "mel_rows")
stft = later("earmark.export.graphs.stft", "stft")
FrozenClassifier = later("earmark.export.training.frozen_classifier", "FrozenClassifier")
train_lmac = later("earmark.export.training.lmac.recipe", "train_lmac")
MaskingLoss = later("earmark.export.training.lmac.loss", "MaskingLoss")
MixtureBatch = later("earmark.export.training.lmac.mixtures", "MixtureBatch")

pytestmark = pytest.mark.trained


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Tones high and low in some noise, and noise alone: 6 recordings a class."""
    return write_sounds(tmp_path_factory.mktemp("sounds") / "data", 6)


@pytest.fixture(scope="module")
def full_size(tmp_path_factory):
    """The classifier of ESC-10's size, untrained, as a run directory."""
    from earmark.export.models.compact_classifier import ClassifierForm
    from earmark.export.sources.run.config import ClassifierConfig
    from earmark.export.sources.run.directory import RunDirectory
    from earmark.export.training.classifier import analysis_of
    from earmark.export.training.settings import ClassifierSettings, to_record

    settings = ClassifierSettings()
    config = ClassifierConfig(
        name="full",
        labels=[f"l{index}" for index in range(10)],
        sample_rate=settings.sample_rate,
        window_seconds=settings.window,
        level=settings.level,
        analysis=analysis_of(settings),
        classifier=ClassifierForm(mels=settings.mels, width=settings.width),
        training=to_record(settings),
    )
    run = RunDirectory(tmp_path_factory.mktemp("full"), "classifier")
    run.write_config(config)
    torch.manual_seed(0)
    run.write_weights(config.build().state_dict())
    return run.path


def test_cost_is_chosen_relative_to_the_classifier(full_size):
    from earmark.export.sources.run.source import load

    source = load(full_size)
    compact = decoder_form(source, "compact")
    decoder, classifier = cost(source, compact)
    assert 0.07 * classifier < decoder <= 0.10 * classifier
    assert decoder == multiply_adds(compact.build(), *_inputs(source, compact))
    heavy = decoder_form(source, "reference")
    decoder, classifier = cost(source, heavy)
    assert 8.0 * classifier < decoder <= 9.0 * classifier


def _inputs(source, form, seconds=None):
    samples = round((seconds or source.window.seconds) * source.sample_rate)
    waveform = 0.1 * torch.randn(1, samples, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        spectrum = stft(waveform, source.analysis)
        logits, *taps = source.classifier(source.frontend(waveform))
    given = {**dict(zip(source.taps, taps, strict=True)), "stft": spectrum, "target": logits.argmax(1)}
    return [given[name] for name in form.inputs]


@pytest.mark.parametrize("architecture", ["compact", "reference"])
def test_any_length_and_any_bin_count(architecture):
    source = stranger()
    form = decoder_form(source, architecture, 8)
    decoder = form.build().eval()
    for seconds in (0.25, 0.2513, 0.5, 0.777, 1.0, 1.31):
        inputs = _inputs(source, form, seconds)
        with torch.no_grad():
            mask = decoder(*inputs)
        frames = 1 + round(seconds * stranger_model.RATE) // stranger_model.ANALYSIS.hop
        assert mask.shape == (1, frames, stranger_model.ANALYSIS.n_fft // 2 + 1)
        assert 0.0 <= float(mask.min()) <= float(mask.max()) <= 1.0


def test_form_survives_its_record_and_damage_is_named():
    form = decoder_form(stranger(), "compact", 8)
    record = json.loads(msgspec.json.encode(form))
    assert msgspec.convert(record, type(form)) == form
    with pytest.raises(RunError, match="damaged"):
        msgspec.convert({**record, "bands": 63}, type(form)).build()


def test_measured_scales_are_where_the_classifiers_rows_are():
    torch.manual_seed(0)
    analysis = AnalysisSpec(n_fft=640, window_length=640, hop=320, window="hann")
    model = CompactClassifier(640, 16000, 5).eval()

    def taps_of(waveform):
        names = ["logmel", "map1", "map2", "map3", "map4"]
        with torch.no_grad():
            return dict(zip(names, model(stft(waveform, analysis))[1:], strict=True))

    scales = measure_scales(taps_of, 51, 16000, 16000)
    assert [scale.tap for scale in scales] == ["map1", "map2", "map3", "map4"]
    for index, scale in enumerate(scales):
        rows = 64 // 2**index
        assert (scale.rows, scale.stride, scale.channels) == (rows, 2**index, 24 * 2**index)
        true = np.array(mel_rows(64, 16000, rows, 2**index))
        # Deep rows see far; those at the edges past the end.
        off = np.abs(np.interp(scale.hz, true, np.arange(rows)) - np.arange(rows))
        assert off[1:-1].max() < 0.7
        assert np.median(off) < 0.5


def test_a_map_without_frequency_axis_speaks_for_all_bands():
    random = torch.Generator().manual_seed(0)

    def taps_of(waveform):
        level = waveform.abs().mean() * torch.ones(1, 4, 10, 6)
        return {"flat": level + 0.01 * torch.rand(1, 4, 10, 6, generator=random)}

    (scale,) = measure_scales(taps_of, 100, 8000, 8000)
    assert scale == Scale(tap="flat", channels=4, rows=6, stride=10, hz=[])
    matrix = spread(scale.hz, [100.0, 200.0], 6, 2)
    assert torch.allclose(matrix, torch.full((6, 2), 1 / 6))


def test_spreading_keeps_what_is_constant_and_what_is_linear_in_pitch():
    rows = mel_rows(32, 16000, 32, 1)
    matrix = spread(rows, mel_rows(64, 16000, 64, 1), 32, 64)
    assert torch.allclose(matrix.sum(0), torch.ones(64))
    spread_index = torch.arange(32.0) @ matrix
    assert bool((spread_index.diff() >= -1e-6).all())


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A stranger's model that knows its classes, and a decoder for any class: the weights that are kept."""
    out = shutil.copytree(
        stranger_model.WEIGHTS / "stranger_decoder", tmp_path_factory.mktemp("out") / "decoder"
    )
    return taught(), out


@pytest.mark.slow
def test_the_weights_that_are_kept_can_be_made_again(tmp_path):
    """By their one command: the same tensors, with numbers that another processor may learn otherwise."""
    from safetensors.numpy import load_file

    subprocess.run([sys.executable, stranger_model.WEIGHTS / "build.py", tmp_path], check=True)
    kept = sorted(
        path.relative_to(stranger_model.WEIGHTS) for path in stranger_model.WEIGHTS.rglob("*.safetensors")
    )
    assert len(kept) == 2
    for path in kept:
        old, new = load_file(stranger_model.WEIGHTS / path), load_file(tmp_path / path)
        assert {name: (one.shape, one.dtype) for name, one in new.items()} == {
            name: (one.shape, one.dtype) for name, one in old.items()
        }
        assert all(np.isfinite(one).all() for one in new.values())


def test_a_strangers_model_gets_a_decoder_a_bundle_and_masks(trained, data, tmp_path):
    from earmark.export.sources.run.decoder import with_decoder
    from earmark.export.sources.run.directory import RunDirectory

    source, out = trained
    whole = with_decoder(source, RunDirectory(out, "decoder"))
    assert whole.mask_targets == "any"
    manifest = write_bundle(whole, tmp_path / "bundle")
    assert manifest.parity.fp32["mask"].max_abs < 1e-4
    assert [tensor.name for tensor in manifest.stage("decoder").inputs][-1] == "target"
    explainer = earmark.load(tmp_path / "bundle", device="cpu")
    time = np.arange(stranger_model.RATE) / stranger_model.RATE
    wave = 0.3 * np.where(time < 0.5, np.sin(2 * np.pi * 2700 * time), np.sin(2 * np.pi * 440 * time))
    wave = (wave + 0.02 * np.random.default_rng(1).standard_normal(stranger_model.RATE)).astype(np.float32)
    prefers_high = {}
    for label in ("high", "low"):
        mask = explainer.explain((wave, stranger_model.RATE), target=label, methods=["mask"]).mask
        high = mask.values[5:45, np.abs(mask.bin_hz - 2700) < 50].mean()
        low = mask.values[55:95, np.abs(mask.bin_hz - 440) < 50].mean()
        prefers_high[label] = float(high - low)
    # Asked for one class, the mask leans towards that class's tone.
    assert prefers_high["high"] > prefers_high["low"] + 0.2


def test_every_sound_is_asked_for_two_classes():
    """A mixture for both of its classes, another sound also for a class that it has nothing of."""
    random = np.random.default_rng(4)
    clips = {label: sound(label, random).astype(np.float32) for label in stranger_model.LABELS}
    clean = np.stack([clips["high"], clips["low"], clips["noise"], clips["low"]])
    partner = np.array([1, -1, -1, 3])
    heard = np.stack([clips["high"] + 0.2 * clips["low"], clips["low"], clips["noise"], clips["low"]])
    batch = MixtureBatch(heard, clean, partner, np.zeros((4, 1, 1), bool))
    source = taught()
    form = decoder_form(source, "compact", 8)
    frozen = FrozenClassifier(source, exact=True, device=torch.device("cpu"))
    loss = MaskingLoss(frozen, form, LmacSettings(targets="any"))
    asked = loss.questions(frozen.forward(torch.from_numpy(heard)), batch)
    # Which of the two is heard in the mixture is the model's affair; that both are asked for is ours.
    assert sorted(asked.target[[0, 4]].tolist()) == [0, 1]
    assert asked.target[1:4].tolist() == [1, 2, 1]
    assert asked.present.tolist() == [True] * 5 + [False] * 3
    assert all(asked.target[4 + row] != asked.target[row] for row in (1, 2, 3))
    assert torch.equal(asked.forward.spectrum[:4], asked.forward.spectrum[4:])
    only = MaskingLoss(frozen, form, LmacSettings(targets="predicted")).questions(
        frozen.forward(torch.from_numpy(heard)), batch
    )
    assert only.target.tolist() == asked.target[:4].tolist()
    assert bool(only.present.all())


def test_what_is_left_counts_as_a_share_of_the_whole_over_features():
    """And the area weighs less there; settings that are given hold for every classifier."""
    clips = np.stack([sound(label, np.random.default_rng(4)) for label in stranger_model.LABELS])
    batch = MixtureBatch(clips, clips, np.full(3, -1), np.zeros((3, 1, 1), bool))
    source = taught()
    form = decoder_form(source, "compact", 8)
    frozen = FrozenClassifier(source, exact=True, device=torch.device("cpu"))
    decoder = form.build().double().eval()

    def loss(on_features=False, **given):
        over = msgspec.structs.replace(form, on_features=on_features)
        settings = LmacSettings(targets="predicted", **given)
        return MaskingLoss(frozen, over, settings)(decoder, batch, 1.0).item()

    assert loss(on_features=True) == loss(out_score_least=0.3, area_weight=10.0)
    assert loss() == loss(on_features=True, out_score_least=1.0, area_weight=15.0)
    forward = frozen.forward(torch.from_numpy(clips))
    mask = decoder(*forward.fed(form.inputs, forward.logits.argmax(1)))
    removed = frozen.parts(forward, mask, "linear", listen=True)[1]
    target = forward.logits.argmax(1, keepdim=True)
    whole, left = (frozen.scores(one).gather(1, target) for one in (forward.logits, removed))
    share = (left / whole.clamp(min=0.5) - left).mean().item()
    assert loss(out_score_least=0.5) - loss() == pytest.approx(10 * share, abs=1e-9)
    assert abs(share) > 1e-3


@pytest.mark.parametrize(("targets", "least", "most"), [("any", 0.7, 1.3), ("predicted", 0.07, 0.13)])
def test_a_decoder_for_any_class_is_told_the_class_aloud(tmp_path, targets, least, most):
    """Where the class begins as a whisper, one mask for all classes is learnt first, and stays."""
    data = write_sounds(tmp_path / "data", 2)
    settings = LmacSettings(
        epochs=1, lr=1e-9, batch_size=6, width=8, targets=targets, stop_fraction=0.0, exact=True
    )
    train_lmac(taught(), data, settings, OverSourceOptions(out=tmp_path / "run"))
    told = load_file(tmp_path / "run" / "decoder.safetensors")["target.weight"]
    assert least < float(told.std()) < most


def test_another_classifier_and_missing_maps_are_refused(trained):
    from earmark.export.sources.run.decoder import with_decoder
    from earmark.export.sources.run.directory import RunDirectory

    _, out = trained
    with pytest.raises(SourceError, match="another classifier"):
        with_decoder(stranger(), RunDirectory(out, "decoder"))
    with pytest.raises(SourceError, match="scales"):
        stranger(scales=["nowhere"])


def test_what_training_refuses_before_it_begins(trained, data, tmp_path, full_size):
    source, _ = trained
    with pytest.raises(RunError, match="where the result goes"):
        train_lmac(source, data)
    with pytest.raises(RunError, match="predicted class"):
        train_lmac(
            source,
            data,
            LmacSettings(decoder="reference", targets="any"),
            OverSourceOptions(out=tmp_path / "x"),
        )
    answer = CliRunner().invoke(main, ["train", "lmac", str(full_size), str(data), "--device", "cuda"])
    assert answer.exit_code in (1, 3)
    assert answer.stderr.startswith("Error: ")
    assert not (tmp_path / "x" / "decoder.json").exists()


def test_guidance_noise_and_any_target_train_and_resume(trained, data, tmp_path):
    source, _ = trained
    settings = LmacSettings(epochs=2, batch_size=6, targets="any", guided=True, width=4)
    first = train_lmac(source, data, settings, OverSourceOptions(out=tmp_path / "one", noise=data / "noise"))
    assert first.epochs == 2
    again = train_lmac(source, data, settings, OverSourceOptions(out=tmp_path / "two", noise=data / "noise"))
    assert again.epochs == 2
    weights = [(tmp_path / name / "decoder.safetensors").read_bytes() for name in ("one", "two")]
    assert weights[0] == weights[1]
    same = OverSourceOptions(out=tmp_path / "one", noise=data / "noise", resume=True)
    assert train_lmac(source, data, settings, same).figures == first.figures
    for noise, problem in ((None, "--noise, which is missing now"), (data / "low", "another --noise")):
        with pytest.raises(RunError, match=problem):
            train_lmac(source, data, settings, replace(same, noise=noise))


def test_a_classifier_of_waveforms_is_trained_and_explained_through_sound(data, tmp_path):
    from earmark.export.sources.run.decoder import with_decoder
    from earmark.export.sources.run.directory import RunDirectory

    class FromSound(nn.Module):
        """A front end that eats waveforms and keeps its spectrogram to itself."""

        def __init__(self):
            super().__init__()
            self.spectrum, self.magnitudes = StftFrontend(stranger_model.ANALYSIS), Linear()

        def forward(self, waveform):
            return self.magnitudes(self.spectrum(waveform))

    source = stranger(front_end=FromSound(), rescore="waveform")
    settings = LmacSettings(epochs=1, batch_size=6, width=4, patience=0)
    summary = train_lmac(source, data, settings, OverSourceOptions(out=tmp_path / "run"))
    assert summary.epochs == 1
    whole = with_decoder(source, RunDirectory(tmp_path / "run", "decoder"))
    write_bundle(whole, tmp_path / "bundle")
    explainer = earmark.load(tmp_path / "bundle", device="cpu")
    result = explainer.explain(data / "low" / "low1x.wav", methods=["mask"], rescore=True)
    assert result.mask.values.shape == (
        1 + stranger_model.RATE // stranger_model.ANALYSIS.hop,
        stranger_model.ANALYSIS.n_fft // 2 + 1,
    )
    assert set(result.rescored) == {"audio"}
    assert CliRunner().invoke(main, ["verify", str(tmp_path / "bundle")]).exit_code == 0


def test_a_classifier_of_several_labels_is_asked_by_its_sigmoids(data, tmp_path):
    """Other labels' logits say nothing of the target's score, so they must not move the loss."""
    source = stranger(task="multi_label")
    summary = train_lmac(
        source,
        data,
        LmacSettings(epochs=1, batch_size=6, width=4, patience=0),
        OverSourceOptions(out=tmp_path / "run"),
    )
    assert summary.epochs == 1
    frozen = FrozenClassifier(source, exact=False, device=torch.device("cpu"))
    logits, target = torch.tensor([[1.0, -2.0, 0.5], [1.0, 4.0, -3.0]]), torch.tensor([0, 0])
    assert torch.allclose(frozen.scores(logits)[:, 0], torch.sigmoid(torch.tensor(1.0)))
    expected = -torch.log(torch.sigmoid(torch.tensor(1.0)))
    assert torch.allclose(frozen.surprise(logits, target), expected.expand(2))


@pytest.mark.parametrize(
    ("coarse", "fine", "rows"), [(1, 1, 9), (8, 4, 62), (4, 2, 127), (3, 1, 30), (7, 3, 40)]
)
def test_rows_are_stretched_as_by_whole_numbers(coarse, fine, rows):
    x = torch.arange(10.0).reshape(1, 1, 10, 1)
    wanted = [min(row * fine // coarse, 9) for row in range(rows)]
    assert stretched(x, coarse, rows, fine).reshape(-1).tolist() == wanted


def test_the_spectrum_is_seen_four_cells_at_a_time():
    """One convolution over 2x2 patches is what cells side by side as channels are."""
    torch.manual_seed(0)
    scales = [Scale(tap="map", channels=3, rows=8, stride=4, hz=list(np.linspace(200.0, 7000.0, 8)))]
    decoder = CompactDecoder(scales, 64, 16000, 2, bands=16, width=4, coarse=1, from_stft=False).eval()
    logmel = torch.rand(2, 11, 16)
    side_by_side = nn.functional.pixel_unshuffle(stretched(logmel.unsqueeze(1), 1, 12), 2)
    torch.testing.assert_close(decoder.seen(logmel), decoder.spectrum(side_by_side), atol=1e-6, rtol=1e-6)


def test_over_features_neither_the_level_nor_the_scale_of_a_maps_channels_matters():
    torch.manual_seed(0)
    scales = [Scale(tap="map", channels=3, rows=8, stride=4, hz=list(np.linspace(200.0, 7000.0, 8)))]
    how = {"bands": 16, "width": 4, "coarse": 1, "from_stft": True, "on_features": True}
    decoder = CompactDecoder(scales, 512, 16000, 2, **how)
    spectrum, tokens, target = torch.randn(2, 12, 257, 2), torch.randn(2, 3, 3, 8), torch.tensor([0, 1])
    uneven = tokens * torch.tensor([0.1, 1.0, 30.0])[:, None, None] + 2.0
    with torch.no_grad():
        mask = decoder(spectrum, tokens, target)
        torch.testing.assert_close(decoder(0.1 * spectrum, uneven, target), mask, atol=0.01, rtol=0.0)
        assert float((decoder(spectrum, tokens.flip(3), target) - mask).abs().max()) > 0.05
