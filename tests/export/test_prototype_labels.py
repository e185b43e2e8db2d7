"""Training sounds with several labels: all are kept, shown and counted."""

import json
import shutil

import numpy as np
import pytest
import soundfile
from command_line import invoke

import earmark
from earmark.evaluation.synthesis.clips import make_clip
from earmark.export.prototypes.build import index_bundle
from earmark.export.prototypes.growth import merge_bundles, remove_clips
from earmark.prototypes_index.table import IndexedClip, SoundFiles
from earmark.runtime.explainer import SHIPPED, engine_of
from earmark.runtime.methods.prototypes.generation import open_generation
from earmark.runtime.verify import verify

RATE = 16000


@pytest.fixture
def bundle(tmp_path):
    return shutil.copytree(SHIPPED, tmp_path / "bundle")


def write(path, label="snare", seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, make_clip(label, [21, seed], snr_db=25.0).waveform, RATE)
    return path


def labels_of(bundle):
    """By source the labels of every clip."""
    with earmark.load(bundle, device="cpu") as explainer:
        generation = open_generation(bundle, engine_of(explainer).manifest)
    return {clip.source: clip.labels for clip in generation.all_clips()}


def nearest(bundle, path):
    with earmark.load(bundle, device="cpu") as explainer:
        return explainer.explain(path, methods=["prototypes"]).prototypes["time"][0]


def test_a_table_of_labels_keeps_them_all(bundle, tmp_path):
    data = tmp_path / "data"
    path = write(data / "takes" / "one.wav")
    write(data / "takes" / "two.wav", "kick")
    write(data / "takes" / "none.wav", "tom")
    (data / "labels.csv").write_text(
        "clip,labels\ntakes/one.wav,snare;clap\ntakes/two.wav,kick\ntakes/none.wav,\n"
    )
    report = index_bundle(bundle, data, extend=False)
    assert labels_of(bundle) == {"takes/one.wav": ("snare", "clap"), "takes/two.wav": ("kick",)}
    assert report.added == 2
    assert report.notes == ["1 sounds without a label are left out (the first: takes/none.wav)"]
    found = nearest(bundle, path)
    assert (found.label, found.also, found.labels) == ("snare", ("clap",), ("snare", "clap"))
    assert found.to_dict()["labels"] == ["snare", "clap"]
    told = invoke("explain", "-v", "-b", bundle, "-m", "prototypes", path).output
    assert "-> snare + clap 1.00" in told


def test_the_same_sound_in_two_class_folders_has_both_labels(bundle, tmp_path):
    data = tmp_path / "data"
    path = write(data / "clap" / "a.wav")
    (data / "snare").mkdir()
    shutil.copy(path, data / "snare" / "b.wav")
    write(data / "kick" / "c.wav", "kick")
    report = index_bundle(bundle, data, extend=False)
    assert labels_of(bundle) == {"clap/a.wav": ("clap", "snare"), "kick/c.wav": ("kick",)}
    assert report.added == 2
    assert [one.name for one in report.repeated] == ["snare/b.wav"]
    assert nearest(bundle, path).labels == ("clap", "snare")


def test_a_sound_is_removed_by_any_of_its_names(bundle, tmp_path):
    data = tmp_path / "data"
    path = write(data / "clap" / "a.wav")
    for name in ("snare/b.wav", "tom/c.wav"):
        (data / name).parent.mkdir()
        shutil.copy(path, data / name)
    for number in range(6):
        write(data / "kick" / f"{number}.wav", "kick", number)
    index_bundle(bundle, data, extend=False)
    others = {f"kick/{number}.wav" for number in range(6)}
    # Names stay when the index grows.
    index_bundle(bundle, write(tmp_path / "more" / "kick" / "more.wav", "kick", 9).parents[1])
    assert set(labels_of(bundle)) == {"clap/a.wav", "kick/more.wav", *others}
    other = shutil.copytree(bundle, tmp_path / "other")
    report = remove_clips(bundle, ["tom/c.wav"])
    assert report.taken_out == ["clap/a.wav"]
    assert set(labels_of(bundle)) == {"kick/more.wav", *others}
    assert remove_clips(other, ["sna*/b.wav"], purge=True).taken_out == ["clap/a.wav"]
    assert set(labels_of(other)) == {"kick/more.wav", *others}


def test_a_sound_that_comes_again_with_another_label_gets_it(bundle, tmp_path):
    before = labels_of(bundle)
    source = next(source for source in before if source.startswith("snare/"))
    first = tmp_path / "first"
    path = write(first / "snare" / "a.wav")
    index_bundle(bundle, first, extend=False)
    second = tmp_path / "second" / "clap"
    second.mkdir(parents=True)
    shutil.copy(path, second / "again.wav")
    report = index_bundle(bundle, tmp_path / "second")
    assert (report.added, report.relabelled) == (0, ["snare/a.wav"])
    assert labels_of(bundle) == {"snare/a.wav": ("snare", "clap")}
    # Once more: nothing is new, the generation stays.
    again = index_bundle(bundle, tmp_path / "second")
    assert (again.added, again.relabelled, again.generation) == (0, [], report.generation)
    assert all(len(labels) == 1 for labels in before.values()), source


def test_merged_bundles_join_their_labels(bundle, tmp_path):
    other = shutil.copytree(SHIPPED, tmp_path / "other")
    for target, label in ((bundle, "snare"), (other, "clap")):
        index_bundle(target, write(tmp_path / label / label / "a.wav").parents[1], extend=False)
    report = merge_bundles(bundle, [other])
    assert (report.added, report.relabelled) == (0, ["snare/a.wav"])
    assert labels_of(bundle) == {"snare/a.wav": ("snare", "clap")}
    assert all(check.passed for check in verify(bundle)[1])


def test_removing_keeps_the_labels_of_the_others(bundle, tmp_path):
    data = tmp_path / "data"
    for number in range(6):
        write(data / "takes" / f"x{number}y.wav", seed=number)
    rows = "".join(f"takes/x{number}y.wav,snare;tom\n" for number in range(6))
    (data / "labels.csv").write_text("clip,labels\n" + rows)
    index_bundle(bundle, data, extend=False)
    for purge in (False, True):
        remove_clips(bundle, [f"takes/x{int(purge)}y.wav"], purge=purge)
        assert set(labels_of(bundle).values()) == {("snare", "tom")}


def test_labels_of_a_table_are_the_models(bundle, tmp_path):
    write(tmp_path / "data" / "takes" / "one.wav")
    (tmp_path / "data" / "labels.csv").write_text("clip,labels\ntakes/one.wav,snare;dog\n")
    with pytest.raises(earmark.LabelError, match="'dog'"):
        index_bundle(bundle, tmp_path / "data")
    index_bundle(bundle, tmp_path / "data", any_label=True, extend=False)
    assert labels_of(bundle) == {"takes/one.wav": ("snare", "dog")}


def test_lines_of_older_generations_open(tmp_path):
    clip = IndexedClip("i", "a.wav", "dog", 0.0, 1.0, "0" * 64, "a")
    assert b"also" not in clip.to_line()
    assert IndexedClip.from_line(clip.to_line(), tmp_path) == clip
    files = SoundFiles()
    files.add(["cat", "dog", "cat"], ["a.wav", "b.wav"])
    wide = clip.joined(files)
    assert (wide.also, wide.names) == (("cat",), ("b.wav",))
    assert wide.labels == ("dog", "cat")
    assert json.loads(wide.to_line())["also"] == ["cat"]
    assert IndexedClip.from_line(wide.to_line(), tmp_path) == wide
    assert np.isfinite(wide.duration_s)
