"""Several labels a clip: the table, its errors, training on it, and what the bundle answers."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from command_line import invoke

import earmark
from earmark.errors import DataError
from earmark.evaluation.data.folder import list_sounds, split_sounds
from earmark.evaluation.data.labels import write_labels
from earmark.runtime.explainer import engine_of

RATE = 8000
TONES = {"high": 2500.0, "low": 300.0}


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Noise with a high tone, a low one, both, or none; 10 clips each, folds 1 and 2."""
    folder = tmp_path_factory.mktemp("several")
    random = np.random.default_rng(0)
    time = np.arange(int(0.64 * RATE)) / RATE
    table: dict[str, tuple[str, ...]] = {}
    for kind, labels in enumerate(((), ("high",), ("low",), ("low", "high"))):
        for index in range(10):
            wave = 0.02 * random.standard_normal(len(time))
            for label in labels:
                wave += 0.2 * np.sin(2 * np.pi * TONES[label] * time * random.uniform(0.9, 1.1))
            name = f"clips/{1 + index % 2}-{100 * kind + index}-A.wav"
            (folder / "clips").mkdir(exist_ok=True)
            soundfile.write(folder / name, wave, RATE)
            table[name] = labels
    write_labels(folder, table)
    return folder


def test_the_table_is_read_as_written(data) -> None:
    sounds = list_sounds(data)
    assert sounds.multi_label
    assert sounds.labels == ["high", "low"]
    by_name = {clip.name: clip for clip in sounds.clips}
    assert by_name["clips/1-300-A.wav"].labels == ("low", "high")
    assert by_name["clips/1-0-A.wav"].labels == ()
    assert by_name["clips/2-101-A.wav"].fold == 2
    split = split_sounds(sounds, val_fold=2)
    assert len(split.train) == len(split.validation) == 20


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("clip,label\na.wav,x\n", "no column 'labels'"),
        ("clip,labels\nmissing.wav,x\n", "is not there"),
        ("clip,labels\n../a.wav,x\n", "no path inside"),
        ("clip,labels\na.wav,x\na.wav,y\n", "line 3: a.wav is in the table already"),
        ("clip,labels\na.wav,\n", "names no clip with a label"),
        ("clip,labels\na.wav,x\n", "2 or more labels"),
    ],
)
def test_a_bad_table_is_refused_with_its_line(tmp_path, text, says) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(100), RATE)
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(DataError, match=says):
        list_sounds(tmp_path)


@pytest.mark.trained
def test_a_multi_label_classifier_from_folder_to_bundle(data, tmp_path) -> None:
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    run, bundle = str(tmp_path / "run"), str(tmp_path / "bundle")
    small = ["--window", "0.64", "--sample-rate", "8000", "--width", "4", "--batch-size", "6"]
    plain = ["--mixup", "0", "--shift", "0", "--stretches", "0", "--label-smoothing", "0"]
    invoke(
        "train", "classifier", data, "-o", run, "--epochs", "20", "--val-fold", "2", *small, *plain, code=0
    )
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["task"] == "multi_label"
    assert config["training"]["stretches"] == 0
    invoke("export", run, "-o", bundle, code=0)
    explainer = earmark.load(bundle)
    assert engine_of(explainer).manifest.task == "multi_label"
    assert engine_of(explainer).manifest.window.aggregate == "max"
    given = true = hits = 0
    for clip in list_sounds(data).clips:
        if clip.fold == 2:
            found = {
                label for label, score in explainer.explain(clip.path, methods=[]).predictions if score > 0.5
            }
            given, true, hits = (
                given + len(found),
                true + len(clip.labels),
                hits + len(found & {*clip.labels}),
            )
    f1 = 2 * hits / (given + true)
    assert f1 == pytest.approx(engine_of(explainer).manifest.evaluation["validation_f1"], abs=1e-6)


def test_single_label_is_refused_where_the_table_has_several(data, tmp_path) -> None:
    pytest.importorskip("torch")
    result = invoke("train", "classifier", data, "-o", tmp_path / "run", "--single-label")
    assert result.exit_code != 0
    assert "its clips have several labels" in result.output
