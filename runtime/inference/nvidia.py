"""What the NVIDIA driver says of this machine's GPUs; neither CUDA nor onnxruntime is needed to ask it."""

from __future__ import annotations

import csv
import subprocess
from dataclasses import dataclass

_FIELDS = "name,driver_version,memory.total,memory.free,compute_cap"


@dataclass(frozen=True, slots=True)
class GraphicsCard:
    """One GPU: its name, the driver's version, memory in MiB, compute capability such as "9.0"."""

    name: str
    driver: str
    total_mib: int
    free_mib: int
    capability: str


def graphics_cards() -> tuple[GraphicsCard, ...]:
    """The GPUs in the driver's order; none where there is no driver that answers."""
    try:
        answer = subprocess.run(  # noqa: S603
            ["nvidia-smi", f"--query-gpu={_FIELDS}", "--format=csv,noheader,nounits"],  # noqa: S607
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ()
    cards = []
    for row in csv.reader(answer.stdout.splitlines(), skipinitialspace=True):
        if len(row) == len(_FIELDS.split(",")):
            name, driver, total, free, capability = row
            cards.append(GraphicsCard(name, driver, _whole(total), _whole(free), capability))
    return tuple(cards)


def _whole(text: str) -> int:
    """A number of MiB; 0 where the driver does not say ("[N/A]")."""
    return int(text) if text.isdecimal() else 0
