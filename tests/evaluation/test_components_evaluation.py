"""Components judged: as maskers, as localisers, by fidelity; with one label and with several."""

import json
import shutil

import numpy as np
import pytest
import soundfile
from changed_bundle import drop_decoder
from class_folders import HEADER, lines_of, write_clips
from command_line import invoke
from components_bundle import write

import earmark
from earmark.evaluation.data.folder import list_sounds
from earmark.evaluation.data.labels import write_labels
from earmark.evaluation.faithfulness.components import (
    Interpreted,
    component_figures,
    f1,
    fidelity_table,
    interpret_clips,
)
from earmark.evaluation.faithfulness.conditions import Condition
from earmark.evaluation.faithfulness.maskers import COMPONENTS, component_choices, masker_of, random_theta
from earmark.evaluation.rescoring import rescore
from earmark.evaluation.synthesis.clips import make_clip
from earmark.runtime.audio.sound import open_sound
from earmark.runtime.explainer import SHIPPED, engine_of
from earmark.runtime.methods.components.interpreter import dictionary_of, interpret

RATE = 16000
LABELS = ("kick", "snare", "bell")


@pytest.fixture(scope="module")
def explainer(components_bundle):
    with earmark.load(components_bundle, device="cpu") as opened:
        yield opened


@pytest.fixture(scope="module")
def heard(explainer):
    wave = make_clip("snare", [5, 5], snr_db=15.0).waveform
    return next(iter(engine_of(explainer).windows(open_sound((wave, RATE), None, RATE))))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_clips(tmp_path_factory.mktemp("data"), LABELS, 4, snr_db=15.0)


@pytest.fixture(scope="module")
def mixtures(tmp_path_factory):
    """Four clips in which two kinds of hits sound, labelled by a table."""
    folder = tmp_path_factory.mktemp("mixtures")
    table = {}
    lines = [HEADER]
    for index, pair in enumerate([("kick", "bell"), ("snare", "bell"), ("kick", "snare"), ("bell", "kick")]):
        clips = [make_clip(label, [7, index, n], snr_db=25.0) for n, label in enumerate(pair)]
        name = f"1-{index}-A.flac"
        soundfile.write(folder / name, 0.5 * sum(clip.waveform for clip in clips), RATE)
        table[name] = pair
        for label, clip in zip(pair, clips, strict=True):
            lines += lines_of(name, label, clip)
    write_labels(folder, table)
    (folder / "events.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="module")
def several(learnt_components, tmp_path_factory):
    """The bundle as one of several labels."""
    target = tmp_path_factory.mktemp("several") / "bundle"
    return write(SHIPPED, target, *learnt_components, task="multi_label")


def evaluated(*arguments):
    return invoke("evaluate", *arguments, code=0)


@pytest.mark.parametrize("name", COMPONENTS)
def test_maskers_give_gains_of_components_the_same_each_time(explainer, heard, name):
    masker = masker_of(name)
    target = int(heard.logits.argmax())
    masks = [masker.compute(engine_of(explainer), heard, target, np.random.default_rng(3)) for _ in range(2)]
    assert masks[0].shape == heard.stft.shape[:2]
    assert 0.0 <= masks[0].min() <= masks[0].max() <= 1.0
    assert masks[0].max() > 0.0
    assert np.array_equal(*masks)
    manifest = engine_of(explainer).manifest
    assert masker.gain_of(manifest) == ("log" if name.endswith("_log") else "linear")


def test_the_masker_is_what_is_listened_to(explainer, heard):
    target = int(heard.logits.argmax())
    gain = masker_of("components").compute(engine_of(explainer), heard, target, np.random.default_rng(0))
    found = explainer.explain(heard.waveform, RATE, methods=["components"], rescore=True).components
    for masks, key in ((gain, "mask_in"), (1.0 - gain, "mask_out")):
        logits = rescore(engine_of(explainer), heard, masks[None], "spectrogram")[0]
        score = float(np.exp(logits[target]) / np.exp(logits).sum())
        assert found.rescored["spectrogram"][key] == pytest.approx(score, abs=1e-4)


def test_random_components_are_as_many_or_as_much_and_active(explainer, heard):
    target = int(heard.logits.argmax())
    count = len(explainer.explain(heard.waveform, RATE, methods=["components"]).components.selected)
    said, dictionary = (
        interpret(engine_of(explainer).graphs, heard),
        dictionary_of(engine_of(explainer).graphs),
    )
    drawn = {
        component_choices()["random_components"](dictionary, said, target, np.random.default_rng(seed))
        for seed in range(30)
    }
    assert {len(some) for some in drawn} == {count}
    assert all(said["activations"][list(some)].max(axis=1).min() > 0 for some in drawn)
    assert len(drawn) > 5
    own = (
        masker_of("components").compute(engine_of(explainer), heard, target, np.random.default_rng(0)).mean()
    )
    for one, most in (("random_components_area", 0.12), ("random_components", 1.0)):
        areas = [
            masker_of(one).compute(engine_of(explainer), heard, target, np.random.default_rng(seed)).mean()
            for seed in range(10)
        ]
        assert abs(np.mean(areas) - own) < most


def windows_of(logits, component_logits, truth, **more):
    rows = zip(np.float32(logits), np.float32(component_logits), np.array(truth, bool), strict=True)
    given = {"selected": 2, "squared_error": 0.1, "relative_error": 0.2, **more}
    return [
        Interpreted(f"{n}.wav", str(n), 0, own, component, component[::-1], right, **given)
        for n, (own, component, right) in enumerate(rows)
    ]


def test_fidelity_counts_agreement_with_the_classifier_not_with_the_label():
    logits = [[3, 2, 1, 0], [0, 5, 1, 2], [1, 0, 2, 3], [9, 1, 0, 0]]
    component_logits = [[3, 2, 1, 0], [4, 3, 2, 1], [3, 2, 1, 0], [0, 3, 2, 1]]
    truth = np.eye(4)[[1, 0, 3, 0]]
    table = fidelity_table(windows_of(logits, component_logits, truth), "single_label")
    rows = {row["method"]: row for row in table.rows}
    assert rows["components"]["top1"].estimate == 0.25
    assert rows["components"]["top3"].estimate == 0.5
    assert rows["components"]["accuracy"].estimate == 0.25
    assert rows["classifier"]["accuracy"].estimate == 0.5
    recipe = rows["recipe: untrained theta, against class 0"]
    assert (recipe["top1"].estimate, recipe["top3"].estimate) == (0.0, 0.25)
    figures = component_figures(windows_of(logits, component_logits, truth, selected=0))
    assert figures["none_selected"].estimate == 1.0
    assert figures["relative_error"].estimate == pytest.approx(0.2)


def test_f1_is_scikit_learns():
    metrics = pytest.importorskip("sklearn.metrics")
    random = np.random.default_rng(0)
    found, wanted = random.random((40, 5)) < 0.4, random.random((40, 5)) < 0.4
    assert f1(found, wanted) == pytest.approx(metrics.f1_score(wanted, found, average="micro"))
    assert np.isnan(f1(found & False, wanted & False))
    rows = np.where(found, 1.0, -1.0), np.where(wanted, 1.0, -1.0)
    table = fidelity_table(windows_of(rows[1], rows[0], wanted), "multi_label")
    cell = table.rows[0]["fidelity_f1"]
    assert cell.estimate == pytest.approx(f1(found, wanted))
    assert cell.low < cell.estimate < cell.high
    assert table.rows[-1]["f1"].estimate == 1.0


def test_reconstruction_and_the_recipes_theta_are_measured(explainer, data):
    clips = list_sounds(data).clips
    windows = interpret_clips(engine_of(explainer), clips, Condition("clean", RATE))
    assert len(windows) == 6
    for one in windows:
        assert 0.0 < one.relative_error < 1.0
        assert one.truth.sum() == 1
    theta = random_theta(dictionary_of(engine_of(explainer).graphs))
    assert np.array_equal(theta, random_theta(dictionary_of(engine_of(explainer).graphs)))
    assert not np.array_equal(theta, random_theta(dictionary_of(engine_of(explainer).graphs), 1))
    assert np.abs(theta).max() <= 1 / 4.0
    dictionary, said = dictionary_of(engine_of(explainer).graphs), {"pooled": np.ones(16, np.float32)}
    chosen = [
        component_choices(seed)["random_theta"](dictionary, said, 0, np.random.default_rng(0))
        for seed in (0, 0, 1)
    ]
    assert chosen[0] == chosen[1] != chosen[2]
    assert not np.array_equal(windows[0].recipe_logits, windows[0].component_logits)


def test_the_command_shows_components_in_the_same_table(components_bundle, data):
    methods = ["-m", "mask", "-m", "components", "-m", "random_components", "-m", "random_theta"]
    arguments = ["masks", components_bundle, data, *methods, "--domain", "spectrogram"]
    text = evaluated(*arguments, "--intervals").stdout
    rows = [line.split()[2] for line in text.splitlines() if line.startswith("clean  ")]
    assert rows[:4] == ["mask", "components", "random_components", "random_theta"]
    for words in ("top-1", "top-3", "recipe: untrained theta", "components selected", "minus the others"):
        assert words in text
    document = json.loads(evaluated(*arguments, "--json").stdout)
    found = document["components"]
    assert found["count"] == 16
    assert found["figures"]["clean"]["selected"]["estimate"] > 0
    against = [row["method"] for row in found["differences"]["rows"]]
    assert against == ["mask", "random_components", "random_theta"]
    others = json.loads(evaluated("masks", components_bundle, data, "-m", "mask", "--json").stdout)
    assert others["components"] is None


def test_without_a_decoder_components_give_the_area_and_without_both_it_is_said(
    components_bundle, data, tmp_path
):
    folder = shutil.copytree(components_bundle, tmp_path / "bundle")
    drop_decoder(folder)
    document = json.loads(evaluated("masks", folder, data, "--domain", "spectrogram", "--json").stdout)
    rows = {row["method"]: row for row in document["table"]["rows"]}
    assert "mask" not in rows
    assert rows["energy"]["area"]["estimate"] == pytest.approx(
        rows["components"]["area"]["estimate"], abs=1e-3
    )
    invoke("evaluate", "masks", SHIPPED, data, "-m", "components", code=1, says="earmark train l2i")


def test_components_stand_among_the_localisers(components_bundle, data):
    arguments = ["events", components_bundle, data, "-m", "components", "-m", "random"]
    document = json.loads(evaluated(*arguments, "--json").stdout)
    rows = {row["method"]: row for row in document["table"]["rows"]}
    assert rows["components"]["auc"]["estimate"] > 0.75
    assert rows["components"]["auc"]["estimate"] > rows["random"]["auc"]["estimate"]


def test_several_labels_end_to_end(several, mixtures):
    with earmark.load(several, device="cpu") as explainer:
        for label in ("kick", "bell"):
            made = explainer.explain(mixtures / "1-0-A.flac", target=label, methods=["components"])
            assert made.components.threshold == 0.3
            assert made.components.label == label
            holds = {name for name, score in made.predictions if score >= 0.5} - {label}
            assert set(made.components.also) == holds
            for other in made.to_dict()["components"]["also"]:
                own = explainer.explain(
                    mixtures / "1-0-A.flac", target=other["label"], methods=["components"]
                ).components
                assert [one["index"] for one in other["selected"]] == list(own.selected)
    shown = invoke("explain", "-b", several, mixtures / "1-0-A.flac", code=0)
    assert all(
        f"consists  {label}: " in shown.stdout
        for label in {made.components.label, *made.components.also}
        if made.components.also
    )
    document = json.loads(evaluated("masks", several, mixtures, "--domain", "spectrogram", "--json").stdout)
    row = document["components"]["fidelity"]["clean"]["rows"][0]
    assert {"fidelity_f1", "f1", "top1", "top3"} <= set(row)
    assert 0.0 <= row["f1"]["estimate"] <= 1.0
    assert {"components", "mask"} <= {line["method"] for line in document["table"]["rows"]}
    events = evaluated("events", several, mixtures, "-m", "components", "--json")
    located = json.loads(events.stdout)
    assert located["judged"] == 8
    # A window may be right about both of its labels.
    with earmark.load(several, device="cpu") as explainer:
        right = 0
        for clip in list_sounds(mixtures).clips:
            heard = next(iter(engine_of(explainer).windows(open_sound(clip.path, None, RATE))))
            scores = {label: heard.logits[explainer.labels.index(label)] for label in clip.labels}
            first = explainer.labels[int(heard.logits.argmax())]
            right += sum(label == first or score >= 0 for label, score in scores.items())
    assert located["correct"] == right
