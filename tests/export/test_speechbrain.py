"""SpeechBrain's ESC-50 interpret folders: exported graphs against SpeechBrain's own classes."""

import numpy as np
import pytest
from exported_graphs import Graphs
from later import later

from earmark.export.bundle.write import write_bundle
from earmark.export.sources import resolve
from earmark.export.sources.speechbrain.hyperparams import Hyperparams

later("speechbrain")
torch = later("torch")
recipe_folder = later("recipe_folder")
sound = later("recipe_folder", "sound")
Cnn14 = later("earmark.export.models.cnn14", "Cnn14")
Cnn14Decoder = later("earmark.export.models.cnn14_decoder", "Cnn14Decoder")
ExportedCnn14Decoder = later("earmark.export.models.cnn14_decoder", "ExportedCnn14Decoder")
FoldedTail = later("earmark.export.models.cnn14_decoder", "FoldedTail")
reference_mask = later("earmark.export.models.cnn14_decoder", "reference_mask")
without_onednn = later("earmark.export.source.source", "without_onednn")
speechbrain = later("earmark.export.sources.speechbrain.folder")

LABELS = ["dog", "chirping birds", "it's raining", 'a "quoted" => label']


def compare(recipe, graphs, batch, samples):
    """One sound through both; returns the largest differences where the recipe runs as it is."""
    wave = sound(batch, samples, samples)
    heard = graphs(wave)
    stft, mask = heard["stft"], heard["mask"]
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
def narrow(tmp_path_factory):
    """(recipe, its folder, the bundle) with SpeechBrain's classes at a thirtieth of their width."""
    body, head, psi = recipe_folder.make_models(recipe_folder.NARROW, len(LABELS))
    folder = tmp_path_factory.mktemp("recipe") / "1234"
    recipe_folder.write_folder(folder, body.state_dict(), head.state_dict(), psi.state_dict(), LABELS)
    bundle = tmp_path_factory.mktemp("bundle") / "narrow"
    manifest = write_bundle(resolve(str(folder)), bundle)
    return recipe_folder.Recipe(body, head, psi), folder, bundle, manifest


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
        heard = graphs(wave)
        mask = heard["mask"]
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
    views = Graphs(bundle)(sound(2, 30000))
    np.testing.assert_allclose(views["contributions"].sum(-1) + views["bias"], views["logits"], atol=1e-4)
    np.testing.assert_allclose(views["time"], views["square"].mean(2), atol=1e-5)
    np.testing.assert_allclose(views["frequency"], views["square"].mean(1), atol=1e-5)


def test_filterbank_is_speechbrains(narrow):
    recipe, folder, _, _ = narrow
    settings = speechbrain.read_settings(Hyperparams(folder / "hyperparams.yaml"), folder)
    ours = settings.bank.matrix()
    with torch.no_grad():
        theirs = recipe.bank(torch.eye(513).unsqueeze(0))[0]
    assert ours.shape == (513, 80)
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize(("dtype", "limit"), [("float64", 1e-12), ("float32", 1e-5)])
def test_fold_of_layers_eight_and_nine_is_exact(dtype, limit):
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


def test_any_number_of_frames_in_float64():
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


def test_batch_norm_folding():
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


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_full_size_end_to_end(tmp_path):
    """75.5 M + 236.7 M parameters: SpeechBrain's classes as they are, 50 labels."""
    labels = [f"class {index}" for index in range(50)]
    body, head, psi = recipe_folder.make_models(recipe_folder.WIDTHS, 50, seed=7)
    folder = tmp_path / "LMAC" / "1234"
    recipe_folder.write_folder(folder, body.state_dict(), head.state_dict(), psi.state_dict(), labels)
    bundle = tmp_path / "bundle"
    manifest = write_bundle(resolve(str(folder)), bundle)
    assert manifest.files["decoder.onnx.data"].size > 9e8
    graphs, recipe = Graphs(bundle), recipe_folder.Recipe(body, head, psi)
    for batch, samples in ((1, 80000), (3, 39 * 186 + 11), (1, 459 * 186 + 7)):
        worst = compare(recipe, graphs, batch, samples)
        assert max(worst.values()) <= 1e-4, (samples, worst)
    for samples in (31 * 186, 50001):
        wave = sound(1, samples)
        heard = graphs(wave)
        mask = heard["mask"]
        assert mask.shape == (1, 1 + samples // 186, 513)
        np.testing.assert_allclose(heard["logits"], recipe.logits(torch.from_numpy(wave)), atol=1e-4)
