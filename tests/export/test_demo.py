"""The shipped bundle: right on its own clip and on fresh sound, its masks on the event; rebuilt alike."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from later import later

import earmark
from earmark.evaluation.synthesis.backgrounds import BACKGROUNDS
from earmark.evaluation.synthesis.clips import background_of, clip_of
from earmark.evaluation.synthesis.one_shots import RECIPES
from earmark.runtime.explainer import engine_of

torch_stft = later("torch_stft", "torch_stft")

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "runtime" / "shipped" / "example.flac"
# No clip of the training set has this seed.
FRESH_SEED = 20_260_000
FRESH_PER_CLASS = 4


@pytest.fixture(scope="module")
def explainer():
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("EARMARK_BUNDLE", raising=False)
        return earmark.load()


@pytest.fixture(scope="module")
def fresh():
    return [
        clip_of(label, index, FRESH_SEED) for label in sorted(RECIPES) for index in range(FRESH_PER_CLASS)
    ]


@pytest.fixture(scope="module")
def explained(explainer, fresh):
    return [
        explainer.explain((clip.waveform, clip.sample_rate), methods=["mask"], rescore=True) for clip in fresh
    ]


def magnitude(waveform, analysis):
    """|STFT| [T, F] of PyTorch."""
    return torch_stft(waveform.astype(np.float64), analysis).abs().numpy()


def soft_overlap(first, second):
    """Soft intersection over union of two masks, 0..1."""
    return float(np.minimum(first, second).sum() / np.maximum(first, second).sum())


def test_example_is_explained(explainer):
    result = explainer.explain(str(EXAMPLE), rescore=True)
    label, score = result.predictions[0]
    assert label == "snare"
    assert score > 0.9
    assert not result.warnings
    samples, rate = soundfile.read(EXAMPLE)
    np.testing.assert_allclose(
        np.asarray(result.mask.audio + result.mask.residual).ravel(), samples, atol=1e-6
    )
    assert rate == 16_000
    # Neighbours are training clips of the demo, mostly of the same class, and can be heard.
    assert set(result.prototypes) == {"square", "time", "frequency", "time_frequency"}
    for view, nearest in result.prototypes.items():
        assert nearest[0].label == "snare", view
        assert nearest[0].similarity <= 1.0 + 1e-5
        sound, _ = nearest[0].audio()
        assert sound.size
        assert np.isfinite(sound).all()


def test_fresh_sounds_get_their_labels(explained, fresh):
    right = [result.predictions[0][0] == clip.label for result, clip in zip(explained, fresh, strict=True)]
    assert np.mean(right) > 0.95


def test_silence_hum_and_noise_are_no_drum(explainer):
    """Eight classes: an eighth each is nothing at all."""
    silent = explainer.explain((np.zeros(32_000, np.float32), 16_000), methods=[])
    assert silent.predictions[0][1] < 0.25
    assert any("silent" in line for line in silent.warnings)
    scores = {
        name: [
            explainer.explain((background_of(name, index, FRESH_SEED), 16_000), methods=[]).predictions[0][1]
            for index in range(3)
        ]
        for name in BACKGROUNDS
    }
    # A chirp or a chord may resemble a stroke once; what is steady never does.
    assert max(max(scores[name]) for name in ("brown", "hum", "pink", "rain", "white", "wind")) < 0.45
    assert np.mean(list(scores.values())) < 0.32


def test_masks_lie_on_the_event(explainer, explained, fresh):
    """Cells where the event outweighs the background are kept, the others are not."""
    analysis = engine_of(explainer).manifest.analysis
    inside, outside, event_kept, noise_kept = [], [], [], []
    for result, clip in zip(explained, fresh, strict=True):
        event = magnitude(clip.event, analysis)
        noise = magnitude(clip.waveform - clip.event, analysis)
        mask = result.mask.values
        assert mask.shape == event.shape
        assert mask.min() >= 0.0
        assert mask.max() <= 1.0
        on = (event > noise) & (event > 0.05 * event.max())
        inside.append(mask[on].mean())
        outside.append(mask[~on].mean())
        event_kept.append((mask * event).sum() / event.sum())
        noise_kept.append((mask * noise).sum() / noise.sum())
    assert np.mean(np.array(inside) > np.array(outside)) > 0.9
    assert np.mean(inside) > 2.0 * np.mean(outside)
    assert np.mean(event_kept) > 2.0 * np.mean(noise_kept)


def test_masks_are_faithful(explained):
    """What is kept keeps the label, what is removed loses it: to the ear of the classifier, too."""
    for domain in ("spectrogram", "audio"):
        full = np.array([result.predictions[0][1] for result in explained])
        kept = np.array([result.rescored[domain]["mask_in"] for result in explained])
        removed = np.array([result.rescored[domain]["mask_out"] for result in explained])
        assert np.mean(kept) > np.mean(full) - 0.1
        assert np.mean(kept - removed) > 0.5
    assert np.mean([bool(result.warnings) for result in explained]) < 0.2


def test_shipped_bundle_is_small_whole_and_complete(explainer):
    folder = ROOT / "runtime" / "shipped"
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) <= 8e6
    manifest = engine_of(explainer).manifest
    assert manifest.labels == sorted(RECIPES)
    assert {stage.name for stage in manifest.stages} >= {"frontend", "classifier", "decoder", "embeddings"}
    assert manifest.prototypes.audio
    assert manifest.licence == "Apache-2.0"


def test_bundle_in_a_read_only_folder(tmp_path):
    """As in a site-packages that its user cannot write to."""
    copy = shutil.copytree(ROOT / "runtime" / "shipped" / "bundle", tmp_path / "bundle")
    for path in sorted(copy.rglob("*"), reverse=True):
        path.chmod(0o555 if path.is_dir() else 0o444)
    copy.chmod(0o555)
    before = sorted(path.relative_to(copy) for path in copy.rglob("*"))
    try:
        assert earmark.load(copy).explain(str(EXAMPLE)).predictions[0][0] == "snare"
        assert sorted(path.relative_to(copy) for path in copy.rglob("*")) == before
    finally:
        copy.chmod(0o755)
        for path in copy.rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)


TRAIN_EXACTLY = """
import dataclasses, hashlib, pathlib, sys, torch
from earmark.export import demo
from earmark.evaluation.synthesis.clips import write_backgrounds, write_folder
from earmark.export.training.classifier import train_classifier
from earmark.export.training.lmac.recipe import train_lmac
from earmark.export.training.options import ClassifierOptions
torch.set_num_threads(1)
folder = pathlib.Path(sys.argv[1])
write_folder(folder / "data", 1, 10)
write_backgrounds(folder / "backgrounds", 1, 2)
nothing = ClassifierOptions(background_sounds=folder / "backgrounds")
train_classifier(folder / "data", folder / "run", dataclasses.replace(demo.CLASSIFIER, epochs=3), nothing)
train_lmac(folder / "run", folder / "data", dataclasses.replace(demo.DECODER, epochs=2))
for part in ("classifier", "decoder"):
    print(hashlib.sha256((folder / "run" / f"{part}.safetensors").read_bytes()).hexdigest())
"""


@pytest.mark.slow
def test_training_does_not_depend_on_the_processor(tmp_path):
    """The same weights, bit for bit, with and without the wide registers of newer processors."""
    plain = {
        "ATEN_CPU_CAPABILITY": "default",
        "ONEDNN_MAX_CPU_ISA": "SSE41",
        "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
    }
    hashes = [
        subprocess.run(
            [sys.executable, "-c", TRAIN_EXACTLY, str(tmp_path / name)],
            check=True,
            capture_output=True,
            text=True,
            env={**os.environ, **environment},
        ).stdout.split()
        for name, environment in (("native", {}), ("plain", plain))
    ]
    assert len(hashes[0]) == 2
    assert hashes[0] == hashes[1]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_rebuild_explains_alike(explainer, explained, fresh, tmp_path):
    from earmark.export.demo import build

    build(tmp_path / "demo")
    rebuilt = earmark.load(tmp_path / "demo" / "bundle")
    overlaps = []
    for clip, shipped in zip(fresh, explained, strict=True):
        result = rebuilt.explain((clip.waveform, clip.sample_rate), methods=["mask"])
        assert result.predictions[0][0] == shipped.predictions[0][0]
        overlaps.append(soft_overlap(result.mask.values, shipped.mask.values))
    assert np.mean(overlaps) >= 0.8
    again, _ = soundfile.read(tmp_path / "demo" / "example.flac")
    np.testing.assert_array_equal(again, soundfile.read(EXAMPLE)[0])
