"""The protocols of the four papers as settings, each with its citation and with what differs here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from ..errors import MethodError

Table = Literal["masks", "events", "prototypes"]
TABLES: tuple[Table, ...] = get_args(Table)


@dataclass(frozen=True)
class Preset:
    """A paper's protocol for one of the tables.

    Attributes:
        table: Which.
        citation: The paper.
        differs: What is not as it was there, in a sentence.
        settings: Of the table, by name.
        segments: Of the method segments, by name; for the table events.

    """

    table: Table
    citation: str
    differs: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    segments: Mapping[str, Any] = field(default_factory=dict)


_LMAC = (
    "F. Paissan, M. Ravanelli, C. Subakan: Listenable Maps for Audio Classifiers. ICML 2024, arXiv 2403.13086"
)
_L2I = (
    "J. Parekh, S. Parekh, P. Mozharovskyi, F. d'Alche-Buc, G. Richard: Listen to Interpret: Post-hoc "
    "Interpretability for Audio Networks with NMF. NeurIPS 2022, arXiv 2202.11479"
)
PRESETS: Mapping[str, Preset] = {
    "lmac2024": Preset(
        "masks",
        _LMAC,
        "in-domain: the test fold with white noise at 0 dB; AD as the reference recipe computes it",
        {"conditions": ("noise",), "domain": "spectrogram", "reference": True},
    ),
    "lmac2024_ood": Preset(
        "masks",
        _LMAC,
        "out-of-domain: another clip (0.8 / 0.2), speech (0.8 / 0.2; synthesised unless a folder is given), "
        "white noise (1 : 0.5); AD as the reference recipe computes it",
        {"conditions": ("mixture", "speech", "noise_6db"), "domain": "spectrogram", "reference": True},
    ),
    "l2i2022": Preset(
        "masks",
        _L2I,
        "the components' fidelity and faithfulness on clean sound; fidelity is to the classifier's own "
        "prediction, with the trained theta",
        {
            "methods": ("components", "random_components", "random_components_area"),
            "conditions": ("clean",),
        },
    ),
    "bolanos2025": Preset(
        "events",
        "C. Bolanos, L. Pepino, M. Meza, L. Ferrer: Benchmarking Time-localized Explanations for Audio "
        "Classification Models. 2025, arXiv 2506.04391",
        "segments of 100 ms, an event's above 90 ms of overlap, a random forest on 3007 masks filled with "
        "zeros; ties of the AUC count half, and intervals are over source recordings",
        {"methods": ("segments", "energy", "random"), "segment_seconds": 0.1, "rule": "overlap90"},
        {"preset": "bolanos2025", "fill": "zeros"},
    ),
    "apex2026": Preset(
        "prototypes",
        "P. Kawa, K. Howil, P. Borycki, M. Adamczyk, P. Spurek, P. Syga: APEX: Audio Prototype EXplanations "
        "for Classification Tasks. 2026, arXiv 2605.10153",
        "the four views' formulas and both checks, labels of the five nearest and deletion of the matched "
        "place against random regions, are earmark's own: the paper's method section could not be read",
        {"fills": ("silence", "level"), "draws": 8},
    ),
}


def preset_of(name: str, table: Table) -> Preset:
    """The preset of that name for a table.

    Raises:
        MethodError: There is none, or it is one of another table.

    """
    there = [one for one, preset in PRESETS.items() if preset.table == table]
    if name not in PRESETS:
        raise MethodError(f"there is no preset {name!r}; those of {table} are {', '.join(there)}")
    if PRESETS[name].table != table:
        raise MethodError(
            f"the preset {name} is one of {PRESETS[name].table}; {table} has {', '.join(there)}"
        )
    return PRESETS[name]
