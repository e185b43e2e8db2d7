"""The export of small models, looked at from outside: files, graphs in onnxruntime, numbers, refusals."""

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
from exported_graphs import Graphs
from later import later
from refusals import refuses
from tiny_model import tiny_adapter

from earmark.errors import BundleError, DataError, EarmarkError, ParityError, SourceError
from earmark.export.bundle import clips, parity
from earmark.export.bundle.write import write_bundle
from earmark.export.sources import resolve
from earmark.runtime.bundle.manifest import AnalysisSpec, Manifest

ort = later("onnxruntime")
nn = later("torch.nn")
torch = later("torch")
torch_stft = later("torch_stft", "torch_stft")
TINY = later("torch_stft", "TINY")
export_stage = later("earmark.export.graphs.torch_export", "export_stage")
StftFrontend = later("earmark.export.graphs.stft", "StftFrontend")
Reference = later("earmark.export.source.source", "Reference")
with_window = later("earmark.export.source.exportable", "with_window")
without_decoder = later("earmark.export.source.source", "without_decoder")
Adapter = later("earmark.export.sources.adapter.adapter", "Adapter")
from_adapter = later("earmark.export.sources.adapter.source", "from_adapter")


@pytest.fixture(scope="module")
def graphs(tiny_bundle):
    return Graphs(tiny_bundle)


def noise(batch, samples, seed=0):
    wave = np.random.default_rng(seed).standard_normal((batch, samples))
    return (wave / np.abs(wave).max()).astype(np.float32)


def test_manifest_describes_the_files(tiny_bundle):
    manifest = json.loads((tiny_bundle / "bundle.json").read_text())
    present = {path.relative_to(tiny_bundle).as_posix() for path in tiny_bundle.rglob("*") if path.is_file()}
    assert set(manifest["files"]) == present - {"bundle.json", ".lock"}
    for name, spec in manifest["files"].items():
        content = (tiny_bundle / name).read_bytes()
        assert spec == {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
    assert [stage["name"] for stage in manifest["stages"]] == [
        "frontend",
        "classifier",
        "decoder",
        "embeddings",
    ]
    # Prototypes explain once `earmark index` has found some.
    assert manifest["explainers"] == ["mask"]
    for record in manifest["parity"]["fp32"].values():
        assert record["max_abs"] <= record["limit"] == 1e-4
    assert oct((tiny_bundle / "bundle.json").stat().st_mode & 0o444) == oct(0o444)


def test_graphs_carry_the_manifests_names(tiny_bundle):
    manifest = json.loads((tiny_bundle / "bundle.json").read_text())
    for stage in manifest["stages"]:
        model = onnx.load(tiny_bundle / stage["file"])
        onnx.checker.check_model(model, full_check=True)
        assert model.opset_import[0].version == stage["opset"]
        for values, specs in ((model.graph.input, stage["inputs"]), (model.graph.output, stage["outputs"])):
            found = [
                (value.name, [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim])
                for value in values
            ]
            assert found == [(spec["name"], spec["dims"]) for spec in specs]


def test_batch_norm_is_folded_away(tiny_bundle):
    operators = {node.op_type for node in onnx.load(tiny_bundle / "classifier.onnx").graph.node}
    assert "BatchNormalization" not in operators
    assert "Conv" in operators


def test_nothing_of_this_machine_in_the_files(tiny_bundle):
    secrets = [str(Path.cwd()), str(Path.home()) + "/", str(Path(torch.__file__).parent), "tiny_model.py"]
    for path in tiny_bundle.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert not [text for text in secrets if text.encode() in content], path.name


@pytest.mark.parametrize("samples", [1, 159, 160, 161, 3777, 16000, 40001])
def test_frontend_is_torch_stft(graphs, samples):
    wave = noise(2, samples, samples)
    ours = graphs.run("frontend", {"waveform": wave})["stft"]
    assert ours.shape == (2, 1 + samples // 160, 257, 2)
    np.testing.assert_allclose(ours[..., 0] + 1j * ours[..., 1], torch_stft(wave, TINY), atol=1e-4)


@pytest.mark.parametrize(
    ("n_fft", "length", "window"), [(512, 401, "hann"), (256, 256, "hamming"), (64, 2, "hann")]
)
def test_frontend_with_reflection(n_fft, length, window):
    spec = AnalysisSpec(n_fft=n_fft, window_length=length, hop=100, window=window, padding="reflect")
    wave = torch.from_numpy(noise(1, 1001))
    ours = torch.view_as_complex(StftFrontend(spec)(wave).contiguous())
    torch.testing.assert_close(ours, torch_stft(wave, spec), atol=1e-4, rtol=0)


def test_frontend_refuses_what_it_cannot_do():
    for n_fft, length in ((401, 400), (256, 300)):
        with pytest.raises(SourceError, match=str(n_fft)):
            StftFrontend(AnalysisSpec(n_fft=n_fft, window_length=length, hop=100, window="hann"))


@pytest.mark.parametrize(("batch", "samples"), [(1, 1600), (2, 7777), (5, 16000), (1, 100001)])
def test_any_batch_and_length(graphs, batch, samples):
    adapter = tiny_adapter()
    wave = noise(batch, samples, batch)
    made = graphs(wave)
    with torch.no_grad():
        features = adapter.front_end.eval()(torch.view_as_real(torch_stft(wave, TINY)))
        z = adapter.feature_map.eval()(features)
        np.testing.assert_allclose(made["logits"], adapter.head(z), atol=1e-4)
        np.testing.assert_allclose(made["mask"], adapter.decoder(z, features), atol=1e-4)
    assert made["mask"].shape == (batch, 1 + samples // 160, 257)
    assert made["mask"].std() > 0.01


def test_embeddings(graphs):
    made = graphs(noise(3, 12345))
    z = made["feature_map"]
    np.testing.assert_allclose(made["square"], z.transpose(0, 2, 3, 1))
    np.testing.assert_allclose(made["time"], z.mean(3).transpose(0, 2, 1), atol=1e-6)
    np.testing.assert_allclose(made["frequency"], z.mean(2).transpose(0, 2, 1), atol=1e-6)
    assert made["contributions"].shape == (3, 3, 16)
    np.testing.assert_allclose(made["contributions"].sum(-1) + made["bias"], made["logits"], atol=1e-5)


def waveform_adapter():
    """A model that eats the waveform: strided convolutions, no frequency axis."""

    class Features(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.Sequential(
                nn.Conv1d(1, 8, 400, 160), nn.ReLU(), nn.Conv1d(8, 12, 3, 2), nn.ReLU()
            )

        def forward(self, wave):
            return self.layers(wave.unsqueeze(1)).unsqueeze(3)

    class Head(nn.Module):
        def __init__(self, linear):
            super().__init__()
            self.linear = linear

        def forward(self, z):
            return self.linear(z.mean(dim=(2, 3)))

    torch.manual_seed(1)
    linear = nn.Linear(12, 2, bias=False)
    return Adapter(
        name="wave",
        labels=["a", "b"],
        sample_rate=8000,
        analysis=AnalysisSpec(n_fft=256, window_length=256, hop=64, window="hann"),
        front_end=nn.Identity(),
        feature_map=Features(),
        head=Head(linear),
        linear=linear,
        pooling="mean",
        rescore="waveform",
        task="multi_label",
        window_seconds=1.0,
        minimum_seconds=0.2,
        frame_seconds=0.04,
        bands_hz=[(0, 4000)],
    )


def test_model_that_eats_waveforms(tmp_path):
    adapter = waveform_adapter()
    manifest = write_bundle(from_adapter(adapter), tmp_path / "wave")
    assert manifest.rescore == "waveform"
    assert manifest.explainers == []
    assert manifest.feature_map.additive
    assert manifest.mask_targets is None
    graphs = Graphs(tmp_path / "wave")
    wave = noise(2, 5001)
    made = graphs(wave)
    with torch.no_grad():
        expected = adapter.head(adapter.feature_map(torch.from_numpy(wave)))
    np.testing.assert_allclose(made["logits"], expected, atol=1e-5)
    np.testing.assert_allclose(made["contributions"].sum(-1), made["logits"], atol=1e-5)


def test_large_weights_lie_beside_the_graph(tmp_path):
    layer = nn.Linear(64, 8192)
    folder = tmp_path / "large"
    folder.mkdir()
    stage = export_stage(
        "classifier",
        layer,
        (torch.rand(2, 5, 64),),
        inputs={"features": ["batch", "frames", 64]},
        outputs={"logits": ["batch", "frames", 8192]},
        folder=folder,
    )
    assert stage.data == ["classifier.onnx.data"]
    assert (folder / "classifier.onnx").stat().st_size < 10_000
    assert (folder / "classifier.onnx.data").stat().st_size >= 64 * 8192 * 4
    moved = folder.rename(tmp_path / "moved")
    session = ort.InferenceSession(str(moved / "classifier.onnx"), providers=["CPUExecutionProvider"])
    features = np.random.default_rng(0).random((1, 3, 64), np.float32)
    (logits,) = session.run(None, {"features": features})
    np.testing.assert_allclose(logits, layer(torch.from_numpy(features)).detach(), atol=1e-5)


def test_existing_targets(tiny_source, tiny_bundle, tmp_path):
    target = shutil.copytree(tiny_bundle, tmp_path / "bundle")
    (target / "old").write_text("of the old bundle")
    refuses(BundleError, "--force", write_bundle, tiny_source, target)
    assert (target / "old").exists()
    write_bundle(tiny_source, target, force=True, name="again", licence="CC0-1.0", attribution="me")
    assert not (target / "old").exists()
    manifest = json.loads((target / "bundle.json").read_text())
    assert (manifest["name"], manifest["licence"], manifest["attribution"]) == ("again", "CC0-1.0", "me")
    # The same weights give the same graphs, byte for byte.
    first = json.loads((tiny_bundle / "bundle.json").read_text())
    assert manifest["bundle_id"] == first["bundle_id"]
    precious = tmp_path / "thesis"
    precious.mkdir()
    (precious / "chapter1.txt").write_text("...")
    refuses(BundleError, "not a bundle", write_bundle, tiny_source, precious, force=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle", "thesis"]


def test_parity_refuses_and_leaves_nothing(tiny_source, tmp_path):
    source = without_decoder(tiny_source)
    lying = Reference(logits=lambda wave: tiny_source.reference.logits(wave) + 2e-4)
    refuses(ParityError, "logits", write_bundle, replace(source, own_reference=lying), tmp_path / "bundle")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("output", "spoil"),
    [
        ("logits", lambda right: right * np.nan),
        ("mask", lambda right: right[:, :-1]),
        ("kept", lambda right: right * 0.99),
    ],
)
def test_parity_sees_every_output(tiny_source, tiny_bundle, output, spoil):
    right = getattr(tiny_source.reference, output)
    lying = replace(tiny_source.reference, **{output: lambda wave: spoil(right(wave))})
    stages = msgspec.json.decode((tiny_bundle / "bundle.json").read_bytes(), type=Manifest).stages
    with pytest.raises(ParityError, match=output):
        parity.measure(parity.ExportedChain(replace(tiny_source, own_reference=lying), tiny_bundle, stages))


def test_invalid_manifests_are_not_written(tiny_source, tmp_path):
    for labels in (["a", "b", "a"], ["a", "b", ""]):
        with pytest.raises(SourceError, match="label"):
            write_bundle(replace(without_decoder(tiny_source), labels=labels), tmp_path / "bundle")
    assert not list(tmp_path.iterdir())


def test_source_that_fails_on_short_sound(tiny_source, tiny_bundle):
    def choosy(wave):
        if wave.shape[1] < 3000:
            raise RuntimeError("too short for me")
        return tiny_source.reference.logits(wave)

    stages = msgspec.json.decode((tiny_bundle / "bundle.json").read_bytes(), type=Manifest).stages
    source = replace(tiny_source, own_reference=replace(tiny_source.reference, logits=choosy))
    with pytest.raises(SourceError, match="minimum_seconds"):
        parity.measure(parity.ExportedChain(source, tiny_bundle, stages))


def test_a_module_that_cannot_be_exported(tmp_path):
    class Peeks(nn.Module):
        def forward(self, stft):
            size = float(stft.abs().sum())
            return torch.log1p(stft.norm(dim=-1))[..., :40] * (2.0 if size > 1e9 else 1.0)

    adapter = tiny_adapter(decoder=False)
    adapter.front_end = Peeks()
    with pytest.raises(SourceError, match="classifier") as caught:
        write_bundle(from_adapter(adapter), tmp_path / "bundle")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"labels": ["one", "two"]}, "2 labels"),
        ({"labels": []}, "no labels"),
        ({"pooling": "mean"}, "pooling"),
        ({"bands_hz": [(0, 8000)]}, "bands_hz"),
        ({"head": "another width"}, "fit together"),
        ({"feature_map": "none at all"}, "fit together|feature map"),
    ],
)
def test_adapters_that_do_not_fit(change, words):
    modules = {"another width": nn.Linear(3, 3), "none at all": nn.Identity()}
    adapter = tiny_adapter(decoder=False)
    for name, value in change.items():
        setattr(adapter, name, modules[value] if name in {"head", "feature_map"} else value)
    assert refuses(SourceError, words, from_adapter, adapter, "mine:adapter").startswith("mine:adapter")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("no/such/folder", "no such folder"),
        ("no_such_module_at_all:factory", "imported"),
        ("json:no_such_factory", "no function"),
        ("json:dumps", "factory failed"),
        ("time:time", "Adapter"),
        (str(Path(__file__).parents[2] / "LICENSE"), "is a file"),
        (__file__, "give test_export:FACTORY, as Python imports it"),
        ("code/mine:make", "in the folder code give mine:make"),
        ("code/mine.py:make", "in the folder code give mine:make"),
    ],
)
def test_sources_that_are_none(text, words):
    refuses(EarmarkError, words, resolve, text)


def test_window_of_a_source(tiny_source):
    assert with_window(tiny_source, 4.0).window.hop_seconds == 2.0
    for seconds in (0.0, 0.05, -1.0, 1e9):
        refuses(SourceError, "window", with_window, tiny_source, seconds)


def test_real_clips_for_parity(tiny_source, tmp_path):
    import soundfile

    refuses(DataError, "no sound", clips.read_clips, tmp_path, tiny_source)
    soundfile.write(tmp_path / "silence.wav", np.zeros(4000), 16000)
    soundfile.write(tmp_path / "stereo.flac", noise(2, 44100).T, 44100)
    (clip,) = clips.read_clips(tmp_path, tiny_source)
    assert clip.shape == (16000,)
