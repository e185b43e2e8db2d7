"""Source `module:factory`, and every `Adapter`: its parts, checked on sound."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import torch

from ....errors import SourceError
from ....printable import first_line
from ....runtime.audio.lengths import samples_of
from ....runtime.bundle.manifest import WindowSpec
from ...graphs.stft import StftFrontend
from ...source.source import Reference, Source
from .adapter import Adapter
from .classifier import AdaptedClassifier
from .head import feature_map_of, head_layers
from .original import check_original
from .probe import probe
from .tokens import doubts_of


def load(text: str) -> Source:
    """Import `module:factory`, call it and wrap the `Adapter` it returns.

    The module is looked for in the working directory too. Raises SourceError where module, factory
    or adapter are not what they should be.
    """
    here = str(Path.cwd())
    added = here not in sys.path
    if added:
        sys.path.insert(0, here)
    try:
        result = _made(text)
    finally:
        if added:
            sys.path.remove(here)
    return from_adapter(result, text)


def _made(text: str) -> object:
    """What the factory that `text` names returns. Raises SourceError."""
    module_name, _, attribute = text.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise SourceError(
            f"{text}: module {module_name!r} cannot be imported ({error}); "
            "run from its folder or set PYTHONPATH"
        ) from error
    factory: Callable[[], object] | None = getattr(module, attribute, None)
    if not callable(factory):
        raise SourceError(
            f"{text}: {module_name!r} has no function {attribute!r}; name one that returns an Adapter"
        )
    try:
        return factory()
    except Exception as error:
        # Whatever a stranger's function raises, the user wants to know that it was theirs.
        raise SourceError(
            f"{text}: the factory failed ({type(error).__name__}: {first_line(error)}); mend it"
        ) from error


def from_adapter(adapter: object, origin: str = "factory") -> Source:
    """Check an `Adapter` on a probe sound and make the `Source` of it. Raises SourceError."""
    if not isinstance(adapter, Adapter):
        raise SourceError(f"{origin}: gave {type(adapter).__name__}; return an earmark.export.Adapter")
    if not adapter.labels:
        raise SourceError(f"{origin}: the adapter has no labels; give them in the order of the logits")
    spectral = adapter.rescore == "spectrogram"
    frontend = StftFrontend(adapter.analysis) if spectral else adapter.front_end.eval()
    try:
        classifier = AdaptedClassifier(adapter).eval()
    except AttributeError as error:
        raise SourceError(
            f"{origin}: scales: {first_line(error)}; name submodules of the feature map"
        ) from error
    decoder = adapter.decoder.eval() if adapter.decoder is not None else None
    samples = samples_of(adapter.window_seconds, adapter.sample_rate)
    noise = 0.1 * torch.randn(2, samples, generator=torch.Generator().manual_seed(1))
    try:
        with torch.no_grad():
            doubts = doubts_of(adapter, frontend, classifier, noise[:1], origin)
            probed = probe(adapter, frontend, classifier, noise, origin)
    except SourceError:
        raise
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        raise SourceError(
            f"{origin}: the adapter's modules do not fit together: {first_line(error)}"
        ) from error
    if adapter.original is not None:
        check_original(
            adapter.original, lambda wave: classifier(frontend(wave))[0], samples, adapter.sample_rate, origin
        )
    layers = head_layers(adapter, probed.answers, origin)
    feature_map = feature_map_of(adapter, probed.answers["feature_map"], layers, origin)
    window = WindowSpec.usual(
        adapter.window_seconds, adapter.minimum_seconds, adapter.task, adapter.hop_seconds
    )
    if adapter.aggregate is not None:
        window = msgspec.structs.replace(window, aggregate=adapter.aggregate)
    return Source(
        name=adapter.name,
        labels=list(adapter.labels),
        task=adapter.task,
        sample_rate=adapter.sample_rate,
        window=window,
        analysis=adapter.analysis,
        frontend=frontend,
        classifier=classifier,
        taps=probed.taps,
        own_reference=None if adapter.original is None else Reference(adapter.original),
        rescore=adapter.rescore,
        level=adapter.level,
        decoder=decoder,
        decoder_taps=["feature_map", "spectrum"] if decoder is not None else [],
        mask_targets=adapter.mask_targets if decoder is not None else None,
        mask_gain=adapter.mask_gain,
        feature_map=feature_map,
        head_layers=layers,
        description=adapter.description,
        licence=adapter.licence,
        attribution=adapter.attribution,
        doubts=doubts,
    )
