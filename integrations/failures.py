"""What ended the work on an engine, out of the text that the engine makes of it."""

from __future__ import annotations

import re

from .. import errors
from ..errors import EarmarkError, RunError

_RAISED = re.compile(r"^\W*earmark\.errors\.(\w+): (.+)$", re.MULTILINE)


def what_ended(engine: str, error: BaseException) -> EarmarkError:
    """The error of a process elsewhere, of the class that was raised; of another the engine's last word."""
    text = str(error)
    for name, line in _RAISED.findall(text):
        kind = getattr(errors, name, None)
        if isinstance(kind, type) and issubclass(kind, EarmarkError):
            return kind(line)
    last = (text.strip().splitlines() or [type(error).__name__])[-1]
    return RunError(f"{engine} gave up: {last.strip()}")
