"""Recomputes a bundle's golden outputs here, says how far they are from those at home, and explains.

What `explain` would refuse, `verify` refuses: every golden sound is explained by every method that the
bundle has, and every method looks at what only it knows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .. import limits
from ..errors import AudioError, BundleError
from .bundle.files import MANIFEST
from .bundle.manifest import StageSpec
from .bundle.npz import read_arrays
from .bundle.open import Bundle
from .explainer import Explainer, engine_of
from .inference.chain import Chain
from .inference.session import Sessions
from .methods.loading import all_methods
from .opening import open_bundle
from .values.arrays import FloatArray

GOLDEN = "golden.npz"
# Absolute, for waveforms of peak 1 and logits of order 1, where the manifest names no limit.
_LIMIT = 1e-4
# What a limit may be at most, of the golden output's largest value: rounding, or 8 bits.
_LARGEST = {"fp32": 100 * _LIMIT, "int8": 2.0}
_ARRAY = re.compile(r"([a-z][a-z0-9_]{0,39})_(\d{1,4})")
_HEADER_BYTES = 4096


@dataclass(frozen=True)
class Check:
    """One golden output: the largest absolute difference seen here, and what is allowed."""

    output: str
    samples: int
    max_abs: float
    limit: float

    @property
    def passed(self) -> bool:
        """Within the limit; NaN is not."""
        return self.max_abs <= self.limit


def verify(path: Path | str, device: str = "auto") -> tuple[Bundle, list[Check]]:
    """Check every hash, graph, row and sound of a bundle, and recompute its golden outputs on `device`.

    Differing numbers are returned, a check for each golden output, not raised. After them, as after an error,
    the next opening examines the bundle again. Raises BundleError where something is damaged or `explain`
    would refuse it, DeviceError.
    """
    bundle = open_bundle(path, examine=True)
    try:
        checks = list(_checks(bundle, device))
    except BundleError:
        bundle.forget()
        raise
    if not all(check.passed for check in checks):
        bundle.forget()
    return bundle, checks


def _checks(bundle: Bundle, device: str) -> Iterator[Check]:
    for method in all_methods():
        method.verify_files(bundle)
    with Explainer(bundle, device) as explainer:
        for index, arrays in _golden(bundle):
            yield from _recompute(engine_of(explainer).sessions, bundle, index, arrays)
            try:
                yield from _explain(explainer, index, arrays["waveform"])
            except AudioError as error:
                where = bundle.file(GOLDEN)
                raise BundleError(
                    f"{where}: waveform_{index} is no sound ({error}); export it again"
                ) from error


def _golden(bundle: Bundle) -> Iterator[tuple[int, dict[str, FloatArray]]]:
    """The arrays of golden.npz by sound."""
    path, manifest = bundle.file(GOLDEN), bundle.manifest
    # The longest golden sound is a window and a part of another.
    longest = 2 * manifest.window.seconds * manifest.sample_rate + manifest.analysis.n_fft

    def most(name: str) -> int:
        return int(4 * longest) + _HEADER_BYTES if name.startswith("waveform") else limits.GOLDEN_BYTES

    kinds = {"waveform", "logits", *(output.name for method in all_methods() for output in method.outputs)}

    def known(name: str) -> re.Match[str] | None:
        match = _ARRAY.fullmatch(name)
        return match if match and match[1] in kinds else None

    sounds: dict[int, dict[str, FloatArray]] = {}
    found = read_arrays(path, most_bytes=limits.GOLDEN_BYTES, wanted=known, most_each=most)
    for name, array in found.items():
        if match := known(name):
            sounds.setdefault(int(match[2]), {})[match[1]] = array
    if not sounds or any({"waveform", "logits"} - set(arrays) for arrays in sounds.values()):
        raise BundleError(f"{path}: holds no golden sounds with their logits; export the bundle again")
    if any(arrays["waveform"].ndim < 2 for arrays in sounds.values()):
        raise BundleError(f"{path}: a golden sound has no channel; export the bundle again")
    if len(sounds) > limits.GOLDEN_SOUNDS:
        raise BundleError(f"{path}: holds {len(sounds)} golden sounds, more than {limits.GOLDEN_SOUNDS}")
    stages = {stage.name for stage in manifest.stages}
    methods = [method for method in all_methods() if all(rule.name in stages for rule in method.stages)]
    # Something of every stage.
    needed = ("waveform", "logits", *(one.name for method in methods for one in method.outputs if one.golden))
    for index, arrays in sounds.items():
        for name in needed:
            if name not in arrays:
                raise BundleError(f"{path}: lacks {name}_{index}; export the bundle again")
            if not np.isfinite(arrays[name]).all():
                raise BundleError(f"{path}: {name}_{index} is not finite; export the bundle again")
    yield from sorted(sounds.items())


def _recompute(
    sessions: Sessions, bundle: Bundle, index: int, arrays: dict[str, FloatArray]
) -> Iterator[Check]:
    manifest = bundle.manifest
    chain = Chain(sessions.run, manifest.analysis, manifest.rescore)
    forward = chain.forward(arrays["waveform"])

    def check(name: str, made: FloatArray, expected: FloatArray, precision: str, output: str) -> Check:
        limit = _limit(bundle, precision, output, expected)
        return Check(f"{name}_{index}", forward.waveforms.shape[-1], _difference(made, expected), limit)

    _check_frames(bundle, forward.taps, forward.waveforms.shape[-1])
    yield check("logits", forward.logits, arrays["logits"], "fp32", "logits")
    stages: dict[str, StageSpec] = {stage.name: stage for stage in manifest.stages}
    for method in all_methods():
        if not all(rule.name in stages for rule in method.stages):
            continue
        made = method.compute(sessions.run, stages, forward, manifest.mask_gain)
        for name in (output.name for output in method.outputs):
            if name in arrays and name in made:
                yield check(name, made[name], arrays[name], "fp32", name)
        for name, ours, golden, output in method.agreements(bundle, made, arrays):
            yield check(name, ours, golden, "fp32", output)
    if "classifier_int8" in stages:
        # Held to fp32's golden answer, within what was measured at export.
        logits = chain.logits(forward.features, "classifier_int8")
        yield check("logits_int8", logits, arrays["logits"], "int8", "logits")


def _difference(made: FloatArray, expected: FloatArray) -> float:
    """The largest difference. Raises BundleError where the golden answer is of another shape."""
    if made.shape != expected.shape:
        raise BundleError(
            f"{GOLDEN}: a golden answer is {list(expected.shape)}, the graphs give {list(made.shape)}; "
            "export the bundle again"
        )
    return float(np.abs(made - expected).max())


def _limit(bundle: Bundle, precision: str, output: str, expected: FloatArray) -> float:
    """What the manifest says that an output may differ by. Raises BundleError for what is no rounding."""
    limit = bundle.manifest.parity.limit(precision, output)
    if limit is None:
        return _LIMIT
    most = _LARGEST[precision] * max(1.0, float(np.abs(expected).max(initial=0.0)))
    if not 0.0 <= limit <= most:
        raise BundleError(
            f"{bundle.path / MANIFEST}: lets {output} differ by {limit:g}, more than rounding does "
            f"({most:g}); export the bundle again"
        )
    return limit


def _check_frames(bundle: Bundle, taps: Mapping[str, FloatArray], samples: int) -> None:
    """Raise BundleError where the frames of the feature map do not cover the sound."""
    manifest = bundle.manifest
    spec = manifest.feature_map
    if spec is None or spec.tap not in taps:
        return
    covered, seconds = taps[spec.tap].shape[2] * spec.frame_seconds, samples / manifest.sample_rate
    # A few frames may lie beyond either end, or be lost to kernels.
    if abs(covered - seconds) > 0.5 * seconds + 4 * spec.frame_seconds:
        raise BundleError(
            f"{bundle.path / MANIFEST}: frames of {spec.frame_seconds:g} s make {covered:.3g} s of a sound "
            f"of {seconds:.3g} s; export the bundle again"
        )


def _explain(explainer: Explainer, index: int, waveform: FloatArray) -> Iterator[Check]:
    """Explain a golden sound by every method of the bundle, and look at all of the result."""
    manifest = engine_of(explainer).manifest
    has = [method.name for method in all_methods() if not method.on_request and method.available(manifest)]
    methods = dict.fromkeys([*explainer.methods, *has])
    result = explainer.explain((waveform, manifest.sample_rate), methods=list(methods))
    # Much of a result is computed when it is first asked for.
    result.to_dict()
    for part in result.parts.values():
        for one in part.verify():
            yield Check(f"{one.name}_{index}", waveform.shape[-1], one.value, one.limit)
