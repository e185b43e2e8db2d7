"""pandas, for those who want tables of it."""

from __future__ import annotations

from typing import Any

from ...errors import MissingDependencyError


def import_pandas() -> Any:
    """The package. Raises MissingDependencyError."""
    try:
        import pandas
    except ImportError as error:
        raise MissingDependencyError("to_dataframe() needs pandas: pip install pandas") from error
    return pandas
