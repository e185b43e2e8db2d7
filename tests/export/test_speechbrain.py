"""SpeechBrain's ESC-50 interpret folders: exported graphs against SpeechBrain's own classes."""

from __future__ import annotations

import numpy as np
import pytest
from later import later

from earmark.errors import EarmarkError, SourceError
from earmark.export.bundle.write import write_bundle
from earmark.export.sources import resolve
from earmark.export.sources.speechbrain.hyperparams import Hyperparams

later("speechbrain")
torch = later("torch")
Cnn14 = later("earmark.export.models.cnn14", "Cnn14")
Cnn14Decoder = later("earmark.export.models.cnn14_decoder", "Cnn14Decoder")
ExportedCnn14Decoder = later("earmark.export.models.cnn14_decoder", "ExportedCnn14Decoder")
FoldedTail = later("earmark.export.models.cnn14_decoder", "FoldedTail")
reference_mask = later("earmark.export.models.cnn14_decoder", "reference_mask")
without_onednn = later("earmark.export.source.source", "without_onednn")
speechbrain = later("earmark.export.sources.speechbrain.folder")

LABELS = ["dog", "chirping birds", "it's raining", 'a "quoted" => label']


class Recipe:
    """SpeechBrain's modules, chained as its recipe chains them."""

    def __init__(self, recipe_folder, body, head, psi):
        _, self.features = recipe_folder.speechbrain_modules()
        spec = {"sample_rate": 16000, "win_length": 23.2199, "hop_length": 11.6099}
        self.stft = self.features.STFT(n_fft=1024, **spec)
        self.istft = self.features.ISTFT(**spec)
        self.bank = self.features.Filterbank(n_mels=80, n_fft=1024, sample_rate=16000, log_mel=False)
        self.body, self.head, self.psi = body, head, psi

    def __call__(self, wave):
        """logits, mask [B, Tmax, F], listenable audio [B, 186 (Tmax - 1)].

        Without oneDNN, whose transposed convolution is not always right (see export/source/source.py).
        """
        with torch.no_grad(), without_onednn():
            stft = self.stft(wave)
            amplitude = self.features.spectral_magnitude(stft, power=0.5)
            embedding, taps = self.body(torch.log1p(self.bank(amplitude)))
            logits = self.head(embedding).squeeze(1)
            mask = torch.sigmoid(self.psi(taps)).squeeze(1)
            # With 40 frames (mod 32: 8) the mask is one frame too long: the recipe stops here.
            mask = mask[:, : amplitude.shape[1]]
            shown = mask * torch.log1p(amplitude)[:, : mask.shape[1]]
            phase = torch.atan2(stft[..., 1], stft[..., 0])[:, : mask.shape[1]]
            polar = torch.stack([torch.cos(phase), torch.sin(phase)], dim=-1)
            return logits, mask, self.istft(torch.expm1(shown).unsqueeze(-1) * polar)

    def logits(self, wave):
        with torch.no_grad():
            amplitude = self.features.spectral_magnitude(self.stft(wave), power=0.5)
            return self.head(self.body(torch.log1p(self.bank(amplitude)))[0]).squeeze(1)


def sound(batch, samples, seed=0):
    """Bursts and tones of signed peak 1, independent of earmark's own synthesis."""
    random = np.random.default_rng(seed)
    time = np.arange(samples) / 16000
    waves = []
    for _ in range(batch):
        tone = np.sin(2 * np.pi * random.uniform(200, 6000) * time) * (np.sin(7 * time) > 0)
        wave = tone + 0.3 * random.standard_normal(samples) * np.exp(-3 * np.abs(time - 0.3 * time[-1]))
        waves.append(wave / wave.max())
    return np.stack(waves).astype(np.float32)


class Graphs:
    """A bundle's graphs in onnxruntime, chained by hand."""

    def __init__(self, bundle):
        ort = pytest.importorskip("onnxruntime")
        self.sessions = {
            name: ort.InferenceSession(str(bundle / f"{name}.onnx"), providers=["CPUExecutionProvider"])
            for name in ("frontend", "classifier", "decoder", "embeddings")
        }

    def run(self, name, **feeds):
        session = self.sessions[name]
        return dict(zip([o.name for o in session.get_outputs()], session.run(None, feeds), strict=True))

    def __call__(self, wave):
        stft = self.run("frontend", waveform=wave)["stft"]
        heard = self.run("classifier", stft=stft)
        mask = self.run("decoder", **{key: heard[key] for key in ("x1", "x2", "x3", "x4", "logmel")})["mask"]
        return stft, heard, mask


def compare(recipe, graphs, batch, samples):
    """One sound through both; returns the largest differences where the recipe runs as it is."""
    wave = sound(batch, samples, samples)
    stft, heard, mask = graphs(wave)
    logits, theirs, audio = recipe(torch.from_numpy(wave))
    frames = 1 + samples // 186
    assert mask.shape == (batch, frames, 513)
    both = min(theirs.shape[1], frames)
    assert frames - both <= 6
    assert not mask[:, both:].any()
    # The mask is neither flat nor saturated: there is something to agree on.
    assert mask[:, :both].std() > 0.1
    amplitude = np.hypot(stft[..., 0], stft[..., 1])
    gain = np.expm1(mask * np.log1p(amplitude)) / np.maximum(amplitude, 1e-12)
    spectrum = torch.from_numpy((stft * gain[..., None])[:, :both])
    ours = recipe.istft(spectrum).numpy()
    return {
        "logits": np.abs(heard["logits"] - logits.numpy()).max(),
        "mask": np.abs(mask[:, :both] - theirs.numpy()[:, :both]).max(),
        "audio": np.abs(ours - audio.numpy()[:, : ours.shape[1]]).max(),
    }


@pytest.fixture(scope="module")
def narrow(recipe_folder, tmp_path_factory):
    """(recipe, its folder, the bundle) with SpeechBrain's classes at a thirtieth of their width."""
    body, head, psi = recipe_folder.make_models(recipe_folder.NARROW, len(LABELS))
    folder = tmp_path_factory.mktemp("recipe") / "1234"
    recipe_folder.write_folder(folder, body.state_dict(), head.state_dict(), psi.state_dict(), LABELS)
    bundle = tmp_path_factory.mktemp("bundle") / "narrow"
    manifest = write_bundle(resolve(str(folder)), bundle)
    return Recipe(recipe_folder, body, head, psi), folder, bundle, manifest


def test_agrees_with_speechbrain(narrow):
    recipe, _, bundle, manifest = narrow
    graphs = Graphs(bundle)
    assert manifest.labels == LABELS
    # Frames 431 (mod 32: 15), 40 (8), 43 (11), 460 (12, longer than the window).
    for batch, samples in ((1, 80000), (2, 39 * 186), (3, 42 * 186 + 101), (1, 459 * 186 + 7)):
        worst = compare(recipe, graphs, batch, samples)
        assert max(worst.values()) <= 1e-4, (samples, worst)


def test_logits_at_every_length_and_mask_shape(narrow):
    recipe, _, bundle, _ = narrow
    graphs = Graphs(bundle)
    for frames in (32, 33, 39, 40, 47, 48, 57, 63, 64):
        wave = sound(2, 186 * (frames - 1) + frames % 7, frames)
        _, heard, mask = graphs(wave)
        assert mask.shape == (2, frames, 513)
        assert 0.0 <= mask.min() <= mask.max() <= 1.0
        np.testing.assert_allclose(heard["logits"], recipe.logits(torch.from_numpy(wave)), atol=1e-4)


def test_manifest_of_a_recipe(narrow):
    _, _, _, manifest = narrow
    assert manifest.name == "LMAC_cnn14"
    assert (manifest.analysis.n_fft, manifest.analysis.window_length, manifest.analysis.hop) == (
        1024,
        372,
        186,
    )
    assert (manifest.analysis.window, manifest.analysis.padding) == ("hamming", "zeros")
    assert (manifest.level, manifest.rescore, manifest.mask_targets) == (
        "signed_peak",
        "spectrogram",
        "predicted",
    )
    assert manifest.window.seconds == 5.0
    assert int(manifest.window.minimum_seconds * 16000) // 186 + 1 >= 32
    assert manifest.feature_map.bands_hz[0][0] == 0.0
    for record in manifest.parity.fp32.values():
        assert record.max_abs <= record.limit == 1e-4
        assert {1, 3} == set(record.batches)


def test_contributions_add_up_to_the_logits(narrow):
    _, _, bundle, _ = narrow
    graphs = Graphs(bundle)
    _, heard, _ = graphs(sound(2, 30000))
    views = graphs.run("embeddings", x1=heard["x1"])
    np.testing.assert_allclose(views["contributions"].sum(-1) + views["bias"], heard["logits"], atol=1e-4)
    np.testing.assert_allclose(views["time"], views["square"].mean(2), atol=1e-5)
    np.testing.assert_allclose(views["frequency"], views["square"].mean(1), atol=1e-5)


def test_filterbank_is_speechbrains(narrow, recipe_folder):
    recipe, folder, _, _ = narrow
    settings = speechbrain.read_settings(Hyperparams(folder / "hyperparams.yaml"), folder)
    ours = settings.bank.matrix()
    with torch.no_grad():
        theirs = recipe.bank(torch.eye(513).unsqueeze(0))[0]
    assert ours.shape == (513, 80)
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize(("dtype", "limit"), [("float64", 1e-12), ("float32", 1e-5)])
def test_fold_of_layers_eight_and_nine_is_exact(recipe_folder, dtype, limit):
    dtype = getattr(torch, dtype)
    models, _ = recipe_folder.speechbrain_modules()
    torch.manual_seed(3)
    theirs = models.CNN14PSI_stft(32).to(dtype)
    with torch.no_grad():
        hidden = torch.randn(2, 8, 7, 65, dtype=dtype)
        folded = FoldedTail(theirs.convt8, theirs.convt9)(hidden)
        expected = theirs.convt9(theirs.convt8(hidden))
    assert folded.shape == expected.shape == (2, 1, 15, 513)
    assert expected.std() > 0.05
    # The outermost bins are where the crop between the layers must be undone.
    assert (folded - expected).abs().max() <= limit


def test_any_number_of_frames_in_float64(recipe_folder):
    models, _ = recipe_folder.speechbrain_modules()
    torch.manual_seed(4)
    theirs = models.CNN14PSI_stft(32).double()
    own = Cnn14Decoder(32).double()
    own.load_state_dict(theirs.state_dict(), strict=True)
    exported = ExportedCnn14Decoder(own)
    for frames in [*range(32, 97), 431]:
        taps = tuple(
            torch.randn(1, channels, frames // step, bins, dtype=torch.float64)
            for channels, step, bins in ((32, 32, 2), (16, 32, 2), (8, 16, 5), (4, 8, 10))
        )
        with torch.no_grad():
            mask = exported(*taps, torch.zeros(1, frames, 80))
            torch.testing.assert_close(mask, reference_mask(own, taps, frames), atol=1e-12, rtol=0)
            if 8 <= frames % 32 <= 15:
                raw = torch.sigmoid(theirs(taps)).squeeze(1)
                both = min(frames, raw.shape[1])
                torch.testing.assert_close(mask[:, :both], raw[:, :both], atol=1e-12, rtol=0)
                assert not mask[:, both:].any()


def test_batch_norm_folding(recipe_folder):
    torch.manual_seed(5)
    body = Cnn14(80, 16, (4, 4, 8, 8, 8)).eval()
    recipe_folder.enliven(body, 6)
    logmel = torch.rand(2, 70, 80) * 3
    with torch.no_grad():
        expected, folded = body(logmel), body.folded()(logmel)
    assert expected[0].std() > 1e-3
    torch.testing.assert_close(folded[0], expected[0], atol=1e-5, rtol=1e-4)
    for ours, theirs in zip(folded[1], expected[1], strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


class Broken:
    """A narrow folder of its own, to be damaged."""

    def __init__(self, recipe_folder, path):
        body, head, psi = recipe_folder.make_models(recipe_folder.NARROW, len(LABELS))
        self.states = {"body": body.state_dict(), "head": head.state_dict(), "psi": psi.state_dict()}
        self.write, self.path = recipe_folder.write_folder, path

    def folder(self, labels=LABELS, **changed):
        states = {**self.states, **changed}
        return self.write(self.path, states["body"], states["head"], states["psi"], labels, links=False)


@pytest.fixture
def broken(recipe_folder, tmp_path):
    return Broken(recipe_folder, tmp_path / "out")


def refusal(folder, **options):
    with pytest.raises(SourceError) as caught:
        resolve(str(folder), **options)
    assert isinstance(caught.value, EarmarkError)
    assert isinstance(caught.value, ValueError)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "name",
    ["hyperparams.yaml", "save/label_encoder.txt", "save/embedding_model.ckpt", "save/classifier.ckpt"],
)
def test_missing_pieces_are_named(broken, name):
    folder = broken.folder()
    (folder / name).unlink()
    assert name in refusal(folder)


def test_missing_decoder(broken):
    folder = broken.folder(psi=None)
    assert "psi_model.ckpt" in refusal(folder)
    source = resolve(str(folder), allow_missing_decoder=True)
    assert source.decoder is None
    assert source.reference.mask is None


def test_the_newest_checkpoint_of_a_classification_wins(broken, recipe_folder):
    """save/ holds the weights that training began with; what it came to lies in the checkpoint."""
    folder = broken.folder(psi=None)
    body, head, _ = recipe_folder.make_models(recipe_folder.NARROW, len(LABELS), seed=5)
    for checkpoint, factor in zip(sorted(folder.glob("save/CKPT+*")), (7.0, 1.0), strict=True):
        state = {key: factor * value for key, value in head.state_dict().items()}
        torch.save(body.state_dict(), checkpoint / "embedding_model.ckpt")
        torch.save(state, checkpoint / "classifier.ckpt")
        (checkpoint / "psi_model.ckpt").unlink(missing_ok=True)
    source = resolve(str(folder))
    assert source.decoder is None
    wave = 0.1 * torch.randn(1, 16000, generator=torch.Generator().manual_seed(0))
    theirs = Recipe(recipe_folder, body.eval(), head, None).logits(wave)
    torch.testing.assert_close(source.reference.logits(wave), theirs, atol=1e-4, rtol=0.0)


def test_a_folder_of_the_pretrainer(broken, tmp_path):
    folder = broken.folder(psi=None)
    hub = tmp_path / "hub"
    hub.mkdir()
    for path in [*folder.glob("save/*.ckpt"), folder / "save/label_encoder.txt", folder / "hyperparams.yaml"]:
        path.rename(hub / path.name)
    source = resolve(str(hub))
    assert source.labels == LABELS
    assert source.decoder is None


def test_dangling_link(broken):
    folder = broken.folder()
    (folder / "save/classifier.ckpt").unlink()
    (folder / "save/classifier.ckpt").symlink_to(folder / "gone.ckpt")
    text = refusal(folder)
    assert "classifier.ckpt" in text
    assert "link" in text


def test_wrong_keys_and_shapes(broken, tmp_path):
    folder = broken.folder()
    psi = dict(broken.states["psi"])
    path = next(folder.glob("save/CKPT+2026-02*/psi_model.ckpt"))
    bias = psi.pop("convt5.bias")
    torch.save(psi, path)
    assert "convt5.bias" in refusal(folder)
    torch.save({**psi, "convt5.bias": bias[:-1]}, path)
    assert "convt5.bias" in refusal(folder)
    torch.save({**psi, "convt5.bias": bias, "surprise": bias}, path)
    assert "surprise" in refusal(folder)
    torch.save({**psi, "convt5.bias": bias * float("nan")}, path)
    assert "convt5.bias" in refusal(folder)
    path.write_bytes(b"PK\x03\x04 not really")
    assert "psi_model.ckpt" in refusal(folder)


def test_pickled_objects_are_refused(broken, tmp_path):
    folder = broken.folder()
    trap = tmp_path / "trap"

    class Trap:
        def __reduce__(self):
            return (open, (str(trap), "w"))

    torch.save({"weight": Trap()}, folder / "save/classifier.ckpt")
    assert "classifier.ckpt" in refusal(folder)
    assert not trap.exists()


def test_label_count_disagrees(broken):
    folder = broken.folder(labels=LABELS[:-1])
    text = refusal(folder)
    assert "label_encoder.txt" in text
    assert "classifier.ckpt" in text


@pytest.mark.parametrize(
    "text",
    ["", "'dog' -> 0\n", "'dog' => 0\n'cat' => 0\n", "'dog' => 0\n'cat' => 2\n", "__import__('os') => 0\n"],
)
def test_bad_label_lists(broken, text):
    folder = broken.folder()
    (folder / "save/label_encoder.txt").write_text(text)
    assert "label_encoder.txt" in refusal(folder)


def test_cosine_classifier_is_not_linear(broken):
    weight = broken.states["head"]["weight"]
    assert "classifier.ckpt" in refusal(broken.folder(head={"weight": weight}))


@pytest.mark.parametrize("prefix", ["w.", "linear.w."])
def test_speechbrain_linear_head(broken, prefix):
    head = {f"{prefix}{key}": value for key, value in broken.states["head"].items()}
    assert resolve(str(broken.folder(head=head))).head_layers[0].weight.shape == (len(LABELS), 64)


def test_older_names_of_batch_norms(broken):
    def older(key):
        key = key.replace("norm0", "bn0")
        return key.replace("norm1", "bn1").replace("norm2", "bn2")

    body = {older(key): value for key, value in broken.states["body"].items()}
    assert "bn0.weight" in body
    assert resolve(str(broken.folder(body=body))).labels == LABELS


def test_settings_are_data(broken, tmp_path):
    folder = broken.folder()
    path = folder / "hyperparams.yaml"
    trap = tmp_path / "trap"
    path.write_text(
        path.read_text() + f"boom: !!python/object/apply:pathlib.Path.touch [!new:pathlib.Path ['{trap}']]\n"
    )
    assert resolve(str(folder)).sample_rate == 16000
    assert not trap.exists()
    original = path.read_text()
    path.write_text(original.replace("n_mels: 80", "n_mels: 64"))
    assert "norm0" in refusal(folder)
    path.write_text(original.replace("log_mel: false", "log_mel: true"))
    assert "log_mel" in refusal(folder)
    path.write_text(original.replace("n_fft: 1024", "n_fft: many"))
    assert "n_fft" in refusal(folder)
    path.write_text("a: [1\n")
    assert "hyperparams.yaml" in refusal(folder)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_full_size_end_to_end(recipe_folder, tmp_path):
    """75.5 M + 236.7 M parameters: SpeechBrain's classes as they are, 50 labels."""
    labels = [f"class {index}" for index in range(50)]
    body, head, psi = recipe_folder.make_models(recipe_folder.WIDTHS, 50, seed=7)
    folder = tmp_path / "LMAC" / "1234"
    recipe_folder.write_folder(folder, body.state_dict(), head.state_dict(), psi.state_dict(), labels)
    bundle = tmp_path / "bundle"
    manifest = write_bundle(resolve(str(folder)), bundle)
    assert manifest.files["decoder.onnx.data"].size > 9e8
    graphs, recipe = Graphs(bundle), Recipe(recipe_folder, body, head, psi)
    for batch, samples in ((1, 80000), (3, 39 * 186 + 11), (1, 459 * 186 + 7)):
        worst = compare(recipe, graphs, batch, samples)
        assert max(worst.values()) <= 1e-4, (samples, worst)
    for samples in (31 * 186, 50001):
        wave = sound(1, samples)
        _, heard, mask = graphs(wave)
        assert mask.shape == (1, 1 + samples // 186, 513)
        np.testing.assert_allclose(heard["logits"], recipe.logits(torch.from_numpy(wave)), atol=1e-4)
