"""The configs of a run directory: what stands in the files, and what is said of a damaged one."""

import json

import pytest
from later import later

from earmark.errors import RunError
from earmark.runtime.bundle.manifest import AnalysisSpec, ComponentSpec

configs = later("earmark.export.sources.run.config")
models = later("earmark.export.models.compact_classifier")
decoders = later("earmark.export.models.decoders")
interpreters = later("earmark.export.models.interpreters")
RunDirectory = later("earmark.export.sources.run.directory", "RunDirectory")

ANALYSIS = {"n_fft": 64, "window_length": 64, "hop": 32, "window": "hann", "padding": "zeros"}
CLASSIFIER = {
    "format": "earmark-run",
    "version": 1,
    "training": {"epochs": 3, "train_folds": [1, 2]},
    "clips": {"training": 8, "validation": 2},
    "name": "small",
    "labels": ["a", "b"],
    "task": "single_label",
    "sample_rate": 8000,
    "window_seconds": 1.0,
    "level": "peak",
    "analysis": ANALYSIS,
    "classifier": {"architecture": "compact_classifier", "mels": 16, "width": 2},
    "unreadable": ["a/broken.wav"],
    "licence": "CC0-1.0",
    "attribution": "nobody",
}
DECODER = {
    "format": "earmark-run",
    "version": 1,
    "training": {},
    "clips": {"training": 8, "stopping": 1, "validation": 2},
    "classifier_sha256": "f" * 64,
    "validation": {"area": 0.2},
    "decoder": {
        "architecture": "compact",
        "width": 4,
        "scales": [],
        "spectrum": "logmel",
        "bands": 16,
        "n_fft": 64,
        "sample_rate": 8000,
        "classes": 2,
        "coarse": 1,
        "on_features": False,
    },
    "mask_targets": "any",
    "mask_gain": "log",
}
INTERPRETER = {
    "format": "earmark-run",
    "version": 1,
    "training": {},
    "clips": {},
    "classifier_sha256": "f" * 64,
    "validation": {"fidelity_top1": 0.5},
    "by_design": False,
    "start": None,
    "interpreter": {
        "architecture": "compact",
        "width": 4,
        "components": 6,
        "scales": [],
        "spectrum": "logmel",
        "classes": 2,
        "spectra": 3,
        "bins": 33,
        "updates": 5,
        "lift": 0.03,
    },
    "dictionary": {
        "sample_rate": 8000,
        "analysis": ANALYSIS,
        "error": 0.25,
        "silent": ["a/silent.wav"],
    },
    "threshold": 0.2,
    "mask_power": 2.0,
    "facts": [
        {
            "peak_hz": 100.0,
            "bandwidth_hz": 20.0,
            "bands_hz": [[90.0, 110.0]],
            "label": "a",
            "clip": "a/x.wav",
            "start_s": 0.0,
            "end_s": 0.5,
        }
    ],
}
APEX = {
    "format": "earmark-run",
    "version": 1,
    "training": {"rounds": 2},
    "clips": {"train": 3, "held_out": 1},
    "model_sha256": "",
    "classifier_sha256": "f" * 64,
    "report": {
        "recipe": "apex",
        "settings": {"rounds": 60},
        "channels": 16,
        "clips": {"train": {"sounds": 2, "windows": 3, "recordings": 2}},
        "n": 5,
        "purity": {"square": {"train": {"before": 0.2, "after": 0.5, "random": 0.1}}},
        "listed": {"train": {"before": 0.3, "after": 0.8, "random": 0.3}},
        "rest": {"train": {"before": 1.5, "after": 0.6, "random": 1.6}},
        "head": "additive",
        "orthogonality": 1e-6,
        "invariance": {"fp64": 1e-12, "fp32": 1e-6, "same_top1": 1.0, "windows": 3},
        "notes": [],
        "seconds": 1.5,
    },
}
PARTS = {
    "classifier": ("ClassifierConfig", CLASSIFIER, "config.json"),
    "decoder": ("DecoderConfig", DECODER, "decoder.json"),
    "interpreter": ("InterpreterConfig", INTERPRETER, "interpreter.json"),
    "apex": ("ApexConfig", APEX, "apex.json"),
}


@pytest.mark.parametrize("part", PARTS)
def test_a_config_is_what_stands_in_its_file(part, tmp_path):
    kind, document, name = PARTS[part]
    run = RunDirectory(tmp_path, part)
    (tmp_path / name).write_text(json.dumps(document), encoding="utf-8")
    config = run.read_config(getattr(configs, kind))
    run.write_config(config)
    assert json.loads((tmp_path / name).read_text(encoding="utf-8")) == document
    # What another part of the work needs of it.
    assert run.read_config(configs.Config).training == document["training"]


def test_runs_of_before_are_read(tmp_path):
    """What a form or a report did not have yet has a default."""
    form = {name: value for name, value in DECODER["decoder"].items() if name != "coarse"}
    (tmp_path / "decoder.json").write_text(json.dumps({**DECODER, "decoder": form}), encoding="utf-8")
    assert RunDirectory(tmp_path, "decoder").read_config(configs.DecoderConfig).decoder.coarse is None
    added = {"spectra", "bins", "updates", "lift"}
    form = {name: value for name, value in INTERPRETER["interpreter"].items() if name not in added}
    (tmp_path / "interpreter.json").write_text(json.dumps(INTERPRETER | {"interpreter": form}))
    read = RunDirectory(tmp_path, "interpreter").read_config(configs.InterpreterConfig).interpreter
    assert (read.spectra, read.updates, read.lift) == (0, 0, 0.0)
    report = {name: value for name, value in APEX["report"].items() if name not in {"listed", "rest"}}
    (tmp_path / "apex.json").write_text(json.dumps({**APEX, "report": report}), encoding="utf-8")
    assert RunDirectory(tmp_path, "apex").read_config(configs.ApexConfig).report.listed == {}


def test_a_config_is_typed_when_it_is_read(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(CLASSIFIER), encoding="utf-8")
    config = RunDirectory(tmp_path, "classifier").read_config(configs.ClassifierConfig)
    assert config.analysis == AnalysisSpec(n_fft=64, window_length=64, hop=32, window="hann")
    assert config.classifier == models.ClassifierForm(mels=16, width=2)
    (tmp_path / "interpreter.json").write_text(json.dumps(INTERPRETER), encoding="utf-8")
    made = RunDirectory(tmp_path, "interpreter").read_config(configs.InterpreterConfig)
    assert made.facts == [
        ComponentSpec(
            peak_hz=100.0,
            bandwidth_hz=20.0,
            bands_hz=((90.0, 110.0),),
            label="a",
            clip="a/x.wav",
            start_s=0.0,
            end_s=0.5,
        )
    ]
    assert made.dictionary.silent == ["a/silent.wav"]
    assert made.figures("interpreter") == {"interpreter_fidelity_top1": 0.5}


def test_what_is_not_there_yet_has_no_key_and_what_is_unknown_is_passed_over(tmp_path):
    unfinished = {name: value for name, value in DECODER.items() if name != "validation"}
    path = tmp_path / "decoder.json"
    path.write_text(json.dumps(unfinished | {"teacher": None}), encoding="utf-8")
    run = RunDirectory(tmp_path, "decoder")
    config = run.read_config(configs.DecoderConfig)
    assert config.figures("validation") == {}
    run.write_config(config)
    assert json.loads(path.read_text(encoding="utf-8")) == unfinished


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "cannot be read"),
        ("[]", "not the config of an earmark run"),
        (json.dumps(CLASSIFIER | {"format": "other"}), "not the config of an earmark run"),
        (json.dumps(CLASSIFIER | {"version": 2}), "version 2, and this earmark reads up to 1"),
        (json.dumps(CLASSIFIER | {"labels": "ab"}), r"damaged or .*array.*\$.labels"),
        (json.dumps(CLASSIFIER | {"analysis": ANALYSIS | {"hop": 0}}), r"damaged or .*>= 1.*\$.analysis.hop"),
        (json.dumps({k: v for k, v in CLASSIFIER.items() if k != "level"}), "damaged or .*`level`"),
    ],
)
def test_a_damaged_config_is_named_with_what_is_wrong(text, says, tmp_path):
    (tmp_path / "config.json").write_text(text, encoding="utf-8")
    with pytest.raises(RunError, match=says) as raised:
        RunDirectory(tmp_path, "classifier").read_config(configs.ClassifierConfig)
    assert "config.json" in str(raised.value)


@pytest.mark.parametrize(
    ("form", "says"),
    [
        ({"architecture": "cnn14", "mels": 16, "width": 2}, "'cnn14'; this earmark has compact_classifier"),
        ({"architecture": "compact_classifier", "mels": 15, "width": 2}, "damaged"),
    ],
)
def test_a_classifier_that_cannot_be_built_is_named(form, says, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(CLASSIFIER | {"classifier": form}), encoding="utf-8")
    config = RunDirectory(tmp_path, "classifier").read_config(configs.ClassifierConfig)
    with pytest.raises(RunError, match=says):
        config.build()


def test_metrics_are_one_line_an_epoch_and_damage_is_named(tmp_path):
    run = RunDirectory(tmp_path, "classifier")
    assert run.read_metrics() == []
    rows = [{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.25}]
    run.write_metrics(rows)
    assert run.read_metrics() == rows
    for text in ('{"epoch": 1}\n{"epo', '{"epoch": [1]}\n'):
        run.metrics_path.write_text(text, encoding="utf-8")
        with pytest.raises(RunError, match=r"classifier_metrics\.jsonl: damaged"):
            run.read_metrics()
