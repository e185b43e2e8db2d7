"""Recomputes a bundle's golden outputs here, says how far they are from those at home, and explains.

What `explain` would refuse, `verify` refuses: every golden sound is explained by every method that the
bundle has, in every view, and every sound of its prototypes is decoded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .. import limits
from ..errors import BundleError, PrototypeIndexError
from ..prototypes_index.generation import Generation
from .arrays import FloatArray
from .bundle.manifest import Manifest
from .bundle.npz import read_arrays
from .bundle.open import Bundle
from .explainer import Explainer, engine_of
from .inference.chain import Chain
from .inference.session import Sessions
from .methods.components.dictionary import open_dictionary
from .methods.prototypes.method import open_generation
from .results import Result

GOLDEN = "golden.npz"
# Absolute, for waveforms of peak 1 and logits of order 1, where the manifest names no limit.
_LIMIT = 1e-4
# The sum of the channels' shares, whose rounding grows with the logit.
_ACCOUNT_LIMIT = 1e-3
# Of the interpreter: its activations, pooled activations (z) and its own logits.
_ARRAY = re.compile(r"(waveform|logits|mask|activations|pooled|interpreted)_(\d{1,4})")
_HEADER_BYTES = 4096
_SOUND_BLOCK = 1 << 16


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

    Raises BundleError for what is damaged or what `explain` would refuse, DeviceError; differing numbers are
    returned, not raised. After either, the next opening examines the bundle again.
    """
    bundle = Bundle.open(path, examine=True)
    try:
        checks = list(_checks(bundle, device))
    except BundleError:
        bundle.forget()
        raise
    if not all(check.passed for check in checks):
        bundle.forget()
    return bundle, checks


def _checks(bundle: Bundle, device: str) -> Iterator[Check]:
    with Explainer(bundle, device) as explainer:
        for index, arrays in _golden(bundle):
            yield from _recompute(engine_of(explainer).sessions, bundle, index, arrays)
            yield from _explain(explainer, index, arrays["waveform"])
    if bundle.manifest.prototypes is not None:
        generation = open_generation(bundle.path, bundle.manifest)
        for name in sorted({clip.audio for clip in generation.all_clips() if clip.audio is not None}):
            _decode(generation, name)


def _golden(bundle: Bundle) -> Iterator[tuple[int, dict[str, FloatArray]]]:
    """The arrays of golden.npz by sound."""
    path, manifest = bundle.file(GOLDEN), bundle.manifest
    # The longest golden sound is a window and a part of another.
    longest = 2 * manifest.window.seconds * manifest.sample_rate + manifest.analysis.n_fft

    def most(name: str) -> int:
        return int(4 * longest) + _HEADER_BYTES if name.startswith("waveform") else limits.GOLDEN_BYTES

    sounds: dict[int, dict[str, FloatArray]] = {}
    found = read_arrays(path, most_bytes=limits.GOLDEN_BYTES, wanted=_ARRAY.fullmatch, most_each=most)
    for name, array in found.items():
        if match := _ARRAY.fullmatch(name):
            sounds.setdefault(int(match[2]), {})[match[1]] = array
    if not sounds or any({"waveform", "logits"} - set(arrays) for arrays in sounds.values()):
        raise BundleError(f"{path}: holds no golden sounds with their logits; export the bundle again")
    if any(arrays["waveform"].ndim < 2 for arrays in sounds.values()):
        raise BundleError(f"{path}: a golden sound has no channel; export the bundle again")
    if len(sounds) > limits.GOLDEN_SOUNDS:
        raise BundleError(f"{path}: holds {len(sounds)} golden sounds, more than {limits.GOLDEN_SOUNDS}")
    if not all(np.isfinite(arrays["waveform"]).all() for arrays in sounds.values()):
        raise BundleError(f"{path}: a golden sound is not finite; export the bundle again")
    yield from sorted(sounds.items())


def _recompute(
    sessions: Sessions, bundle: Bundle, index: int, arrays: dict[str, FloatArray]
) -> Iterator[Check]:
    manifest = bundle.manifest
    decoder, interpreter = manifest.stage("decoder"), manifest.stage("interpreter")
    samples = int(arrays["waveform"].shape[-1])
    chain = Chain(sessions.run, manifest.analysis, manifest.rescore)
    answer = chain.forward(arrays["waveform"])
    given = answer.tensors
    found = {"logits": answer.logits}
    if "mask" in arrays and decoder is not None:
        found |= sessions.run("decoder", {tensor.name: given[tensor.name] for tensor in decoder.inputs})
    if "activations" in arrays and interpreter is not None:
        said = sessions.run("interpreter", {tensor.name: given[tensor.name] for tensor in interpreter.inputs})
        found |= {"activations": said["activations"], "pooled": said["pooled"], "interpreted": said["logits"]}
    for output in ("logits", "mask", "activations", "pooled", "interpreted"):
        if output in arrays and output in found:
            limit = _limit(manifest, "fp32", output)
            yield Check(f"{output}_{index}", samples, _difference(found[output], arrays[output]), limit)
    if "interpreted" in arrays and "interpreted" in found:
        # What is shown is the dictionary's theta, what answers is the graph's: they are one.
        spoken = found["pooled"] @ open_dictionary(bundle.path, manifest).theta.T
        limit = _limit(manifest, "fp32", "interpreted")
        yield Check(f"theta_{index}", samples, _difference(spoken, arrays["interpreted"]), limit)
    quick = manifest.stage("classifier_int8")
    if quick is not None:
        # Held to fp32's golden answer, within what was measured at export.
        made = chain.logits(answer.features, "classifier_int8")
        limit = _limit(manifest, "int8", "logits")
        yield Check(f"logits_int8_{index}", samples, _difference(made, arrays["logits"]), limit)
    embeddings = manifest.stage("embeddings")
    if embeddings is not None:
        # Its next generation of prototypes is embedded with it. It has no golden answer, but is finite.
        sessions.run("embeddings", {tensor.name: given[tensor.name] for tensor in embeddings.inputs})


def _difference(made: FloatArray, expected: FloatArray) -> float:
    """The largest difference; of another shape, infinite."""
    return float(np.abs(made - expected).max()) if made.shape == expected.shape else float("inf")


def _limit(manifest: Manifest, precision: str, output: str) -> float:
    """What the manifest says that an output may differ by."""
    measured = manifest.parity.get(precision, {}).get(output)
    limit = measured.get("limit") if isinstance(measured, dict) else None
    return float(limit) if isinstance(limit, (int, float)) else _LIMIT


def _explain(explainer: Explainer, index: int, waveform: FloatArray) -> Iterator[Check]:
    """Explain a golden sound by every method of the bundle, and look at all that is found."""
    manifest = engine_of(explainer).manifest
    methods = list(explainer.methods)
    if manifest.prototypes is not None and "prototypes" not in methods:
        methods.append("prototypes")
    result = explainer.explain((waveform, manifest.sample_rate), methods=methods)
    # Much of a result is made when it is first asked for.
    result.to_dict()
    if result.mask is not None:
        _ = result.mask.audio, result.mask.residual
    _sounds(result)
    account = result.channels
    if account is not None and account.error is not None:
        limit = _ACCOUNT_LIMIT * max(1.0, abs(account.logit))
        yield Check(f"channels_{index}", waveform.shape[-1], account.error, limit)


def _sounds(result: Result) -> None:
    """Listen to every prototype that was found."""
    views = (result.prototypes or {}).values()
    channels = () if result.channels is None else result.channels.channels
    of_channels = (view.prototypes for channel in channels for view in channel.views.values())
    for prototype in (one for found in (*views, *of_channels) for one in found):
        if prototype.sound is not None:
            prototype.audio()


def _decode(generation: Generation, name: str) -> None:
    """Decode one sound of the generation. Raises PrototypeIndexError."""
    import soundfile

    path = generation.file(f"audio/{name}")
    try:
        with soundfile.SoundFile(path) as file:
            read = sum(len(block) for block in file.blocks(_SOUND_BLOCK, dtype="float32"))
    except (OSError, RuntimeError) as error:
        raise PrototypeIndexError(f"{path}: is no sound ({error}); index again with --audio") from error
    if not read:
        raise PrototypeIndexError(f"{path}: holds no sound; index again with --audio")
