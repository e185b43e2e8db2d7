"""Building a view's index in bounded memory, its effort chosen by the recall that is measured.

Up to the exact limit vectors are stored as they are. Above, their principal directions and the
centres of the lists (k-means) come from seeded samples, and vectors are added in blocks.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt
from msgspec.structs import replace

from ..errors import PrototypeIndexError
from ..forks import fork_waits
from ..printable import first_line
from .faiss_files import IndexInfo, check_file
from .index import PROJECTION, STORED, UNIT, VECTORS, ViewIndex, beside, one_thread
from .table import CHUNK_BYTES, SCORE, steps, write_table
from .views import FloatArray, normalise

# More vectors than that are searched in lists: reading so many takes longer than looking them up.
EXACT_LIMIT = 5_000
# What the build asks of itself, with queries further from what is stored than unseen sounds were.
RECALL_WANTED = 0.96
# A neighbour this much less similar than the tenth is as good as the tenth.
RECALL_TOLERANCE = 1e-3
_RECALL_AT = 10
_RECALL_QUERIES = 200
# Vectors that the principal directions are taken from, and what they may leave out (share of energy).
_DIRECTIONS_SAMPLE = 16_384
_LEFT_OUT = 0.1
_DIRECTIONS_STEP = 16
# How many times as many are tried where recall is not reached.
_WIDER = 4
# Vectors a centre is drawn from, rounds of k-means.
_PER_CENTRE = 40
_ROUNDS = 10
# Lists looked into and candidates compared, tried in this order; then everything.
EFFORTS = ((16, 64), (24, 96), (32, 128), (48, 192), (64, 256), (128, 512), (256, 1024))


def build_index(
    vectors: FloatArray, path: Path, *, exact_limit: int = EXACT_LIMIT, seed: int = 0
) -> IndexInfo:
    """Write the index of `vectors` [n, D] (length 1, may be mapped from a file) to `path`. Raises OSError.

    Deterministic: built by one thread, its samples seeded.
    """
    count, dimension = vectors.shape
    if count <= exact_limit:
        index: Any = faiss.IndexFlatIP(dimension)
        for block in _blocks(vectors):
            index.add(block)
        info = IndexInfo("flat", count, dimension, 1.0)
        _write(index, path, info)
        return info
    stored = (np.rint(block * UNIT).astype(STORED) for block in _blocks(vectors))
    write_table(beside(path, VECTORS), vectors.shape, stored, STORED)
    random = np.random.default_rng(seed)
    directions, width = _principal_directions(_sample(vectors, _DIRECTIONS_SAMPLE, random))
    with one_thread():
        while True:
            info = _build_lists(vectors, path, directions[:, :width], seed)
            info = _tune(vectors, path, info, seed)
            if info.recall_at_10 >= RECALL_WANTED or width == dimension:
                return info
            # Neighbours differ in what was left out.
            width = min(_WIDER * width, dimension)


@fork_waits
def _build_lists(vectors: FloatArray, path: Path, directions: FloatArray, seed: int) -> IndexInfo:
    """Write the projection to `directions` [D, d], and the lists."""
    count, dimension = vectors.shape
    random = np.random.default_rng(seed)
    projection = np.ascontiguousarray(directions)
    width = projection.shape[1]
    lists = max(1, min(1 << round(np.log2(2 * np.sqrt(count))), count // _PER_CENTRE))
    index: Any = faiss.IndexIVFScalarQuantizer(
        faiss.IndexFlatL2(width),
        width,
        lists,
        faiss.ScalarQuantizer.QT_8bit,
        faiss.METRIC_INNER_PRODUCT,
        False,
    )
    index.cp.seed, index.cp.niter, index.cp.min_points_per_centroid = seed & 0x7FFFFFFF, _ROUNDS, 1
    index.cp.max_points_per_centroid = _PER_CENTRE
    index.train(_sample(vectors, lists * _PER_CENTRE, random, projection))
    for block in _blocks(vectors):
        index.add(block @ projection)
    info = IndexInfo(
        "ivf",
        count,
        dimension,
        0.0,
        projected=width,
        lists=lists,
        probes=min(EFFORTS[0][0], lists),
        candidates=min(EFFORTS[0][1], count),
    )
    _write(index, path, info)
    write_table(beside(path, PROJECTION), projection.shape, [projection], SCORE)
    return info


def _write(index: Any, path: Path, info: IndexInfo) -> None:
    try:
        faiss.write_index(index, str(path))
        # faiss only prints what goes wrong when it closes the file.
        check_file(path, info)
    except (RuntimeError, PrototypeIndexError) as error:
        # Into a folder of its own: what is lacking is room.
        text = f"the index could not be written ({first_line(error)})"
        raise OSError(errno.ENOSPC, text, str(path)) from error


@fork_waits
def _principal_directions(sample: FloatArray) -> tuple[FloatArray, int]:
    """Directions [D, D], most energy first, and how many hold all but `_LEFT_OUT` of it.

    For inner products, so not centred.
    """
    values, directions = np.linalg.eigh((sample.T @ sample).astype(np.float64))
    values, directions = np.maximum(values[::-1], 0.0), directions[:, ::-1]
    held = np.cumsum(values) / max(values.sum(), 1e-30)
    least = int(np.searchsorted(held, 1.0 - _LEFT_OUT)) + 1
    width = min(-(-least // _DIRECTIONS_STEP) * _DIRECTIONS_STEP, len(values))
    return directions.astype(np.float32), width


def _tune(vectors: FloatArray, path: Path, info: IndexInfo, seed: int) -> IndexInfo:
    """The least effort that reaches RECALL_WANTED, with the recall@10 measured with it.

    Everything is read only where no direction is left out: until then more directions cost less.
    """
    queries = _queries(vectors, seed)
    tenth = exact_tenth(queries, vectors)
    everything = [(info.lists, info.entries)] if info.projected == info.dimension else []
    for probes, candidates in (*EFFORTS, *everything):
        info = replace(
            info, probes=min(probes, info.lists), candidates=min(candidates, info.entries, 1 << 16)
        )
        info = replace(info, recall_at_10=recall(ViewIndex(path, info), queries, tenth))
        if info.recall_at_10 >= RECALL_WANTED:
            break
    return info


def recall(index: ViewIndex, queries: FloatArray, tenth: FloatArray) -> float:
    """Recall@10 of `queries` [q, D] whose tenth neighbour has the cosines `tenth` [q].

    Counted by similarity: whatever is within RECALL_TOLERANCE of the tenth is right.
    """
    hits = 0
    for query, least in zip(queries, tenth, strict=True):
        cosines, rows = index.search(query[None], _RECALL_AT)
        right = (rows >= 0) & (cosines >= least - RECALL_TOLERANCE)
        hits += min(int(right.sum()), _RECALL_AT)
    return hits / (len(queries) * min(_RECALL_AT, index.info.entries))


@fork_waits
def exact_tenth(queries: FloatArray, vectors: FloatArray) -> FloatArray:
    """The tenth largest inner product of each query, exactly, in bounded memory."""
    wanted = min(_RECALL_AT, len(vectors))
    best = np.full((len(queries), wanted), -np.inf, dtype=np.float32)
    for block in _blocks(vectors, len(queries)):
        both = np.concatenate((best, queries @ block.T), axis=1)
        best = np.partition(both, -wanted, axis=1)[:, -wanted:]
    tenth: FloatArray = best.min(axis=1)
    return tenth


def _queries(vectors: FloatArray, seed: int) -> FloatArray:
    """Queries some way from stored vectors: each mixed with 30 to 50 % of another."""
    random = np.random.default_rng(seed)
    count = min(_RECALL_QUERIES, len(vectors))
    one, other = (random.choice(len(vectors), count, replace=False) for _ in range(2))
    share = random.uniform(0.3, 0.5, (len(one), 1)).astype(np.float32)
    return normalise((1 - share) * vectors[one] + share * vectors[other])


@fork_waits
def _sample(
    vectors: FloatArray, most: int, random: np.random.Generator, projection: FloatArray | None = None
) -> FloatArray:
    """At most `most` of the vectors, drawn at random, in order; projected where asked, a block at a time."""
    rows: npt.NDArray[np.int64] = np.arange(len(vectors))
    if most < len(vectors):
        rows = np.sort(random.choice(len(vectors), most, replace=False))
    if projection is None:
        return np.ascontiguousarray(vectors[rows])
    blocks = steps(len(rows), 4 * vectors.shape[1], CHUNK_BYTES)
    return np.concatenate([vectors[rows[block]] @ projection for block in blocks])


def _blocks(vectors: FloatArray, beside_them: int = 1) -> Iterator[FloatArray]:
    """The vectors in blocks of bounded size."""
    step = max(_RECALL_AT, CHUNK_BYTES // (4 * max(vectors.shape[1], beside_them)))
    for start in range(0, len(vectors), step):
        yield np.ascontiguousarray(vectors[start : start + step])
