"""The label list of a SpeechBrain output folder."""

from __future__ import annotations

import ast
from pathlib import Path

from ....errors import SourceError

_EXTRAS = "=" * 16


def read_labels(path: Path) -> list[str]:
    """label_encoder.txt: `'label' => index` lines up to a line of `=`; labels in the order of the logits.

    Raises SourceError where a line cannot be read or the indices are not 0, 1, 2, ...
    """
    by_index: dict[int, str] = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"{path}: the label list cannot be read ({error})") from error
    for number, line in enumerate(lines, 1):
        if line.startswith(_EXTRAS):
            break
        if not line.strip():
            continue
        text, arrow, index = line.rpartition(" => ")
        try:
            label, position = ast.literal_eval(text), int(index)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            arrow = ""
        if not arrow:
            raise SourceError(f"{path}: line {number} is not of the form 'label' => index: {line[:60]!r}")
        if position in by_index:
            raise SourceError(f"{path}: line {number} gives index {position} a second time")
        by_index[position] = str(label)
    if not by_index or sorted(by_index) != list(range(len(by_index))):
        raise SourceError(
            f"{path}: indices should be 0, 1, 2, ... without a gap, but are {sorted(by_index)[:10]}"
        )
    return [by_index[index] for index in range(len(by_index))]
