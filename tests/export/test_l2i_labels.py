"""`earmark train l2i` with several labels, and over a source that is no run directory."""

import csv
from pathlib import Path

import numpy as np
import pytest
import soundfile
from command_line import invoke
from later import later
from tiny_model import tiny_adapter
from tones import FORM, INTERPRETER, KINDS, PLAIN, RATE, tone

from earmark.errors import RunError
from earmark.export.bundle.write import write_bundle
from earmark.export.training.l2i.settings import L2iSettings
from earmark.export.training.options import InterpreterOptions
from earmark.export.training.settings import ClassifierSettings

torch = later("torch")
load = later("earmark.export.sources.run.source", "load")
train_classifier = later("earmark.export.training.classifier", "train_classifier")
train_l2i = later("earmark.export.training.l2i.recipe", "train_l2i")

pytestmark = pytest.mark.trained


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> Path:
    """Clips of one or two of the tones one after the other, with a table of labels."""
    folder = tmp_path_factory.mktemp("pairs")
    random = np.random.default_rng(1)
    rows = []
    chosen = [["high"], ["low"], ["noise"], ["high", "low"], ["low", "noise"], ["high", "noise"]]
    for index in range(24):
        labels = chosen[index % 6]
        wave = np.concatenate([tone(KINDS[label], 0.64 / len(labels), random) for label in labels])
        soundfile.write(folder / f"{1 + index // 12}-{index}-A.wav", wave + 1e-3, RATE)
        rows.append([f"{1 + index // 12}-{index}-A.wav", ";".join(labels)])
    with (folder / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["clip", "labels"], *rows])
    return folder


@pytest.mark.parametrize("by_design", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_several_labels(pairs, tmp_path, by_design):
    run = tmp_path / "run"
    train_classifier(pairs, run, ClassifierSettings(epochs=4, batch_size=4, **FORM, **PLAIN))
    summary = train_l2i(run, pairs, L2iSettings(epochs=4, mixup=0.0, by_design=by_design, **INTERPRETER))
    assert 0.0 <= summary.figures["fidelity_f1"] <= 1.0
    if by_design:
        assert 0.0 <= summary.figures["by_design_f1"] <= 1.0
    source = load(run)
    assert source.task == "multi_label"
    assert source.components.threshold == 0.3
    if by_design:
        write_bundle(source, tmp_path / "bundle")
        invoke("verify", tmp_path / "bundle", code=0)


def test_over_a_source_of_ones_own(tmp_path):
    """An adapter's feature map, measured scales, no log-mel of this package: trained with -o."""
    from earmark.export.sources.adapter.source import from_adapter
    from earmark.export.sources.run.directory import RunDirectory
    from earmark.export.sources.run.explainers import explained_by

    folder = tmp_path / "data"
    random = np.random.default_rng(2)
    for label, hz in (("low hum", 120.0), ("noise", None), ("whistle", 3000.0)):
        (folder / label).mkdir(parents=True)
        for index in range(4):
            wave = tone(hz, 1.0, random) + 0.01 * random.standard_normal(RATE)
            soundfile.write(folder / label / f"{label}_{chr(97 + index)}.wav", wave, RATE)
    adapter = tiny_adapter(decoder=False)
    adapter.labels = sorted(adapter.labels)
    run = tmp_path / "run"
    source = from_adapter(adapter)
    summary = train_l2i(source, folder, L2iSettings(epochs=2, **INTERPRETER), InterpreterOptions(out=run))
    assert summary.components == 12
    whole = explained_by(source, interpreter=RunDirectory(run, "interpreter"))
    answers = whole.outputs(np.stack([tone(3000.0, 1.0, random)] * 2).astype(np.float32)[:, :8000])
    assert answers["activations"].shape[:2] == (2, 12)
    np.testing.assert_allclose(
        answers["pooled"] @ whole.dictionary["theta"].T, answers["interpreted"], rtol=1e-3, atol=1e-4
    )
    with pytest.raises(RunError, match="where the result goes"):
        train_l2i(source, folder, L2iSettings(epochs=1))
