"""`earmark train apex`: U over the feature map of a source or a bundle, and what comes of it.

All compute feature maps with ONNX Runtime, as the runtime does: a source is exported to a bundle for that. A
run keeps U and its report in RUN/apex, which `earmark export RUN` folds into the bundle; of any other source
they go to a folder that `earmark export SOURCE --apex FOLDER` takes. A bundle gets a new generation of
prototypes: U folded into its embeddings graph, and the index of the sounds U was learnt from.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import torch

from ....errors import DataError, LabelError, RunError
from ....evaluation.data.folder import Clip, list_sounds
from ....progress import Progress
from ....prototypes_index.atomic import staged
from ....runtime.bundle.graphs import load_whole
from ....runtime.bundle.manifest import FeatureMapSpec, Manifest
from ....runtime.bundle.open import MANIFEST, Bundle
from ....runtime.methods.prototypes.generation import model_hash
from ....runtime.opening import open_bundle
from ...graphs.apex_report import RotationReport
from ...graphs.embeddings import embeddings_model
from ...graphs.files import Dims
from ...graphs.heads import Head, facts_in
from ...prototypes.build import IndexReport, index_bundle
from ...source.exportable import Exportable
from ...sources import open_classifier, run_of
from ...sources.run.config import ApexConfig
from ...sources.run.directory import RunDirectory
from ...sources.run.rotation import FOLDER, PART, U, read_rotation
from ..options import ApexOptions
from ..over_source import classifier_split
from ..resuming import begin
from ..settings import SplitSettings, to_record
from ..sounds import split_by
from ..summary import Faults
from .figures import report_of
from .learning import learn
from .maps import ClipMaps, clip_maps
from .settings import ApexSettings


@dataclass(frozen=True)
class _SplitClips:
    """Clips to learn from and to judge by."""

    train: list[Clip]
    held_out: list[Clip]
    split: bool
    # Folders that could not be listed: (name, why).
    locked: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class ApexSummary:
    """What came of learning U.

    Attributes:
        report: What is reported of U.
        left_out: Clips and folders with a fault.
        index: Of a bundle: its new generation of prototypes; None for a source.
        folder: Where U lies.

    """

    report: RotationReport
    left_out: Faults
    index: IndexReport | None
    folder: Path


def train_apex(
    source: str | Path | Exportable,
    data: str | Path,
    settings: ApexSettings | None = None,
    options: ApexOptions | None = None,
) -> ApexSummary:
    """Learn U over the finished classifier of `source`, on the sounds of `data`. No logit changes.

    A run's clips are split as its classifier's were, a bundle's by the settings; without a split nothing is
    held out.

    Args:
        source: A run directory, a bundle, or any source of export that shows a feature map; a graph as
            `export.sources.onnx.file.load` reads it.
        data: A folder of class folders of sound, or one with a labels.csv, of labels of the model.
        settings: How U is learnt; None: the defaults.
        options: How the training is run; None: the defaults.

    Returns:
        The report of U, and of a bundle its new index.

    Raises:
        DataError: A folder or a clip cannot be used.
        LabelError: A class is none of the model's.
        SourceError, BundleError: The source is incomplete or damaged.
        RunError: The run or the settings do not fit, or the training was interrupted.
        DeviceError: The device is not there.

    """
    settings, options = settings or ApexSettings(), options or ApexOptions()
    bundle_path = _bundle_path(source)
    run = run_directory(source, options.out)
    if run.begun and not options.resume:
        raise RunError(f"{run.path}: holds a learnt U already; go on with --resume, or remove it")
    with _bundle_of(source, run.path) as (bundle, classifier):
        manifest = bundle.manifest
        head, dims = _facts(bundle)
        of_run = run_of(source)
        own = None if settings.names_split or of_run is None else classifier_split(of_run)
        sounds = _sounds(Path(data), manifest, own or settings, strict=options.strict)
        config = ApexConfig(
            model_sha256="" if bundle_path is None else model_hash(manifest),
            classifier_sha256=classifier,
            training=to_record(settings),
            clips={"train": len(sounds.train), "held_out": len(sounds.held_out)},
        )
        begin(run, config, resume=options.resume)
        parts = _maps(Path(options.cache or run.path / "maps"), bundle, sounds, head, options)
        if not run.weights_path.exists():
            train = parts["train"]
            learnt = learn(run, train.maps, train.evidence, settings, quiet=options.quiet)
            run.write_weights({U: torch.from_numpy(learnt)})
        rotation = read_rotation(run)
        graph = run.path / "embeddings.onnx"
        embeddings_model(graph, _spec(manifest), dims[0], head, rotation, attention_dims=dims[1])
        seconds = round(sum(row["seconds"] for row in run.read_metrics()), 1)
        report = report_of(bundle, graph, head, rotation, sounds.train, parts, settings, seconds)
        run.write_config(msgspec.structs.replace(config, report=report))
        index = None
        if bundle_path is not None:
            # The new generation: the index of what U was learnt from, in channels turned by U.
            index = index_bundle(
                bundle_path,
                data,
                audio=options.audio,
                extend=False,
                strict=options.strict,
                device=options.device,
                embeddings=graph,
                apex=msgspec.to_builtins(report),
                only={clip.name for clip in sounds.train} if sounds.split else None,
            )
        graph.unlink()
    if options.cache is None:
        shutil.rmtree(run.path / "maps", ignore_errors=True)
    left_out = [*sounds.locked, *(one for part in parts.values() for one in part.left_out)]
    return ApexSummary(report, Faults(unreadable=left_out), index, run.path)


def run_directory(source: str | Path | Exportable, out: str | Path | None = None) -> RunDirectory:
    """Where U over `source` is kept. Raises RunError where it has no place of its own and none is named."""
    bundle, run = _bundle_path(source), run_of(source)
    own = None
    if bundle is not None:
        own = bundle.resolve().with_name(f"{bundle.resolve().name}.apex")
    elif run is not None:
        own = run / FOLDER
    place = Path(out) if out else own
    if place is None:
        name = source.name if isinstance(source, Exportable) else source
        raise RunError(f"{name}: neither a run directory nor a bundle; say by -o RUN where U goes")
    return RunDirectory(place, PART)


def _bundle_path(source: str | Path | Exportable) -> Path | None:
    """The bundle that the source is, if it is one."""
    path = None if isinstance(source, Exportable) else Path(source)
    return path if path is not None and (path / MANIFEST).is_file() else None


@contextmanager
def _bundle_of(source: str | Path | Exportable, folder: Path) -> Iterator[tuple[Bundle, str]]:
    """The bundle that computes the maps, of a source a temporary one, and the hash of its classifier."""
    path = _bundle_path(source)
    if path is not None:
        yield open_bundle(path, without=["prototypes"]), ""
        return
    from ...bundle.write import write_bundle

    opened = open_classifier(source)
    if opened.feature_map is None:
        raise RunError(
            f"{opened.name}: this model has no feature map to learn U over; an .onnx file needs "
            "--feature-map, an Adapter frame_seconds and bands_hz"
        )
    folder.mkdir(parents=True, exist_ok=True)
    with staged(folder, inside=True) as work:
        write_bundle(opened, work / "bundle")
        yield open_bundle(work / "bundle"), opened.fingerprint()


def _spec(manifest: Manifest) -> FeatureMapSpec:
    """The feature map. Raises RunError where the model has none, or no embeddings graph."""
    if manifest.feature_map is None or manifest.stage("embeddings") is None:
        raise RunError(
            f"{manifest.name}: this model has no feature map to learn U over; export it again from a source "
            "with one"
        )
    return manifest.feature_map


def _facts(bundle: Bundle) -> tuple[Head | None, tuple[Dims, Dims | None]]:
    """The head and the dims of feature map and attention, read from the bundle's own embeddings graph."""
    spec, stage = _spec(bundle.manifest), bundle.manifest.stage("embeddings")
    assert stage is not None  # noqa: S101 (`_spec` has looked)
    head, _ = facts_in(load_whole(bundle.file(stage.file)))
    dims = {tensor.name: tensor.dims for tensor in stage.inputs}
    return head, (dims[spec.tap], dims.get(spec.attention) if spec.attention else None)


def _sounds(data: Path, manifest: Manifest, how: SplitSettings, *, strict: bool) -> _SplitClips:
    """The clips in their parts. Raises LabelError or DataError where classes are not the model's."""
    folder = list_sounds(data, fewest_classes=1)
    strange = sorted(set(folder.labels) - set(manifest.labels))
    if strange:
        raise LabelError(
            f"{data}: {strange[0]!r} is no label of this model; give sounds of the classes it was trained on"
        )
    split = split_by(folder, how)
    if not split.train:
        raise DataError(f"{data}: no clip to learn from")
    return _SplitClips(
        split.train,
        split.validation,
        split=len(split.train) < len(folder.clips),
        locked=folder.left_out(strict=strict),
    )


def _maps(
    folder: Path, bundle: Bundle, sounds: _SplitClips, head: Head | None, options: ApexOptions
) -> dict[str, ClipMaps]:
    """The feature maps of the clips in their parts, cached in `folder`."""
    parts = {"train": sounds.train, "held_out": sounds.held_out}
    bar = Progress(sum(map(len, parts.values())), "computing feature maps", quiet=options.quiet)
    try:
        return {
            part: clip_maps(
                folder / part, bundle, clips, head, device=options.device, strict=options.strict, progress=bar
            )
            for part, clips in parts.items()
            if clips
        }
    finally:
        bar.close()
