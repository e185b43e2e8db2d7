"""What the tests of web pages share: pages of several bundles, a server for them, and how they are asked."""

import base64
import functools
import shutil
import threading
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import soundfile
from apex_sounds import write_sounds
from browsers import tab_of
from changed_bundle import rewritten

import earmark
from earmark.evaluation.synthesis.clips import make_clip


class _Quiet(SimpleHTTPRequestHandler):
    """What `python -m http.server` runs, without its log."""

    def log_message(self, *_):
        pass


@contextmanager
def served(folder):
    """The address of a folder on a static web server."""
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/"
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def opened(browser, address, *, started=True, expected=(), before="", **options):
    """A tab with the page; what it complains of, or asks of anybody else, is an error.

    started: wait for the page to take sounds; expected: complaints that are none; before: a script that
    runs first
    """
    ready = "#live[data-ready]" if started else None
    with tab_of(browser, f"{address}index.html", address, ready, before=before, **options) as (tab, told):
        yield tab
    assert [text for text in told if not any(one in text for one in expected)] == []


# Asks the page's own parts, as its script does, and gives all of the worker's answer, not only what is shown.
_ASK = """async ([name, text, target]) => {
  window.model ??= new BrowserModel();
  await model.ready;
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const { channels, rate } = await soundOf(new Blob([bytes]), name, 300);
  const answer = await model.ask({ kind: "explain", channels, rate, play: playRate(rate), target }, () => {});
  const { mask, views, contributions, scores } = answer;
  const { values, dims } = mask?.columns ?? {};
  // Numbers as text take browsers' debuggers long.
  const packed = (floats) => {
    const all = new Uint8Array(Float32Array.from(floats).buffer);
    let text = "";
    for (const one of all) text += String.fromCharCode(one);
    return btoa(text);
  };
  return {
    rate, scores, views, contributions, windows: answer.windows, target: answer.target,
    mask: mask && { ...mask, kept: packed(mask.kept), values: packed(values), columns: dims },
  };
}"""


def ask(tab, path, target=None):
    """What the page answers about a file, for the label of that index."""
    found = tab.evaluate(_ASK, [path.name, base64.b64encode(path.read_bytes()).decode(), target])
    for name in ("kept", "values") if found["mask"] is not None else ():
        found["mask"][name] = np.frombuffer(base64.b64decode(found["mask"][name]), "<f4")
    return found


def ten_clips(folder):
    """Sounds of other rates, channels, lengths and encodings, and the shipped one."""
    from earmark.runtime.explainer import SHIPPED

    forms = [
        ("stereo.wav", 44100, 2, 3.3, "PCM_16"),
        ("fine.wav", 48000, 1, 2.0, "PCM_24"),
        ("telephone.wav", 8000, 1, 1.7, "PCM_16"),
        ("half.flac", 22050, 2, 2.4, "PCM_16"),
        ("float.wav", 16000, 1, 7.0, "FLOAT"),
        ("short.wav", 16000, 1, 0.4, "PCM_16"),
        ("high.flac", 96000, 1, 2.0, "PCM_24"),
        ("old.wav", 11025, 1, 2.5, "PCM_U8"),
        ("three.wav", 32000, 3, 2.015, "PCM_32"),
    ]
    paths = [SHIPPED.with_name("example.flac")]
    for number, (name, rate, channels, seconds, subtype) in enumerate(forms):
        random = np.random.default_rng(number)
        clip = make_clip("bell" if number % 2 else "kick", [7, number, 0], snr_db=15.0).waveform
        time = np.arange(round(seconds * rate)) / rate
        sound = np.interp(time % 2.0, np.arange(len(clip)) / 16000, clip)
        # Noise up to half the rate, so that the edge of the resampler's filter counts.
        sound = sound + 0.01 * random.standard_normal(len(time))
        gains = random.uniform(0.3, 0.9, (1, channels))
        paths.append(folder / name)
        soundfile.write(folder / name, np.clip(sound[:, None] * gains, -1, 1), rate, subtype=subtype)
    return paths


def check_answer(found, result, labels):
    """Hold what a page answers to what Python answers."""
    scores = dict(result.predictions)
    assert found["scores"] == pytest.approx([scores[label] for label in labels], abs=1e-3)
    assert labels[found["target"]] == result.target
    assert found["windows"] == len(result.windows)
    if result.mask is not None:
        values = found["mask"]["values"].reshape(found["mask"]["columns"])
        np.testing.assert_allclose(values, result.mask.values, atol=1e-3)
        kept = result.mask.audio
        np.testing.assert_allclose(
            found["mask"]["kept"], kept if kept.ndim == 1 else kept.mean(axis=0), atol=1e-3
        )
        assert found["mask"]["area"] == pytest.approx(result.mask.area, abs=1e-4)
        assert found["mask"]["band"] == pytest.approx(list(result.mask.band), abs=1e-3)
        assert np.ravel(found["mask"]["spans"]) == pytest.approx(np.ravel(result.mask.spans), abs=1e-3)
    if result.prototypes is not None:
        for view in found["views"]:
            _check_view(view["matches"], result.prototypes[view["name"]])
        found_channels = [(row["channel"], row["value"]) for row in found["contributions"]["rows"]]
        channels = [(one.channel, one.contribution) for one in result.channels]
        assert [one for one, _ in found_channels] == [one for one, _ in channels]
        assert [one for _, one in found_channels] == pytest.approx([one for _, one in channels], abs=1e-3)
        assert found["contributions"]["remainder"] == pytest.approx(result.channels.remainder, abs=1e-3)


def _check_view(matches, expected):
    """The same matches in the same order; of two that are as near, either may come first."""
    assert len(matches) == len(expected)
    similar = [one.similarity for one in expected]
    assert [one["similarity"] for one in matches] == pytest.approx(similar, abs=1e-3)
    for rank, (match, one) in enumerate(zip(matches, expected, strict=True)):
        beside = [
            abs(similar[other] - similar[rank]) for other in (rank - 1, rank + 1) if 0 <= other < len(similar)
        ]
        if min(beside, default=1.0) < 2e-3:
            continue
        there = [one.start_s, one.end_s, one.fmin_hz, one.fmax_hz]
        here = [one.place.start_s, one.place.end_s, one.place.fmin_hz, one.place.fmax_hz]
        assert (match["clip"]["name"], match["kind"]) == (one.clip, one.kind)
        assert match["there"] == pytest.approx(there, abs=1e-3)
        assert match["here"] == pytest.approx(here, abs=1e-3)


def odd_bundle(source, folder):
    """A bundle whose level is the recording's, and whose decoder is for what is predicted alone."""
    from earmark.export import index_bundle

    shutil.copytree(source, folder)
    index_bundle(folder, write_sounds(folder.with_name("sounds")), audio=False)

    with rewritten(folder) as manifest:
        manifest["window"] |= {"level_over": "recording", "aggregate": "lme"}
        manifest |= {"level": "unit_variance", "mask_targets": "predicted", "mask_gain": "log"}
    return earmark.load(folder, "cpu")


def waveform_bundle(folder, rows, pooling):
    """A bundle of a graph that takes waveforms, with prototypes of its feature map and without masks."""
    import onnx
    import torch
    from apex_models import Listening
    from command_line import invoke

    from earmark.export import index_bundle

    path = folder.with_suffix(".onnx")
    torch.onnx.export(
        Listening(rows, pooling).eval(), (torch.zeros(1, 8000),), str(path), input_names=["wave"],
        output_names=["scores"], dynamic_axes={"wave": {0: "batch", 1: "samples"}}, dynamo=False,
        opset_version=17,
    )  # fmt: skip
    products = [node for node in onnx.load(str(path)).graph.node if node.op_type == "Mul"]
    bands = [] if rows == 1 else ["--map-bands", ",".join(str(1000 * row) for row in range(rows + 1))]
    made = invoke(
        "export", path, "-o", folder, "--labels", "low hum,whistle", "--sample-rate", 16000, "--window", 1.0,
        "--feature-map", products[0].output[0], "--map-axes", "tc" if rows == 1 else "cft", *bands,
    )  # fmt: skip
    assert made.exit_code == 0, made.output
    sounds = write_sounds(folder.with_name("sounds"), labels=("low hum", "whistle"))
    index_bundle(folder, sounds, audio=True)
