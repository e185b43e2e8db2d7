"""What an embedder sees: public names, results that print, compare and travel, types."""

import io
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from refusals import refuses
from runtime_sounds import RATE, tone

import earmark
import earmark.export
from earmark import errors

ROOT = Path(__file__).resolve().parents[2]

PROGRAM = """
from typing import assert_type

import numpy as np

import earmark
import earmark.export

explainer = earmark.load("bundle", device="cpu")
assert_type(explainer, earmark.Explainer)
result = explainer.explain((np.zeros(16_000, np.float32), 16_000), target="dog", methods=["mask"])
assert_type(result, earmark.Result)
for one in explainer.explain("clip.wav", targets=["dog", "siren"]):
    assert_type(one, earmark.Result)
assert_type(result.predictions, tuple[tuple[str, float], ...])
for item in explainer.explain_many(["a.wav", "b.wav"], batch_size=2):
    if isinstance(item, earmark.Failure):
        assert_type(item.error, earmark.EarmarkError)
    else:
        assert_type(item, earmark.Result)
    assert_type(item.ok, bool)
try:
    result.save("out")
except (earmark.AudioError, earmark.SourceError, earmark.DataError) as error:
    print(error)
accelerated = earmark.load("bundle", providers=[("OpenVINOExecutionProvider", {"device_type": "NPU"}), "CPU"])
assert_type(accelerated.device, str)
report = earmark.export.index_bundle("bundle", ["data"])
assert_type(report, earmark.export.IndexReport)
"""


@pytest.mark.parametrize("module", [earmark, earmark.export])
def test_every_public_name_is_there(module):
    assert dir(module) == sorted(module.__all__)
    for name in module.__all__:
        assert getattr(module, name) is not None
    with pytest.raises(AttributeError, match="laod"):
        module.laod  # noqa: B018


def test_every_error_is_public():
    own = {name for name, value in vars(errors).items() if isinstance(value, type)}
    assert own <= set(earmark.__all__)
    assert all(getattr(earmark, name) is getattr(errors, name) for name in own)


def test_failures_and_results_say_whether_all_is_well(explainer):
    good, bad = explainer.explain_many([(tone(), RATE), (np.zeros(0, np.float32), RATE)])
    assert isinstance(good, earmark.Result)
    assert good.ok
    assert isinstance(bad, earmark.Failure)
    assert not bad.ok
    assert pickle.loads(pickle.dumps(bad)) == bad
    assert len({bad, pickle.loads(pickle.dumps(bad))}) == 1
    assert bad != earmark.Failure(bad.input, earmark.DataError("another"))


@pytest.mark.parametrize(
    ("options", "kind", "said"),
    [
        ({"target": 3}, earmark.LabelError, "target is 3: give a label"),
        ({"target": ["bell"]}, earmark.LabelError, "target is"),
        ({"seed": 1.5}, earmark.MethodError, "seed is 1.5"),
        ({"seed": "a"}, earmark.MethodError, "seed is 'a'"),
        ({"seed": -1}, earmark.MethodError, "seed is -1"),
        ({"seed": None}, earmark.MethodError, "seed is None"),
        ({"seed": True}, earmark.MethodError, "seed is True"),
        ({"methods": 5}, earmark.MethodError, "methods is 5"),
        ({"methods": [["mask"]]}, earmark.MethodError, "no method"),
        ({"methods": [3]}, earmark.MethodError, "no method 3"),
    ],
)
def test_options_of_a_wrong_type_are_one_line(explainer, options, kind, said):
    with pytest.raises(kind, match=said):
        explainer.explain(tone(), RATE, **options)
    with pytest.raises(kind, match=said):
        explainer.explain_many([(tone(), RATE)], **options)


@pytest.mark.parametrize("size", ["a", 1.5, -1, 0, None])
def test_a_batch_size_is_a_whole_number(explainer, size):
    refuses(earmark.MethodError, "batch_size is", explainer.explain_many, [], batch_size=size)


def test_places_that_no_file_has_are_one_line(explainer, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = explainer.explain(tone(), RATE, seed=np.int64(3), methods=[])
    for place in ("", "x\0y"):
        refuses(earmark.WriteError, "names no folder", result.save, place)
    assert not list(tmp_path.iterdir())
    refuses(earmark.AudioError, "the path is empty", explainer.explain, "")
    refuses(earmark.AudioError, "masked", explainer.explain, np.ma.masked_greater(tone(), 0.0), RATE)
    with pytest.raises(earmark.MethodError, match="seed is -1"):
        earmark.segments(lambda sounds: np.full(len(sounds), 0.5), tone(), RATE, seed=-1)


@pytest.fixture(scope="module")
def whole(components_bundle):
    """Every method over the shipped model."""
    with earmark.load(components_bundle, "cpu") as explainer:
        yield lambda seed=3: explainer.explain(
            tone(seed=seed),
            RATE,
            methods=["mask", "prototypes", "components", "segments"],
            options={"segments": {"calls": 40}},
        )


def test_a_result_prints_short(whole):
    result = whole()
    assert len(repr(result)) < 1000
    assert "parts={mask, prototypes, components, ... 4 in all}" in repr(result)
    for part in (result.mask, result.channels, result.segments, result.components):
        assert len(repr(part)) < 1000
        assert "\n" not in repr(part)


def test_results_are_equal_by_value(whole):
    one, same, other = whole(), whole(), whole(seed=4)
    assert one == same
    assert one.mask == same.mask
    assert one.segments == same.segments
    assert one.components == same.components
    assert one.channels == same.channels
    assert one != other
    assert one.mask != other.mask
    assert one != "another type"
    assert pickle.loads(pickle.dumps(one)) == one


def test_a_result_travels_whatever_it_is_of(explainer, tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(), RATE, subtype="FLOAT")
    with path.open("rb") as file, io.BytesIO(path.read_bytes()) as buffer:
        results = [explainer.explain(sound) for sound in (file, buffer, path, (tone(), RATE))]
    # Its file is not needed any more, here or there.
    for result in results:
        copy = pickle.loads(pickle.dumps(result))
        assert copy == result
        assert copy.to_dict() == result.to_dict()
        np.testing.assert_array_equal(copy.mask.audio, result.mask.audio)
        np.testing.assert_array_equal(copy.mask.residual, result.mask.residual)


@pytest.mark.slow
def test_a_users_program_has_types(tmp_path):
    """mypy --strict takes what users write, and refuses a name that does not exist."""
    good, names, bad = (tmp_path / f"{name}.py" for name in ("good", "names", "bad"))
    good.write_text(PROGRAM)
    # Any would pass for everything.
    lines = "".join(f"earmark.{name}\n" for name in earmark.__all__)
    names.write_text(f"# mypy: disallow-any-expr\nimport earmark\n\n{lines}\nfailure: earmark.Failure\n")
    bad.write_text('import earmark\n\nearmark.laod("bundle")\n')
    environment = dict(os.environ)
    # In a checkout called earmark the package is the folder; elsewhere it is the installed one.
    if Path(earmark.__file__).parent == ROOT:
        environment["MYPYPATH"] = str(ROOT.parent)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), good, names, bad],
        check=False,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
    )
    (line,) = [line for line in done.stdout.splitlines() if "error:" in line]
    assert line.startswith("bad.py:3:")
    assert '"laod"' in line
