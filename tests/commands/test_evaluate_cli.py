"""`earmark evaluate` as a user meets it: tables, one JSON document, errors before any long work."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner
from command_line import invoke

import earmark
from earmark.cli import main
from earmark.evaluation.data.folder import list_sounds
from earmark.evaluation.faithfulness.evaluate import evaluate_masks
from earmark.evaluation.faithfulness.maskers import MASKERS
from earmark.evaluation.faithfulness.metrics import METRICS
from earmark.evaluation.localisation.evaluate import evaluate_events
from earmark.evaluation.prototypes.evaluate import evaluate_prototypes
from earmark.evaluation.settings import LocalisationSettings, MaskSettings, PrototypeSettings
from earmark.evaluation.synthesis import make_clip
from earmark.runtime.explainer import SHIPPED

CONFTEST = Path(__file__).parents[1] / "conftest.py"


@pytest.fixture
def run():
    runner = CliRunner()

    def invoke(*arguments):
        return runner.invoke(main, ["evaluate", "masks", *map(str, arguments)])

    return invoke


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Two clips each of two classes, folds 1 and 2."""
    folder = tmp_path_factory.mktemp("data")
    for number, label in enumerate(("kick", "snare")):
        (folder / label).mkdir()
        for index in range(2):
            clip = make_clip(label, [4, number, index], snr_db=15.0)
            name = f"{1 + index}-{10 * number + index}-A.flac"
            soundfile.write(folder / label / name, clip.waveform, clip.sample_rate)
    return folder


def test_a_person_sees_a_row_a_method_with_directions_and_areas(run, data):
    result = run(SHIPPED, data)
    assert result.exit_code == 0, result.output
    header = next(line for line in result.stdout.splitlines() if "Fid-In" in line)
    for metric in METRICS.values():
        arrow = {"higher": " ↑", "lower": " ↓", None: ""}[metric.better]
        assert metric.name + arrow in header
    rows = [line.split()[2] for line in result.stdout.splitlines() if line.startswith("clean  ")]
    assert rows == [*MASKERS, *MASKERS]
    assert "silence" in result.stdout
    assert "[" not in result.stdout
    shown = run(SHIPPED, data, "--intervals", "-m", "mask", "-m", "random", "--domain", "audio")
    assert "mask minus the others" in shown.stdout
    assert "[" in shown.stdout


def test_json_is_one_document_whose_rows_are_the_table(run, data, tmp_path):
    records = tmp_path / "more" / "records.jsonl"
    options = ["-m", "mask", "-m", "energy", "--condition", "noise", "--condition", "speech"]
    result = run(SHIPPED, data, *options, "--domain", "audio", "--json", "--seed", 3, "--records", records)
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert list(document["conditions"]) == ["noise", "speech"]
    assert document["seed"] == 3
    assert document["conditions"]["noise"]["windows"] == 4
    assert set(document["conditions"]["noise"]["silence"]) == {"audio"}
    rows = document["table"]["rows"]
    names = [(row["condition"], row["domain"], row["method"]) for row in rows]
    expected = [(c, "audio", m) for c in ("noise", "speech") for m in ("mask", "energy")]
    assert names == expected
    for row in rows:
        for key in METRICS:
            assert set(row[key]) == {"estimate", "low", "high", "count", "groups"}
        assert row["area_spread"] >= 0
        assert row["milliseconds"] >= 0
    assert [row["method"] for row in document["differences"]["rows"]] == ["energy", "energy"]
    lines = [json.loads(line) for line in records.read_text().splitlines()]
    assert len(lines) == 2 * 2 * 4
    mine = [line["values"]["average_drop"] for line in lines if line["masker"] == "energy"][:4]
    assert rows[1]["average_drop"]["estimate"] == pytest.approx(np.mean(mine))
    again = run(SHIPPED, data, *options, "--domain", "audio", "--json", "--seed", 3)
    for row, same in zip(rows, json.loads(again.stdout)["table"]["rows"], strict=True):
        assert {**row, "milliseconds": 0} == {**same, "milliseconds": 0}


@pytest.mark.parametrize(
    ("question", "function", "settings"),
    [
        ("masks", evaluate_masks, MaskSettings(methods=("ones",), domain="audio", fold=1)),
        ("events", evaluate_events, LocalisationSettings(methods=("energy",), limit=1)),
        ("prototypes", evaluate_prototypes, PrototypeSettings(fold=2, draws=8)),
    ],
)
def test_one_function_gives_what_the_command_prints(data, question, function, settings):
    words = {
        "masks": ["-m", "ones", "--domain", "audio", "--fold", "1"],
        "events": ["-m", "energy", "--limit", "1"],
        "prototypes": ["--fold", "2"],
    }[question]
    (data / "events.csv").write_text("clip,label,start_s,end_s\nkick/1-0-A.flac,kick,0.1,0.4\n")
    lines = []
    sounds = list_sounds(data, fewest_classes=1)
    report = function(earmark.load(SHIPPED, device="cpu"), sounds, settings, tell=lines.append).to_dict()
    done = invoke("evaluate", question, SHIPPED, data, *words, "--json")
    assert done.exit_code == 0, done.output
    printed = json.loads(done.stdout)
    assert lines == done.stderr.splitlines()
    assert list(printed) == list(report)
    for name in ("bundle_id", "data", "seed", "skipped"):
        assert printed[name] == report[name]
    table = "prototypes" if question == "prototypes" else "table"
    times = {"milliseconds", "seconds"}
    for one, other in zip(printed[table]["rows"], report[table]["rows"], strict=True):
        assert {k: v for k, v in one.items() if k not in times} == {
            k: v for k, v in other.items() if k not in times
        }


def test_a_fold_a_class_and_an_area(run, data, tmp_path):
    one_class = tmp_path / "one"
    shutil.copytree(data / "kick", one_class / "kick")
    options = ["--fold", 2, "--area", 0.1, "-m", "energy", "-m", "thresholded", "--threshold", 0.9, "--json"]
    result = run(SHIPPED, one_class, *options, "--domain", "spectrogram")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["conditions"]["clean"]["clips"] == 1
    areas = {row["method"]: row["area"]["estimate"] for row in document["table"]["rows"]}
    assert areas["energy"] == pytest.approx(0.1, abs=1e-4)
    soft = run(SHIPPED, one_class, "--fold", 2, "-m", "thresholded", "--threshold", 0.1, "--json")
    assert json.loads(soft.stdout)["table"]["rows"][0]["area"]["estimate"] > areas["thresholded"]


@pytest.mark.parametrize("suffix", ["json", "png"])
def test_curves_are_written(run, data, tmp_path, suffix):
    path = tmp_path / "new" / f"curves.{suffix}"
    options = ["-m", "mask", "-m", "energy", "--domain", "spectrogram", "--fold", 1, "--curves", path]
    result = run(SHIPPED, data, *options)
    assert result.exit_code == 0, result.output
    if suffix == "png":
        assert path.read_bytes().startswith(b"\x89PNG")
        return
    points = json.loads(path.read_text())["points"]
    areas = [point["area"] for point in points if point["method"] == "energy"]
    assert areas == pytest.approx(np.arange(0.05, 0.61, 0.05), abs=1e-3)
    assert {"average_drop", "faithfulness", "input_fidelity"} < set(points[0])


def test_the_recipes_own_drop_has_its_ceiling(run, data):
    options = ["-m", "random", "--area", 0.001, "--domain", "spectrogram", "--json"]
    drops = []
    for more in ([], ["--reference"]):
        document = json.loads(run(SHIPPED, data, *options, *more).stdout)
        drops.append(document["table"]["rows"][0]["average_drop"]["estimate"])
    assert drops[1] < 63.3 < drops[0]


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["{bundle}", "{data}", "-m", "nonsense"], 2, "nonsense"),
        (["{bundle}", "{data}", "-m", "gradcam"], 2, "--source"),
        (["{bundle}", "{data}", "--condition", "underwater"], 2, "underwater"),
        (["{bundle}", "{data}", "--device", "toaster"], 2, "toaster"),
        (["{bundle}", "{data}", "--device", "cuda"], 3, "cuda"),
        (["{bundle}", "{data}", "--area", "0"], 2, "--area"),
        (["{bundle}", "{data}", "--curves", "curves.doc"], 2, ".png"),
        (["{bundle}", "{data}", "--calls", "10"], 2, "--calls"),
        (["{bundle}", "{data}", "-m", "mask", "--threshold", "0.9"], 2, "--threshold"),
        (["{bundle}", "{data}", "-m", "mask", "--area", "0.2"], 2, "--area"),
        (["{bundle}", "{data}", "-m", "mask", "--source", "{empty}"], 2, "--source"),
        (["{bundle}", "{data}", "--speech", "{empty}"], 2, "--condition speech"),
        (["{data}", "{bundle}"], 2, "is a bundle"),
        (["{bundle}", "{data}", "--fold", "7"], 1, "fold 7"),
        (["{bundle}", "{absent}"], 2, "absent"),
        (["{bundle}", "{empty}"], 1, "no class folders"),
        (["{bundle}", "{strange}"], 1, "'theremin'"),
        (["{bundle}", "{data}", "--speech", "{empty}", "--condition", "speech"], 1, "speech"),
        (["{bundle}", "{alone}", "--condition", "mixture"], 1, "another recording"),
        (["{bundle}", "{data}", "--source", "{empty}"], 1, "empty"),
        (["{empty}", "{data}"], 1, "bundle.json"),
        (["{bare}", "{data}"], 1, "earmark train lmac"),
        (["{bare}", "{data}", "-m", "energy"], 1, "--area"),
    ],
)
def test_errors_are_one_line_before_any_long_work(
    run, data, without_decoder, tmp_path, monkeypatch, arguments, code, says
):
    monkeypatch.setattr("earmark.evaluation.faithfulness.evaluate.judge", None)
    for name, clips in (("empty", ()), ("strange", ("theremin/a.wav",)), ("alone", ("kick/1-1-A.wav",))):
        for clip in clips:
            (tmp_path / name / clip).parent.mkdir(parents=True)
            soundfile.write(tmp_path / name / clip, 0.1 * np.ones(16000), 16000)
        (tmp_path / name).mkdir(exist_ok=True)
    names = {name: tmp_path / name for name in ("empty", "strange", "alone", "absent")}
    filled = [one.format(bundle=SHIPPED, data=data, bare=without_decoder, **names) for one in arguments]
    result = run(*filled)
    assert result.exit_code == code, result.output
    assert says in result.stderr
    assert not result.stdout
    assert "Traceback" not in result.output
    assert "defect" not in result.output


def test_a_bundle_without_a_decoder_is_judged_at_a_stated_area(run, data, without_decoder):
    result = run(without_decoder, data, "-m", "energy", "-m", "ones", "--area", 0.2, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["differences"]["rows"] == []


def test_attributions_of_the_source_join_the_table(run, tiny_bundle, make_tiny_adapter, tmp_path):
    """Gradient methods over a factory source; another model under the same labels is refused."""
    pytest.importorskip("captum")
    (tmp_path / "tiny_models.py").write_text(
        "import importlib.util, pathlib\n"
        f"spec = importlib.util.spec_from_file_location('its_conftest', {str(CONFTEST)!r})\n"
        "module = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(module)\n"
        "same, other = module.tiny_adapter, lambda: module.tiny_adapter(seed=5)\n"
    )
    folder = tmp_path / "noises"
    (folder / "noise").mkdir(parents=True)
    for index in range(2):
        noise = 0.1 * np.random.default_rng(index).standard_normal(16000)
        soundfile.write(folder / "noise" / f"{index}.wav", noise, 16000)
    sys.path.insert(0, str(tmp_path))
    try:
        options = ["-m", "mask", "-m", "gradcam", "-m", "saliency", "--domain", "spectrogram", "--json"]
        result = run(tiny_bundle, folder, "--source", "tiny_models:same", *options)
        assert result.exit_code == 0, result.output
        rows = {row["method"]: row for row in json.loads(result.stdout)["table"]["rows"]}
        assert list(rows) == ["mask", "gradcam", "saliency"]
        area = rows["mask"]["area"]["estimate"]
        assert rows["saliency"]["area"]["estimate"] == pytest.approx(area, abs=1e-3)
        other = run(tiny_bundle, folder, "--source", "tiny_models:other", *options)
        assert other.exit_code == 1
        assert "logits differ" in other.stderr
    finally:
        sys.path.remove(str(tmp_path))


def test_torch_and_matplotlib_stay_unimported(data):
    """In a real process, over the whole command."""
    code = (
        "import sys; from earmark.cli import main\n"
        f"main(['evaluate', 'masks', {str(SHIPPED)!r}, {str(data)!r}, '-m', 'mask', '-m', 'energy',"
        " '--json'], standalone_mode=False)\n"
        "assert not {'torch', 'matplotlib', 'sklearn'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["bundle"]


def test_sounds_whose_labels_the_model_does_not_have(data, tmp_path):
    """Masks are judged by the model's own answers: the same figures, whatever the folders' names."""
    foreign = tmp_path / "foreign"
    shutil.copytree(data / "kick", foreign / "Großtrommel")
    for path in (data / "snare").iterdir():
        shutil.copy(path, foreign)
    words = ["-m", "ones", "--domain", "audio"]
    done = invoke("evaluate", "masks", SHIPPED, foreign, *words)
    assert done.exit_code == 1
    assert "'Großtrommel' is no label of" in done.stderr
    assert "(--any-label)" in done.stderr
    done = invoke("evaluate", "masks", SHIPPED, foreign, *words, "--any-label")
    assert done.exit_code == 0, done.output
    assert "4 clips, 4 windows, classified in" in done.stdout
    own, other = (
        json.loads(invoke("evaluate", "masks", SHIPPED, folder, *words, "--json", *more).stdout)["table"][
            "rows"
        ]
        for folder, more in ((data, ()), (foreign, ("--any-label",)))
    )
    for one, two in zip(own, other, strict=True):
        name = "faithfulness"
        assert one[name]["estimate"] == pytest.approx(two[name]["estimate"])


def test_the_same_fault_of_many_clips_is_one_line(data, tmp_path):
    folder = tmp_path / "low"
    for path in sorted((data / "kick").iterdir()):
        (folder / "kick").mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / "kick" / path.name, 0.1 * np.ones(4000), 8000)
    done = invoke("evaluate", "masks", SHIPPED, folder, "-m", "ones", "--domain", "audio")
    (line,) = [line for line in done.stderr.splitlines() if "8000 Hz" in line]
    assert line.startswith("kick/1-0-A.flac and 1 more: ")
