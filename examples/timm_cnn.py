"""An image model of timm on mel spectrograms becomes a bundle, which explains without PyTorch.

Needs `pip install "earmark[cpu,export]"`. With timm installed the model is timm's; without, a small one of
the same interface stands in. Put your own weights into `load_model`.

    earmark export timm_cnn:adapter -o bundle                # the same on the command line
    earmark train lmac timm_cnn:adapter DATA -o run          # then masks: export with --decoder run
"""

import importlib.util
import itertools
import tempfile
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import earmark
from earmark.export import Adapter, AnalysisSpec, export_bundle

LABELS = ["hum", "noise", "tone"]
RATE, N_FFT, HOP, MELS, SECONDS = 16000, 512, 160, 64, 1.0


def block(inputs: int, outputs: int, groups: int = 1) -> nn.Module:
    """Half the size: convolution, batch norm, SiLU."""
    convolution = nn.Conv2d(inputs, outputs, 3, 2, 1, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.SiLU())


class Small(nn.Module):
    """As much of timm's interface as is used here."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([block(1, 16), block(16, 16, 16), block(16, 32), block(32, 64)])
        self.classifier = nn.Linear(64, classes)

    def forward_intermediates(self, image: Tensor, indices: Sequence[int]) -> tuple[Tensor, list[Tensor]]:
        """The last map, and those of some blocks."""
        seen = [image := each(image) for each in self.blocks]
        return image, [seen[index] for index in indices]

    def forward_head(self, z: Tensor) -> Tensor:
        """The mean over cells, and the classifier."""
        logits: Tensor = self.classifier(z.mean((2, 3)))
        return logits

    def get_classifier(self) -> nn.Module:
        """The last layer."""
        return self.classifier

    def forward(self, image: Tensor) -> Tensor:
        """Picture -> logits."""
        return self.forward_head(self.forward_intermediates(image, [])[0])


def load_model() -> Any:
    """[B, 1, mel, frames] -> logits, in evaluation mode."""
    torch.manual_seed(0)
    if importlib.util.find_spec("timm") is None:
        return Small(len(LABELS)).eval()
    import timm

    return timm.create_model("mobilenetv2_050", in_chans=1, num_classes=len(LABELS)).eval()


def mel_edges() -> np.ndarray:
    """Corners of the mel bands in Hz, MELS + 2."""
    return 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + RATE / 2 / 700), MELS + 2) / 2595) - 1)


def mel_matrix(edges: np.ndarray) -> Tensor:
    """Triangles [bins, MELS]; yours are those of your pipeline, librosa.filters.mel(...).T for instance."""
    bins = np.linspace(0, RATE / 2, N_FFT // 2 + 1)[:, None]
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    return torch.from_numpy(np.clip(np.minimum(rising, falling), 0, 1).astype(np.float32))


class LogMel(nn.Module):
    """STFT [B, T, F, 2] -> log-mel [B, T, M]: dB, of order 1 as your training had them."""

    def __init__(self, matrix: Tensor) -> None:
        super().__init__()
        self.matrix: Tensor
        self.register_buffer("matrix", matrix)

    def forward(self, stft: Tensor) -> Tensor:
        """The features."""
        decibels = 10 * torch.log10((stft.square().sum(-1) @ self.matrix).clamp(min=1e-8))
        return (decibels + 40) / 40


class Body(nn.Module):
    """log-mel [B, T, M] -> Z [B, C, T', F'], by the model's own layers.

    The model has mel bands as rows and frames as columns; earmark has time before frequency. What a decoder
    reads on the way passes `middle`, whose name stands in `scales`.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.middle = nn.Identity()

    def forward(self, logmel: Tensor) -> Tensor:
        """The feature map."""
        image = logmel.transpose(1, 2).unsqueeze(1)
        z, (middle,) = self.model.forward_intermediates(image, indices=[1])
        self.middle(middle.transpose(2, 3))
        turned: Tensor = z.transpose(2, 3)
        return turned


class Head(nn.Module):
    """Z [B, C, T', F'] -> logits [B, K]."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, z: Tensor) -> Tensor:
        """The logits."""
        logits: Tensor = self.model.forward_head(z.transpose(2, 3))
        return logits


@torch.no_grad()
def adapter() -> Adapter:
    """The model as earmark cuts it; `original` is the pipeline as it is run today."""
    model, edges = load_model(), mel_edges()
    front = LogMel(mel_matrix(edges))

    def original(waveform: Tensor) -> Tensor:
        stft = torch.stft(waveform, N_FFT, HOP, window=torch.hann_window(N_FFT), return_complex=True)
        logits: Tensor = model(front(torch.view_as_real(stft).transpose(1, 2)).transpose(1, 2).unsqueeze(1))
        return logits

    # Rows of frequency and frames of Z, for a window.
    picture = torch.zeros(1, 1, MELS, 1 + round(SECONDS * RATE) // HOP)
    rows, frames = model.forward_intermediates(picture, indices=[1])[0].shape[2:]
    limits = np.interp(np.linspace(0, MELS + 1, rows + 1), np.arange(MELS + 2), edges).tolist()
    return Adapter(
        name="timm_cnn",
        labels=LABELS,
        sample_rate=RATE,
        analysis=AnalysisSpec(n_fft=N_FFT, window_length=N_FFT, hop=HOP, window="hann", padding="reflect"),
        front_end=front,
        feature_map=Body(model),
        head=Head(model),
        original=original,
        scales=["middle"],
        linear=model.get_classifier(),
        pooling="mean",
        window_seconds=SECONDS,
        minimum_seconds=0.3,
        frame_seconds=SECONDS / frames,
        bands_hz=list(itertools.pairwise(limits)),
    )


def main() -> None:
    """Export, load, explain."""
    with tempfile.TemporaryDirectory() as folder:
        manifest = export_bundle(adapter(), f"{folder}/bundle", on_doubt=print)
        print(f"{manifest.name}: logits differ by at most {manifest.parity.fp32['logits'].max_abs:.1e}")
        sound = 0.1 * np.random.default_rng(0).standard_normal(round(SECONDS * RATE)).astype(np.float32)
        with earmark.load(f"{folder}/bundle") as explainer:
            print(explainer.explain(sound, sample_rate=RATE, methods=[]).predictions)


if __name__ == "__main__":
    main()
