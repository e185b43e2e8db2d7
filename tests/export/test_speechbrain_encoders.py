"""Folders of SpeechBrain's EncoderClassifier against that class itself: ECAPA-TDNN and Xvector."""

import logging

import numpy as np
import pytest
from later import later
from refusals import refuses

import earmark
from earmark.errors import SourceError
from earmark.export.bundle.write import write_bundle
from earmark.export.sources import resolve

later("speechbrain")
torch = later("torch")
recipe_folder = later("recipe_folder")

LABELS = ["en: English", "it's", "noise"]
_PLACES = """\
    loadables:
        embedding_model: !ref <embedding_model>
        classifier: !ref <classifier>
        label_encoder: !ref <label_encoder>
    paths:
        embedding_model: !ref <pretrained_path>/embedding_model.ckpt
        classifier: !ref <pretrained_path>/head.ckpt
        label_encoder: !ref <pretrained_path>/labels.txt
"""
_FEATURES = """\
pretrained_path: somebody/some-model
sample_rate: 16000
n_mels: 20
compute_features: !new:speechbrain.lobes.features.Fbank
    n_mels: !ref <n_mels>
mean_var_norm: !new:speechbrain.processing.features.InputNormalization
    norm_type: sentence
    std_norm: {deviation}
"""
_END = """\
modules:
    compute_features: !ref <compute_features>
    mean_var_norm: !ref <mean_var_norm>
    embedding_model: !ref <embedding_model>
    classifier: !ref <classifier>
label_encoder: !new:speechbrain.dataio.encoder.CategoricalEncoder
pretrainer: !new:speechbrain.utils.parameter_transfer.Pretrainer
"""
_ECAPA = """\
embedding_model: !new:speechbrain.lobes.models.ECAPA_TDNN.ECAPA_TDNN
    input_size: !ref <n_mels>
    channels: [32, 16, 16, 16, 24]
    kernel_sizes: [5, 3, 3, 3, 1]
    dilations: [1, 2, 3, 4, 1]
    groups: [1, 1, 1, 1, 1]
    attention_channels: 8
    res2net_scale: 4
    se_channels: 6
    lin_neurons: 12
"""
_XVECTOR = """\
embedding_model: !new:speechbrain.lobes.models.Xvector.Xvector
    in_channels: !ref <n_mels>
    activation: !name:torch.nn.LeakyReLU
    tdnn_blocks: 5
    tdnn_channels: [16, 16, 16, 16, 24]
    tdnn_kernel_sizes: [5, 3, 3, 1, 1]
    tdnn_dilations: [1, 2, 3, 1, 1]
    lin_neurons: 12
"""
_COSINE = """\
classifier: !new:speechbrain.lobes.models.ECAPA_TDNN.Classifier
    input_size: 12
    out_neurons: 3
    lin_blocks: {blocks}
    lin_neurons: 10
"""
_MLP = """\
classifier: !new:speechbrain.lobes.models.Xvector.Classifier
    input_shape: [null, null, 12]
    activation: !name:torch.nn.LeakyReLU
    lin_blocks: 1
    lin_neurons: 10
    out_neurons: 3
"""
KINDS = {
    "ecapa": _FEATURES.format(deviation="False") + _ECAPA + _COSINE.format(blocks=0),
    "ecapa with layers": _FEATURES.format(deviation="True") + _ECAPA + _COSINE.format(blocks=1),
    "ecapa of languages": _FEATURES.format(deviation="False") + _ECAPA + _MLP,
    "xvector": _FEATURES.format(deviation="False") + _XVECTOR + _MLP,
}


@pytest.fixture(scope="module")
def classifiers():
    recipe_folder.speechbrain_modules()
    import speechbrain.inference.classifiers as classifiers

    logging.getLogger("speechbrain").setLevel(logging.ERROR)
    return classifiers


def lively(module, seed):
    """Seeded statistics for batch norms."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for layer in module.modules():
            if isinstance(layer, torch.nn.BatchNorm1d):
                layer.running_mean.copy_(0.1 * torch.randn(layer.num_features, generator=generator))
                layer.running_var.copy_(0.5 + torch.rand(layer.num_features, generator=generator))
    return module


def write_hub(folder, settings):
    """A folder as the Hugging Face hub has them, of random weights."""
    from hyperpyyaml import load_hyperpyyaml

    folder.mkdir(parents=True)
    (folder / "hyperparams.yaml").write_text(settings + _END + _PLACES)
    torch.manual_seed(0)
    made = load_hyperpyyaml(settings)
    torch.save(lively(made["embedding_model"], 1).state_dict(), folder / "embedding_model.ckpt")
    torch.save(lively(made["classifier"], 2).state_dict(), folder / "head.ckpt")
    lines = [f"{label!r} => {index}" for index, label in enumerate(LABELS)]
    (folder / "labels.txt").write_text("\n".join([*lines, "=" * 16, "'starting_index' => 0", ""]))
    return folder


def sound_of(seconds, seed=0):
    random = np.random.default_rng(seed)
    time = np.arange(int(16000 * seconds)) / 16000
    tone = np.sin(2 * np.pi * 700 * time) * (np.sin(9 * time) > 0)
    return (0.3 * tone + 0.03 * random.standard_normal(len(time))).astype(np.float32)


def pretrained(classifiers, folder, cache):
    """SpeechBrain's own object for a folder: sounds [B, N] -> (log-probabilities or cosines, label)."""
    original = classifiers.EncoderClassifier.from_hparams(
        source=str(folder), savedir=str(cache), overrides={"pretrained_path": str(folder)}
    )
    original.hparams.label_encoder.ignore_len()

    def answer(sound):
        with torch.no_grad():
            scores, _, _, (label,) = original.classify_batch(torch.from_numpy(sound)[None])
        return scores[0].numpy(), label

    return answer


def agree(kind, ours, theirs):
    """Logits against what SpeechBrain gives: log-softmax, or cosines, which the bundle scales by 30."""
    # What the noise in Xvector's pooling may change.
    limit = 1e-3 if kind == "xvector" else 1e-4
    if "Xvector.Classifier" in KINDS[kind]:
        np.testing.assert_allclose(ours - np.logaddexp.reduce(ours), theirs, atol=limit)
    else:
        np.testing.assert_allclose(ours, 30.0 * theirs, atol=limit)


@pytest.mark.parametrize("kind", KINDS)
def test_sources_answer_as_speechbrain_does(tmp_path, classifiers, kind):
    folder = write_hub(tmp_path / "hub", KINDS[kind])
    answer = pretrained(classifiers, folder, tmp_path / "cache")
    source = resolve(str(folder))
    assert source.labels == LABELS
    for seconds in (0.3, 1.7, 10.0):
        sound = sound_of(seconds, int(seconds))
        agree(kind, source.outputs(sound[None])["logits"][0], answer(sound)[0])


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ecapa", "xvector"])
def test_bundles_answer_as_speechbrain_does(tmp_path, classifiers, kind):
    folder = write_hub(tmp_path / "hub", KINDS[kind])
    answer = pretrained(classifiers, folder, tmp_path / "cache")
    manifest = write_bundle(resolve(str(folder)), tmp_path / "bundle")
    assert manifest.rescore == "spectrogram"
    with earmark.load(tmp_path / "bundle", device="cpu") as explainer:
        for seconds in (0.3, 1.7, 10.0):
            sound = sound_of(seconds, int(seconds))
            result = explainer.explain(sound, sample_rate=16000, methods=[])
            theirs, label = answer(sound)
            agree(kind, np.array(result.logits), theirs)
            assert result.predictions[0][0] == label


def test_a_recipes_newest_checkpoint_wins(tmp_path, classifiers):
    hub = write_hub(tmp_path / "hub", KINDS["ecapa"].replace("sample_rate", "sentence_len: 3.0\nsample_rate"))
    folder = tmp_path / "1986"
    newest = folder / "save" / "CKPT+2026-02-03+04-05-06+00"
    newest.mkdir(parents=True)
    (folder / "save" / "CKPT+2026-01-03+04-05-06+00").mkdir()
    older = folder / "save" / "CKPT+2026-01-03+04-05-06+00" / "embedding_model.ckpt"
    older.write_bytes(b"not the newest one")
    settings = (hub / "hyperparams.yaml").read_text().partition("modules:")[0]
    scale = (
        "compute_cost: !new:speechbrain.nnet.losses.LogSoftmaxWrapper\n"
        "    loss_fn: !new:speechbrain.nnet.losses.AdditiveAngularMargin\n"
        "        margin: 0.2\n        scale: 15\n"
    )
    (folder / "hyperparams.yaml").write_text(settings + scale)
    for name, to in (("embedding_model.ckpt", newest / "embedding_model.ckpt"),
                     ("head.ckpt", newest / "classifier.ckpt"),
                     ("labels.txt", folder / "save" / "label_encoder.txt")):  # fmt: skip
        to.write_bytes((hub / name).read_bytes())
    recipe, other = resolve(str(folder)), resolve(str(hub))
    assert (recipe.window.seconds, recipe.doubts, len(other.doubts)) == (3.0, (), 1)
    sound = torch.from_numpy(sound_of(1.0))[None]
    np.testing.assert_allclose(
        2.0 * recipe.reference.logits(sound), other.reference.logits(sound), rtol=1e-5, atol=1e-5
    )


def test_a_tensor_of_the_map_lies_where_its_sound_is(tmp_path, classifiers):
    source = resolve(str(write_hub(tmp_path / "hub", KINDS["ecapa"])))
    quiet = 0.01 * torch.randn(1, 32000, generator=torch.Generator().manual_seed(0))
    clicked = quiet.clone()
    clicked[:, 24000:24400] += 0.3
    with torch.no_grad():
        change = source.forward_pass(clicked)["middle"] - source.forward_pass(quiet)["middle"]
    moved = change.square().sum(dim=(0, 1, 3))
    assert abs(int(moved.argmax()) * source.feature_map.frame_seconds - 1.5) <= 0.06


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("norm_type: sentence", "norm_type: global", "norm_type of mean_var_norm is 'global'; only"),
        ("lobes.features.Fbank", "lobes.features.MFCC", "compute_features is MFCC; Fbank is known here"),
        ("n_mels: 20", "n_mels: 40", "takes 20 bands, but hyperparams.yaml says n_mels 40"),
        ("dilations: [1, 2, 3, 4, 1]", "dilations: [1, 2]", "embedding model is not the ECAPA_TDNN of"),
        ("lin_neurons: 12", "activation: !name:torch.nn.Mish", "activation of embedding_model is"),
        (
            "    deltas: 0",
            "    deltas: True",
            "deltas of compute_features is True; only False can be exported",
        ),
    ],
)  # fmt: skip
def test_settings_that_are_not_known_are_refused(tmp_path, classifiers, before, after, message):
    settings = KINDS["ecapa"].replace("    n_mels: !ref <n_mels>", "    n_mels: !ref <n_mels>\n    deltas: 0")
    folder = write_hub(tmp_path / "hub", settings)
    path = folder / "hyperparams.yaml"
    path.write_text(path.read_text().replace(before, after, 1))
    refuses(SourceError, message.replace("(", r"\("), resolve, str(folder))


def test_other_weights_and_pickled_objects_are_refused(tmp_path, classifiers):
    folder = write_hub(tmp_path / "hub", KINDS["ecapa"])
    head = folder / "head.ckpt"
    torch.save({"weight": torch.ones(3, 7)}, head)
    refuses(SourceError, r"does not take the embeddings of embedding_model\.ckpt", resolve, str(folder))
    torch.save({"weight": torch.ones(2, 12)}, head)
    refuses(SourceError, r"gives 2 scores, but labels\.txt has 3 labels", resolve, str(folder))
    torch.save({"first.weight": torch.ones(2, 12)}, head)
    refuses(SourceError, "are not those of a linear layer", resolve, str(folder))
    torch.save(torch.nn.Linear(2, 2), head)
    refuses(SourceError, "is not a plain state dict", resolve, str(folder))
