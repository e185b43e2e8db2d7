"""`earmark evaluate` as a user meets it: tables, one JSON document, errors before any long work."""

import json
import shutil

import numpy as np
import pytest
import soundfile
from class_folders import write_clips
from command_line import invoke
from runtime_sounds import run_python

import earmark
from earmark.evaluation.data.folder import list_sounds
from earmark.evaluation.faithfulness.evaluate import evaluate_masks
from earmark.evaluation.faithfulness.maskers import MASKERS
from earmark.evaluation.faithfulness.metrics import METRICS
from earmark.evaluation.localisation.evaluate import evaluate_events
from earmark.evaluation.prototypes.evaluate import evaluate_prototypes
from earmark.evaluation.settings import LocalisationSettings, MaskSettings, PrototypeSettings
from earmark.runtime.explainer import SHIPPED


def evaluate(*words, **more):
    return invoke("evaluate", "masks", *words, **more)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Two clips each of two classes, folds 1 and 2."""
    return write_clips(tmp_path_factory.mktemp("data"), ("kick", "snare"), 4, snr_db=15.0)


def test_a_person_sees_a_row_a_method_with_directions_and_areas(data):
    result = evaluate(SHIPPED, data, code=0)
    header = next(line for line in result.stdout.splitlines() if "Fid-In" in line)
    for metric in METRICS.values():
        arrow = {"higher": " ↑", "lower": " ↓", None: ""}[metric.better]
        assert metric.name + arrow in header
    rows = [line.split()[2] for line in result.stdout.splitlines() if line.startswith("clean  ")]
    assert rows == [*MASKERS, *MASKERS]
    assert "silence" in result.stdout
    assert "[" not in result.stdout
    shown = evaluate(SHIPPED, data, "--intervals", "-m", "mask", "-m", "random", "--domain", "audio")
    assert "mask minus the others" in shown.stdout
    assert "[" in shown.stdout


def test_json_is_one_document_whose_rows_are_the_table(data, tmp_path):
    records = tmp_path / "more" / "records.jsonl"
    options = ["-m", "mask", "-m", "energy", "--condition", "noise", "--condition", "speech"]
    result = evaluate(
        SHIPPED, data, *options, "--domain", "audio", "--json", "--seed", 3, "--records", records, code=0
    )
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
    again = evaluate(SHIPPED, data, *options, "--domain", "audio", "--json", "--seed", 3)
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
    done = invoke("evaluate", question, SHIPPED, data, *words, "--json", code=0)
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


def test_a_fold_a_class_and_an_area(data, tmp_path):
    one_class = tmp_path / "one"
    shutil.copytree(data / "kick", one_class / "kick")
    options = ["--fold", 2, "--area", 0.1, "-m", "energy", "-m", "thresholded", "--threshold", 0.9, "--json"]
    document = json.loads(evaluate(SHIPPED, one_class, *options, "--domain", "spectrogram", code=0).stdout)
    assert document["conditions"]["clean"]["clips"] == 1
    areas = {row["method"]: row["area"]["estimate"] for row in document["table"]["rows"]}
    assert areas["energy"] == pytest.approx(0.1, abs=1e-4)
    soft = evaluate(SHIPPED, one_class, "--fold", 2, "-m", "thresholded", "--threshold", 0.1, "--json")
    assert json.loads(soft.stdout)["table"]["rows"][0]["area"]["estimate"] > areas["thresholded"]


@pytest.mark.parametrize("suffix", ["json", "png"])
def test_curves_are_written(data, tmp_path, suffix):
    path = tmp_path / "new" / f"curves.{suffix}"
    options = ["-m", "mask", "-m", "energy", "--domain", "spectrogram", "--fold", 1, "--curves", path]
    evaluate(SHIPPED, data, *options, code=0)
    if suffix == "png":
        assert path.read_bytes().startswith(b"\x89PNG")
        return
    points = json.loads(path.read_text())["points"]
    areas = [point["area"] for point in points if point["method"] == "energy"]
    assert areas == pytest.approx(np.arange(0.05, 0.61, 0.05), abs=1e-3)
    assert {"average_drop", "faithfulness", "input_fidelity"} < set(points[0])


def test_the_recipes_own_drop_has_its_ceiling(data):
    options = ["-m", "random", "--area", 0.001, "--domain", "spectrogram", "--json"]
    drops = []
    for more in ([], ["--reference"]):
        document = json.loads(evaluate(SHIPPED, data, *options, *more).stdout)
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
    data, without_decoder, tmp_path, monkeypatch, arguments, code, says
):
    monkeypatch.setattr("earmark.evaluation.faithfulness.evaluate.judge", None)
    for name, clips in (("empty", ()), ("strange", ("theremin/a.wav",)), ("alone", ("kick/1-1-A.wav",))):
        for clip in clips:
            (tmp_path / name / clip).parent.mkdir(parents=True)
            soundfile.write(tmp_path / name / clip, 0.1 * np.ones(16000), 16000)
        (tmp_path / name).mkdir(exist_ok=True)
    names = {name: tmp_path / name for name in ("empty", "strange", "alone", "absent")}
    filled = [one.format(bundle=SHIPPED, data=data, bare=without_decoder, **names) for one in arguments]
    result = evaluate(*filled, code=code, says=says)
    assert not result.stdout
    assert "Traceback" not in result.output
    assert "defect" not in result.output


def test_a_bundle_without_a_decoder_is_judged_at_a_stated_area(data, without_decoder):
    result = evaluate(without_decoder, data, "-m", "energy", "-m", "ones", "--area", 0.2, "--json", code=0)
    assert json.loads(result.stdout)["differences"]["rows"] == []


def test_attributions_of_the_source_join_the_table(tiny_bundle, tmp_path, monkeypatch):
    """Gradient methods over a factory source; another model under the same labels is refused."""
    (tmp_path / "tiny_models.py").write_text(
        "from tiny_model import tiny_adapter as same\nother = lambda: same(seed=5)\n"
    )
    folder = tmp_path / "noises"
    (folder / "noise").mkdir(parents=True)
    for index in range(2):
        noise = 0.1 * np.random.default_rng(index).standard_normal(16000)
        soundfile.write(folder / "noise" / f"{index}.wav", noise, 16000)
    monkeypatch.syspath_prepend(tmp_path)
    options = ["-m", "mask", "-m", "gradcam", "-m", "saliency", "--domain", "spectrogram", "--json"]
    result = evaluate(tiny_bundle, folder, "--source", "tiny_models:same", *options, code=0)
    rows = {row["method"]: row for row in json.loads(result.stdout)["table"]["rows"]}
    assert list(rows) == ["mask", "gradcam", "saliency"]
    area = rows["mask"]["area"]["estimate"]
    assert rows["saliency"]["area"]["estimate"] == pytest.approx(area, abs=1e-3)
    evaluate(tiny_bundle, folder, "--source", "tiny_models:other", *options, code=1, says="logits differ")


def test_torch_and_matplotlib_stay_unimported(data):
    """In a real process, over the whole command."""
    said = run_python(
        """
        import sys; from earmark.cli import main
        main(['evaluate', 'masks', *sys.argv[1:], '--json'], standalone_mode=False)
        assert not {'torch', 'matplotlib', 'sklearn'} & set(sys.modules)
        """,
        *(SHIPPED, data, "-m", "mask", "-m", "energy"),
    )
    assert json.loads(said)["bundle"]


def test_sounds_whose_labels_the_model_does_not_have(data, tmp_path):
    """Masks are judged by the model's own answers: the same figures, whatever the folders' names."""
    foreign = tmp_path / "foreign"
    shutil.copytree(data / "kick", foreign / "Großtrommel")
    for path in (data / "snare").iterdir():
        shutil.copy(path, foreign)
    words = ["-m", "ones", "--domain", "audio"]
    evaluate(SHIPPED, foreign, *words, code=1, says=("'Großtrommel' is no label of", "(--any-label)"))
    done = evaluate(SHIPPED, foreign, *words, "--any-label", code=0)
    assert "4 clips, 4 windows, classified in" in done.stdout
    own, other = (
        json.loads(evaluate(SHIPPED, folder, *words, "--json", *more).stdout)["table"]["rows"]
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
