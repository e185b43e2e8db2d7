"""Masks and components for a bare .onnx: its maps are found, PyTorch answers as the file, the file stays."""

import json
import shutil

import numpy as np
import onnx
import onnx_graphs as graphs
import onnx_variants
import pytest
import tone_listener
from command_line import invoke
from onnx import numpy_helper

from earmark.errors import SourceError

torch = pytest.importorskip("torch")
ort = pytest.importorskip("onnxruntime")

from earmark.export.sources.onnx.feature_map import MapRequest  # noqa: E402
from earmark.export.sources.onnx.file import load  # noqa: E402
from earmark.export.sources.onnx.frontends import open_frontend  # noqa: E402
from earmark.export.sources.onnx.places import TensorPlace  # noqa: E402
from earmark.export.sources.onnx.trainable import trainable  # noqa: E402
from earmark.export.training.forms import decoder_form  # noqa: E402
from earmark.export.training.frozen_classifier import FrozenClassifier  # noqa: E402

SECONDS = 1.0


def opened(path, **how):
    return load(path, labels=graphs.LABELS, sample_rate=graphs.RATE, window_seconds=SECONDS, **how)


@pytest.fixture(scope="module")
def cnn(tmp_path_factory):
    return graphs.cnn(tmp_path_factory.mktemp("cnn") / "cnn.onnx")


@pytest.fixture(scope="module")
def source(cnn):
    return trainable(opened(cnn))


def test_maps_are_found_with_their_axes_and_places(source):
    scales = {scale.tap: scale for scale in source.scales}
    assert not decoder_form(source, "compact").on_features
    assert list(source.taps) == ["deep@cft", "r2@cft"]
    assert source.taps["deep@cft"] == ["batch", 12, "frames_map0", 4]
    # 2 and 4 hops of 80 samples, in frames of a listenable STFT whose hop divides them.
    assert source.analysis.hop * scales["r2@cft"].stride == 160
    assert source.analysis.hop * scales["deep@cft"].stride == 320
    # Pairs of the bank's bands, a factor of 1.5 apart; a convolution of random weights leans to one side.
    pitches = 150 * 25 ** (np.arange(16) / 16)
    np.testing.assert_allclose(scales["r2@cft"].hz[1:-1], pitches.reshape(8, 2).mean(1)[1:-1], rtol=0.4)
    assert scales["r2@cft"].hz == sorted(scales["r2@cft"].hz)


def test_pytorch_answers_as_the_stage_does(source, tmp_path):
    """Logits and taps for several lengths and batches, the stage in ONNX Runtime."""
    stages = {stage.name: stage for stage in source.write_stages(tmp_path)}
    session = ort.InferenceSession(
        str(tmp_path / stages["classifier"].file), providers=["CPUExecutionProvider"]
    )
    for batch, samples in ((1, 8000), (3, 5001), (2, 2700)):
        sound = np.random.default_rng(samples).standard_normal((batch, samples)).astype(np.float32)
        ours = source.forward_pass(torch.from_numpy(sound))
        names = ["logits", *source.taps]
        for name, theirs in zip(names, session.run(names, {"features": sound}), strict=True):
            np.testing.assert_allclose(ours[name].numpy(), theirs, rtol=1e-4, atol=1e-5)


def test_the_graph_goes_into_the_bundle_as_it_is(source, cnn, tmp_path):
    source.write_stages(tmp_path)
    given, stage = onnx.load(cnn).graph, onnx.load(tmp_path / "classifier.onnx").graph
    weights = {weight.name: numpy_helper.to_array(weight) for weight in stage.initializer}
    for weight in given.initializer:
        np.testing.assert_array_equal(weights[weight.name], numpy_helper.to_array(weight))
    made = {name for node in stage.node for name in node.output}
    assert all(set(node.output) <= made for node in given.node)


def test_gradients_reach_the_sound_and_are_right(source):
    """In float64, against finite differences; finite where the sound is silent."""
    twin = source.classifier.double()
    try:
        sound = 0.1 * torch.randn(1, 4000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        sound[:, 2000:] = 0
        sound.requires_grad_()
        (gradient,) = torch.autograd.grad(twin(sound)[0][0, 1], sound)
        assert gradient.isfinite().all()
        direction = torch.randn(1, 4000, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        direction[:, 1700:] = 0
        with torch.no_grad():
            ahead, behind = (twin(sound + step * direction)[0][0, 1] for step in (1e-7, -1e-7))
        assert float((gradient * direction).sum()) == pytest.approx(float(ahead - behind) / 2e-7, rel=1e-4)
    finally:
        twin.float()


QUICK = [("qoperator", "cnn"), ("optimised", "transformer")]


@pytest.mark.parametrize(
    ("variant", "kind"),
    [
        pytest.param(variant, kind, marks=() if (variant, kind) in QUICK else pytest.mark.slow)
        for variant in onnx_variants.KINDS
        for kind in ("cnn", "transformer")
    ],
)
def test_graphs_that_tools_optimised_or_quantised_are_trained_over(kind, variant, tmp_path):
    """Maps are found, PyTorch answers as the file, and the stage gives real numbers."""
    graph = getattr(graphs, kind)(tmp_path / "whole.onnx")
    source = trainable(opened(onnx_variants.variant(variant, graph, tmp_path / "variant.onnx")))
    # Quieter than what the ranges were made of.
    sound = 0.05 * torch.randn(1, 8000, generator=torch.Generator().manual_seed(0))
    theirs = source.graph.outputs(sound.numpy())["logits"]
    sound.requires_grad_()
    tensors = source.forward_pass(sound)
    np.testing.assert_allclose(tensors["logits"].detach().numpy(), theirs, rtol=0.02, atol=0.02)
    (gradient,) = torch.autograd.grad(tensors["logits"].sum(), sound)
    assert gradient.isfinite().all()
    assert gradient.abs().max() > 0
    classifier = {one.name: one for one in source.write_stages(tmp_path)}["classifier"]
    session = ort.InferenceSession(str(tmp_path / classifier.file), providers=["CPUExecutionProvider"])
    assert {one.type for one in session.get_outputs()} == {"tensor(float)"}


def test_tokens_are_laid_out_as_their_grid(tmp_path):
    """An AST-like graph: tokens behind a class token, frequency first; one sound at a time, one length."""
    source = trainable(opened(graphs.transformer(tmp_path / "ast.onnx")))
    assert "last_tokens@1+ftc4" in source.taps
    assert source.taps["last_tokens@1+ftc4"] == ["batch", 12, 25, 4]
    tensors = source.forward_pass(0.1 * torch.randn(2, 8000))
    assert tensors["last_tokens@1+ftc4"].shape == (2, 12, 25, 4)


PANNS = ["stft.n_fft=256", "stft.hop=80", "mel.bins=16", "mel.high_hz=4000"]
AST = ["stft.n_fft=256", "stft.window_length=200", "stft.hop=80", "mel.bins=16", "frames.count=96"]


def test_a_listenable_front_end_takes_masked_spectrograms(tmp_path):
    """Features with --frontend: the masks' STFT is the front end's, and the maps' strides are its frames."""
    how = {
        "frontend": open_frontend("panns", PANNS, graphs.RATE),
        "task": "multi_label",
        "scores": "probabilities",
    }
    source = trainable(opened(graphs.panns(tmp_path / "panns.onnx"), **how))
    assert channels(source) == {"refined": [32, 16, 16], "last": 16}
    assert source.rescore == "spectrogram"
    assert (source.analysis.n_fft, source.analysis.hop) == (256, 80)
    assert {scale.tap: scale.stride for scale in source.scales} == {"p1@ctf": 4, "r1@ctf": 2, "r0@ctf": 1}
    frozen = FrozenClassifier(source, exact=True, device=torch.device("cpu"))
    forward = frozen.forward(0.1 * torch.randn(2, 8000, generator=torch.Generator().manual_seed(0)))
    mask = torch.full(forward.amplitude.shape, 0.5, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(frozen.parts(forward, torch.ones_like(mask), "log")[0], forward.logits)
    (gradient,) = torch.autograd.grad(frozen.parts(forward, mask, "log")[0][:, 0].sum(), mask)
    assert gradient.isfinite().all()
    assert gradient.abs().max() > 0


def channels(source):
    """Channels of each step of the decoder that is trained by default, coarsest first, and of the last."""
    decoder = decoder_form(source, "compact").build()
    return {
        "refined": [step.pointwise.out_channels for step in decoder.refine],
        "last": decoder.final.pointwise.out_channels,
    }


def test_a_front_end_that_is_not_listenable_takes_masked_sound(tmp_path):
    how = {"frontend": open_frontend("ast", AST, graphs.RATE)}
    source = trainable(opened(graphs.ast(tmp_path / "ast.onnx"), **how))
    # However small the classifier, no narrower than what learns; the tokens' step has twice the channels.
    assert channels(source) == {"refined": [32, 16], "last": 16}
    assert source.rescore == "waveform"
    assert decoder_form(source, "compact").on_features
    assert source.taps["last_tokens@1+ftc4"] == ["batch", 12, 24, 4]
    frozen = FrozenClassifier(source, exact=False, device=torch.device("cpu"))
    forward = frozen.forward(0.1 * torch.randn(2, 8000, generator=torch.Generator().manual_seed(0)))
    mask = torch.full(forward.amplitude.shape, 0.5, requires_grad=True)
    (gradient,) = torch.autograd.grad(frozen.parts(forward, mask, "log")[0][:, 0].sum(), mask)
    assert gradient.isfinite().all()
    assert gradient.abs().max() > 0


def test_tokens_that_the_scores_do_not_read_are_left_out(tmp_path):
    """Where the class token alone is read: the map is what it reads of the patches, their rows are theirs."""
    how = {"frontend": open_frontend("ast", AST, graphs.RATE)}
    source = trainable(opened(graphs.ast(tmp_path / "ast.onnx", read="class"), **how))
    (scale,) = source.scales
    assert scale.tap == "values@1+ftc4"
    # Rows of 4 of the 16 bands of Kaldi's mel scale from 20 Hz to 4 kHz.
    edges = np.linspace(*(1127 * np.log1p(np.array([20, 4000]) / 700)), 18)[1:-1]
    expected = 700 * np.expm1(edges.reshape(4, 4).mean(1) / 1127)
    np.testing.assert_allclose(scale.hz, expected, rtol=0.25)


def test_a_front_end_written_beside_its_weights_still_answers(tmp_path):
    """Large kernels of a front end go to a file of their own, and references are computed after that."""
    how = {
        "frontend": open_frontend("panns", ["stft.n_fft=1024", *PANNS[1:]], graphs.RATE),
        "task": "multi_label",
        "scores": "probabilities",
    }
    source = trainable(opened(graphs.panns(tmp_path / "panns.onnx"), **how))
    source.write_stages(tmp_path)
    assert (tmp_path / "frontend.onnx.data").is_file()
    assert np.isfinite(source.outputs(np.zeros((1, 8000), np.float32))["scores"]).all()


def test_a_graph_for_one_sound_is_looped(tmp_path):
    source = trainable(opened(graphs.cnn(tmp_path / "one.onnx", dims=(1, "samples"))))
    both = 0.1 * torch.randn(2, 6000, generator=torch.Generator().manual_seed(0))
    tensors = source.forward_pass(both)
    alone = source.forward_pass(both[1:])
    for name in ("logits", *source.taps):
        torch.testing.assert_close(tensors[name][1:], alone[name], rtol=1e-5, atol=1e-6)


def test_the_map_that_is_named_is_read(cnn):
    edges = [float(edge) for edge in range(9)]
    source = trainable(opened(cnn, feature_map=MapRequest("fine", "cft", edges)))
    assert [scale.tap for scale in source.scales] == ["fine@cft"]
    assert list(source.taps) == ["feature_map", "fine@cft"]


@pytest.mark.parametrize(
    "place",
    [
        TensorPlace("/layer.1/Add_output_0", "tc"),
        TensorPlace("a@b", "cft"),
        TensorPlace("norm", "ftc", rows=12, skipped=2),
    ],
)
def test_a_taps_name_says_its_place(place):
    assert TensorPlace.of(place.tap) == place


def test_unsupported_operators_are_named(tmp_path):
    with pytest.raises(SourceError, match=r"odd.onnx: uses Hardmax, which training cannot differentiate"):
        trainable(opened(graphs.cnn(tmp_path / "odd.onnx", last="Hardmax")))


def test_what_something_trained_reads_must_be_there(cnn):
    with pytest.raises(SourceError, match=r"has no tensor 'nowhere' with the axes 'ctf'"):
        trainable(opened(cnn), ["stft", "nowhere@ctf", "target"])
    with pytest.raises(SourceError, match="shows no logmel"):
        trainable(opened(cnn), ["logmel"])


def test_options_of_graphs_are_for_graphs(cnn, tmp_path):
    invoke(
        "train", "lmac", tmp_path, tmp_path, "--labels", "a,b", code=2, says="--labels is for an .onnx file"
    )
    words = ("train", "lmac", cnn, tmp_path, "--labels", "a,b,c", "--sample-rate", "8000")
    invoke(*words, code=2, says="say by -o RUN where the decoder goes")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Three classes of short tones in noise, four recordings each, in two folds."""
    import soundfile

    folder = tmp_path_factory.mktemp("data")
    random = np.random.default_rng(0)
    time = np.arange(graphs.RATE) / graphs.RATE
    for label, pitch in zip(graphs.LABELS, (300, 1000, 2500), strict=True):
        (folder / label).mkdir()
        for number in range(6):
            sound = 0.02 * random.standard_normal(len(time))
            sound[1000 * number : 1000 * number + 2000] += 0.5 * np.sin(2 * np.pi * pitch * time[:2000])
            soundfile.write(folder / label / f"{number % 2 + 1}-{label}{number}.wav", sound, graphs.RATE)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "sounds", "variant"),
    [("cnn", "labelled", ""), ("transformer", "loose", "half"), ("cnn", "labelled", "dynamic")],
)
def test_end_to_end(kind, sounds, variant, data, tmp_path):
    """Train a decoder and an interpreter by the command, export both, explain by both."""
    import earmark

    if sounds == "loose":
        # Some without a label, some in a folder of another name: what is trained are the model's own answers.
        loose = tmp_path / "loose"
        shutil.copytree(data / "a", loose / "no label of the model")
        for path in [*(data / "b").iterdir(), *(data / "c").iterdir()]:
            shutil.copy(path, loose)
        data = loose
    graph = getattr(graphs, kind)(tmp_path / "stranger.onnx")
    if variant:
        graph = onnx_variants.variant(variant, graph, tmp_path / "variant.onnx")
    run, bundle = tmp_path / "run", tmp_path / "bundle"
    told = ["--labels", "a,b,c", "--sample-rate", "8000", "--window", "1"]
    short = ["-o", run, "--epochs", 2, "--batch-size", 4, "--val-fraction", 0.34, "--width", 8, "-q"]
    trained = invoke("train", "lmac", graph, data, *told, *short, code=0, says=f"--decoder {run}")
    assert "passed over" not in trained.stderr
    more = ["--components", "8"]
    invoke("train", "l2i", graph, data, *told, *short, *more, code=0)
    words = ("train", "l2i", graph, data, *told, "-o", tmp_path / "design", "--by-design", *more)
    invoke(*words, code=1, says="goes into the bundle as it is")
    parts = ["--decoder", run, "--interpreter", run, "-o", bundle, "--json"]
    parity = json.loads(invoke("export", graph, *told, *parts, code=0).stdout)["parity"]["fp32"]
    assert {"logits", "mask", "kept", "activations"} <= set(parity)
    sound = 0.3 * np.random.default_rng(0).standard_normal(12000).astype(np.float32)
    result = earmark.load(bundle).explain((sound, graphs.RATE))
    assert result.mask is not None
    assert result.components is not None


@pytest.mark.slow
def test_a_default_decoder_over_features_finds_what_the_classifier_listens_for(tmp_path):
    """Quiet tones below loud hiss: what a mask keeps is missed, the loudest cells are not."""
    from earmark.evaluation.data.folder import list_sounds
    from earmark.evaluation.faithfulness.evaluate import evaluate_masks
    from earmark.evaluation.settings import MaskSettings
    from earmark.export.exporting import export_bundle
    from earmark.export.training.lmac.recipe import train_lmac
    from earmark.export.training.options import OverSourceOptions
    from earmark.export.training.settings import LmacSettings
    from earmark.runtime.explainer import load as load_bundle

    (tmp_path / "data").mkdir()
    data = tone_listener.write_sounds(tmp_path / "data")
    graph = load(
        tone_listener.write_graph(tmp_path / "listener.onnx"),
        labels=sorted(tone_listener.PITCHES),
        frontend=open_frontend("panns", tone_listener.FRONTEND, tone_listener.RATE),
        window_seconds=tone_listener.SECONDS,
        scores="logits",
    )
    settings = LmacSettings(epochs=20, batch_size=6, lr=0.01, ema_decay=0.9, stop_fraction=0.0, val_fold=2)
    train_lmac(graph, data, settings, OverSourceOptions(out=tmp_path / "run"))
    export_bundle(graph, tmp_path / "bundle", decoder=tmp_path / "run")
    with load_bundle(tmp_path / "bundle") as explainer:
        asked = MaskSettings(fold=2, methods=("mask", "energy"))
        rows = evaluate_masks(explainer, list_sounds(data), asked).table.to_dict()["rows"]
    mask, energy = (
        next(row for row in rows if row["domain"] == "audio" and row["method"] == method)
        for method in asked.methods
    )
    for figure in ("faithfulness", "input_fidelity"):
        assert mask[figure]["estimate"] > energy[figure]["estimate"] + 0.3
