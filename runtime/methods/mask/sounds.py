"""The sound that a mask keeps and removes, as long as the input is there."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from ...audio.sound import OpenSound, residual, residual_blocks
from ...values.arrays import FloatArray


class LiveSounds(msgspec.Struct, frozen=True, eq=False):
    """The kept sound [channels, samples], and the input, of which it is a part."""

    kept: FloatArray
    opened: OpenSound

    def read(self, name: str) -> FloatArray:
        """What is "kept" or "removed". Raises AudioError where the file of a long sound has changed."""
        return self.kept if name == "kept" else residual(self.opened, self.kept)

    def removed_blocks(self) -> Iterator[FloatArray]:
        """What is "removed" in blocks. Raises AudioError where the file of a long sound has changed."""
        return residual_blocks(self.opened, self.kept)

    def shaped(self, sound: FloatArray) -> FloatArray:
        """[samples] where the input had no axis for channels."""
        return sound[0] if self.opened.flat else sound
