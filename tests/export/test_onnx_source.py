"""Any .onnx that takes waveforms becomes a bundle, without PyTorch; others are told what is missing."""

import numpy as np
import onnx
import pytest
from command_line import invoke
from onnx import TensorProto, helper
from refusals import refuses
from runtime_sounds import run_python
from saved_graph import node, saved
from scipy.special import softmax
from waveform_cnn import CLASSES, LABELS, RATE, TOLD, answers, by_hand, waves, write

import earmark
from earmark.errors import SourceError
from earmark.export.bundle.write import write_bundle
from earmark.export.sources.onnx.file import load
from earmark.export.sources.onnx.given import read_labels
from earmark.runtime.explainer import engine_of
from earmark.runtime.verify import verify

FORMS = {
    "dynamic": {},
    "channel": {"dims": ("batch", 1, "samples")},
    "fixed": {"dims": ("batch", 4000)},
    "fixed, one at a time": {"dims": (1, 4000), "batch_free": False},
    "any length, one at a time": {"dims": (1, "samples"), "batch_free": False},
    "declared for one, takes many": {"dims": (1, 4000)},
    "bare": {"dims": ("samples",), "batch_free": False},
    "bare, fixed": {"dims": (4000,), "batch_free": False},
}


@pytest.mark.parametrize("form", list(FORMS))
def test_a_graph_becomes_a_bundle_that_says_the_same(tmp_path, form):
    how = FORMS[form]
    path = write(tmp_path / "net.onnx", **how)
    fixed = how.get("dims", ("samples",))[-1] == 4000
    source = load(path, labels=LABELS, sample_rate=RATE, window_seconds=None if fixed else 0.5)
    manifest = write_bundle(source, tmp_path / "bundle")
    assert manifest.rescore == "waveform"
    assert manifest.explainers == []
    assert manifest.window.seconds == pytest.approx(0.5)
    record = manifest.parity.fp32["logits"]
    assert record.max_abs <= 1e-4
    assert max(record.batches) >= 2
    assert all(check.passed for check in verify(tmp_path / "bundle")[1])
    with earmark.load(tmp_path / "bundle", device="cpu") as explainer:
        for samples in (4000,) if fixed else (300, 4000, 4040):
            sounds = waves(3, samples, seed=samples)
            np.testing.assert_allclose(engine_of(explainer).logits_of(sounds), by_hand(sounds), atol=1e-4)
        scores = dict(explainer.explain(sounds[0], sample_rate=RATE, methods=[]).predictions)
        np.testing.assert_allclose(
            [scores[label] for label in LABELS], softmax(by_hand(sounds[:1])[0]), atol=1e-5
        )
        # Several windows, and shorter than the shortest.
        assert len(explainer.explain(waves(1, 11000)[0], sample_rate=RATE, methods=[]).windows) > 1
        short = waves(1, 50)
        padded = np.pad(
            short, ((0, 0), (0, (4000 if fixed else int(manifest.window.minimum_seconds * RATE)) - 50))
        )
        result = explainer.explain(short[0], sample_rate=RATE, methods=[])
        np.testing.assert_allclose(result.logits, by_hand(padded)[0], atol=1e-4)
    assert len(onnx.load(tmp_path / "bundle" / "classifier.onnx").opset_import) == 1
    assert b"somebody" not in b"".join(file.read_bytes() for file in (tmp_path / "bundle").iterdir())


def test_of_a_fixed_length_what_is_over_is_left_out(tmp_path):
    write_bundle(
        load(write(tmp_path / "net.onnx", dims=("batch", 4000)), labels=LABELS, sample_rate=RATE),
        tmp_path / "b",
    )
    with earmark.load(tmp_path / "b", device="cpu") as explainer:
        sound = waves(1, 4030)
        result = explainer.explain(sound[0], sample_rate=RATE, methods=[])
        assert len(result.windows) == 1
        np.testing.assert_allclose(result.logits, by_hand(sound[:, :4000])[0], atol=1e-4)


SCORES = [
    ("Softmax", "probabilities", "single_label"),
    ("LogSoftmax", "log_probabilities", "single_label"),
    ("Sigmoid", "probabilities", "multi_label"),
    ("Identity", "logits", "multi_label"),
]


@pytest.mark.parametrize(("last", "scores", "task"), SCORES)
@pytest.mark.parametrize("hidden", [False, True])
def test_probabilities_become_logits(tmp_path, last, scores, task, hidden):
    """Also where the operator is hidden behind another, so that its input cannot be taken."""
    path = tmp_path / "net.onnx"
    if hidden:
        write(path, last=last, output="shown")
        model = onnx.load(path)
        model.graph.node.append(node("Max", "shown", "logits"))
        model.graph.output[0].name = "logits"
        onnx.save(model, path)
    else:
        write(path, last=last)
    source = load(path, **TOLD, scores=scores, task=task)
    manifest = write_bundle(source, tmp_path / "bundle")
    measured = manifest.parity.fp32["logits" if scores == "logits" else "scores"]
    assert measured.max_abs <= 1e-5
    assert all(check.passed for check in verify(tmp_path / "bundle")[1])
    sounds = waves(2, 4000)
    expected = by_hand(sounds)
    made = answers(tmp_path / "bundle", sounds)
    if task == "single_label":
        np.testing.assert_allclose(softmax(made, axis=1), softmax(expected, axis=1), atol=1e-6)
        np.testing.assert_allclose(
            np.log(softmax(made, axis=1)), np.log(softmax(expected, axis=1)), atol=1e-4
        )
    else:
        np.testing.assert_allclose(made, expected, atol=1e-3)


def test_scores_that_are_not_what_they_are_called(tmp_path):
    softmaxed = write(tmp_path / "p.onnx", last="Softmax")
    sigmoid = write(tmp_path / "s.onnx", last="Sigmoid")
    plain = write(tmp_path / "l.onnx")
    refuses(SourceError, "say --scores probabilities", load, softmaxed, **TOLD)
    assert load(softmaxed, **TOLD, scores="logits").scores == "logits"
    refuses(SourceError, "multi_label", load, sigmoid, **TOLD, scores="probabilities")
    refuses(SourceError, r"leave 0\.\.1", load, plain, **TOLD, scores="probabilities")
    refuses(SourceError, "no logarithms", load, plain, **TOLD, scores="log_probabilities")


@pytest.mark.parametrize(
    ("dims", "named"),
    [
        (("batch", 1, "frames", 64), "no waveform"),
        (("batch", "frames", 64), "module:factory"),
        (("frames", 64), "--frontend"),
        ((80, 3000), "no waveform"),
        (("batch", 64), "64 samples, 0.008 s at 8000 Hz.*--frontend"),
    ],
)
def test_features_of_unknown_definition_are_refused(tmp_path, dims, named):
    pool = node("GlobalAveragePool", "mel", "logits")
    path = saved(
        tmp_path / "mel.onnx", [pool], {}, {"mel": list(dims)}, {"logits": (TensorProto.FLOAT, None)}
    )
    refuses(SourceError, named, load, path, labels=LABELS, sample_rate=RATE, window_seconds=1.0)


def test_other_refusals(tmp_path):
    path = write(tmp_path / "net.onnx")
    refuses(SourceError, "for 3 labels", load, path, **{**TOLD, "labels": LABELS[:3]})
    refuses(SourceError, "--window", load, path, labels=LABELS, sample_rate=RATE)
    refuses(SourceError, "sample rate", load, path, **{**TOLD, "sample_rate": 3})
    with pytest.raises(SourceError, match="correct the sample rate"):
        load(write(tmp_path / "fixed.onnx", dims=("batch", 4000)), **{**TOLD, "window_seconds": 1.0})
    refuses(SourceError, "no such file", load, tmp_path / "none.onnx", **TOLD)
    (tmp_path / "text.onnx").write_text("not a graph")
    refuses(SourceError, "not an ONNX graph", load, tmp_path / "text.onnx", **TOLD)
    model = onnx.load(path)
    model.graph.node.append(node("Spectral", "wave", "z", domain="my.ops"))
    onnx.save(model, tmp_path / "custom.onnx")
    refuses(SourceError, r"custom operator my\.ops::Spectral", load, tmp_path / "custom.onnx", **TOLD)
    model.graph.node[-1].CopyFrom(node("EPContext", "", "z", domain="com.microsoft"))
    onnx.save(model, tmp_path / "context.onnx")
    refuses(SourceError, "EPContext", load, tmp_path / "context.onnx", **TOLD)
    noisy = onnx.load(path)
    noisy.graph.node[-1].output[0] = "clean"
    noisy.graph.node.extend(
        [node("RandomNormalLike", "clean", "noise"), node("Add", "clean noise", "logits")]
    )
    onnx.save(noisy, tmp_path / "noisy.onnx")
    refuses(SourceError, "evaluation mode", load, tmp_path / "noisy.onnx", **TOLD)
    refuses(SourceError, "always holds", load, path, **{**TOLD, "labels": ["a"]})


def test_several_outputs(tmp_path):
    path = write(tmp_path / "net.onnx")
    model = onnx.load(path)
    model.graph.node.append(node("Neg", "logits", "opposite"))
    model.graph.output.append(
        helper.make_tensor_value_info("opposite", TensorProto.FLOAT, ["batch", CLASSES])
    )
    onnx.save(model, path)
    refuses(SourceError, "--scores-output", load, path, **TOLD)
    refuses(SourceError, "no output 'x'", load, path, **TOLD, output="x")
    write_bundle(load(path, **TOLD, output="opposite"), tmp_path / "bundle")
    np.testing.assert_allclose(
        answers(tmp_path / "bundle", waves(1, 4000)), -by_hand(waves(1, 4000)), atol=1e-4
    )


def test_labels(tmp_path):
    (tmp_path / "labels.txt").write_text("\ufeffdog\nsea waves\n\n", encoding="utf-8")
    assert read_labels(str(tmp_path / "labels.txt")) == ["dog", "sea waves"]
    assert read_labels("dog, cat") == ["dog", "cat"]
    # Longer than any file name.
    many = [f"label {number}" for number in range(500)]
    assert read_labels(",".join(many)) == many
    refuses(SourceError, "no readable file", read_labels, str(tmp_path / "none.txt"))


def test_the_command_needs_no_pytorch(tmp_path):
    write(tmp_path / "net.onnx", last="Softmax")
    program = """
        import sys
        class Never:
            def find_spec(self, name, path=None, target=None):
                if name.split('.')[0] in ('torch', 'onnxscript', 'onnx_ir', 'matplotlib', 'sklearn'):
                    raise ImportError(name)
        sys.meta_path.insert(0, Never())
        from earmark.cli import main
        main()
    """
    words = f"export net.onnx -o b --labels a,b,c,d --sample-rate {RATE} --window 0.5 --licence MIT"
    words += " --scores probabilities"
    assert "4 labels" in run_python(program, *words.split(), cwd=tmp_path)
    invoke("verify", tmp_path / "b", code=0)
    shown = invoke("inspect", tmp_path / "b").output
    assert "torch" not in shown
    assert "licence      MIT" in shown


def test_the_commands_usage(tmp_path):
    path = write(tmp_path / "net.onnx")
    invoke("export", path, "-o", tmp_path / "b", code=2, says="give --labels and --sample-rate")
    invoke("export", path, "-o", tmp_path / "b", "--labels", "a,b,c,d", code=2, says="--sample-rate")
    words = ("export", tmp_path, "-o", tmp_path / "b", "--labels", "a,b")
    invoke(*words, code=2, says="--labels is for an .onnx file")


@pytest.mark.slow
def test_a_graph_by_torch_onnx_export(tmp_path):
    torch = pytest.importorskip("torch")
    from earmark.export.graphs.torch_export import quiet

    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Unflatten(1, (1, -1)),
        torch.nn.Conv1d(1, 16, 64, stride=16),
        torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool1d(1),
        torch.nn.Flatten(),
        torch.nn.Linear(16, 4),
    ).eval()
    path = tmp_path / "net.onnx"
    with quiet():
        torch.onnx.export(
            net, (torch.randn(2, 4000),), str(path), dynamo=True, dynamic_shapes=({0: "batch", 1: "samples"},)
        )
    source = load(path, labels=LABELS, sample_rate=RATE, window_seconds=1.0)
    manifest = write_bundle(source, tmp_path / "bundle")
    assert manifest.parity.fp32["logits"].max_abs <= 1e-4
    sounds = waves(3, 6000)
    expected = net(torch.tensor(sounds)).detach().numpy()
    np.testing.assert_allclose(answers(tmp_path / "bundle", sounds), expected, atol=1e-4)
