"""The array types that signatures speak of."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
Values = npt.NDArray[np.float64]
Array = npt.NDArray[Any]
