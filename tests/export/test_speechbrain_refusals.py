"""SpeechBrain's folders that are incomplete, older, or of something else: read, or refused by name."""

import pytest
from later import later

from earmark.errors import EarmarkError, SourceError
from earmark.export.sources import resolve

later("speechbrain")
torch = later("torch")
recipe_folder = later("recipe_folder")
speechbrain = later("earmark.export.sources.speechbrain.folder")

LABELS = ["dog", "chirping birds", "it's raining", 'a "quoted" => label']


class Broken:
    """A narrow folder of its own, to be damaged."""

    def __init__(self, path):
        body, head, psi = recipe_folder.make_models(recipe_folder.NARROW, len(LABELS))
        self.states = {"body": body.state_dict(), "head": head.state_dict(), "psi": psi.state_dict()}
        self.write, self.path = recipe_folder.write_folder, path

    def folder(self, labels=LABELS, **changed):
        states = {**self.states, **changed}
        return self.write(self.path, states["body"], states["head"], states["psi"], labels, links=False)


@pytest.fixture
def broken(tmp_path):
    return Broken(tmp_path / "out")


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


def test_the_newest_checkpoint_of_a_classification_wins(broken):
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
    theirs = recipe_folder.Recipe(body.eval(), head, None).logits(wave)
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


def test_wrong_keys_and_shapes(broken):
    folder = broken.folder()
    psi = dict(broken.states["psi"])
    path = next(folder.glob("save/CKPT+2026-02*/psi_model.ckpt"))
    bias = psi.pop("convt5.bias")
    for more, word in (
        ({}, "convt5.bias"),
        ({"convt5.bias": bias[:-1]}, "convt5.bias"),
        ({"convt5.bias": bias, "surprise": bias}, "surprise"),
        ({"convt5.bias": bias * float("nan")}, "convt5.bias"),
    ):
        torch.save({**psi, **more}, path)
        assert word in refusal(folder)
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
    for before, after, word in (
        ("n_mels: 80", "n_mels: 64", "norm0"),
        ("log_mel: false", "log_mel: true", "log_mel"),
        ("n_fft: 1024", "n_fft: many", "n_fft"),
        (original, "a: [1\n", "hyperparams.yaml"),
    ):
        path.write_text(original.replace(before, after))
        assert word in refusal(folder)
