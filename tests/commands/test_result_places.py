"""Where `earmark explain -o` puts results: as the sounds lie, one folder a sound, whatever their names."""

import json
import random
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from changed_bundle import rewritten
from command_line import invoke
from runtime_sounds import run_python

from earmark.commands.inputs import Input, collect
from earmark.commands.result_folders import result_folders, safe_name

OUT = Path("out")


def places(*names, within=None):
    items = [Input(name, name, within=within) for name in names]
    taken = ("run.jsonl", "report_parts")
    return [path.relative_to(OUT).as_posix() for path in result_folders(OUT, items, taken)]


@pytest.mark.parametrize(
    ("names", "within", "expected"),
    [
        # The tree is mirrored.
        ("in/a.wav in/x/b.flac in/x/y/c.ogg", "in", "a x/b x/y/c"),
        ("a/in/x.wav", "a/in/", "x"),
        ("a/x.wav b/y.wav", None, "x y"),
        # Equal stems keep their endings, equal names their folders.
        ("in/a.wav in/a.flac in/b.wav", "in", "a.wav a.flac b"),
        ("x/a.wav y/a.wav", None, "x/a.wav y/a.wav"),
        # A folder of the tree may be called as a sound beside it: no result lies in another.
        ("in/dog.wav in/dog/bark.wav", "in", "dog.wav dog/bark"),
        ("in/a.wav in/a.flac in/a.wav.d/b.wav", "in", "a.wav a.flac a.wav.d/b"),
        # Nor where the run keeps its own files.
        ("in/run.jsonl.wav in/Report_Parts.wav", "in", "run.jsonl.wav Report_Parts.wav"),
        # A file named twice has one folder.
        ("x/a.wav ./x/a.wav x/b.wav", None, "a a b"),
    ],
)
def test_every_sound_has_a_folder_of_its_own(names, within, expected):
    assert places(*names.split(), within=within) == expected.split()


def test_folders_that_would_be_the_same_are_told_apart():
    first, second = places("p/x/a.wav", "q/x/a.wav")
    assert first != second
    assert first.startswith("a.wav-")
    assert len(set(places("in/a.wav", "in/a.flac", "in/a.wav.mp3", within="in"))) == 3


def test_names_do_not_depend_on_the_order():
    names = [
        f"in/{folder}/{stem}.{ending}"
        for folder in "xy"
        for stem in "abA"
        for ending in ("wav", "WAV", "mp3")
    ]
    names += ["in/x.wav", "in/x/a.wav.flac", "in/x/é.wav", "in/x/e\u0301.wav"]
    expected = dict(zip(names, places(*names, within="in"), strict=True))
    folded = {place.casefold() for place in expected.values()}
    assert len(folded) == len(names)
    for seed in range(5):
        random.Random(seed).shuffle(names)
        assert dict(zip(names, places(*names, within="in"), strict=True)) == expected


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("in/...wav", "_..wav"),
        ("in/..wav", "_.wav"),
        ("in/.wav", "_wav"),
        ("in/ .wav", "_.wav"),
        ("in/a .wav", "a"),
        ("in/a:b*.wav", "a_b_"),
        ("in/a\\b.wav", "a_b"),
        ("in/con.wav", "_con"),
        ("in/LPT1.x.wav", "_LPT1.x"),
        ("in/two\nlines.wav", "two_lines"),
        ("in/caf\udce9.wav", "caf_"),
        ("in/.hidden.wav", "_hidden"),
        ("in/../up.wav", "_/up"),
    ],
)
def test_names_are_safe(name, place):
    assert places(name, within="in") == [place]


@pytest.mark.parametrize("letter", ["a", "é", "鳥", "\U0001f426"])
def test_long_names_are_cut_and_stay_apart(letter):
    first, second = safe_name(letter * 250 + "1"), safe_name(letter * 250 + "2")
    assert first != second
    assert max(len(first.encode()), len(second.encode())) <= 120


def test_many_equal_stems_take_linear_time():
    names = [f"in/{number}/a.wav" for number in range(10_000)]
    started = time.process_time()
    assert len(set(places(*names))) == 10_000
    assert time.process_time() - started < 5


# The command


@pytest.fixture
def tree(tmp_path):
    folder = tmp_path / "in"
    for number, name in enumerate(("a.wav", "a.flac", "...wav", "x/b.wav", "x/a.wav")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        sound = 0.1 * np.sin(np.arange(8000) * (0.1 + 0.05 * number))
        soundfile.write(folder / name, sound, 16000, format="FLAC" if name.endswith("flac") else "WAV")
    return folder


def explain(bundle, *arguments):
    return json.loads(invoke("explain", *arguments, "-b", bundle, "-m", "mask", "--json", code=0).stdout)


def results_in(folder):
    return sorted(path.parent.relative_to(folder).as_posix() for path in folder.rglob("result.json"))


def test_output_inside_the_input_is_no_input(tree, tiny_bundle):
    """The hidden name starts with a dot, hence is passed over; naming it explains it."""
    expected = ["a.flac", "a.wav", "x/a", "x/b"]
    for _ in range(2):
        said = explain(tiny_bundle, "-r", tree, "-o", tree / "out")
        assert len(said["results"]) == 4
        assert results_in(tree / "out") == expected
    assert {one["reason"] for one in said["skipped"]} == {"earmark wrote it, as part of a result"}
    # Another folder for the output, and the sounds beside their results.
    explain(tiny_bundle, "-r", tree, "-o", tree)
    beside = ["a_flac", "a_wav", "x/a", "x/b"]
    assert results_in(tree) == sorted(beside + [f"out/{name}" for name in expected])
    assert len(explain(tiny_bundle, "-r", tree, "-o", tree.parent / "other")["results"]) == 4
    assert results_in(tree.parent / "other") == expected
    # Who names a file means it.
    kept = tree / "out" / "x" / "a" / "kept.wav"
    assert len(explain(tiny_bundle, kept)["results"]) == 1


def test_a_name_of_dots_stays_inside(tree, tiny_bundle, tmp_path):
    explain(tiny_bundle, tree / "...wav", tree / "a.wav", "-o", tmp_path / "deep" / "out")
    assert results_in(tmp_path / "deep") == ["out/_..wav", "out/a"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["deep", "in"]


def test_labels_that_file_systems_take_for_one_have_folders_of_their_own(tree, tiny_bundle, tmp_path):
    bundle, out = shutil.copytree(tiny_bundle, tmp_path / "bundle"), tmp_path / "out"
    with rewritten(bundle) as manifest:
        manifest["labels"] = labels = ["a/b", "a:b", "A:B"]
    asked = ["explain", "-b", bundle, "-m", "none", tree / "a.wav"]
    targets = [word for label in labels for word in ("--target", label)]
    invoke(*asked, *targets, "-o", out, code=0)
    said = {json.loads(path.read_text())["target"]: path.parent.name for path in out.rglob("result.json")}
    assert sorted(said) == sorted(labels)
    assert len({place.casefold() for place in said.values()}) == 3
    # Whichever of them are asked for.
    invoke(*asked, *targets[2:], "-o", tmp_path / "two", code=0)
    assert results_in(tmp_path / "two") == sorted([said["A:B"], said["a:b"]])


def test_another_sound_in_the_same_folder_replaces_the_first(tree, tiny_bundle, tmp_path):
    out = tmp_path / "out"
    explain(tiny_bundle, tree / "a.wav", "-o", out)
    assert (out / "mask.png").exists()
    invoke("explain", tree / "x" / "b.wav", "-b", tiny_bundle, "-m", "segments", "-o", out, code=0)
    assert sorted(path.name for path in out.iterdir()) == ["result.json", "segments.csv", "segments.png"]


def test_one_sound_of_a_folder_has_a_folder_too(tree, tiny_bundle, tmp_path):
    """Else a second sound in the folder would move the first one's result."""
    explain(tiny_bundle, tree / "x", "-o", tmp_path / "out")
    (tree / "x" / "a.wav").unlink()
    explain(tiny_bundle, tree / "x", "-o", tmp_path / "less")
    assert results_in(tmp_path / "out") == ["a", "b"]
    assert results_in(tmp_path / "less") == ["b"]


def test_patterns_mirror_from_their_fixed_part(tree):
    found = collect([str(tree / "**" / "*.wav")], from_file=None, recursive=False).items
    folders = {path.relative_to(OUT).as_posix() for path in result_folders(OUT, found)}
    assert folders == {"a", "x/a", "x/b"}


def test_terminated_it_leaves_nothing_half_written(tree, tiny_bundle, tmp_path):
    """SIGTERM in the middle of writing a sound file."""
    code = """
        import os, signal, soundfile
        write = soundfile.SoundFile.write
        def ended(*a):
            write(*a); os.kill(os.getpid(), signal.SIGTERM)
        soundfile.SoundFile.write = ended
        from earmark.cli import main
        main()
    """
    said = run_python(code, "explain", tree / "a.wav", "-b", tiny_bundle, "-o", tmp_path / "out", code=143)
    assert "Traceback" not in said
    # An empty folder would be counted as a result.
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
