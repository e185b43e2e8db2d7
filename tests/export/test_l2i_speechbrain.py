"""SpeechBrain's L2I output folders: exported graphs against SpeechBrain's own classes."""

import importlib
import shutil
from dataclasses import replace

import numpy as np
import pytest
import soundfile
from exported_graphs import Graphs
from later import later
from refusals import refuses
from scipy.special import softmax

import earmark
from earmark.errors import SourceError
from earmark.export.bundle.write import write_bundle
from earmark.export.sources import resolve
from earmark.export.training.l2i.settings import L2iSettings
from earmark.export.training.options import InterpreterOptions

later("speechbrain")
torch = later("torch")
recipe_folder = later("recipe_folder")
sound = later("recipe_folder", "sound")
interpreter_form = later("earmark.export.training.forms", "interpreter_form")
RunDirectory = later("earmark.export.sources.run.directory", "RunDirectory")
without_onednn = later("earmark.export.source.source", "without_onednn")
explained_by = later("earmark.export.sources.run.explainers", "explained_by")
train_l2i = later("earmark.export.training.l2i.recipe", "train_l2i")

pytestmark = pytest.mark.trained
LABELS = ["dog", "chirping birds", "rain", "clock"]
COMPONENTS = 7
NEWEST = "CKPT+2026-02-03+04-05-06+00"


def l2i_classes():
    """SpeechBrain's module of the L2I recipe (after `speechbrain_modules`, which stubs torchaudio)."""
    return importlib.import_module("speechbrain.lobes.models.L2I")


class Recipe:
    """The recipe's modules, chained as its `compute_forward` and `interpret_computation_steps` chain them."""

    def __init__(self):
        body, head, _ = recipe_folder.make_models(recipe_folder.NARROW, len(LABELS))
        _, self.features = recipe_folder.speechbrain_modules()
        spec = {"sample_rate": 16000, "win_length": 23.2199, "hop_length": 11.6099}
        self.stft = self.features.STFT(n_fft=1024, **spec)
        self.bank = self.features.Filterbank(n_mels=80, n_fft=1024, sample_rate=16000, log_mel=False)
        self.body, self.head = body, head
        l2i = l2i_classes()
        torch.manual_seed(3)
        self.psi = l2i.CNN14PSI_stft_2d(recipe_folder.NARROW[-1], COMPONENTS).eval()
        self.theta = l2i.Theta(COMPONENTS, 431, len(LABELS)).eval()
        self.nmf = l2i.NMFDecoderAudio(COMPONENTS, 513, device="cpu")
        with torch.no_grad():
            for index in range(1, 10):
                # Random layers fade: make the activations of the order of one, and some of them silent.
                self.psi.get_submodule(f"convt{index}").weight.mul_(2.2)
            # What a ReLU must not let through.
            self.nmf.W[:40, 0] = -0.5

    def __call__(self, wave):
        """(psi's activations [B, K, T], theta's probabilities [B, C] where they are defined)."""
        with torch.no_grad(), without_onednn():
            amplitude = self.features.spectral_magnitude(self.stft(torch.from_numpy(wave)), power=0.5)
            _, taps = self.body(torch.log1p(self.bank(amplitude)))
            activations = self.psi(taps)[:, :, : amplitude.shape[1]]
            whole = activations.shape[2] == 431
            return activations.numpy(), self.theta(activations).numpy() if whole else None

    def write(self, folder):
        recipe_folder.write_folder(folder, self.body.state_dict(), self.head.state_dict(), None, LABELS)
        newest = folder / "save" / NEWEST
        torch.save(self.psi.state_dict(), newest / "psi_model.ckpt")
        torch.save(self.theta.state_dict(), newest / "theta.ckpt")
        torch.save(self.nmf.state_dict(), folder / "save" / "nmf_decoder.ckpt")
        with (folder / "hyperparams.yaml").open("a") as file:
            file.write("relevance_th: 0.25\nint_method: l2i\n")
        return folder


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """(recipe, its folder, the bundle)."""
    recipe = Recipe()
    folder = recipe.write(tmp_path_factory.mktemp("recipe") / "1234")
    bundle = tmp_path_factory.mktemp("bundle") / "l2i"
    manifest = write_bundle(resolve(str(folder)), bundle)
    return recipe, folder, bundle, manifest


def answers(bundle, wave):
    """Activations, what they are pooled to, and logits."""
    made = Graphs(bundle)(wave)
    return made["activations"], made["pooled"], made["logits"]


def test_the_recipes_five_seconds_exactly(exported):
    recipe, _, bundle, manifest = exported
    wave = sound(1, 80000, 1)
    theirs, probabilities = recipe(wave)
    activations, pooled, logits = answers(bundle, wave)
    arrays = np.load(bundle / "dictionary.npz")
    norms = torch.relu(recipe.nmf.W).norm(dim=0).detach().numpy()
    assert theirs.max() > 0.01
    np.testing.assert_allclose(activations, norms[:, None] * theirs, atol=1e-4 * max(1, activations.max()))
    np.testing.assert_allclose(softmax(logits, axis=1), probabilities, atol=1e-4)
    np.testing.assert_allclose(logits, pooled @ arrays["theta"].T, rtol=1e-4, atol=1e-5)
    # W H is the recipe's own reconstruction.
    own = recipe.nmf(torch.from_numpy(theirs)).detach().numpy()
    np.testing.assert_allclose(arrays["dictionary"] @ activations[0], own[0], rtol=1e-3, atol=1e-4)
    assert manifest.components.count == COMPONENTS
    assert manifest.components.threshold == 0.25
    assert manifest.explainers == ["components"]


def test_relevance_is_the_recipes(exported):
    recipe, _, bundle, _ = exported
    wave = sound(1, 80000, 2)
    _, pooled, _ = answers(bundle, wave)
    theta = np.load(bundle / "dictionary.npz")["theta"]
    activations = torch.from_numpy(recipe(wave)[0])[0]
    z = recipe.theta.hard_att(activations).squeeze().detach()
    for label in range(len(LABELS)):
        said = (recipe.theta.classifier[0].weight[label] * z).detach().numpy()
        ours = theta[label] * pooled[0]
        np.testing.assert_allclose(ours / np.abs(ours).max(), said / np.abs(said).max(), atol=1e-4)


def test_other_lengths(exported):
    """Where the recipe's psi itself runs (T mod 32 is 8..15) it is that; theta goes by relative place."""
    recipe, _, bundle, _ = exported
    norms = torch.relu(recipe.nmf.W).norm(dim=0).detach().numpy()
    for frames in (43, 79, 203):
        wave = sound(2, 186 * (frames - 1) + 5, frames)
        theirs, _ = recipe(wave)
        activations = answers(bundle, wave)[0]
        assert activations.shape == (2, COMPONENTS, frames)
        np.testing.assert_allclose(
            activations, norms[:, None] * theirs, atol=1e-4 * max(1, activations.max())
        )
    for frames in (32, 40, 48, 63, 64, 435):
        activations, pooled, logits = answers(bundle, sound(1, 186 * (frames - 1), frames))
        assert activations.shape == (1, COMPONENTS, frames)
        assert np.isfinite(logits).all()
        # Constant activations would pool to the same whatever the length: the weights' sum hardly changes.
        weights = recipe.theta.hard_att.weight.detach().numpy()[0]
        places = np.linspace(0, 430, frames)
        expected = np.interp(places, np.arange(431), weights) * 431 / frames
        np.testing.assert_allclose(pooled[0], activations[0] @ expected, rtol=1e-3, atol=1e-4)


def test_it_explains(exported):
    _, _, bundle, _ = exported
    wave = sound(1, 40000, 5)[0]
    result = earmark.load(bundle, device="cpu").explain(wave, sample_rate=16000, methods=["components"])
    assert result.components is not None


def test_its_layers_can_be_trained(exported, tmp_path):
    """`--interpreter reference` builds the very layers; a folder is a source to train over, with -o."""
    recipe, folder, _, _ = exported
    source = resolve(str(folder), interpreter=False)
    assert source.explainers == []
    built = interpreter_form(source, COMPONENTS, "reference").build()
    built.psi.psi.psi.load_state_dict(recipe.psi.state_dict())
    wave = sound(1, 80000, 3)
    with torch.no_grad(), without_onednn():
        _, *taps = source.classifier(source.frontend(torch.from_numpy(wave)))
        given = dict(zip(source.taps, taps, strict=True))
        made = built.psi(given["logmel"], *(given[name] for name in ("x1", "x2", "x3", "x4")))
    np.testing.assert_allclose(made.numpy(), recipe(wave)[0], atol=1e-4 * max(1.0, float(made.max())))
    data, run = tmp_path / "data", tmp_path / "run"
    for label in LABELS:
        (data / label).mkdir(parents=True)
        for index in range(2):
            soundfile.write(data / label / f"{label}_{index}x.wav", sound(1, 8000, index)[0], 16000)
    source = replace(source, labels=sorted(LABELS))
    settings = L2iSettings(epochs=1, components=4, batch_size=4, interpreter="reference", removal_weight=0.0)
    summary = train_l2i(source, data, settings, InterpreterOptions(out=run))
    assert summary.components == 4
    trained = explained_by(source, interpreter=RunDirectory(run, "interpreter"))
    assert trained.outputs(wave)["activations"].shape == (1, 4, 431)


@pytest.mark.parametrize(
    ("file", "change", "said"),
    [
        ("save/nmf_decoder.ckpt", None, "is missing"),
        ("save/nmf_decoder.ckpt", lambda s: {"W": s["W"][:257]}, "257 bins"),
        (
            "save/nmf_decoder.ckpt",
            lambda s: {"W": torch.cat([s["W"][:, :6], -s["W"][:, :1].abs()], 1)},
            "zero",
        ),
        (f"save/{NEWEST}/psi_model.ckpt", lambda s: {"c1.weight": s["convt1.weight"]}, "CNN14PSI_stft_2d"),
        (
            f"save/{NEWEST}/psi_model.ckpt",
            lambda s: {**s, "convt9.weight": s["convt9.weight"][..., 0]},
            "CNN14PSI_stft",
        ),
        (
            f"save/{NEWEST}/theta.ckpt",
            lambda s: {**s, "classifier.0.weight": s["classifier.0.weight"][:3]},
            "4 labels",
        ),
        (f"save/{NEWEST}/theta.ckpt", lambda s: {"hard_att.weight": s["hard_att.weight"]}, "not those of"),
    ],
)
def test_what_does_not_belong_is_named(exported, tmp_path, file, change, said):
    folder = shutil.copytree(exported[1], tmp_path / "1234")
    path = folder / file
    if change is None:
        path.unlink()
    else:
        torch.save(change(torch.load(path)), path)
    assert path.name in refuses(SourceError, said, resolve, str(folder))
