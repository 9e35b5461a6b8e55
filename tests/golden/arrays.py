"""The golden files, read."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import torch

GOLDEN = Path(__file__).resolve().parent


@cache
def arrays(file: str) -> dict:
    """The arrays of a file as tensors; strings (descriptions) stay NumPy's."""
    with np.load(GOLDEN / file, allow_pickle=False) as z:
        return {k: z[k] if z[k].dtype.kind == "U" else torch.from_numpy(z[k]) for k in z.files}
