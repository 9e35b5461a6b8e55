"""What the golden table computes for the surveys (weeks 21 to 23): DeepCluster."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from course_lib.methods.clustering.deepcluster import whitened

Arrays = Mapping[str, Tensor]


def deepcluster(z: Arrays) -> dict:
    """Inner products, which do not depend on the signs of the components."""
    found = {k: whitened(z["features"], k) for k in (4, 12)}
    return {"pca4_gram": (found[4] @ found[4].T)[:60, :60], "pca12_gram": (found[12] @ found[12].T)[:40, :40]}
