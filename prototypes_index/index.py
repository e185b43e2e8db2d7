"""One FAISS index a view: cosine similarity as the inner product of vectors of length 1.

Exact (IndexFlatIP) up to `EXACT_LIMIT` vectors, HNSW above, whose recall@10 against the exact
answer is measured on a sample and kept. Files are checked, then memory-mapped.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import faiss
import numpy as np
import numpy.typing as npt

from ..errors import PrototypeIndexError
from .table import REBUILD
from .views import FloatArray, normalise

Kind = Literal["flat", "hnsw"]

# More vectors than that are searched approximately.
EXACT_LIMIT = 100_000
RECALL_WANTED = 0.95
_RECALL_AT = 10
_SAMPLE = 200
_NEIGHBOURS = 32
_EF_CONSTRUCTION = 80
_EF_SEARCH = (64, 128, 256, 512, 1024)
# Layers of a graph grow with the logarithm of its size; entry point, top layer and three settings end it.
_MOST_LAYERS = 64
_GRAPH_END = 5 * 4
_CHUNK_BYTES = 32 << 20

# fourcc, dimension, count, two fields no longer used, trained, metric (0 = inner product).
_HEADER = struct.Struct("<4siqqq?i")
# How many 4-byte units of vectors follow a flat index's header.
_UNITS = struct.Struct("<Q")
_FOURCC: dict[Kind, bytes] = {"flat": b"IxFI", "hnsw": b"IHNf"}
_INNER_PRODUCT = 0


@dataclass(frozen=True, slots=True)
class IndexInfo:
    """What is known of an index file: its kind, shape, and measured recall@10 (exact: 1)."""

    kind: Kind
    entries: int
    dimension: int
    recall_at_10: float
    ef_search: int | None = None


def build_index(
    vectors: FloatArray, path: Path, *, exact_limit: int = EXACT_LIMIT, seed: int = 0
) -> IndexInfo:
    """Write the index of `vectors` [n, D] (length 1, may be mapped from a file) to `path`.

    Deterministic: HNSW is built by one thread, and the sample of its recall is seeded. Raises
    OSError where the file cannot be written.
    """
    count, dimension = vectors.shape
    kind: Kind = "flat" if count <= exact_limit else "hnsw"
    index: Any
    if kind == "flat":
        index = faiss.IndexFlatIP(dimension)
    else:
        index = faiss.IndexHNSWFlat(dimension, _NEIGHBOURS, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = _EF_CONSTRUCTION
    step = max(1, _CHUNK_BYTES // (4 * dimension))
    with _one_thread():
        for start in range(0, count, step):
            index.add(np.ascontiguousarray(vectors[start : start + step]))
        recall, ef_search = (1.0, None) if kind == "flat" else _tune(index, vectors, seed)
    try:
        faiss.write_index(index, str(path))
    except RuntimeError as error:
        raise OSError(f"{path}: faiss could not write the index: {_first_line(error)}") from error
    info = IndexInfo(kind, count, dimension, recall, ef_search)
    try:
        # faiss only prints what goes wrong when it closes the file.
        check_header(path, info)
    except PrototypeIndexError as error:
        raise OSError(errno.ENOSPC, "the index could not be written whole", str(path)) from error
    return info


class ViewIndex:
    """An open index of one view, memory-mapped."""

    def __init__(self, path: Path, info: IndexInfo) -> None:
        """Check the header and size of `path` against `info`, then map it.

        Raises PrototypeIndexError on any disagreement or damage.
        """
        check_header(path, info)
        try:
            index: Any = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
        except RuntimeError as error:
            raise PrototypeIndexError(f"{path}: damaged ({_first_line(error)}); {REBUILD}") from error
        storage = faiss.downcast_index(index.storage) if info.kind == "hnsw" else index
        for part in (index, storage):
            if (part.ntotal, part.d) != (info.entries, info.dimension):
                raise PrototypeIndexError(f"{path}: its parts disagree in size: damaged; {REBUILD}")
        if info.kind == "hnsw":
            index.hnsw.efSearch = info.ef_search or _EF_SEARCH[0]
        self.info = info
        self._index = index
        self._storage = storage

    def search(self, queries: FloatArray, count: int) -> tuple[FloatArray, npt.NDArray[np.int64]]:
        """The nearest entries of each query [q, D] (of any length): cosines and rows [q, count].

        Best first; row -1 where there are fewer entries.
        """
        with _one_thread():
            cosines, rows = self._index.search(normalise(queries), min(count, self.info.entries))
        return np.clip(cosines, -1.0, 1.0), rows

    def vectors_at(self, rows: npt.NDArray[np.int64]) -> FloatArray:
        """The stored vectors [n, D] at those rows, of length 1."""
        stored: FloatArray = self._storage.reconstruct_batch(rows)
        return stored

    def vectors(self, start: int, count: int) -> FloatArray:
        """The stored vectors [count, D] from row `start` on, of length 1."""
        stored: FloatArray = self._storage.reconstruct_n(start, count)
        return stored


def check_header(path: Path, info: IndexInfo) -> None:
    """Compare header and file size with `info` before faiss reads a byte of it.

    Raises PrototypeIndexError where kind, metric, dimension, count or size disagree.
    """
    try:
        with path.open("rb") as file:
            header, units = file.read(_HEADER.size), file.read(_UNITS.size)
            size = os.fstat(file.fileno()).st_size
    except OSError as error:
        raise PrototypeIndexError(f"{path}: cannot be read ({error.strerror}); {REBUILD}") from error
    if len(units) < _UNITS.size:
        raise PrototypeIndexError(f"{path}: cut off after {size} bytes; {REBUILD}")
    fourcc, dimension, count, _, _, trained, metric = _HEADER.unpack(header)
    if fourcc != _FOURCC[info.kind] or metric != _INNER_PRODUCT or not trained:
        raise PrototypeIndexError(f"{path}: not a {info.kind} inner-product index; {REBUILD}")
    if (count, dimension) != (info.entries, info.dimension):
        raise PrototypeIndexError(
            f"{path}: holds {count} vectors of {dimension}, the manifest says {info.entries} of "
            f"{info.dimension}; {REBUILD}"
        )
    if info.kind == "flat" and _UNITS.unpack(units)[0] != count * dimension:
        raise PrototypeIndexError(f"{path}: its parts disagree in size: damaged; {REBUILD}")
    least = _HEADER.size + _UNITS.size + 4 * count * dimension
    if info.kind == "hnsw":
        least += _graph_bytes(path, count, size) + _HEADER.size
    if size != least:
        raise PrototypeIndexError(f"{path}: has {size} bytes, should have {least}: damaged; {REBUILD}")


def _graph_bytes(path: Path, count: int, size: int) -> int:
    """Length of an HNSW graph after its header, every section of it checked: faiss allocates what they say.

    Sections: probability and neighbours of each layer, layer and offset of each vector, neighbours,
    then five integers. Raises PrototypeIndexError.
    """
    sections = ((8, 0, _MOST_LAYERS), (4, 0, _MOST_LAYERS + 1), (4, count, count), (8, count + 1, count + 1))
    position = _HEADER.size
    with path.open("rb") as file:
        for item, least, most in (*sections, (4, 0, size // 4)):
            file.seek(position)
            length = file.read(_UNITS.size)
            held = _UNITS.unpack(length)[0] if len(length) == _UNITS.size else -1
            position += _UNITS.size + item * held
            if not least <= held <= most or position > size:
                raise PrototypeIndexError(f"{path}: its graph is damaged; {REBUILD}")
    return position + _GRAPH_END - _HEADER.size


def _tune(index: Any, vectors: FloatArray, seed: int) -> tuple[float, int]:
    """The smallest search effort that reaches RECALL_WANTED, and the recall@10 measured with it."""
    queries = _sample(vectors, seed)
    exact = _exact_tenth(queries, vectors)
    recall, effort = 0.0, _EF_SEARCH[0]
    for effort in _EF_SEARCH:
        index.hnsw.efSearch = effort
        cosines, rows = index.search(queries, _RECALL_AT)
        # Counted by similarity: among equal vectors any is right.
        recall = float(np.mean((rows >= 0) & (cosines >= exact[:, None] - 1e-6)))
        if recall >= RECALL_WANTED:
            break
    return recall, effort


def _sample(vectors: FloatArray, seed: int) -> FloatArray:
    """Queries beside stored vectors: each moved by noise of a tenth of its length."""
    random = np.random.default_rng(seed)
    count, dimension = vectors.shape
    picked = np.sort(random.choice(count, min(_SAMPLE, count), replace=False))
    noise = random.standard_normal((len(picked), dimension), dtype=np.float32) * (0.1 / np.sqrt(dimension))
    return normalise(vectors[picked] + noise)


def _exact_tenth(queries: FloatArray, vectors: FloatArray) -> FloatArray:
    """The tenth largest inner product of each query, exactly, in bounded memory."""
    count, dimension = vectors.shape
    wanted = min(_RECALL_AT, count)
    best = np.full((len(queries), wanted), -np.inf, dtype=np.float32)
    step = max(wanted, _CHUNK_BYTES // (4 * max(dimension, len(queries))))
    for start in range(0, count, step):
        both = np.concatenate((best, queries @ vectors[start : start + step].T), axis=1)
        best = np.partition(both, -wanted, axis=1)[:, -wanted:]
    tenth: FloatArray = best.min(axis=1)
    return tenth


@contextmanager
def _one_thread() -> Iterator[None]:
    """Run faiss in this thread alone: deterministic, and a few queries gain nothing from more."""
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
