"""Keeping in a bundle how far its masks are to be believed."""

from __future__ import annotations

from pathlib import Path

import msgspec

from ...errors import BundleError
from ...runtime.bundle.manifest import Manifest, TrustSpec
from ...runtime.bundle.open import read_manifest
from .manifest_file import manifest_lock, replace_manifest


def store_trust(bundle: Path | str, spec: TrustSpec, bundle_id: str) -> Manifest:
    """Put what was measured into the manifest of the bundle that it was measured of.

    Args:
        bundle: Its folder.
        spec: What was measured.
        bundle_id: Of the bundle when it was measured.

    Returns:
        The manifest in force now.

    Raises:
        BundleError: No bundle, another one than was measured, or one that is being written.
        WriteError: It cannot be written.

    """
    folder = Path(bundle)
    with manifest_lock(folder):
        manifest = read_manifest(folder)
        if manifest.bundle_id != bundle_id:
            raise BundleError(f"{folder}: was changed while it was measured; measure it again")
        return replace_manifest(folder, msgspec.structs.replace(manifest, trust=spec))
