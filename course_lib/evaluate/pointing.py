"""Where a GATCluster points, whether that is where the object is, and what it answers when it is pointed elsewhere."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from course_lib.augment.pixels import standardize, to_float
from course_lib.evaluate.attention import object_share
from course_lib.evaluate.clusters import same_cluster
from course_lib.methods.clustering.gatcluster import GATCluster, gaussian_map

CORNER = torch.tensor([[0.0, 0.0, 0.7]])  # theta of a Gaussian in the upper left corner, rather wide


@torch.no_grad()
def looks(method: GATCluster, images: Tensor) -> tuple[Tensor, Tensor]:
    """Images (N, 3, H, W) -> their last maps (N, C, h, w), and theta (N, 3): row, column, size of the Gaussian."""
    maps = method.backbone.stages(standardize(to_float(images)))[-1]
    return maps, method.heads.theta(method.heads.attend(maps).flatten(1)).sigmoid()


@torch.no_grad()
def pointed_answers(method: GATCluster, maps: Tensor, attention: Tensor) -> Tensor:
    """The attention head's answers p^a (N, K), if maps (N, C, h, w) are weighed by attention (N or 1, h, w)."""
    weighed = (method.heads.features(maps) * attention[:, None]).sum((2, 3))
    return method.heads.attention_classifier(weighed).softmax(1)


def true_centres(factors: Mapping[str, Tensor]) -> Tensor:
    """Row and column of the object in [0, 1], (N, 2), from the causes of generated images."""
    return torch.stack([factors["pos_y"], factors["pos_x"]], 1) / 2 + 0.5


def follows(theta: Tensor, factors: Mapping[str, Tensor]) -> dict[str, float]:
    """Correlation of the place that theta (N, 3) points at with the object's: in "row" and "column"."""
    truth = true_centres(factors)
    return {name: float(torch.corrcoef(torch.stack([theta[:, i], truth[:, i]]))[0, 1])
            for i, name in enumerate(("row", "column"))}


def seen_by_a_place(network: nn.Module) -> int:
    """Pixels along a side that one place of the last map can see: the receptive field of the convolutions in a row."""
    size = 1
    for layer in reversed([m for m in network.modules() if isinstance(m, nn.Conv2d)]):
        size = (size - 1) * layer.stride[0] + layer.kernel_size[0]
    return size


def exchanged(method: GATCluster, maps: Tensor, thetas: Mapping[str, Tensor], objects: Tensor,
              labels: Tensor, classes: Tensor) -> dict[str, dict[str, float]]:
    """What exchanging the Gaussian does, the maps (N, C, h, w) left as they are: name -> its measures.

    thetas: name -> (N, 3), the network's own first. objects (N, S, S) bool, labels (N,), classes (K,): of each cluster.
    "share": of the attention that is on the object; "kept": images in the cluster of the network's own Gaussian;
    "acc": images of their cluster's class; "sure": mean confidence.
    """
    found, own = {}, None
    for name, theta in thetas.items():
        attention = gaussian_map(theta, maps.shape[-2], maps.shape[-1])[:, 0]
        answers = pointed_answers(method, maps, attention)
        own = answers if own is None else own
        sure, cluster = answers.max(1)
        found[name] = {"share": float(object_share(attention, objects).mean()),
                       "kept": same_cluster(own, answers),
                       "acc": float((classes[cluster] == labels).float().mean()), "sure": float(sure.mean())}
    return found
