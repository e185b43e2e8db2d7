"""What learning U refuses, and what it says of too little."""

import numpy as np
import pytest
import soundfile
from apex_sounds import two_folds, write_sounds
from changed_bundle import rewritten
from later import later
from tiny_model import tiny_adapter

from earmark.errors import DataError, EarmarkError, LabelError, RunError
from earmark.export.bundle.write import write_bundle
from earmark.export.training.apex.settings import ApexSettings
from earmark.export.training.options import ApexOptions
from earmark.runtime.opening import open_bundle

later("onnxruntime")
torch = later("torch")
train_apex = later("earmark.export.training.apex.recipe", "train_apex")
from_adapter = later("earmark.export.sources.adapter.source", "from_adapter")

pytestmark = pytest.mark.trained
FEW = ApexSettings(rounds=6, n_last=3, polish=2)


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    return two_folds(tmp_path_factory.mktemp("sounds"))


def test_too_little_is_said(bundle, tmp_path):
    """Classes without clips, fewer recordings than n; clips that cannot be heard are left out and named."""
    data = write_sounds(tmp_path / "data", labels=("noise",), clips=2)
    (data / "noise" / "1-900-A-0.wav").write_bytes(b"no sound")
    soundfile.write(data / "noise" / "1-901-A-0.wav", np.array([0.5]), 16000)
    summary = train_apex(bundle, data, FEW)
    notes = " ".join(summary.report.notes)
    assert "low hum, whistle" in notes
    assert [name for name, _ in summary.left_out.unreadable] == ["noise/1-900-A-0.wav"]
    assert summary.report.clips["train"].windows == 3
    assert summary.report.purity["square"]["train"]["after"] > 0
    few = train_apex(bundle, data, ApexSettings(rounds=2, n_last=5), ApexOptions(out=tmp_path / "few"))
    assert "fewer than" in " ".join(few.report.notes)


def test_one_row_of_frequency_has_no_frequency_views(sounds, tmp_path):
    """Waveform models: square and time alone; the others are refused by name."""
    adapter = tiny_adapter(decoder=False)
    features = adapter.feature_map

    class Flat(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.features = features

        def forward(self, x):
            return self.features(x).mean(dim=3, keepdim=True)

    adapter.feature_map, adapter.bands_hz = Flat().eval(), [(0.0, 8000.0)]
    write_bundle(from_adapter(adapter), tmp_path / "flat")
    summary = train_apex(tmp_path / "flat", sounds, ApexSettings(rounds=3, n_last=3))
    assert set(summary.report.purity) == {"square", "time"}
    assert "frequency" in " ".join(summary.report.notes)
    assert set(open_bundle(tmp_path / "flat").manifest.prototypes.views) == {"square", "time"}


def test_maps_that_are_not_finite_are_named(tmp_path):
    """A clip whose map holds NaN is left out by name; with nothing else there is nothing to learn from."""
    adapter = tiny_adapter(decoder=False)
    features, head = adapter.feature_map, adapter.head

    class Breaking(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.features = features

        def forward(self, x):
            z = self.features(x)
            # Where nothing but the highest band sounds, which no sound of the exporter's does.
            high = x[..., -1].amax(dim=1) > x[..., :20].amax(dim=(1, 2)) + 3.0
            return torch.where(high[:, None, None, None], torch.log(-1.0 - z.abs()), z)

    class Sturdy(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.head = head

        def forward(self, z):
            return self.head(torch.where(torch.isnan(z), torch.zeros_like(z), z))

    adapter.feature_map, adapter.head = Breaking().eval(), Sturdy().eval()
    write_bundle(from_adapter(adapter), tmp_path / "bundle")
    data = tmp_path / "data"
    quiet = 0.001 * np.random.default_rng(0).standard_normal((4, 16000))
    (data / "noise").mkdir(parents=True)
    for index, wave in enumerate([*quiet, 0.5 * np.sin(2 * np.pi * 7900 / 16000 * np.arange(16000))]):
        soundfile.write(data / "noise" / f"1-{index}-A-0.wav", wave, 16000)
    summary = train_apex(tmp_path / "bundle", data, FEW)
    assert [name for name, _ in summary.left_out.unreadable] == ["noise/1-4-A-0.wav"]
    assert "not finite" in summary.left_out.unreadable[0][1]
    for index in range(4):
        (data / "noise" / f"1-{index}-A-0.wav").unlink()
    with pytest.raises(DataError, match="no clip could be used"):
        train_apex(tmp_path / "bundle", data, FEW, ApexOptions(out=tmp_path / "again"))


@pytest.mark.parametrize(
    ("arguments", "kind", "text"),
    [
        ({"data": "missing"}, DataError, "no such folder"),
        ({"data": "strange"}, LabelError, "'cat' is no label"),
        ({"source": "sounds"}, RunError, "neither a run directory nor a bundle"),
        ({"settings": ApexSettings(val_fold=9)}, DataError, "fold 9"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(bundle, sounds, tmp_path, arguments, kind, text):
    """Folders, labels, sources and settings."""
    write_sounds(tmp_path / "strange", labels=("cat",), clips=1)
    source = sounds if arguments.get("source") else bundle
    data = tmp_path / arguments["data"] if "data" in arguments else sounds
    with pytest.raises(kind, match=text) as caught:
        train_apex(source, data, arguments.get("settings", FEW))
    assert isinstance(caught.value, EarmarkError)
    assert "\n" not in str(caught.value)


def test_a_second_training_does_not_overwrite_the_first(bundle, sounds, tmp_path):
    """Without --resume a finished U stays; a changed setting is told on --resume."""
    train_apex(bundle, sounds, FEW, ApexOptions(out=tmp_path / "u"))
    with pytest.raises(RunError, match="already"):
        train_apex(bundle, sounds, FEW, ApexOptions(out=tmp_path / "u"))
    with pytest.raises(RunError, match="rounds"):
        train_apex(
            bundle, sounds, ApexSettings(rounds=7, n_last=3), ApexOptions(out=tmp_path / "u", resume=True)
        )


def test_a_bundle_without_a_feature_map_says_so(bundle, sounds):
    """Nothing to turn."""

    with rewritten(bundle) as manifest:
        manifest["stages"] = [stage for stage in manifest["stages"] if stage["name"] != "embeddings"]
        del manifest["feature_map"], manifest["files"]["embeddings.onnx"]
    (bundle / "embeddings.onnx").unlink()
    with pytest.raises(RunError, match="no feature map"):
        train_apex(bundle, sounds, FEW)
