"""What one stage gives and the next one takes: arrays on the CPU, tensors that stay in a device's memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..values.arrays import Array
from ..values.lazy import lazy_property


class DeviceTensor:
    """A tensor (`onnxruntime.OrtValue`) where an execution provider left it.

    It is copied to the host by `fetch` when it is first looked at, which raises what is wrong with it.
    """

    def __init__(self, value: Any, fetch: Callable[[Any], Array]) -> None:
        self.value = value
        self._fetch = fetch

    @property
    def shape(self) -> tuple[int, ...]:
        """Its dims; nothing is copied."""
        return tuple(self.value.shape())

    @property
    def nbytes(self) -> int:
        """Its size in bytes."""
        return int(self.value.tensor_size_in_bytes())

    @lazy_property
    def array(self) -> Array:
        """The copy on the host; of a provider that works in the host's memory the tensor itself."""
        return self._fetch(self.value)


Tensor = Array | DeviceTensor
# What a stage is fed with, by name.
Feeds = Mapping[str, Tensor]


def on_host(tensor: Tensor) -> Array:
    """The tensor as an array."""
    return tensor.array if isinstance(tensor, DeviceTensor) else tensor
