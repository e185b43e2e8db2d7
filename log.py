"""The logger of the package, `logging.getLogger("earmark")`: it says nothing until somebody listens."""

from __future__ import annotations

import logging

logger = logging.getLogger("earmark")
# Without a handler Python would write warnings to stderr.
logger.addHandler(logging.NullHandler())
