"""Opens a bundle: what all bundles have is checked by it, what is a method's own by the method."""

from __future__ import annotations

from pathlib import Path

from .bundle.open import Bundle
from .methods.loading import all_methods


def open_bundle(path: Path | str, *, examine: bool | None = None, prototypes: bool = True) -> Bundle:
    """Open the bundle in the folder `path`.

    examine: True recomputes every hash, False none, None where this machine has not yet done so
    prototypes: False leaves them out, unchecked, so that damaged ones can be built again
    Raises BundleError, in one line with the file at fault.
    """
    return Bundle.open(path, all_methods(), examine=examine, prototypes=prototypes)
