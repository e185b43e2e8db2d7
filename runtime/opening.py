"""Opens a bundle: what all bundles have is checked by it, what is a method's own by the method."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .bundle.open import Bundle
from .methods.loading import all_methods, method_of


def open_bundle(path: Path | str, *, examine: bool | None = None, without: Sequence[str] = ()) -> Bundle:
    """Open the bundle in the folder `path`.

    examine: True recomputes every hash, False none, None where this machine has not yet done so
    without: methods whose parts are left out, unchecked, so that damaged ones can be built again
    Raises BundleError in one line with the file at fault, MethodError for a name in `without`.
    """
    left_out = [method_of(name) for name in without]
    return Bundle.open(path, all_methods(), examine=examine, without=left_out)
