"""The account of channels and the nearest prototypes, through API, files and command line."""

import json
import pickle
import re
import shutil

import numpy as np
import pytest
import soundfile
from command_line import invoke
from PIL import Image

import earmark
from earmark.evaluation.synthesis.clips import make_clip
from earmark.runtime.explainer import SHIPPED, engine_of
from earmark.runtime.methods.prototypes.generation import open_generation
from earmark.runtime.values.lazy import LazyMapping

VIEWS = ("square", "time", "frequency", "time_frequency")


@pytest.fixture(scope="module")
def generation(shipped):
    return open_generation(SHIPPED, engine_of(shipped).manifest)


@pytest.fixture(scope="module")
def clip(shipped):
    return make_clip("snare", [11, 0], snr_db=25.0).waveform


@pytest.fixture(scope="module")
def result(shipped, clip):
    return shipped.explain(clip, engine_of(shipped).manifest.sample_rate, methods=["prototypes"])


def test_the_account_is_one_line_that_adds_up(shipped, clip):
    for label in shipped.labels[:4]:
        account = shipped.explain(
            clip, engine_of(shipped).manifest.sample_rate, methods=["prototypes"], target=label
        ).channels
        total = sum(one.contribution for one in account) + account.remainder + account.bias
        assert total == pytest.approx(account.logit, abs=1e-5)
        assert account.others + len(account) == engine_of(shipped).manifest.feature_map.channels
        parts, logit = account.sum.split(" = ")
        numbers = [float(number) for number in re.findall(r"([+-]\d+\.\d+) \(", parts)]
        assert len(numbers) == len(account) + 2
        # Each is rounded to a hundredth.
        assert sum(numbers) == pytest.approx(float(logit), abs=0.005 * (len(numbers) + 1))
        assert account.to_dict()["sum"] == account.sum
        assert [one.contribution for one in account] == sorted(
            (one.contribution for one in account), reverse=True
        )


@pytest.mark.parametrize("view", VIEWS)
def test_channels_show_the_clips_in_which_they_are_strongest(result, generation, view):
    clips = list(generation.all_clips())
    for channel in result.channels:
        shown = channel.views[view]
        scores = generation.scores(view)[:, channel.channel]
        expected, seen = [], set()
        for row in np.argsort(-scores, kind="stable"):
            if clips[row].recording not in seen:
                seen.add(clips[row].recording)
                expected.append(clips[row].source)
        assert [one.clip for one in shown.prototypes] == expected[:3]
        for one in shown.prototypes:
            assert (one.kind, one.view, one.channels) == ("prototype", view, (channel.channel,))
            assert -1.0 <= one.similarity <= 1.0
        assert 0.0 <= shown.place.start_s < shown.place.end_s <= result.duration_s + 1e-6
    assert channel.place == channel.views["square"].place
    assert channel.prototypes == channel.views["square"].prototypes


def test_kinds_of_neighbours_are_told_apart(result, generation):
    for view, found in result.prototypes.items():
        places = {
            (generation.clip(generation.entry(view, row).clip).source, *generation.entry(view, row)[4:8])
            for row in generation.prototypes(view).tolist()
        }
        for one in found:
            known = (one.clip, one.start_s, one.end_s, one.fmin_hz, one.fmax_hz) in places
            assert one.kind == ("prototype" if known else "clip")


def test_prototypes_of_channels_can_be_heard(result):
    for channel in result.channels[:2]:
        passage = channel.views["time"].prototypes[0]
        wave, rate = passage.audio()
        assert wave.shape[1] == pytest.approx((passage.end_s - passage.start_s) * rate, abs=2)
        band = next(
            (
                one.prototypes[0]
                for one in (c.views["frequency"] for c in result.channels)
                if one.prototypes[0].fmin_hz > 300.0
            ),
            None,
        )
        assert band is not None
        wave, rate = band.audio()
        power = np.abs(np.fft.rfft(wave[0] * np.hanning(wave.shape[1]))) ** 2
        hertz = np.fft.rfftfreq(wave.shape[1], 1 / rate)
        assert power[hertz < 0.4 * band.fmin_hz].sum() < 0.02 * power.sum()


def test_pictures_and_sounds_are_written(result, tmp_path):
    result.save(tmp_path / "out")
    for name in ("prototypes.png", "channels.png"):
        with Image.open(tmp_path / "out" / name) as picture:
            assert picture.width == 1000
            # Not paper alone: spectrograms and framed places.
            colours = np.asarray(picture.convert("RGB"), dtype=int).reshape(-1, 3)
            assert ((colours.sum(axis=1)) < 600).mean() > 0.1
            assert ((colours[:, 0] > 150) & (colours[:, 2] < 60)).sum() > 200
    first = result.prototypes["time"][0]
    wave, rate = soundfile.read(tmp_path / "out/prototypes/time_1.wav", dtype="float32")
    expected, expected_rate = first.audio()
    assert rate == expected_rate
    np.testing.assert_allclose(wave, expected[0], atol=1e-6)
    listed = {path.name for path in (tmp_path / "out/prototypes").iterdir()}
    assert {f"channel_{result.channels[0].channel}_{rank}.wav" for rank in (1, 2, 3)} <= listed
    assert {f"{view}_{rank}.wav" for view in VIEWS for rank in (1, 2, 3)} <= listed


def test_long_sound_is_accounted_for_a_window_at_a_time(shipped, clip):
    rate = engine_of(shipped).manifest.sample_rate
    quiet = np.zeros(3 * rate, np.float32)
    sound = np.concatenate((quiet, clip, quiet))
    result = shipped.explain(sound, rate, methods=["prototypes"], target="snare")
    account = result.channels
    assert len(result.windows) > 3
    assert account.end_s - account.start_s <= engine_of(shipped).manifest.window.seconds + 1e-6
    assert account.error < 1e-4
    # The evidence is in the clip, wherever the windows were cut.
    assert account.start_s < 3 + len(clip) / rate
    assert account.end_s > 3
    for view in ("square", "time"):
        place = result.prototypes[view][0].place
        assert 2.9 < place.start_s < 3 + len(clip) / rate


def test_every_match_is_drawn_beside_the_place_that_it_matches(shipped, clip, tmp_path):
    """In sound of several windows: the spectrogram is that of the place's window, where it is framed."""
    from earmark.runtime.drawing.sheets import ABOVE, LEFT, ROW, TILE
    from earmark.runtime.methods.prototypes.picture import SHOWN

    rate = engine_of(shipped).manifest.sample_rate
    sound = 0.001 * np.random.default_rng(0).standard_normal(12 * rate).astype(np.float32)
    for at in (2.4, 7.6):
        sound[int(at * rate) : int(at * rate) + len(clip)] += clip
    result = shipped.explain(sound, rate, methods=["prototypes"], target="snare")
    windows = {}
    for heard in engine_of(shipped).windows(_opened(sound, rate)):
        windows[heard.offset / rate] = np.hypot(heard.stft[..., 0], heard.stft[..., 1])
    rows = []
    for found in result.prototypes.values():
        for one in found:
            window = one.window
            assert window.start_s <= one.place.start_s + 1e-6
            assert one.place.end_s <= window.start_s + window.seconds + 0.2
            np.testing.assert_allclose(window.amplitude, windows[window.start_s], rtol=1e-6)
        rows += dict.fromkeys(one.place for one in found[:SHOWN])
    assert len({one.window.start_s for found in result.prototypes.values() for one in found}) > 1
    for one in result.channels:
        assert one.prototypes[0].window is result.channels.window
    result.save(tmp_path)
    with Image.open(tmp_path / "prototypes.png") as picture:
        assert picture.height == ABOVE + ROW * len(rows) + 24
        pixels = np.asarray(picture.convert("RGB"), dtype=int)
    by_place = {one.place: one.window for found in result.prototypes.values() for one in found}
    for number, place in enumerate(rows):
        top = ABOVE + number * ROW
        tile = pixels[top : top + TILE[1], LEFT : LEFT + TILE[0]]
        warm = tile[..., 0] > tile[..., 2] + 60
        window = by_place[place]
        ends = np.array([place.start_s, place.end_s]) - window.start_s
        left, right = np.clip(ends / window.seconds, 0, 1) * TILE[0]
        columns = np.flatnonzero(warm.any(axis=0))
        assert columns[0] == pytest.approx(left, abs=2)
        assert columns[-1] == pytest.approx(right, abs=2)


def _opened(sound, rate):
    from earmark.runtime.audio.sound import open_sound

    return open_sound(sound, rate, rate)


def test_the_text_says_which_place_each_match_is_of(shipped, clip, tmp_path):
    soundfile.write(tmp_path / "a.wav", clip, engine_of(shipped).manifest.sample_rate, subtype="FLOAT")
    told = invoke("explain", tmp_path / "a.wav", "-m", "prototypes", "-v").output
    result = shipped.explain(tmp_path / "a.wav", methods=["prototypes"])
    for found in result.prototypes.values():
        for one in found[:3]:
            place = one.place
            where = f"{place.start_s:.2f}-{place.end_s:.2f} s, {place.fmin_hz:.0f}-{place.fmax_hz:.0f} Hz"
            (_line,) = (
                line
                for line in told.splitlines()
                if f"{one.label} {one.similarity:.2f}  {one.clip} {one.start_s:.2f}-{one.end_s:.2f}" in line
                and where in line.partition("->")[0]
                and f"{one.fmin_hz:.0f}-{one.fmax_hz:.0f} Hz" in line.partition("->")[2]
            )


def test_a_pickled_result_is_whole(result):
    again = pickle.loads(pickle.dumps(result))
    assert again.to_dict() == result.to_dict()
    assert again.channels == result.channels
    assert dict(again.prototypes) == dict(result.prototypes)


def test_lazy_values_are_made_once():
    calls = []
    lazy = LazyMapping(("a", "b"), lambda key: calls.append(key) or key.upper())
    assert (len(lazy), list(lazy), calls) == (2, ["a", "b"], [])
    assert lazy["a"] == lazy["a"] == "A"
    assert calls == ["a"]
    assert lazy == {"a": "A", "b": "B"}
    with pytest.raises(KeyError):
        lazy["c"]


def test_command_line_tells_the_sum(clip, shipped, tmp_path):
    soundfile.write(tmp_path / "a.wav", clip, engine_of(shipped).manifest.sample_rate)
    told = invoke("explain", tmp_path / "a.wav", "-m", "prototypes", "-v").output
    line = next(line for line in told.splitlines() if line.strip().startswith("sum "))
    assert "others)" in line
    assert "(bias) = " in line


def test_inspect_shows_kinds(generation):
    told = invoke("inspect", SHIPPED).output
    count = len(generation.prototypes("time"))
    assert f"{count} prototypes of channels" in told
    document = json.loads(invoke("inspect", SHIPPED, "--json").output)
    kinds = document["index_info"]["views"]["time"]["kinds"]
    assert kinds == {"prototype": count, "clip": generation.info.views["time"].entries - count}
    assert document["apex"] is None


def test_neighbours_are_one_a_recording_where_there_are_enough(shipped, clip, tmp_path):
    from earmark.export.prototypes.build import index_bundle

    rate, random = engine_of(shipped).manifest.sample_rate, np.random.default_rng(0)
    takes = tmp_path / "takes" / "snare"
    takes.mkdir(parents=True)
    for take in "ABCDEF":
        # ESC's names: six takes of the recording 777.
        soundfile.write(takes / f"3-777-{take}.wav", clip + 1e-4 * random.standard_normal(len(clip)), rate)
    for name, extend in (("more", True), ("alone", False)):
        shutil.copytree(SHIPPED, tmp_path / name)
        index_bundle(tmp_path / name, tmp_path / "takes", extend=extend)
        found = earmark.load(tmp_path / name, device="cpu").explain(clip, rate, methods=["prototypes"])
        for view, some in found.prototypes.items():
            similarities = [one.similarity for one in some]
            assert similarities == sorted(similarities, reverse=True)
            assert "3-777" in some[0].clip, view
            assert len({one.clip for one in some}) == len(some) == 5
            assert sum("3-777" in one.clip for one in some) == (1 if extend else 5)


def test_matches_lie_in_a_band_like_that_of_their_place(shipped, clip):
    def shared(one):
        """Part of the narrower of the two bands, in mel, that lies in both."""
        low, high, at, to = (
            2595.0 * np.log10(1.0 + hz / 700.0)
            for hz in (one.place.fmin_hz, one.place.fmax_hz, one.fmin_hz, one.fmax_hz)
        )
        return (min(high, to) - max(low, at)) / min(high - low, to - at)

    like = shipped.explain(clip, 16_000, methods=["prototypes"]).prototypes
    for view in ("square", "frequency"):
        assert like[view]
        assert all(shared(one) >= 0.5 - 1e-3 for one in like[view]), view
    options = {"prototypes": {"bands": "any"}}
    free = shipped.explain(clip, 16_000, methods=["prototypes"], options=options).prototypes
    assert free["time"] == like["time"]
    assert [one.similarity for one in free["square"]] >= [one.similarity for one in like["square"]]
    with pytest.raises(earmark.MethodError, match="give one of like, any"):
        shipped.explain(clip, 16_000, options={"prototypes": {"bands": "low"}})


def test_the_summary_names_the_nearest_training_sound(shipped, clip, tmp_path):
    soundfile.write(tmp_path / "a.wav", clip, engine_of(shipped).manifest.sample_rate, subtype="FLOAT")
    told = invoke("explain", tmp_path / "a.wav").output
    result = shipped.explain(tmp_path / "a.wav")
    best = max((listed[0] for listed in result.prototypes.values()), key=lambda one: one.similarity)
    (line,) = (line for line in told.splitlines() if line.strip().startswith("like "))
    assert best.clip in line
    assert f"similarity {best.similarity:.2f}" in line
    # The strip: a column is marked where a span of the evidence lies.
    (strip,) = (line.split("|")[1] for line in told.splitlines() if line.strip().startswith("0 s |"))
    step = result.duration_s / len(strip)
    for start, end in result.mask.spans:
        assert set(strip[int(start / step) : int(end / step) + 1]) == {"#"}
    assert strip.count(".") > len(strip) / 2
