"""What clustering methods share: rows kept for every image, all images through a network, neighbours, k-means."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.augment.views import Augment
from course_lib.methods.base import ClusteringMethod
from course_lib.methods.masked.tokenizers import kmeans
from course_lib.models.layers import normalize


class PerImage(nn.Module):
    """Tensors with a row for each image of the set, as persistent buffers: (0,) until filled, of any length.

    They are saved with the method and come back in the size that they had, so a resumed run goes on with them. A
    subclass names them, each as an attribute of type Tensor.
    """

    def __init__(self) -> None:
        super().__init__()
        for name in type(self).__annotations__:
            self.register_buffer(name, torch.empty(0))

    def __len__(self) -> int:
        return len(next(self.buffers()))

    def fill(self, **rows: Tensor) -> None:
        for name, values in rows.items():
            setattr(self, name, values)

    def check(self, count: int, what: str) -> None:
        """ValueError unless there is a row for each of `count` images."""
        if not len(self):
            raise ValueError(f"{what} are not known yet: `fit` finds them before the first step, by prepare(images)")
        if len(self) != count:
            raise ValueError(f"{what} are those of another data set: {len(self)} images, and these are {count}. Train "
                             "on the images that they were found in, or begin a new run")

    def _load_from_state_dict(self, state_dict, prefix, *args) -> None:
        for name, buffer in list(self.named_buffers(recurse=False)):
            if prefix + name in state_dict:
                setattr(self, name, torch.empty_like(state_dict[prefix + name], device=buffer.device))
        super()._load_from_state_dict(state_dict, prefix, *args)


@torch.no_grad()
def through(network: nn.Module, function: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """function(images), such as the network's `embed`, of all images in evaluation mode: float32 (N, ...).

    images: uint8 (N, 3, H, W), on any device or on disk; the result is where the network is.
    """
    modes = {module: module.training for module in network.modules()}
    where = next(network.parameters()).device
    network.eval()
    try:
        size = min(512, max(8, 2**21 // (images.shape[-2] * images.shape[-1])))
        return torch.cat([function(part.to(where)).float() for part in images.split(size)])
    finally:
        for module, mode in modes.items():
            module.training = mode


def directions(features: Tensor) -> Tensor:
    """(N, D) -> the same, centred on their mean and of length 1: what the course compares by cosine."""
    return normalize(features - features.mean(0))


@torch.no_grad()
def nearest_rows(z: Tensor, k: int, itself: bool = True, rows: Tensor | None = None) -> Tensor:
    """The k rows of z (N, D) with the largest inner product with each row (or with `rows`), int64 (N, k), best first.

    itself: whether a row may be among its own. In blocks, so that no (N, N) matrix is kept.
    """
    found = []
    for block in (torch.arange(len(z), device=z.device) if rows is None else rows).split(max(1, 2**24 // len(z))):
        similarity = z[block] @ z.T  # (block, N)
        if not itself:
            similarity[torch.arange(len(block), device=z.device), block] = -torch.inf
        found.append(similarity.topk(k, dim=1).indices)
    return torch.cat(found)


def check_clusters(clusters: int, count: int | None = None) -> None:
    """ValueError for a number of clusters that cannot be, or that `count` images cannot fill."""
    if isinstance(clusters, bool) or not isinstance(clusters, int) or clusters < 2:
        raise ValueError(f"clusters is {clusters!r}; expected a whole number from 2 up: in one cluster all images are "
                         "alike")
    if count is not None and clusters > count:
        raise ValueError(f"clusters is {clusters}, but there are only {count} images; ask for fewer clusters, or give "
                         "more images")


def check_shares(**shares: float) -> None:
    """ValueError for one that is not from 0 to 1."""
    for name, share in shares.items():
        if not 0 <= share <= 1:
            raise ValueError(f"{name} is {share!r}; expected a number from 0 to 1")


def soft_kmeans(features: Tensor, clusters: int, temperature: float = 0.1, seed: int = 0) -> Tensor:
    """k-means of features (N, D) by cosine -> log probabilities (N, clusters): softmax of cosine / temperature.

    k-means gives no probabilities; these only order the images by how near they are to their centre.
    """
    z = directions(features)
    centres = kmeans(z, clusters, torch.Generator().manual_seed(seed))  # (clusters, D)
    return F.log_softmax(z @ normalize(centres).T / temperature, dim=1)


def check_begun(method: ClusteringMethod, *options: str) -> None:
    """ValueError if one of the options names a trained network that has not been handed in by `begin`."""
    for option in options:
        if getattr(method, option) and not method.begun:
            raise ValueError(f"{option}={getattr(method, option)!r} has only been named: `runs.sources.build_on` (and "
                             f"`course train ... --set {option}=`) reads it, or hand the network to `begin` yourself")


def plain_view(size: int) -> Augment:
    """The image as it is, made `size` pixels large."""
    return Augment(size, scale=(1.0, 1.0), ratio=(1.0, 1.0), flip=0.0, jitter_p=0.0, gray_p=0.0)
