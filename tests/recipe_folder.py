"""Writes output folders as SpeechBrain's ESC-50 interpret recipe leaves them, with seeded random weights."""

import importlib.machinery
import sys
import types
from pathlib import Path

import numpy as np
import torch
from torch import nn

from earmark.export.source.source import without_onednn

HYPERPARAMS = """\
seed: 1234
__set_seed: !!python/object/apply:torch.manual_seed [!ref <seed>]
experiment_name: LMAC_cnn14
output_folder: !ref ./results/<experiment_name>/<seed>
signal_length_s: 5
sample_rate: 16000
n_mels: 80
out_n_neurons: 50
n_fft: 1024
spec_mag_power: 0.5
hop_length: 11.6099
win_length: 23.2199
use_melspectra_log1p: true
opt_class: !name:torch.optim.Adam
    lr: 0.0002
embedding_model: &id001 !new:speechbrain.lobes.models.Cnn14.Cnn14
    mel_bins: !ref <n_mels>
    emb_dim: 2048
    return_reps: true
classifier: &id002 !new:torch.nn.Linear
    in_features: 2048
    out_features: !ref <out_n_neurons>
compute_stft: !new:speechbrain.processing.features.STFT
    n_fft: !ref <n_fft>
    hop_length: !ref <hop_length>
    win_length: !ref <win_length>
    sample_rate: !ref <sample_rate>
compute_fbank: !new:speechbrain.processing.features.Filterbank
    n_mels: !ref <n_mels>
    n_fft: !ref <n_fft>
    sample_rate: !ref <sample_rate>
    log_mel: false
modules:
    embedding: *id001
    head: *id002
"""


def speechbrain_modules() -> tuple[types.ModuleType, types.ModuleType]:
    """(speechbrain.lobes.models.Cnn14, speechbrain.processing.features), without torchaudio."""
    if "torchaudio" not in sys.modules:
        empty = types.ModuleType("torchaudio")
        empty.__spec__ = importlib.machinery.ModuleSpec("torchaudio", None)
        sys.modules["torchaudio"] = empty
    import speechbrain.lobes.models.Cnn14
    import speechbrain.processing.features

    # Its stand-ins for packages that are not installed raise when somebody looks through sys.modules,
    # as hypothesis does in any later test.
    for name, module in list(sys.modules.items()):
        if type(module).__name__ in {"LazyModule", "DeprecatedModuleRedirect"}:
            del sys.modules[name]

    return speechbrain.lobes.models.Cnn14, speechbrain.processing.features


WIDTHS = (64, 128, 256, 512, 1024, 2048)
NARROW = (4, 8, 8, 16, 32, 64)


def make_models(widths: tuple[int, ...], classes: int, seed: int = 0):
    """SpeechBrain's own Cnn14, Linear head and CNN14PSI_stft, random but lively: logits and mask vary.

    Narrow widths take SpeechBrain's own ConvBlock in place of Cnn14's.
    """
    models, features = speechbrain_modules()
    torch.manual_seed(seed)
    body = models.Cnn14(80, 2048 if widths == WIDTHS else 1, return_reps=True)
    if widths != WIDTHS:
        for index, (inputs, outputs) in enumerate(zip((1, *widths), widths, strict=False), 1):
            setattr(body, f"conv_block{index}", models.ConvBlock(inputs, outputs, "bn"))
    enliven(body, seed + 1)
    body.eval()
    head, psi = nn.Linear(widths[-1], classes), models.CNN14PSI_stft(widths[-1]).eval()
    noise = torch.randn(1, 80000) * torch.linspace(0, 1, 80000)
    stft = features.STFT(16000, win_length=23.2199, hop_length=11.6099, n_fft=1024)
    bank = features.Filterbank(n_mels=80, n_fft=1024, sample_rate=16000, log_mel=False)
    with torch.no_grad():
        amplitude = features.spectral_magnitude(stft(noise), power=0.5)
        embedding, taps = body(torch.log1p(bank(amplitude)))
        head.weight.mul_(1.0 / (head(embedding) - head.bias).std())
    calibrate_decoder(psi, taps)
    return body, head, psi


def enliven(model: nn.Module, seed: int) -> None:
    """Seeded statistics for batch norms, so that folding them is not a test of ones and zeros."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                size = module.num_features
                module.running_mean.copy_(0.1 * torch.randn(size, generator=generator))
                module.running_var.copy_(0.5 + torch.rand(size, generator=generator))
                module.weight.copy_(0.7 + 0.6 * torch.rand(size, generator=generator))
                module.bias.copy_(0.1 * torch.randn(size, generator=generator))


def write_folder(
    folder: Path, body: dict, head: dict, psi: dict | None, labels: list[str], *, links: bool = True
) -> Path:
    """Lay the folder out: links to the collected checkpoints, an older CKPT+ beside the newest."""
    save, store = folder / "save", folder / "collected"
    save.mkdir(parents=True)
    store.mkdir()
    (folder / "hyperparams.yaml").write_text(HYPERPARAMS)
    lines = [f"{label!r} => {index}" for index, label in enumerate(labels)]
    (save / "label_encoder.txt").write_text("\n".join([*lines, "=" * 16, "'starting_index' => 0", ""]))
    for name, state in (("embedding_model", body), ("classifier", head)):
        torch.save(state, store / f"{name}.ckpt")
        if links:
            (save / f"{name}.ckpt").symlink_to(store / f"{name}.ckpt")
        else:
            (store / f"{name}.ckpt").rename(save / f"{name}.ckpt")
    older = save / "CKPT+2026-01-01+10-00-00+00"
    older.mkdir()
    (older / "psi_model.ckpt").write_bytes(b"not the newest one")
    newest = save / "CKPT+2026-02-03+04-05-06+00"
    newest.mkdir()
    (newest / "CKPT.yaml").write_text("unixtime: 1770091506\n")
    if psi is not None:
        torch.save(psi, newest / "psi_model.ckpt")
    return folder


def calibrate_decoder(psi: nn.Module, taps: tuple[torch.Tensor, ...], spread: float = 1.5) -> None:
    """Scale a randomly made decoder so that its mask is neither flat nor saturated for these taps."""
    with torch.no_grad():
        for index in range(1, 9):
            psi.get_submodule(f"convt{index}").weight.mul_(2.0)
        logits = psi(taps)
        scale = spread / logits.std()
        psi.convt9.weight.mul_(scale)
        psi.convt9.bias.copy_((psi.convt9.bias - logits.mean()) * scale)


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


class Recipe:
    """SpeechBrain's modules, chained as its recipe chains them."""

    def __init__(self, body, head, psi):
        _, self.features = speechbrain_modules()
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
