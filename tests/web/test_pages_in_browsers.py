"""Web pages in Chromium and Firefox, on a static server: the answers of Python, and what people do there."""

import json
from importlib.resources import files

import numpy as np
import pytest
import soundfile
from browsers import nothing_runs, until
from web_pages import (
    ask,
    check_answer,
    odd_bundle,
    opened,
    served,
    ten_clips,
    waveform_bundle,
)

import earmark
from earmark.export.fused.fuse import fuse
from earmark.export.web.write import write_page
from earmark.runtime.explainer import SHIPPED
from earmark.runtime.opening import open_bundle

pytestmark = pytest.mark.browser

EXAMPLE = SHIPPED.with_name("example.flac")
HOSTILE = "<img src=x onerror=window.ran=1>.wav"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The page of the shipped bundle, with onnxruntime-web as npm fetches it, and the fused graph beside."""
    out = tmp_path_factory.mktemp("pages") / "shipped"
    bundle = open_bundle(SHIPPED)
    write_page(bundle, out, example=EXAMPLE)
    fuse(bundle, out / "fused.onnx")
    return out


@pytest.fixture(scope="module")
def address(folder):
    with served(folder) as where:
        yield where


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    return ten_clips(tmp_path_factory.mktemp("clips"))


def explained(tab, name):
    """Wait for the explanation of a sound."""
    tab.wait_for_selector(f"#status:has-text('{name} is explained')")
    tab.wait_for_selector("article[data-ready]")


def refused(tab, *words):
    """Wait for a message, and hold it to what it must say; the page goes on."""
    tab.wait_for_selector("#error:not([hidden])")
    for word in words:
        assert word in tab.inner_text("#error")
    assert tab.is_enabled("#choose")


def test_ten_clips_get_the_answers_of_python(browser, address, clips):
    explainer = earmark.load(SHIPPED, "cpu")
    with opened(browser, address) as tab:
        for path in clips:
            result = explainer.explain(path, methods=["mask", "prototypes"])
            check_answer(ask(tab, path), result, explainer.labels)
        # For another label than the best one.
        result = explainer.explain(clips[1], target="tom", methods=["mask", "prototypes"])
        check_answer(ask(tab, clips[1], explainer.labels.index("tom")), result, explainer.labels)


def test_other_levels_windows_and_decoders(chromium, tiny_bundle, clips, tmp_path):
    explainer = odd_bundle(tiny_bundle, tmp_path / "bundle")
    write_page(open_bundle(tmp_path / "bundle"), tmp_path / "page")
    with served(tmp_path / "page") as where, opened(chromium, where) as tab:
        # Its decoder speaks for what is predicted alone.
        assert tab.locator("#target").count() == 0
        for path in clips[1:5]:
            result = explainer.explain(path, methods=["mask", "prototypes"])
            check_answer(ask(tab, path), result, explainer.labels)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(("rows", "pooling"), [(1, "mean"), (4, "square")])
def test_models_of_waveforms(chromium, clips, tmp_path, rows, pooling):
    """Without masks; with a feature map of one row; with a head that is not linear."""
    waveform_bundle(tmp_path / "bundle", rows, pooling)
    explainer = earmark.load(tmp_path / "bundle", "cpu")
    write_page(open_bundle(tmp_path / "bundle"), tmp_path / "page")
    with served(tmp_path / "page") as where, opened(chromium, where) as tab:
        for path in clips[:3]:
            result = explainer.explain(path, methods=["prototypes"])
            check_answer(ask(tab, path), result, explainer.labels)
        tab.set_input_files("#file", clips[2])
        explained(tab, clips[2].name)
        # Nothing is kept, so there is the original alone to listen to.
        assert tab.locator("input[name=voice]").count() == 1


def test_the_resampler_is_soxrs(chromium, address):
    import soxr

    usual = [(44100, 16000), (48000, 16000), (22050, 16000), (8000, 16000), (16000, 44100), (16000, 48000)]
    odd = [(44101, 16000), (16000, 95999), (40000, 8000), (8000, 96000)]
    with opened(chromium, address) as tab:
        for rates, limit in ((usual, 2e-4), (odd, 1e-3)):
            for rate, to in rates:
                # A chirp up to half the lower rate, which fades in and out: soxr begins in another way.
                time = np.arange(4000) / rate
                swept = np.sin(np.pi * 0.5 * min(rate, to) / time[-1] * time**2)
                sound = np.float32(swept * np.hanning(4000))
                length = -(-len(sound) * to // rate)
                found = tab.evaluate(
                    """async ([sound, from, to, length]) => {
                      const { resampled } = await import("./worker/resampling.js");
                      return [...resampled(Float32Array.from(sound), from, to, length)];
                    }""",
                    [sound.tolist(), rate, to, length],
                )
                expected = soxr.resample(sound, rate, to, quality="HQ")
                expected = np.pad(expected, (0, max(0, length - len(expected))))[:length]
                np.testing.assert_allclose(found, expected, atol=limit)


def test_the_fused_graph_gives_the_same_numbers(browser, address, folder):
    wave, rate = soundfile.read(EXAMPLE, dtype="float32")
    result = earmark.load(SHIPPED, "cpu").explain(wave, rate, methods=["mask"])
    with opened(browser, address) as tab:
        found = tab.evaluate(
            """async (sound) => {
              const ort = await import("./ort/ort.wasm.min.js");
              const here = (path) => new URL(path, location.href).href;
              ort.env.wasm.numThreads = 1;
              ort.env.wasm.wasmPaths = {
                mjs: here("ort/ort-wasm-simd-threaded.js"), wasm: here("ort/ort-wasm-simd-threaded.wasm"),
              };
              const session = await ort.InferenceSession.create("fused.onnx", {
                externalData: [{ path: "fused.onnx.data", data: "fused.onnx.data" }],
              });
              const waveform = new ort.Tensor("float32", Float32Array.from(sound), [1, sound.length]);
              const answers = await session.run({ waveform });
              const numbers = (name) => [name, [...answers[name].data]];
              return Object.fromEntries(["logits", "mask", "kept"].map(numbers));
            }""",
            wave.tolist(),
        )
    np.testing.assert_allclose(found["logits"], result.logits, atol=1e-5)
    np.testing.assert_allclose(found["mask"], result.mask.values.ravel(), atol=1e-5)
    np.testing.assert_allclose(found["kept"], np.ravel(result.mask.audio), atol=1e-5)


def test_a_sound_is_chosen_and_heard(browser, address):
    result = earmark.load(SHIPPED, "cpu").explain(EXAMPLE, methods=["mask", "prototypes"])
    with opened(browser, address) as tab:
        tab.set_input_files("#file", EXAMPLE)
        explained(tab, "example.flac")
        assert f"{result.target} {result.score:.1%}" in tab.inner_text("#item-title")
        assert tab.locator("role=tab").all_inner_texts() == ["Prototypes", "Contributions", "What was run"]
        first = result.prototypes["square"][0]
        assert f"{first.similarity:.2f} alike, {first.clip}" in tab.inner_text(".match >> nth=0")
        tab.uncheck("#level")
        tab.check("input[value=kept]")
        heard = tab.evaluate("view.transport.render().then((buffer) => [...buffer.getChannelData(0)])")
        np.testing.assert_allclose(heard, result.mask.audio[0], atol=1e-3)
        tab.check("input[value=removed]")
        heard = tab.evaluate("view.transport.render().then((buffer) => [...buffer.getChannelData(0)])")
        np.testing.assert_allclose(heard, result.mask.residual[0], atol=1e-3)


def test_a_prototype_plays(chromium, address):
    with opened(chromium, address) as tab:
        tab.click("#example")
        explained(tab, "example.flac")
        tab.click(".match >> nth=0 >> text=Play")
        until(tab, "sounding !== view.transport && sounding.time > 0.1")


def test_another_label_is_asked_about(chromium, address):
    result = earmark.load(SHIPPED, "cpu").explain(EXAMPLE, target="kick", methods=["mask"])
    with opened(chromium, address) as tab:
        started = []
        tab.on("worker", lambda worker: started.append(worker.url))
        tab.click("#example")
        explained(tab, "example.flac")
        tab.select_option("#target", "kick")
        tab.wait_for_selector("#item-title:has-text('kick')")
        explained(tab, "example.flac")
        assert f"kick {result.score:.1%}" in tab.inner_text("#item-title")
        assert "the model says snare" in tab.inner_text("article")
        # The worker keeps the model, and the sound as it was classified.
        assert started == []


def test_what_runs_can_be_cancelled(chromium, address, tmp_path):
    noise = np.random.default_rng(0).uniform(-0.1, 0.1, 16000 * 200)
    soundfile.write(tmp_path / "long.wav", noise, 16000)
    with opened(chromium, address) as tab:
        tab.set_input_files("#file", tmp_path / "long.wav")
        tab.wait_for_selector("#status:has-text('window')")
        tab.click("#cancel")
        assert tab.inner_text("#status") == "Cancelled."
        tab.click("#example")
        explained(tab, "example.flac")
        assert tab.inner_text(".file") == "example.flac"


def test_what_is_no_sound_is_refused(browser, address, tmp_path):
    text = tmp_path / "notes.wav"
    text.write_text("this is no sound")
    broken = tmp_path / "nan.wav"
    sound = np.zeros(8000, np.float32)
    sound[400] = np.nan
    soundfile.write(broken, sound, 16000, subtype="FLOAT")
    long, empty, none = tmp_path / "long.wav", tmp_path / "empty.wav", tmp_path / "none.wav"
    soundfile.write(long, np.zeros(8000 * 301, np.int16), 8000)
    soundfile.write(empty, np.zeros(0, np.int16), 8000)
    none.touch()
    with opened(browser, address) as tab:
        for path, words in [
            (text, ["notes.wav", "no sound"]),
            (broken, ["nan.wav", "0.025 s"]),
            (long, ["5:01", "5 minutes"]),
            (empty, ["no samples"]),
            (none, ["is empty"]),
        ]:
            tab.set_input_files("#file", path)
            refused(tab, *words)
        tab.set_input_files("#file", EXAMPLE)
        explained(tab, "example.flac")
        assert tab.is_hidden("#error")


def test_a_file_is_dropped_and_its_name_never_runs(browser, address):
    wave, rate = soundfile.read(EXAMPLE, dtype="int16")
    with opened(browser, address) as tab:
        tab.evaluate(
            """([samples, name, rate]) => {
              const buffer = new AudioBuffer({ length: samples.length, sampleRate: rate });
              buffer.getChannelData(0).set(samples.map((one) => one / 32768));
              const dropped = new DataTransfer();
              dropped.items.add(new File([wavOf(buffer)], name));
              document.dispatchEvent(new DragEvent("drop", { dataTransfer: dropped, cancelable: true }));
            }""",
            [wave.tolist(), HOSTILE, rate],
        )
        tab.wait_for_selector("article[data-ready]")
        assert HOSTILE in tab.inner_text("article")
        assert tab.evaluate("window.ran") is None
        assert tab.locator("img").count() == 0


def test_the_policy_holds(chromium, address):
    with opened(chromium, address, expected=("Content Security Policy", "404")) as tab:
        nothing_runs(tab)


def test_a_recording_is_explained(chromium, address):
    with opened(chromium, address, permissions=["microphone"]) as tab:
        tab.click("#record")
        tab.wait_for_selector("#status:has-text('Recording: 1 s')")
        assert tab.is_disabled("#choose")
        tab.click("#record")
        explained(tab, "recording.wav")
        assert tab.inner_text("#record") == "Record"
        assert tab.is_enabled("#choose")
        assert 0.5 < tab.evaluate("view.item.seconds") < 4.0


def test_a_microphone_that_is_refused(chromium, address):
    with opened(chromium, address, permissions=[]) as tab:
        tab.click("#record")
        refused(tab, "not allowed")
        tab.click("#example")
        explained(tab, "example.flac")


def test_a_browser_without_vectors_is_told(chromium, address):
    without = "WebAssembly.validate = () => false"
    with opened(chromium, address, started=False, before=without) as tab:
        tab.wait_for_selector("#waiting:has-text('SIMD')")
        assert tab.locator("#choose").count() == 0


def test_a_page_opened_from_the_disk_says_what_to_do(browser, folder):
    context = browser.new_context()
    tab = context.new_page()
    tab.goto((folder / "index.html").as_uri())
    tab.wait_for_selector("#waiting:has-text('python -m http.server')")
    context.close()


def test_a_part_that_is_missing_is_named(chromium, folder):
    name = "model/explain.onnx"
    (folder / name).rename(folder / "aside")
    try:
        with served(folder) as where, opened(chromium, where, started=False, expected=("404",)) as tab:
            tab.wait_for_selector(f"#waiting:has-text('{name}')")
    finally:
        (folder / "aside").rename(folder / name)


@pytest.mark.parametrize(("scheme", "width"), [("light", 390), ("dark", 1200)])
def test_no_barriers(chromium, address, scheme, width):
    axe = files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
    with opened(chromium, address, color_scheme=scheme, viewport={"width": width, "height": 800}) as tab:
        for step in ("start", "answer"):
            if step == "answer":
                tab.focus("#example")
                tab.keyboard.press("Enter")
                explained(tab, "example.flac")
            assert tab.evaluate("document.documentElement.scrollWidth") <= width
            tab.evaluate(axe)
            found = tab.evaluate("axe.run()")["violations"]
            assert [(one["id"], [node["html"][:120] for node in one["nodes"]]) for one in found] == []


def test_the_facts_are_those_of_the_bundle(folder):
    facts = json.loads((folder / "model" / "model.json").read_text())
    manifest = open_bundle(SHIPPED).manifest
    assert (facts["labels"], facts["bundle_id"]) == (manifest.labels, manifest.bundle_id)
