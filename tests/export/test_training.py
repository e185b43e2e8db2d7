"""Training on tiny synthesised folders: resume, seeds, interruption, what export makes of a run."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tones
from command_line import invoke
from file_limit import lock
from later import later
from refusals import refuses
from tones import RATE, one_thread, write_tones  # noqa: F401 (a fixture)

from earmark.errors import DataError, RunError, SourceError
from earmark.export.training.options import ClassifierOptions, OverSourceOptions
from earmark.export.training.settings import ClassifierSettings, LmacSettings

torch = later("torch")
recipe_folder = later("recipe_folder")
decoder_form = later("earmark.export.training.forms", "decoder_form")
train_classifier = later("earmark.export.training.classifier", "train_classifier")
judge = later("earmark.export.training.lmac.faithful", "judge")
FrozenClassifier = later("earmark.export.training.frozen_classifier", "FrozenClassifier")
train_lmac = later("earmark.export.training.lmac.recipe", "train_lmac")

pytestmark = pytest.mark.trained
FORM = {**tones.FORM, "batch_size": 6}
ARGUMENTS = [
    *("--window", "0.64", "--sample-rate", "8000", "--width", "4"),
    *("--batch-size", "6", "--val-fold", "2", "--threads", "1"),
]


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """A high tone, a low tone and noise, 8 clips each, some shorter and some longer than the window."""
    return write_tones(tmp_path_factory.mktemp("data"), 0.2, 0.2)


@pytest.fixture(scope="module")
def run(data, tmp_path_factory) -> Path:
    """A finished run with its decoder, the same on every processor. Shared: copy it before changing it."""
    path = tmp_path_factory.mktemp("runs") / "tones"
    train_classifier(
        data, path, ClassifierSettings(epochs=12, exact=True, **FORM), ClassifierOptions(licence="CC0-1.0")
    )
    train_lmac(path, data, LmacSettings(epochs=3, batch_size=6, width=8, exact=True))
    return path


def command(*arguments) -> list[str]:
    return [sys.executable, "-m", "earmark.cli", "train", *map(str, arguments)]


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def epochs_done(path: Path) -> int:
    return len(path.read_text().splitlines()) if path.exists() else 0


def stop_after(arguments, metrics: Path, epochs: int, how: int) -> tuple[int, str]:
    """Run until the metrics file has so many epochs, then send the signal."""
    # A child inherits an ignored Ctrl-C, as where the tests run in the background; a handler it does not.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen(
            command(*arguments),
            env=environment(),
            stderr=subprocess.PIPE,
            text=True,
            cwd=metrics.parent.parent,
        )
    finally:
        signal.signal(signal.SIGINT, before)
    until = time.monotonic() + 120
    while epochs_done(metrics) < epochs and process.poll() is None and time.monotonic() < until:
        time.sleep(0.002)
    assert process.poll() is None, process.communicate()[1]
    process.send_signal(how)
    return process.wait(60), process.communicate()[1]


def test_it_learns(run, data):
    rows = [json.loads(line) for line in (run / "classifier_metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == list(range(1, 13))
    assert rows[-1]["loss"] < rows[0]["loss"]
    assert (run / "classifier_loss.png").read_bytes().startswith(b"\x89PNG")
    assert (run / "decoder_loss.png").read_bytes().startswith(b"\x89PNG")
    config = json.loads((run / "config.json").read_text())
    assert config["labels"] == ["high", "low", "noise"]
    assert config["licence"] == "CC0-1.0"
    again = ClassifierSettings(epochs=12, exact=True, **FORM)
    assert train_classifier(data, run, again, ClassifierOptions(resume=True)).warnings == ()
    names = {path.name for path in run.iterdir()}
    assert not [name for name in names if "resume" in name or name.endswith((".part", ".pt", ".pkl"))]


def test_same_seed_same_weights(data, tmp_path):
    weights = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        train_classifier(data, tmp_path / name, ClassifierSettings(epochs=2, seed=seed, **FORM))
        weights.append((tmp_path / name / "classifier.safetensors").read_bytes())
    assert weights[0] == weights[1] != weights[2]


def test_killed_classifier_resumes_bit_for_bit(data, tmp_path):
    settings = ["classifier", data, *ARGUMENTS, "--epochs", "25", "-q"]
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    code, _ = stop_after([*settings, "-o", killed], killed / "classifier_metrics.jsonl", 3, signal.SIGKILL)
    assert code == -signal.SIGKILL
    assert not (killed / "classifier.safetensors").exists()
    assert 3 <= epochs_done(killed / "classifier_metrics.jsonl") < 25
    for arguments in (
        ("classifier", data, "-o", killed, "--resume", "--threads", "1"),
        (*settings, "-o", whole),
    ):
        invoke("train", *arguments, code=0)
    assert (killed / "classifier.safetensors").read_bytes() == (whole / "classifier.safetensors").read_bytes()
    rows = [
        [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in text.splitlines()]
        for text in ((path / "classifier_metrics.jsonl").read_text() for path in (killed, whole))
    ]
    assert rows[0] == rows[1]


def test_interrupted_decoder_says_how_to_go_on_and_does(data, run, tmp_path):
    for name in ("stopped", "whole"):
        shutil.copytree(run, tmp_path / name, ignore=shutil.ignore_patterns("decoder*"))
    stopped, whole = tmp_path / "stopped", tmp_path / "whole"
    options = ["--epochs", "25", "--batch-size", "6", "--width", "8", "--threads", "1"]
    code, said = stop_after(
        ["lmac", stopped, data, *options], stopped / "decoder_metrics.jsonl", 2, signal.SIGINT
    )
    assert code == 1
    assert "interrupted after" in said
    assert "--resume" in said
    assert "Traceback" not in said
    from earmark.export.sources.run.source import load

    refuses(SourceError, "not finished; go on with --resume", load, stopped)
    invoke("train", "lmac", stopped, data, "--resume", "--threads", "1", code=0)
    settings = LmacSettings(epochs=25, batch_size=6, width=8)
    train_lmac(whole, data, settings)
    assert (stopped / "decoder.safetensors").read_bytes() == (whole / "decoder.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["classifier", "{data}", "-o", "{tmp}/run", "--val-fold", "7"], "no clip of fold 7"),
        (["classifier", "{data}", "-o", "{run}"], "holds a run already"),
        (["classifier", "{data}", "-o", "{run}", "--resume", "--epochs", "99"], "--epochs 12"),
        (["lmac", "{tmp}", "{data}"], "no run directory"),
        (["lmac", "{run}", "{data}"], "holds a decoder already"),
    ],
)
def test_bad_input_gets_one_line(data, run, tmp_path, arguments, said):
    filled = [a.format(tmp=tmp_path, data=data, run=run) for a in arguments]
    assert len(invoke("train", *filled, code=1, says=said).stderr.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--batch-size", "1", "batch_size is 1"),
        ("--window", "0.01", "window is 0.01"),
        ("--lr", "0", "range"),
    ],
)
def test_a_setting_that_cannot_work_is_a_usage_error(data, tmp_path, option, value, said):
    command = ["train", "classifier", data, "-o", tmp_path / "run", "--val-fold", 1, option, value]
    invoke(*command, code=2, says=(f"Invalid value for '{option}'", said))
    assert not list(tmp_path.iterdir())


def test_unreadable_clips(data, tmp_path, monkeypatch):
    folder = shutil.copytree(data, tmp_path / "data")
    (folder / "low" / "1-999-A.wav").write_text("no sound")
    arguments = ["train", "classifier", str(folder), *ARGUMENTS, "--epochs", "1"]
    invoke(*arguments, "-o", tmp_path / "strict", "--strict", code=1, says="1-999-A.wav")
    assert not (tmp_path / "strict").exists()
    (folder / "low" / "locked").mkdir()
    lock(monkeypatch)
    invoke(
        *arguments,
        "-o",
        tmp_path / "lenient",
        code=1,
        says=("left out low/1-999-A.wav", "left out low/locked: "),
    )
    left_out = json.loads((tmp_path / "lenient" / "config.json").read_text())["unreadable"]
    assert left_out == ["low/locked", "low/1-999-A.wav"]
    for path in (folder / "noise").iterdir():
        path.write_text("no sound")
    with pytest.raises(DataError, match="none of its clips can be read"):
        train_classifier(folder, tmp_path / "none", ClassifierSettings(epochs=1, **FORM))


def test_decoder_wants_the_classifiers_data(data, run, tmp_path):
    other, bare = tmp_path / "other", tmp_path / "run"
    shutil.copytree(data, other)
    (other / "low").rename(other / "deep")
    shutil.copytree(run, bare, ignore=shutil.ignore_patterns("decoder*"))
    refuses(DataError, "deep, low", train_lmac, bare, other, LmacSettings(epochs=1))


def test_source_of_a_run(run):
    from earmark.export.sources.run.source import load

    source = load(run)
    assert source.labels == ["high", "low", "noise"]
    assert source.window.minimum_seconds == 0.64
    assert source.window.seconds == 0.64
    assert source.level == "peak"
    for samples in (1600, 5120, 7777):
        waveform = 0.1 * torch.randn(2, samples, generator=torch.Generator().manual_seed(samples))
        with torch.no_grad():
            stft = source.frontend(waveform)
            logits, *maps = source.classifier(stft)
        taps = dict(zip(source.taps, maps, strict=True))
        given = {**taps, "target": logits.argmax(1)}
        with torch.no_grad():
            mask = source.decoder(*(given[name] for name in source.decoder_taps))
        for name, dims in source.taps.items():
            fixed = {axis: size for axis, size in enumerate(dims) if isinstance(size, int)}
            assert all(taps[name].shape[axis] == size for axis, size in fixed.items()), name
        assert mask.shape == stft.shape[:3]
        assert 0 <= float(mask.min()) <= float(mask.max()) <= 1
        torch.testing.assert_close(logits, source.reference.logits(waveform), atol=1e-4, rtol=0)
        torch.testing.assert_close(mask, source.reference.mask(waveform), atol=1e-4, rtol=0)
        assert source.reference.kept(waveform).shape == waveform.shape
        # Prototypes are additive: the head is linear in the pooled feature map.
        z = taps[source.feature_map.tap]
        bands = z.mean(dim=3)
        pooled = bands.amax(dim=2) + bands.mean(dim=2)
        contributed = source.head.logits(pooled[:, None].double().numpy())
        np.testing.assert_allclose(contributed, logits.detach().numpy(), atol=1e-5, rtol=1e-5)
    assert len(source.feature_map.bands_hz) == z.shape[3]
    lows, highs = zip(*source.feature_map.bands_hz, strict=True)
    assert lows[1:] == highs[:-1]
    assert highs[-1] <= RATE / 2


def test_a_run_without_decoder_is_a_source(run, tmp_path):
    from earmark.export.sources.run.source import load

    bare = shutil.copytree(run, tmp_path / "bare", ignore=shutil.ignore_patterns("decoder*"))
    source = load(bare)
    assert source.decoder is None
    assert source.mask_targets is None
    assert source.reference.mask is None


def test_damaged_runs_are_named(run, tmp_path, data):
    from earmark.export.sources.run.source import load

    def damaged(name, change):
        path = shutil.copytree(run, tmp_path / name)
        change(path)
        with pytest.raises(SourceError) as caught:
            load(path)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    def edit(path, **changes):
        config = json.loads((path / "config.json").read_text())
        (path / "config.json").write_text(json.dumps(config | changes))

    assert "no run directory" in damaged("a", lambda p: (p / "config.json").unlink())
    assert "classifier.safetensors" in damaged("b", lambda p: (p / "classifier.safetensors").unlink())
    assert "decoder.safetensors" in damaged("c", lambda p: (p / "decoder.safetensors").unlink())
    assert "damaged" in damaged("d", lambda p: (p / "classifier.safetensors").write_bytes(b"x" * 99))
    assert "does not fit" in damaged("e", lambda p: edit(p, labels=["one", "two"]))
    assert "version 99" in damaged("f", lambda p: edit(p, version=99))
    assert "damaged" in damaged("g", lambda p: edit(p, analysis={"n_fft": "many"}))
    assert "damaged" in damaged("h", lambda p: edit(p, classifier={"architecture": "compact_classifier"}))

    def other_classifier(path):
        shutil.rmtree(path / "none", ignore_errors=True)
        train_classifier(data, path / "new", ClassifierSettings(epochs=1, **FORM))
        shutil.copy(path / "new" / "classifier.safetensors", path / "classifier.safetensors")

    assert "another classifier" in damaged("i", other_classifier)
    refuses(SourceError, "no such run directory", load, tmp_path / "absent")


def test_resume_with_other_settings_is_refused(data, run):
    with pytest.raises(RunError, match="started with"):
        train_classifier(data, run, ClassifierSettings(epochs=13, **FORM), ClassifierOptions(resume=True))


def test_a_run_becomes_a_bundle(run, tmp_path):
    from earmark.export.bundle.write import write_bundle
    from earmark.export.sources.run.source import load

    write_bundle(load(run), tmp_path / "bundle")
    manifest = json.loads((tmp_path / "bundle" / "bundle.json").read_text())
    assert manifest["labels"] == ["high", "low", "noise"]
    stages = {stage["name"] for stage in manifest["stages"]}
    assert stages == {"frontend", "classifier", "decoder", "embeddings"}
    assert manifest["licence"] == "CC0-1.0"


def test_mel_filterbank_is_speechbrains():
    from earmark.export.models.mel import filterbank

    _, features = recipe_folder.speechbrain_modules()
    theirs = features.Filterbank(n_mels=80, n_fft=1024, sample_rate=16000, log_mel=False)
    spectrum = torch.rand(2, 7, 513, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(spectrum @ filterbank(1024, 80, 16000), theirs(spectrum), atol=1e-4, rtol=1e-5)


def test_metrics_of_known_masks(run, data):
    """All ones: nothing dropped, nothing gained; the removed part is silence."""
    from earmark.export.graphs.stft import stft
    from earmark.export.sources.run.source import load

    source = load(run)

    class Ones(torch.nn.Module):
        def forward(self, logmel, *maps):
            return torch.ones(logmel.shape[0], logmel.shape[1], source.analysis.n_fft // 2 + 1)

    waveform, _ = soundfile.read(data / "low" / "1-100-A.wav", dtype="float32")
    samples = 5120
    form = decoder_form(source, "compact", 4)
    figures = judge(
        FrozenClassifier(source, exact=False, device=torch.device("cpu")), Ones(), form, [waveform]
    )
    assert figures["area"] == 1.0
    assert figures["input_fidelity"] == 1.0
    assert figures["average_drop"] == pytest.approx(0.0, abs=1e-3)
    padded = torch.from_numpy(np.pad(waveform, (0, samples - len(waveform))))[None]
    with torch.no_grad():
        full = source.classifier(stft(padded, source.analysis))[0].softmax(1)
        silent = source.classifier(stft(torch.zeros_like(padded), source.analysis))[0].softmax(1)
    chosen = int(full.argmax())
    assert figures["faithfulness"] == pytest.approx(float(full[0, chosen] - silent[0, chosen]), abs=1e-4)


def test_without_validation(data, tmp_path):
    form = {key: value for key, value in FORM.items() if key != "val_fold"}
    summary = train_classifier(data, tmp_path / "run", ClassifierSettings(epochs=1, **form))
    assert (summary.clips, summary.validation_clips, summary.figures) == (24, 0, {})
    # A third is right by guessing.
    assert "has hardly learnt its own training clips (share right 0." in summary.warnings[0]
    assert ", 0.33 by guessing)" in summary.warnings[0]
    summary = train_lmac(tmp_path / "run", data, LmacSettings(epochs=1, width=4))
    assert "area" not in summary.figures
    summary = train_lmac(
        tmp_path / "run", data, LmacSettings(epochs=1, width=4), OverSourceOptions(resume=True)
    )
    assert summary.clips + 3 == 24  # a recording of each class chooses the epoch
    assert "validation:" not in invoke("train", "lmac", tmp_path / "run", data, "--resume", code=0).stderr
