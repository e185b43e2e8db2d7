"""Opens a bundle from strangers: types validated, paths confined, sizes and hashes checked.

Hashes and graphs are examined when a bundle is first opened on a machine; after that a bundle whose
manifest, sizes and times are unchanged is taken as examined. `earmark verify` always examines.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from ..errors import BundleError
from .cache import cache_folder
from .dictionary import check_components
from .manifest import SCHEMA_VERSION, Manifest, StageSpec, TensorSpec

MANIFEST = "bundle.json"
# A manifest of 100,000 labels and files stays below this.
_MANIFEST_BYTES = 64 << 20
# Operators that make ONNX Runtime open files of the graph's choosing.
_FILE_OPERATORS = frozenset({"EPContext"})


class _Version(msgspec.Struct):
    """Enough of a manifest to know whether the rest can be understood."""

    schema_version: int


class Bundle:
    """A bundle on disk whose manifest has been read and whose files have been checked."""

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path = path
        self.manifest = manifest

    @classmethod
    def open(cls, path: Path | str, *, examine: bool | None = None, prototypes: bool = True) -> Bundle:
        """Open the bundle in the folder `path`.

        examine: True recomputes every hash, False none, None where this machine has not yet done so
        prototypes: False leaves them out, unchecked, so that damaged ones can be built again
        Raises BundleError, in one line with the file at fault.
        """
        folder = Path(path)
        content = _read_manifest(folder)
        manifest = _decode(folder / MANIFEST, content)
        if not prototypes:
            files = {name: one for name, one in manifest.files.items() if not name.startswith("prototypes/")}
            manifest = msgspec.structs.replace(manifest, files=files, prototypes=None)
        bundle = cls(folder.resolve(), manifest)
        _check_structure(bundle)
        stamps = bundle._check_files()
        record = _record_path(bundle.path, content)
        if examine is None:
            examine = not _remembered(record, stamps)
        if examine:
            bundle.examine()
            _remember(record, stamps)
        return bundle

    def file(self, name: str) -> Path:
        """Where the bundle's file `name` (forward slashes) lies. Raises BundleError for a name not listed."""
        if name not in self.manifest.files:
            raise BundleError(f"{self.path / MANIFEST}: lists no file {name}; export the bundle again")
        return self.path / name

    def examine(self) -> None:
        """Recompute every hash and look into every graph. Raises BundleError."""
        for name, expected in self.manifest.files.items():
            path = self.path / name
            if _sha256(path) != expected.sha256:
                raise BundleError(f"{path}: its hash is not the manifest's; fetch or export the bundle again")
        for stage in self.manifest.stages:
            _check_graph(self, stage)

    def _check_files(self) -> dict[str, tuple[int, int]]:
        """Every listed file is there, inside, of the listed size; returns (size, time) of each."""
        stamps = {}
        for name, expected in self.manifest.files.items():
            path = self.path / _confined(self.path, name)
            try:
                real = path.resolve(strict=True)
                status = real.stat()
            except (OSError, RuntimeError) as error:  # RuntimeError: a loop of links, before Python 3.13
                raise BundleError(f"{path}: missing; fetch or export the bundle again") from error
            if not real.is_relative_to(self.path):
                raise BundleError(f"{path}: a link that leaves the bundle; a bundle holds its files itself")
            if not real.is_file():
                raise BundleError(f"{path}: not a file; fetch or export the bundle again")
            if status.st_size != expected.size:
                raise BundleError(
                    f"{path}: has {status.st_size} bytes, the manifest says {expected.size}; "
                    "fetch or export the bundle again"
                )
            stamps[name] = (status.st_size, status.st_mtime_ns)
        return stamps


def read_manifest(folder: Path | str) -> Manifest:
    """The manifest of the bundle in `folder`; its files are not looked at. Raises BundleError."""
    return _decode(Path(folder) / MANIFEST, _read_manifest(Path(folder)))


def _read_manifest(folder: Path) -> bytes:
    path = folder / MANIFEST
    try:
        if not path.resolve().is_relative_to(folder.resolve()):
            raise BundleError(f"{path}: a link that leaves the bundle; a bundle holds its files itself")
        with path.open("rb") as file:
            content = file.read(_MANIFEST_BYTES + 1)
    except (OSError, RuntimeError) as error:
        reason = "no such folder" if not folder.exists() else f"no readable {MANIFEST} in it"
        raise BundleError(f"{folder}: not a bundle ({reason}); make one with earmark export") from error
    if len(content) > _MANIFEST_BYTES:
        raise BundleError(f"{path}: larger than {_MANIFEST_BYTES >> 20} MiB; this is no manifest")
    return content


def _decode(path: Path, content: bytes) -> Manifest:
    try:
        version = msgspec.json.decode(content, type=_Version).schema_version
        if version > SCHEMA_VERSION:
            raise BundleError(
                f"{path}: schema version {version}, this earmark reads up to {SCHEMA_VERSION}; "
                "pip install --upgrade earmark"
            )
        return msgspec.json.decode(content, type=Manifest)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BundleError(f"{path}: not a valid manifest: {error}") from error


def _confined(folder: Path, name: str) -> PurePosixPath:
    """The name as a path that cannot leave the bundle."""
    path = PurePosixPath(name)
    if (
        not name
        or path.is_absolute()
        or ".." in path.parts
        or "\\" in name
        or ":" in name
        or "\0" in name
        or path == PurePosixPath(MANIFEST)
    ):
        raise BundleError(f"{folder / MANIFEST}: the file name {name!r} leaves the bundle or is not allowed")
    return path


def _check_structure(bundle: Bundle) -> None:
    """The manifest agrees with itself."""
    manifest, path = bundle.manifest, bundle.path / MANIFEST
    names = [stage.name for stage in manifest.stages]
    if len(set(names)) != len(names):
        raise BundleError(f"{path}: lists a stage twice")
    for needed in ("frontend", "classifier"):
        if needed not in names:
            raise BundleError(f"{path}: lacks the stage {needed}; export the bundle again")
    if len(set(manifest.labels)) != len(manifest.labels):
        raise BundleError(f"{path}: a label stands twice")
    if "mask" in manifest.explainers and ("decoder" not in names or manifest.mask_targets is None):
        raise BundleError(f"{path}: promises masks without a decoder; export the bundle again")
    if manifest.window.hop_seconds > manifest.window.seconds:
        raise BundleError(f"{path}: windows further apart than they are long would leave sound unheard")
    # Half a sample of tolerance: seconds are rounded to samples.
    if manifest.window.hop_seconds * manifest.sample_rate < manifest.analysis.hop - 0.5:
        raise BundleError(f"{path}: windows closer together than the frames of the analysis would never end")
    if manifest.window.minimum_seconds > manifest.window.seconds:
        raise BundleError(f"{path}: the shortest sound is longer than a window")
    if manifest.analysis.window_length > manifest.analysis.n_fft or manifest.analysis.n_fft % 2:
        raise BundleError(f"{path}: n_fft must be even and hold the analysis window")
    for stage in manifest.stages:
        for name in (stage.file, *stage.data):
            if name not in manifest.files:
                raise BundleError(f"{path}: the stage {stage.name} names {name}, which is not in its files")
    _check_chain(manifest, path)
    check_components(manifest, path)
    for name in ("classifier", "classifier_int8", "interpreter"):
        classes = _output_dims(manifest, name, "logits")[-1:]
        if classes and isinstance(classes[0], int) and classes[0] != len(manifest.labels):
            raise BundleError(
                f"{path}: {len(manifest.labels)} labels, but the {name} has {classes[0]} outputs; "
                "export the bundle again"
            )


def _check_chain(manifest: Manifest, path: Path) -> None:
    """Every stage's inputs are outputs of the stages before it."""
    entry = "stft" if manifest.rescore == "spectrogram" else "features"
    known = {"waveform"}
    # In the order of the chain, whatever the order in the manifest.
    for name, needed in (
        ("frontend", entry),
        ("classifier", "logits"),
        ("classifier_int8", "logits"),
        ("decoder", "mask"),
        ("embeddings", ""),
        ("interpreter", "activations"),
    ):
        stage = manifest.stage(name)
        if stage is None:
            continue
        inputs, outputs = ([tensor.name for tensor in side] for side in (stage.inputs, stage.outputs))
        if len(set(inputs)) != len(inputs) or len(set(outputs)) != len(outputs):
            raise BundleError(f"{path}: the stage {name} names a tensor twice; export the bundle again")
        if needed and needed not in outputs:
            raise BundleError(f"{path}: the stage {name} gives no {needed!r}; export the bundle again")
        unknown = sorted(set(inputs) - known)
        if unknown or not inputs or (name.startswith("classifier") and inputs != [entry]):
            raise BundleError(
                f"{path}: the stage {name} takes {inputs}, of which no stage before it gives {unknown}; "
                "export the bundle again"
            )
        # A decoder may be told the class, and sees the listenable STFT.
        known = {entry} if name == "frontend" else known | set(outputs) | {"target", "stft"}
        if (
            name == "classifier"
            and manifest.feature_map is not None
            and manifest.feature_map.tap not in outputs
        ):
            raise BundleError(
                f"{path}: the feature map {manifest.feature_map.tap!r} is no tap of the classifier"
            )


def _output_dims(manifest: Manifest, stage: str, tensor: str) -> list[int | str]:
    spec = manifest.stage(stage)
    return next((output.dims for output in spec.outputs if output.name == tensor), []) if spec else []


def _check_graph(bundle: Bundle, stage: StageSpec) -> None:
    """The graph is one, its borders are the manifest's, and its weights fit into the files beside it."""
    import onnx

    path = bundle.path / stage.file
    try:
        model = onnx.load(str(path), load_external_data=False)
    except Exception as error:
        raise BundleError(f"{path}: not an ONNX graph; export the bundle again") from error
    for kind, values, specs in (
        ("inputs", model.graph.input, stage.inputs),
        ("outputs", model.graph.output, stage.outputs),
    ):
        found, expected = [value.name for value in values], [spec.name for spec in specs]
        if sorted(found) != sorted(expected) or len(set(found)) != len(found):
            raise BundleError(f"{path}: its {kind} are {found}, the manifest says {expected}")
        _check_values(path, values, specs)
    for tensor in external_tensors(model, path):
        entries = {entry.key: entry.value for entry in tensor.external_data}
        location = str(PurePosixPath(stage.file).parent / entries.get("location", ""))
        if location not in stage.data:
            raise BundleError(
                f"{path}: the weight {tensor.name} lies in {location!r}, which is not this stage's"
            )
        _check_extent(bundle, path, tensor, entries, location)


def _check_extent(bundle: Bundle, path: Path, tensor: Any, entries: dict[str, str], location: str) -> None:
    """A weight ends within its file and has the bytes that its shape needs."""
    import onnx

    name, dims, kind = tensor.name, list(tensor.dims), tensor.data_type
    try:
        item = onnx.helper.tensor_dtype_to_np_dtype(kind).itemsize
        needed = item
        for dim in dims:
            needed *= int(dim)
        offset, length = int(entries.get("offset", 0)), int(entries.get("length", needed))
    except (KeyError, ValueError, TypeError) as error:
        raise BundleError(f"{path}: the weight {name} has an extent that cannot be read") from error
    size = bundle.manifest.files[location].size
    if offset < 0 or min(dims, default=1) < 0 or length != needed or offset + length > size:
        raise BundleError(
            f"{path}: the weight {name} spans {offset}..{offset + max(length, needed)} of {location}, "
            f"which has {size} bytes"
        )


def _check_values(path: Path, values: Iterable[Any], specs: Iterable[TensorSpec]) -> None:
    """Types, ranks and fixed dims of a graph's inputs or outputs are the manifest's."""
    import onnx

    types = {"float32": onnx.TensorProto.FLOAT, "int64": onnx.TensorProto.INT64}
    kinds = {value.name: value.type.tensor_type for value in values}
    for spec in specs:
        kind = kinds[spec.name]
        dims = [dim.dim_value if dim.HasField("dim_value") else None for dim in kind.shape.dim]
        agree = len(dims) == len(spec.dims) and all(
            not isinstance(want, int) or have in (want, None)
            for want, have in zip(spec.dims, dims, strict=True)
        )
        if kind.elem_type != types[spec.dtype] or not agree:
            raise BundleError(
                f"{path}: {spec.name} has the dims {dims}, the manifest says {spec.dtype} {spec.dims}"
            )


def external_tensors(model: Any, path: Path) -> Iterator[Any]:
    """Every tensor of the graph, its subgraphs, functions and attributes that keeps its values elsewhere."""
    import onnx

    stack: list[Any] = [model.graph, *model.functions]
    while stack:
        graph = stack.pop()
        tensors = list(getattr(graph, "initializer", ()))
        sparse = list(getattr(graph, "sparse_initializer", ()))
        for node in graph.node:
            if node.op_type in _FILE_OPERATORS:
                raise BundleError(f"{path}: holds the operator {node.op_type}, which opens files; refused")
            for attribute in node.attribute:
                tensors += [attribute.t, *attribute.tensors]
                sparse += [attribute.sparse_tensor, *attribute.sparse_tensors]
                stack += [attribute.g, *attribute.graphs]
        tensors += [part for one in sparse for part in (one.values, one.indices)]
        yield from (t for t in tensors if t.data_location == onnx.TensorProto.EXTERNAL)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _record_path(folder: Path, manifest: bytes) -> Path | None:
    """Where this machine remembers having examined this bundle; None where there is no such place."""
    try:
        home = cache_folder()
    except RuntimeError:
        return None
    key = hashlib.sha256(os.fsencode(folder) + b"\0" + manifest).hexdigest()
    return home / "examined" / f"{key}.json"


def _remembered(record: Path | None, stamps: dict[str, tuple[int, int]]) -> bool:
    try:
        seen = json.loads(record.read_text(encoding="utf-8")) if record else None
    except (OSError, ValueError):
        return False
    return bool(seen == {name: list(stamp) for name, stamp in stamps.items()})


def _remember(record: Path | None, stamps: dict[str, tuple[int, int]]) -> None:
    """Best effort: without a cache folder the next opening examines again."""
    if record is None:
        return
    try:
        record.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=record.parent)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(stamps, file)
        Path(temporary).replace(record)
    except OSError:
        return
