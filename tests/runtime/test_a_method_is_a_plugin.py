"""A method is a folder (tests/toy_method/loudest) and a line in the table: it then works everywhere."""

import json

import numpy as np
import pytest
from command_line import documents, invoke
from matplotlib.figure import Figure

import earmark
from earmark.evaluation.faithfulness.maskers import masker_of, usual_maskers
from earmark.evaluation.localisation.localisers import available, task_of
from earmark.runtime.audio.sound import open_sound
from earmark.runtime.explainer import engine_of
from earmark.runtime.opening import open_bundle
from earmark.runtime.registry import METHODS, Registration
from earmark.runtime.result_files.folder import written_by_earmark
from earmark.runtime.verify import verify

RATE = 16000
BURST_S = 0.4
LINE = Registration("toy_method.loudest.method:Loudest", (r"loudest\.(csv|png)",))


@pytest.fixture(autouse=True)
def _registered(monkeypatch):
    """The one line."""
    monkeypatch.setitem(METHODS, "loudest", LINE)


@pytest.fixture(scope="module")
def bundle(tiny_source, tmp_path_factory):
    """The tiny model, exported while the method is registered."""
    from earmark.export.bundle.write import write_bundle

    path = tmp_path_factory.mktemp("plugin") / "bundle"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(METHODS, "loudest", LINE)
        write_bundle(tiny_source, path)
    return path


@pytest.fixture
def burst():
    """A second of faint noise with a burst at `BURST_S`."""
    sound = 0.01 * np.random.default_rng(0).standard_normal(RATE).astype(np.float32)
    sound[int(BURST_S * RATE) : int((BURST_S + 0.02) * RATE)] *= 50.0
    return sound


@pytest.fixture
def clip(burst, tmp_path):
    import soundfile

    soundfile.write(tmp_path / "burst.wav", burst, RATE)
    return tmp_path / "burst.wav"


def test_it_explains_and_is_an_attribute_of_the_result(bundle, burst):
    explainer = earmark.load(bundle, "cpu")
    result = explainer.explain(burst, RATE, methods=["loudest"], options={"loudest": {"frames": 2}})
    assert len(result.loudest.at_s) == 2
    assert result.loudest.at_s[0] == pytest.approx(BURST_S + 0.01, abs=0.02)
    assert result.parts == {"loudest": result.loudest}
    assert result.mask is None
    assert "loudest" in result.timings
    assert result.warnings == ("loudest: knows nothing of the model",)
    assert result.to_dict()["loudest"] == {"at_s": [round(one, 4) for one in result.loudest.at_s]}
    both = explainer.explain(burst, RATE, methods=["loudest", "mask"])
    assert list(both.parts) == ["loudest", "mask"]
    assert explainer.explain(burst, RATE, methods=[]).loudest is None


def test_it_sees_every_window_of_a_long_sound_once(bundle, burst):
    long = np.concatenate([0.1 * burst, 0.1 * burst, burst])
    found = earmark.load(bundle, "cpu").explain(long, RATE, methods=["loudest"]).loudest.at_s
    assert found[0] == pytest.approx(2 + BURST_S + 0.01, abs=0.02)


@pytest.mark.parametrize(
    ("options", "words"),
    [({"frame": 2}, "did you mean 'frames'"), ({"frames": 0}, "give 1 or more")],
)
def test_its_options_are_checked_before_a_sound_is_read(bundle, options, words):
    with pytest.raises(earmark.MethodError, match=words):
        earmark.load(bundle, "cpu").explain("nowhere.wav", methods=["loudest"], options={"loudest": options})


def test_its_files_are_saved_replaced_and_known_as_earmarks_own(bundle, burst, tmp_path):
    explainer = earmark.load(bundle, "cpu")
    result = explainer.explain(burst, RATE, methods=["loudest"])
    result.save(tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "loudest.csv",
        "loudest.png",
        "result.json",
        "arrays.npz",
    }
    assert earmark.Result.load(tmp_path / "out") == result
    assert (tmp_path / "out" / "loudest.csv").read_text().startswith(f"{result.target}  ")
    assert json.loads((tmp_path / "out" / "result.json").read_text())["loudest"] == result.loudest.to_dict()
    assert written_by_earmark(tmp_path / "out" / "loudest.csv")
    assert written_by_earmark(tmp_path / "out" / "loudest.png")
    # Its picture lies on axes, too.
    strip = result.plot(ax=Figure().subplots()).figure.axes[-1]
    assert "loudest" in [text.get_text() for text in strip.texts]
    explainer.explain(burst, RATE, methods=[]).save(tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"result.json", "arrays.npz"}


def test_the_command_line_has_it(bundle, clip, tmp_path):
    asked = ("explain", clip, "-b", bundle, "-m")
    assert "loudest   0.4" in invoke(*asked, "loudest", "--loudest-frames", 1, code=0).stdout
    (record,) = documents(invoke(*asked, "loudest", "--jsonl", "-o", tmp_path / "out", code=0))
    assert len(record["loudest"]["at_s"]) == 3
    assert (tmp_path / "out" / "loudest.csv").is_file()
    lacking = "--loudest-frames is an option of the method loudest: add -m loudest"
    invoke(*asked, "mask", "--loudest-frames", 1, code=2, says=lacking)
    invoke(*asked, "loudest", "--loudest-frames", 0, code=2, says="give 1 or more")
    assert "--loudest-frames N" in invoke("explain", "--help").stdout
    assert "\nloudest      any sound\n" in invoke("inspect", bundle).stdout
    assert json.loads(invoke("inspect", bundle, "--json").stdout)["loudest"] is True
    said = invoke("verify", bundle, code=0).stdout
    assert (said.count(" loudness_"), said.count(" loudest_")) == (3, 3)


def test_it_checks_the_bundle_and_its_golden_outputs(bundle, monkeypatch):
    from toy_method.loudest import method

    assert all(check.passed for check in verify(bundle, "cpu")[1])
    monkeypatch.setattr(method, "loudness_of", lambda stft: np.zeros(stft.shape[:-2], np.float32))
    failed = [check.output for check in verify(bundle, "cpu")[1] if not check.passed]
    assert failed == ["loudness_0", "loudness_1", "loudness_2"]

    def refuse(self, *_):
        raise earmark.BundleError("not loud enough")

    monkeypatch.setattr(method.Loudest, "examine", refuse)
    with pytest.raises(earmark.BundleError, match="not loud enough"):
        open_bundle(bundle, examine=True)
    monkeypatch.setattr(method.Loudest, "check", refuse)
    with pytest.raises(earmark.BundleError, match="not loud enough"):
        open_bundle(bundle, examine=False)


def test_it_has_a_row_in_evaluate(bundle, burst):
    explainer = earmark.load(bundle, "cpu")
    engine = engine_of(explainer)
    assert "loudest" in usual_maskers(engine)
    window = next(iter(engine.windows(open_sound(burst, RATE, RATE))))
    mask = masker_of("loudest").compute(engine, window, 0, np.random.default_rng(0))
    assert mask.shape == window.stft.shape[:2]
    edges = np.arange(0.0, 1.01, 0.1)
    task, _ = task_of(explainer, burst, RATE, 0, edges)
    assert int(available(explainer)["loudest"](task).importance.argmax()) == 4
