"""Rebuilds the weights beside this file, from nothing: `python tests/weights/build.py [FOLDER]`.

    stranger_classifier.safetensors             of tests/stranger_model.py, taught high, low and noise
    stranger_decoder/decoder.{json,safetensors} a decoder for any class over it, as `train lmac` leaves it

Tests that need a model that has learnt something take these, as what a training learns differs between
processors: trained again elsewhere, they serve the same tests with other numbers (seen between AVX-512 and
plain kernels, though trained in float64). About a minute on one core. Run it where the recipe changes on
purpose, and commit what it wrote.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch.nn import functional

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from stranger_model import ANALYSIS, LABELS, stranger, write_sounds  # noqa: E402

from earmark.evaluation.data.folder import list_sounds, load_sound  # noqa: E402
from earmark.export.graphs.stft import stft  # noqa: E402
from earmark.export.source.source import Source  # noqa: E402
from earmark.export.sources.run.directory import RunDirectory  # noqa: E402
from earmark.export.training.lmac.recipe import train_lmac  # noqa: E402
from earmark.export.training.options import OverSourceOptions  # noqa: E402
from earmark.export.training.settings import LmacSettings  # noqa: E402

CLIPS = 16
DECODER = LmacSettings(
    epochs=40, batch_size=8, width=8, targets="any", stop_fraction=0.0, patience=0, exact=True
)


def teach(source: Source, data: Path) -> None:
    """Train the classifier in float64, its weights rounded to multiples of 2**-20 after every step."""
    clips = list_sounds(data).clips
    waves = np.stack([load_sound(clip.path, source.sample_rate) for clip in clips])
    spectra = stft(torch.from_numpy(waves).double(), ANALYSIS)
    targets = torch.tensor([LABELS.index(clip.label) for clip in clips])
    model = source.classifier.double()
    optimizer = torch.optim.Adam(model.parameters(), 5e-3)
    random = np.random.default_rng(0)
    for _ in range(150):
        chosen = random.permutation(len(clips))[:16]
        gain = torch.from_numpy(10.0 ** random.uniform(-0.5, 0.5, (16, 1, 1, 1)))
        loss = functional.cross_entropy(model(spectra[chosen] * gain)[0], targets[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(2.0**20).round_().mul_(2.0**-20)
    model.float()


def build(out: Path) -> None:
    """Write all weights to `out`."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        data = write_sounds(Path(temporary) / "data", CLIPS)
        source = stranger()
        teach(source, data)
        out.mkdir(parents=True, exist_ok=True)
        weights = {name: value.contiguous() for name, value in source.classifier.state_dict().items()}
        save_file(weights, out / "stranger_classifier.safetensors")
        train_lmac(source, data, DECODER, OverSourceOptions(out=Path(temporary) / "run"))
        run = RunDirectory(Path(temporary) / "run", "decoder")
        for path in (run.config_path, run.weights_path):
            kept = out / "stranger_decoder" / path.name
            kept.parent.mkdir(exist_ok=True)
            kept.write_bytes(path.read_bytes())


if __name__ == "__main__":
    build(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
