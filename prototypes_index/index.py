"""One FAISS index a view: cosine similarity as the inner product of vectors of length 1.

Exact (IndexFlatIP) for few vectors. For more, in two steps: lists of short codes (`<view>.faiss`, an
inverted file over the vectors' projection `<view>.projection.npy` to their principal directions)
give candidates, which are compared exactly with the vectors themselves (`<view>.vectors.npy`).
Files are checked, then memory-mapped.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from ..errors import PrototypeIndexError
from ..forks import fork_waits
from ..printable import first_line
from .faiss_files import IndexInfo, check_file
from .table import REBUILD, Table, open_table, steps
from .views import FloatArray, normalise

PROJECTION = ".projection.npy"
VECTORS = ".vectors.npy"
# Vectors of length 1 in 16 bits: a cosine is off by 1e-5 (half precision: as much, but slower to read).
STORED = np.dtype("<i2")
UNIT = 32767.0
# Vectors are read in blocks of so many numbers; 16 bits round a vector's length.
_CHUNK_NUMBERS = 1 << 22
_LENGTH_TOLERANCE = 0.02
# What faiss adds to its classes in Python is unknown to their type stubs.
_faiss: Any = faiss


class ViewIndex:
    """An open index of one view, memory-mapped."""

    def __init__(self, path: Path, info: IndexInfo) -> None:
        """Check the header and size of `path` against `info`, then map it and what lies beside it.

        Raises PrototypeIndexError where something disagrees or is damaged.
        """
        check_file(path, info)
        try:
            index: Any = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
        except RuntimeError as error:
            raise PrototypeIndexError(f"{path}: damaged ({first_line(error)}); {REBUILD}") from error
        self.info, self.path = info, path
        self._index = index
        self._excluded: npt.NDArray[np.uint8] | None = None
        self._selector: Any = None
        width = info.projected if info.kind == "ivf" else info.dimension
        if (index.ntotal, index.d) != (info.entries, width):
            raise PrototypeIndexError(f"{path}: its parts disagree in size: damaged; {REBUILD}")
        if info.kind == "ivf":
            shape = (info.entries, info.dimension)
            self._projection = open_table(beside(path, PROJECTION), np.dtype("<f4"), (info.dimension, width))
            self._vectors = open_table(beside(path, VECTORS), STORED, shape)

    def exclude(self, excluded: npt.NDArray[np.bool_]) -> None:
        """Leave the entries [n] that are True out of every search."""
        # faiss keeps a pointer to the bits.
        self._excluded = np.packbits(~excluded, bitorder="little")
        self._selector = _faiss.IDSelectorBitmap(self._excluded)

    def search(self, queries: FloatArray, count: int) -> tuple[FloatArray, npt.NDArray[np.int64]]:
        """The nearest entries of each query [q, D] (of any length): cosines and rows [q, n].

        Best first, `count` or, where more were compared anyway, more; row -1 where there are fewer.
        """
        cosines, rows = self.candidates(queries, count)
        order = np.lexsort((rows, -cosines, rows < 0), axis=-1)
        each = np.arange(len(rows))[:, None]
        return cosines[each, order], rows[each, order]

    def candidates(self, queries: FloatArray, count: int) -> tuple[FloatArray, npt.NDArray[np.int64]]:
        """The same in any order."""
        queries, count = normalise(queries), min(count, self.info.entries)
        if self.info.kind == "ivf":
            cosines, rows = self._in_lists(queries, count)
        else:
            with one_thread():
                options = _faiss.SearchParameters(sel=self._selector)
                cosines, rows = self._index.search(queries, count, params=options)
        return np.clip(cosines, -1.0, 1.0, out=cosines), rows

    @fork_waits
    def _in_lists(self, queries: FloatArray, count: int) -> tuple[FloatArray, npt.NDArray[np.int64]]:
        """Candidates by their codes, then their cosines by the vectors themselves."""
        info = self.info
        # Who wants more neighbours has to look further; who wants all, everywhere.
        count = max(count, info.candidates)
        probes = info.lists if count >= info.entries else -(-info.probes * count // info.candidates)
        options = _faiss.SearchParametersIVF(sel=self._selector, nprobe=min(probes, info.lists))
        with one_thread():
            _, rows = self._index.search(queries @ self._projection, min(count, info.entries), params=options)
        if int(rows.max(initial=-1)) >= info.entries or int(rows.min(initial=-1)) < -1:
            raise PrototypeIndexError(f"{self.path}: its rows are damaged; {REBUILD}")
        cosines = np.empty(rows.shape, dtype=np.float32)
        for query, candidates, cosine in zip(queries, rows, cosines, strict=True):
            np.matmul(self._vectors[candidates].astype(np.float32), query, out=cosine)
        cosines *= 1 / UNIT
        cosines[rows < 0] = -np.inf
        return cosines, rows

    def check(self) -> None:
        """Read every vector. Raises PrototypeIndexError where one is not finite or longer than 1.

        Of lists also where a row is in none or in two of them, or a number that searches use is not finite.
        """
        entries = self.info.entries
        for some in steps(entries, self.info.dimension, _CHUNK_NUMBERS):
            block = self.vectors(some.start, some.stop - some.start)
            squares = np.einsum("nd,nd->n", block, block)
            # A vector of zeros stays one; NaN is not below anything.
            if not (squares <= (1.0 + _LENGTH_TOLERANCE) ** 2).all():
                raise PrototypeIndexError(f"{self.path}: a vector is not of length 1: damaged; {REBUILD}")
        if self.info.kind != "ivf":
            return
        lists, seen = self._index.invlists, np.zeros(entries, dtype=np.bool_)
        for number in range(self.info.lists):
            count = lists.list_size(number)
            rows = faiss.rev_swig_ptr(lists.get_ids(number), count) if count else np.zeros(0, np.int64)
            if count and not 0 <= int(rows.min()) <= int(rows.max()) < entries:
                raise PrototypeIndexError(f"{self.path}: its rows are damaged; {REBUILD}")
            seen[rows] = True
        ranges = faiss.vector_to_array(self._index.sq.trained)
        centres = faiss.downcast_index(self._index.quantizer).reconstruct_n(0, self.info.lists)
        numbers = (ranges, centres, self._projection)
        # As many rows as entries: all seen means each once.
        if not seen.all() or not all(np.isfinite(one).all() for one in numbers):
            raise PrototypeIndexError(f"{self.path}: its lists are damaged; {REBUILD}")

    def vectors_at(self, rows: npt.NDArray[np.int64]) -> FloatArray:
        """The stored vectors [n, D] at those rows, of length 1."""
        if self.info.kind == "ivf":
            return _as_floats(self._vectors[rows])
        stored: FloatArray = self._index.reconstruct_batch(rows)
        return stored

    def vectors(self, start: int, count: int) -> FloatArray:
        """The stored vectors [count, D] from row `start` on, of length 1."""
        if self.info.kind == "ivf":
            return _as_floats(self._vectors[start : start + count])
        stored: FloatArray = self._index.reconstruct_n(start, count)
        return stored


def beside(path: Path, suffix: str) -> Path:
    """The file of the same view with another ending."""
    return path.with_name(path.stem + suffix)


def _as_floats(stored: Table) -> FloatArray:
    floats: FloatArray = stored.astype(np.float32) / np.float32(UNIT)
    return floats


@contextmanager
def one_thread() -> Iterator[None]:
    """Run faiss in this thread alone: deterministic, and a few queries gain nothing from more."""
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
