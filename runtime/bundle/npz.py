"""Arrays of an .npz from strangers: no pickle, and sizes checked before anything is allocated."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ...errors import BundleError
from ...printable import first_line
from ..values.arrays import FloatArray


def read_arrays(
    path: Path,
    *,
    most_bytes: int,
    wanted: Callable[[str], object],
    most_each: Callable[[str], int] | None = None,
) -> dict[str, FloatArray]:
    """The file's float32 arrays by name, those `wanted`; the rest is passed over.

    Raises BundleError: damaged, not float32, more than `most_bytes` unpacked in all, or more than `most_each`
    says of an array, header included.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            items = archive.infolist()
            if sum(item.file_size for item in items) > most_bytes:
                raise BundleError(
                    f"{path}: unpacks to more than {most_bytes >> 20} MiB; export the bundle again"
                )
            named = {item.filename.removesuffix(".npy"): item for item in items}
            for name, item in named.items():
                if most_each is not None and wanted(name) and item.file_size > most_each(name):
                    raise BundleError(
                        f"{path}: the array {name!r} unpacks to {item.file_size} bytes, more than this "
                        "bundle's windows have; export the bundle again"
                    )
            return {name: _array(archive, item) for name, item in named.items() if wanted(name)}
    except BundleError:
        raise
    except Exception as error:
        # zipfile and its decompressors raise a dozen kinds of errors at damaged archives.
        raise BundleError(
            f"{path}: cannot be read ({first_line(error)}); fetch or export the bundle again"
        ) from error


def _array(archive: zipfile.ZipFile, item: zipfile.ZipInfo) -> FloatArray:
    """One float32 array, its shape checked against its size. Raises ValueError."""
    with archive.open(item) as file:
        major, _ = np.lib.format.read_magic(file)
        if major != 1:
            raise ValueError(f"{item.filename} is of an unknown version")
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
        content = file.read()
    if dtype != np.float32 or not all(shape) or math.prod(shape) * 4 != len(content):
        raise ValueError(f"{item.filename} is not the float32 array {list(shape)} that it claims to be")
    return np.frombuffer(content, np.float32).reshape(shape, order="F" if fortran else "C")
