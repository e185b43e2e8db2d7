"""Decoders for any classifier: cost, lengths, scales that are measured, training over a stranger's model."""

import shutil
import subprocess
import sys
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from command_line import invoke
from later import later
from refusals import refuses

import earmark
from earmark.errors import RunError, SourceError
from earmark.export.bundle.write import write_bundle
from earmark.export.training.lmac.recipe import doubts
from earmark.export.training.options import OverSourceOptions
from earmark.export.training.settings import LmacSettings

torch = later("torch")
load_file = later("safetensors.torch", "load_file")
stranger_model = later("stranger_model")
Linear = later("stranger_model", "Linear")
sound = later("stranger_model", "sound")
stranger = later("stranger_model", "stranger")
taught = later("stranger_model", "taught")
write_sounds = later("stranger_model", "write_sounds")
nn = later("torch.nn")
cost = later("earmark.export.training.forms", "cost")
decoder_form = later("earmark.export.training.forms", "decoder_form")
multiply_adds = later("earmark.export.training.forms", "multiply_adds")
StftFrontend = later("earmark.export.graphs.stft", "StftFrontend")
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
    assert decoder == multiply_adds(compact.build(), *stranger_model.inputs_of(source, compact))
    heavy = decoder_form(source, "reference")
    decoder, classifier = cost(source, heavy)
    assert 8.0 * classifier < decoder <= 9.0 * classifier


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
    from earmark.export.sources.run.directory import RunDirectory
    from earmark.export.sources.run.explainers import explained_by

    source, out = trained
    whole = explained_by(source, decoder=RunDirectory(out, "decoder"))
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
    from earmark.export.sources.run.directory import RunDirectory
    from earmark.export.sources.run.explainers import explained_by

    _, out = trained
    with pytest.raises(SourceError, match="another classifier"):
        explained_by(stranger(), decoder=RunDirectory(out, "decoder"))
    refuses(SourceError, "scales", stranger, scales=["nowhere"])


def test_what_training_refuses_before_it_begins(trained, data, tmp_path, full_size):
    source, _ = trained
    refuses(RunError, "where the result goes", train_lmac, source, data)
    with pytest.raises(RunError, match="predicted class"):
        train_lmac(
            source,
            data,
            LmacSettings(decoder="reference", targets="any"),
            OverSourceOptions(out=tmp_path / "x"),
        )
    answer = invoke("train", "lmac", full_size, data, "--device", "cuda")
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
        refuses(RunError, problem, train_lmac, source, data, settings, replace(same, noise=noise))


def test_a_classifier_of_waveforms_is_trained_and_explained_through_sound(data, tmp_path, monkeypatch):
    from earmark.export.sources.run.directory import RunDirectory
    from earmark.export.sources.run.explainers import explained_by

    class FromSound(nn.Module):
        """A front end that eats waveforms and keeps its spectrogram to itself."""

        def __init__(self):
            super().__init__()
            self.spectrum, self.magnitudes = StftFrontend(stranger_model.ANALYSIS), Linear()

        def forward(self, waveform):
            return self.magnitudes(self.spectrum(waveform))

    source = stranger(front_end=FromSound(), rescore="waveform")
    settings = LmacSettings(epochs=1, batch_size=6, width=4, patience=0)
    monkeypatch.setattr("earmark.export.training.lmac.recipe.MOST_AREA", 0.1)
    summary = train_lmac(source, data, settings, OverSourceOptions(out=tmp_path / "run"))
    assert summary.epochs == 1
    # After an epoch it keeps about half, which is no fault but for the limit above.
    (warning,) = summary.warnings
    assert warning.startswith("the masks keep everything (area 0.")
    whole = explained_by(source, decoder=RunDirectory(tmp_path / "run", "decoder"))
    write_bundle(whole, tmp_path / "bundle")
    explainer = earmark.load(tmp_path / "bundle", device="cpu")
    result = explainer.explain(data / "low" / "low1x.wav", methods=["mask"], rescore=True)
    assert result.mask.values.shape == (
        1 + stranger_model.RATE // stranger_model.ANALYSIS.hop,
        stranger_model.ANALYSIS.n_fft // 2 + 1,
    )
    assert set(result.rescored) == {"audio"}
    invoke("verify", tmp_path / "bundle", code=0)


def test_masks_that_explain_nothing_are_told():
    assert doubts({"area": 0.997})[0].startswith("the masks keep everything (area 0.997)")
    assert doubts({"area": 0.001})[0].startswith("the masks keep next to nothing (area 0.001)")
    assert "(FF 0.05)" in doubts({"area": 0.02, "faithfulness": 0.05})[0]
    assert doubts({"area": 0.3, "faithfulness": 0.2}) == doubts({"area": 0.3}) == doubts({}) == ()


def test_a_reference_decoder_has_a_rate_of_its_own():
    assert LmacSettings().peak_rate == 3e-3
    assert LmacSettings(decoder="reference").peak_rate == 3e-4
    assert LmacSettings(decoder="reference", lr=1e-3).peak_rate == 1e-3


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
