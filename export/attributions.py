"""Attribution baselines in PyTorch (captum), over the listenable log-spectrogram of a source's classifier.

Each method judges the cells of X = log1p(|S|) [T, F] for a class c: the classifier is entered through
the STFT with the input's phase, S(X) = expm1(X) S / |S|, which is how masks enter it, too
(S x gain, runtime/audio/stft.py), so that an attribution and a mask speak of the same cells.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from ..errors import LabelError, MethodError, MissingDependencyError, SourceError
from ..runtime.values.arrays import Array, FloatArray
from .source.source import Source

# Points of the path or noisy copies that one answer averages over.
_POINTS = 32
# Points that go through the classifier together: memory stays that of a small training batch.
_BATCH = 4
# SmoothGrad's noise, as a share of the range of X (Smilkov et al. 2017 recommend 10 to 20 %).
NOISE = 0.15

_Logits = Callable[[torch.Tensor], torch.Tensor]


class Attributions:
    """One attribution method over one source: callable (stft [T, F, 2], target) -> [T, F], >= 0.

    - saliency: |d f_c / d X| (Simonyan et al. 2014)
    - integrated_gradients: X int_0^1 d f_c / d X (a X) da from silence, Gauss-Legendre (Sundararajan
      et al. 2017); `signed` sums to f_c(X) - f_c(0)
    - smoothgrad: | mean over noisy X of d f_c / d X | (Smilkov et al. 2017)
    - gradcam: relu(sum_k w_k Z_k), w_k = mean over the map of d f_c / d Z_k (Selvaraju et al. 2017), over
      the feature map before pooling, interpolated between its cells' centres to frames and bins
    - gradcam_energy: gradcam x X
    - shap: GradientSHAP (Lundberg et al. 2017): expected gradients between X and a baseline drawn from
      silence and the clip's own mean spectrum. captum's DeepLiftSHAP would need classifiers whose
      ReLUs are modules used once, which sources do not promise.

    f_c is the logit. Of signed methods the positive part counts (evidence for c), of gradients the
    magnitude. The same seed gives the same answer; nobody else's random state is touched.
    """

    def __init__(self, source: Source, method: str, seed: int = 0) -> None:
        """Raises MethodError, SourceError (rescore "waveform"), MissingDependencyError (no captum)."""
        if method not in METHODS:
            raise MethodError(f"there is no attribution {method!r}; choose one of {', '.join(METHODS)}")
        if source.rescore != "spectrogram":
            raise SourceError(
                f"{source.name}: eats features of its own, so cells of the listenable spectrogram have no "
                "gradient; attributions need a source with rescore spectrogram"
            )
        self.name = method
        self._source, self._seed = source, seed
        self._gradient = _GRADIENTS.get(method)
        if self._gradient is not None:
            _captum()
        self._tap = "" if self._gradient is not None else _map_tap(source)

    def __call__(self, stft: FloatArray, target: int) -> FloatArray:
        """Importance [T, F] float32, >= 0, of every cell of `stft` [T, F, 2] for the class index `target`.

        Raises LabelError for an index that is no class, SourceError for an STFT of another shape.
        """
        signed = self.signed(stft, target)
        if self.name in _MAGNITUDE:
            return np.abs(signed)
        return np.maximum(signed, np.float32(0))

    def signed(self, stft: FloatArray, target: int) -> FloatArray:
        """The same [T, F] before magnitude or positive part is taken."""
        self._check(stft, target)
        classifier = self._source.classifier.eval()
        given = [*classifier.parameters(), *classifier.buffers(), torch.empty(0)][0]
        spectrum = torch.tensor(np.asarray(stft, np.float32), device=given.device)
        with _seeded(self._seed), torch.enable_grad(), warnings.catch_warnings():
            # captum warns of what it then does by itself (inputs that must require gradients).
            warnings.simplefilter("ignore")
            if self._gradient is not None:
                x, logits = self._entered(spectrum)
                output: torch.Tensor = self._gradient(logits, x, target)[0]
            else:
                output = self._gradcam(spectrum, target)
        return output.detach().cpu().numpy().astype(np.float32)

    def _check(self, stft: FloatArray, target: int) -> None:
        bins = self._source.analysis.n_fft // 2 + 1
        if np.ndim(stft) != 3 or np.shape(stft)[1:] != (bins, 2):
            raise SourceError(
                f"{self._source.name}: an STFT of shape {list(np.shape(stft))}; [frames, {bins}, 2] is needed"
            )
        if not 0 <= target < len(self._source.labels):
            raise LabelError(
                f"{self._source.name}: class {target} of {len(self._source.labels)}; count from 0"
            )

    def _entered(self, spectrum: torch.Tensor) -> tuple[torch.Tensor, _Logits]:
        """X [1, T, F], and X' [B, T, F] -> logits [B, K] with the phase of `spectrum` [T, F, 2]."""
        amplitude = torch.linalg.vector_norm(spectrum, dim=-1)
        silent = amplitude == 0
        # A cell without a phase gets that of a cosine.
        phase = spectrum / amplitude.masked_fill(silent, 1.0).unsqueeze(-1)
        phase[..., 0] = phase[..., 0].masked_fill(silent, 1.0)

        def logits(log_amplitude: torch.Tensor) -> torch.Tensor:
            # Noise may ask for less than nothing, which no sound has.
            loudness = torch.expm1(log_amplitude.clamp(min=0.0))
            output: torch.Tensor = self._source.classifier(loudness.unsqueeze(-1) * phase)[0]
            return output

        return torch.log1p(amplitude).unsqueeze(0).requires_grad_(), logits

    def _gradcam(self, spectrum: torch.Tensor, target: int) -> torch.Tensor:
        answers = self._source.classifier(spectrum.unsqueeze(0).requires_grad_())
        tap = answers[1 + list(self._source.taps).index(self._tap)]
        (gradient,) = torch.autograd.grad(answers[0][0, target], tap, allow_unused=True)
        if gradient is None:
            raise SourceError(
                f"{self._source.name}: the tap {self._tap!r} does not lead to the logits, so Grad-CAM has no "
                "gradient there"
            )
        weight = gradient.mean(dim=(2, 3), keepdim=True)
        cam = self._spread(torch.relu((weight * tap).sum(dim=1))[0].detach(), len(spectrum))
        energy = self.name == "gradcam_energy"
        return cam * torch.log1p(torch.linalg.vector_norm(spectrum, dim=-1)) if energy else cam

    def _spread(self, cells: torch.Tensor, frames: int) -> torch.Tensor:
        """Cells [T', F'] of the feature map -> [T, F], linear between the cells' centres in s and Hz."""
        source = self._source
        analysis, rate = source.analysis, source.sample_rate
        seconds = np.arange(frames) * analysis.hop / rate
        hertz = np.arange(analysis.n_fft // 2 + 1) * rate / analysis.n_fft
        rows, columns = cells.shape
        if source.feature_map is not None:
            step = source.feature_map.frame_seconds
            centres = np.array(source.feature_map.bands_hz, np.float64).mean(axis=1)
        else:
            # Nothing is said of the map: its cells are taken to divide time and frequency evenly.
            step = frames * analysis.hop / rate / rows
            centres = (np.arange(columns) + 0.5) * rate / 2 / columns
        time = _interpolation((np.arange(rows) + 0.5) * step, seconds)
        frequency = _interpolation(centres, hertz)
        along = [torch.tensor(matrix, dtype=cells.dtype, device=cells.device) for matrix in (time, frequency)]
        return along[0] @ cells @ along[1].T


def _saliency(logits: _Logits, x: torch.Tensor, target: int) -> Any:
    return _captum().Saliency(logits).attribute(x, target=target, abs=False)


def _integrated_gradients(logits: _Logits, x: torch.Tensor, target: int) -> Any:
    path = _captum().IntegratedGradients(logits)
    return path.attribute(x, target=target, n_steps=_POINTS, internal_batch_size=_BATCH)


def _smoothgrad(logits: _Logits, x: torch.Tensor, target: int) -> Any:
    return (
        _captum()
        .NoiseTunnel(_captum().Saliency(logits))
        .attribute(
            x,
            nt_type="smoothgrad",
            nt_samples=_POINTS,
            nt_samples_batch_size=_BATCH,
            stdevs=max(float(x.max() - x.min()) * NOISE, 1e-6),
            target=target,
            abs=False,
        )
    )


def _shap(logits: _Logits, x: torch.Tensor, target: int) -> Any:
    mean = x.detach().mean(dim=1, keepdim=True).expand_as(x)
    given = {"baselines": torch.cat([torch.zeros_like(mean), mean]), "n_samples": _BATCH, "target": target}
    explainer = _captum().GradientShap(logits)
    # captum puts all its samples into one batch; the mean of small batches is the same estimator.
    batches = [explainer.attribute(x, **given) for _ in range(_POINTS // _BATCH)]
    return sum(batches) / len(batches)


# By captum: (X' [B, T, F] -> logits [B, K], X [1, T, F], target) -> signed [1, T, F].
_GRADIENTS = {
    "saliency": _saliency,
    "integrated_gradients": _integrated_gradients,
    "smoothgrad": _smoothgrad,
    "shap": _shap,
}
METHODS = ("saliency", "integrated_gradients", "smoothgrad", "gradcam", "gradcam_energy", "shap")
_MAGNITUDE = frozenset({"saliency", "smoothgrad"})


def _captum() -> Any:
    """captum.attr. Raises MissingDependencyError naming the extra."""
    try:
        from captum import attr
    except ImportError as error:
        raise MissingDependencyError(
            "gradient attributions need captum, which is not installed; "
            "pip install 'earmark[cpu,export,evaluation]'"
        ) from error
    return attr


def _map_tap(source: Source) -> str:
    """The tap Grad-CAM looks at: the feature map before pooling, else the last tap [B, C, T', F']."""
    if source.feature_map is not None:
        return source.feature_map.tap
    maps = [name for name, dims in source.taps.items() if len(dims) == 4]
    if not maps:
        raise SourceError(f"{source.name}: has no tap [B, C, T', F'], which Grad-CAM needs; add one")
    return maps[-1]


def _interpolation(centres: Array, places: Array) -> FloatArray:
    """Matrix [places, centres] of linear interpolation, constant beyond the first and last centre."""
    columns = [np.interp(places, centres, row) for row in np.eye(len(centres))]
    return np.stack(columns, axis=1).astype(np.float32)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed what captum draws from (NumPy's and PyTorch's global generators), and put both back."""
    before = np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002
        try:
            yield
        finally:
            np.random.set_state(before)  # noqa: NPY002
