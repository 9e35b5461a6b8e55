r"""Unsupervised hyperbolic metric learning. Yan, Luo, Deng and Huang, CVPR 2021 (not on arXiv):
https://openaccess.thecvf.com/content/CVPR2021/html/Yan_Unsupervised_Hyperbolic_Metric_Learning_CVPR_2021_paper.html

A backbone's features are clustered from the bottom up (Ward's linkage), and the tree is cut at several levels: labels
fine and coarse, made anew in each epoch. Embeddings z live in a Poincare ball (`models.poincare`), where a tree has
room. An anchor j is compared with a positive k of its finest cluster and a negative l, which is of level m if it leaves
the anchor's cluster there: at m = 0 it is in another of the coarsest clusters, at m = 1 in the same coarsest and
another of the next, and so on. The ratio of their similarities is told by the level, with Omega < 1 and M levels:

    L = sum over j, k, l of  ( log(s_jk / s_jl) - w log(Omega / Omega^(M - m + 1)) )^2        w = 0.1, Omega = 0.1

What the released code does, and this does not: its similarity is the inner product of points of the ball, of which a
negative one has no logarithm (NaN), and not their distance; levels above the first are compared with the *first*
level's labels (`labels[:, i]` against `targets`); of three levels the third has the first's number of clusters; all
embeddings are scaled to length 1 before they enter the ball, and so lie at one radius, tanh 1, though the radius is
where a tree has its depth; on their way back, gradients are multiplied by (1 - c |x|^2)^2 / 4, as on the ball, before
they reach plain Adam. (`lr_mult` 0 stands beside its backbone's weights, but torch's Adam does not read it: they
learn, too.) Here s = exp(-d), with which the left ratio is d_jl - d_jk; the mean over triples, not the sum, so that
the rate need not follow the batch size; points have radii of their own. `similarity="product"` and `radius` bring two
of them back. Official code: JiexiYan/UnHyperML.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

import torch
from torch import Tensor, nn

from course_lib.augment.pixels import standardize
from course_lib.augment.views import TURNED_VIEWS, Augment
from course_lib.collectives import gather
from course_lib.data.images import Batch
from course_lib.methods.base import Method
from course_lib.methods.clustering.shared import PerImage, through
from course_lib.models.layers import Backbone, normalize
from course_lib.models.poincare import distance, exp0, project
from course_lib.precision import at_least_float32, check_positive, in_float32


def ward_levels(features: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """Features (N, D) -> int64 (N, levels): clusters of Ward's linkage, cut so that level i has sizes[i] of them.

    Of fewer images than sizes[i], each is its own cluster. It keeps all distances, twice: 8 N^2 bytes. A warning where
    that is more than 8 GB; ValueError for fewer than two images.
    """
    from scipy.cluster.hierarchy import fcluster, linkage

    if len(features) < 2:
        raise ValueError(f"a tree joins clusters of images, and there are {len(features)}: give two or more")
    if (memory := 8e-9 * len(features) ** 2) > 8:
        warnings.warn(f"Ward's linkage of {len(features)} images takes about {memory:.0f} GB of memory; if there is "
                      "less, give fewer images", stacklevel=2)
    tree = linkage(features.double().cpu().numpy(), "ward")
    tree[:, 2] = range(1, len(tree) + 1)  # cut by the order of the joins: of equal heights all or none would be cut
    return torch.stack([torch.from_numpy(fcluster(tree, size, "maxclust")).long() - 1 for size in sizes], 1)


def level_negatives(labels: Tensor) -> Tensor:
    """Labels (N, M), the finest level first -> bool (M, N, N): [m, j, l], whether l is a negative of j at level m."""
    different = (labels[:, None] != labels).movedim(2, 0).flip(0)  # (M, N, N), the coarsest first
    new = different.clone()
    new[1:] &= ~different[:-1]  # not already apart at a coarser level
    return new


@in_float32
def similarities(x: Tensor, kind: str = "distance", c: float = 1.0) -> Tensor:
    """Points of the ball (N, D) -> (N, N): exp(-d), or with the kind "product" the release's inner products."""
    return x @ x.T if kind == "product" else (-distance(x[:, None], x[None], c)).exp()


@in_float32
def log_ratio_loss(similarity: Tensor, positives: Tensor, negatives: Tensor, omega: float = 0.1, weight: float = 0.1,
                   eps: float = 1e-6) -> tuple[Tensor, float]:
    """Similarities (N, N), positives (N, N) and negatives (M, N, N) bool -> the sum over triples, and their number."""
    log_s, levels = (similarity + eps).log(), len(negatives)
    total, triples = similarity.new_zeros(()), 0.0
    near, n_near = log_s.where(positives, 0.0), positives.sum(1)  # (N, N), (N,)
    for m, apart in enumerate(negatives):
        goal = weight * math.log((omega + eps) / (omega ** (levels - m + 1) + eps))
        far, n_far = (log_s + goal).where(apart, 0.0), apart.sum(1)
        # the sum over k and l of (near_k - far_l)^2, for each anchor
        squares = near.square().sum(1) * n_far + far.square().sum(1) * n_near - 2 * near.sum(1) * far.sum(1)
        total, triples = total + squares.sum(), triples + float((n_near * n_far).sum())
    return total, triples


def in_ball(linear: nn.Module, features: Tensor, c: float = 1.0, radius: float | None = None) -> tuple[Tensor, Tensor]:
    """Where a map puts features (N, D): points (N, out) of the ball, and the distances of all pairs (N, N).

    radius: None, or the length to which the map's outputs are scaled before they enter the ball.
    """
    u = linear(features)
    x = project(exp0(u if radius is None else radius * normalize(u), c), c)
    return x, torch.stack([distance(point, x, c) for point in x]) if len(x) > 256 else distance(x[:, None], x[None], c)


def learn_map(linear: nn.Module, features: Tensor, clusters: tuple[int, ...], c: float = 1.0,
              radius: float | None = None, omega: float = 0.1, weight: float = 0.5, steps: int = 300,
              batch_size: int = 64, lr: float = 0.01, seed: int = 0) -> list[float]:
    """Train a map of frozen features (N, D) to the ball.

    One tree of all features, cut into `clusters`; Adam, its rate falling to 0 along a line. omega, weight: of the loss
    (both 0.1 in the official code). -> the loss of each step.
    """
    levels, draw = ward_levels(features, clusters), torch.Generator().manual_seed(seed)
    optimizer, losses = torch.optim.Adam(linear.parameters(), lr), []
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = lr * (1 - step / steps)
        rows = torch.randperm(len(features), generator=draw)[:batch_size]
        d, labels = in_ball(linear, features[rows], c, radius)[1], levels[rows]
        positives = (labels[:, None, 0] == labels[:, 0]) & ~torch.eye(len(rows), dtype=torch.bool)
        total, triples = log_ratio_loss((-d).exp(), positives, level_negatives(labels), omega, weight)
        optimizer.zero_grad()
        (total / max(triples, 1.0)).backward()
        optimizer.step()
        losses.append(float(total.detach()) / max(triples, 1.0))
    return losses


class Levels(PerImage):
    """Each image's cluster at every level: (N, M) int64, the finest first."""

    labels: Tensor


class Hyperbolic(Method):
    """The method: backbone, a linear map, and the ball.

    out: its dimensions. curvature: c. clusters: of each level, the finest first. omega, weight: of the loss.
    similarity: "distance", exp(-d), or "product". radius: None, or the length to which embeddings are scaled before
    they enter the ball (the release: 1). every: epochs between two clusterings. standardized: features are, by channel,
    before they are clustered, so that no few of them decide. Begin with a backbone that has learned something
    (`--weights`, or `pretext`, a run's folder or the name of a learned network); clusters of a random one follow
    colour. recipe: for short runs; the release has Adam, 1e-5, batches of 16 clusters with 8 images each.
    """

    title = "Hyperbolic"
    week = 28
    needs = ("clusters", "trained network")
    recipe = {"lr": 3e-4, "batch_size": 64}
    explored = ("map",)
    begins_with = ("pretext",)
    shapes_options = {"augment": TURNED_VIEWS, "standardized": True}

    def __init__(self, backbone: Backbone, image_size: int = 32, pretext: str = "", out: int = 16,
                 curvature: float = 1.0, clusters: tuple[int, ...] = (64, 16), omega: float = 0.1,
                 weight: float = 0.1, similarity: str = "distance", radius: float | None = None, every: int = 1,
                 standardized: bool = False, augment: Augment | None = None):
        super().__init__()
        for name, value in (("curvature", curvature), ("every", every), ("radius", 1 if radius is None else radius)):
            check_positive(name, value)
        if not 0 < omega <= 1:
            raise ValueError(f"omega is {omega}; expected a number above 0 and up to 1: above 1, the goal would be for "
                             "images of far branches to be more alike")
        if not clusters or any(a <= b for a, b in zip(clusters, clusters[1:])) or min(clusters) < 2:
            raise ValueError(f"clusters is {clusters}; expected a number for each level, the finest and largest first, "
                             "each 2 or more, such as (64, 16)")
        if similarity not in ("distance", "product"):
            raise ValueError(f"similarity is {similarity!r}; expected 'distance' or 'product'")
        self.backbone, self.map = backbone, nn.Linear(backbone.dim, out)
        self.curvature, self.clusters, self.omega, self.weight = curvature, tuple(clusters), omega, weight
        self.similarity, self.radius, self.every, self.standardized = similarity, radius, every, standardized
        self.pretext, self.levels, self.stale = pretext, Levels(), False
        self.augment = augment or Augment(image_size)

    def begin(self, pretext: Method | None = None) -> None:
        """The pretext's backbone, as it was evaluated."""
        if pretext is not None:
            self.backbone.load_state_dict(pretext.evaluated.state_dict())

    def prepare(self, images: Tensor) -> None:
        """The first levels, unless they are known; see `use_levels`."""
        if not len(self.levels):
            self.use_levels(self.tree(images))

    def tree(self, images: Tensor) -> Tensor:
        """Images -> (N, M) int64, each one's cluster at every level, by the features as they are now."""
        z = through(self, self.embed, images)
        if self.standardized and len(z) > 1:  # of a single one, ward_levels says what is missing
            z = (z - z.mean(0)) / z.std(0).clamp(min=1e-6)
        return ward_levels(z, self.clusters)

    def use_levels(self, labels: Tensor) -> None:
        """Labels (N, M) int64 of all images, the finest level first."""
        self.levels.fill(labels=labels.to(self.map.weight.device))

    def on_epoch(self, epoch: int) -> None:
        self.stale = bool(epoch) and epoch % self.every == 0

    def views(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Two views of each image, (2B, 3, H, W), and the labels of both, (2B, M)."""
        if batch.source is None:
            raise ValueError("this batch does not hold the set that it is from: give Batch(..., source=images)")
        if self.stale:
            self.use_levels(self.tree(batch.source))
            self.stale = False
        self.levels.check(len(batch.source), "the clusters")
        views = torch.cat([self.augment(batch.images, generator) for _ in range(2)])
        return views, self.levels.labels[batch.indices].repeat(2, 1)

    def place(self, images: Tensor) -> Tensor:
        """Normalised images -> points of the ball, (B, out)."""
        z = at_least_float32(self.map(self.backbone(images)))
        return project(exp0(z if self.radius is None else self.radius * normalize(z), self.curvature), self.curvature)

    def loss(self, views: tuple[Tensor, Tensor], progress: float = 0.0) -> dict[str, Any]:
        images, labels = views
        x = self.place(standardize(images))
        z, labels = gather(x), gather(labels)  # (N, out), (N, M)
        similar = similarities(z, self.similarity, self.curvature)  # (N, N)
        negatives = level_negatives(labels)
        positives = (labels[:, None, 0] == labels[:, 0]) & ~torch.eye(len(z), dtype=torch.bool, device=z.device)
        total, triples = log_ratio_loss(similar, positives, negatives, self.omega, self.weight)
        return {"loss": total / max(triples, 1.0), "triples": total.new_tensor(triples),
                "radius": x.detach().norm(dim=1).mean(), "embedding": normalize(x.detach())}
