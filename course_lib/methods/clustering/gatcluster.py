r"""GATCluster: Gaussian attention network for image clustering. Niu et al., ECCV 2020, arXiv 2002.11863.

The map of a conv net has two heads, which each end in a softmax over K clusters: p sees the mean over the map, p^a the
sum over the map weighted by one Gaussian, whose place and width the network chooses (the object's, one hopes):

    A_ij = exp( -|c_ij - mu|^2 / (2 lambda delta) ),   c_ij in [0, 1] x [0, 1],   (mu, delta) = sigmoid(linear(map))

Four tasks, each with targets that the network makes itself. b runs over the images, x~ is the transformed image:

    invariance     -  mean over b of  p(x~_b) . T_b,                     T_bk = p_bk / sum_b p_bk, rows scaled to sum 1
    separability   +  BCE(cos(p(x~_b), p(x~_c)), [b and c in one cluster of k-means])   over pairs b >= c
    entropy        +  sum over k of m_k log m_k,  m = mean over b of p(x~_b),  and the same of p^a
    attention      +  mean over b, k of BCE(p^a_k(x~_b), q_bk),          q_bk = p_bk^2 / sum_b p_bk, rows to sum 1

with weights 5, 1, 3, 5. The first pushes p to one-hot vectors, the third keeps all images out of one cluster.

Two steps save memory. One: p of a pool of M images (1000), untransformed, in evaluation mode and without gradient, and
from it T, q and the clusters of k-means (of q). Two: for small batches of the pool (32), several times over (8), the
loss with these targets. So the targets know M images while gradients, which need the memory, are those of a few. An
image's cluster is the largest p_k.

What other implementations get wrong: targets from the small batch, or with gradient, or from transformed images; the
attention's features averaged (they are summed, else a narrow Gaussian has nothing to say); no way out when k-means
fails (if a cluster is empty, or below a tenth of M / K, each image is related to itself only). The official code
(niuchuangnn/GATCluster) cuts theta so that mu = (theta_0, theta_2), delta = theta_2: width and column are one number.
Here they are three, as in the paper; `official` gives theirs. Its images are grey and also sheared, its k-means starts
20 times (here 5), it picks the best epoch by test accuracy, all passes over a pool see one transformed copy of it (here
each pass its own), and each pool is drawn anew (here an image leaves the pool when it has been used for the last time,
and an image of the current batch takes its place).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.augment.pixels import check_images, standardize
from course_lib.augment.views import TURNED_VIEWS, Augment
from course_lib.collectives import gather, rank, world_size
from course_lib.data.images import Batch
from course_lib.methods.base import ClusteringMethod
from course_lib.methods.clustering.shared import check_clusters
from course_lib.methods.masked.tokenizers import kmeans
from course_lib.models.batch_norm import BatchNorm2d
from course_lib.models.layers import ConvBackbone, check_maps, normalize
from course_lib.precision import at_least_float32, in_float32
from course_lib.seeds import mix

EPS = 1e-5  # the official code's, in every division


# ------------------------------------------------------------------------------------------------ attention
@in_float32
def gaussian_map(theta: Tensor, height: int, width: int, sharpness: float = 0.05, official: bool = False) -> Tensor:
    """Attention maps (B, 1, H, W) with a 1 at their centre, of theta (B, 3) in [0, 1]: row, column, width.

    sharpness: lambda. official: the official code's slice, whose centre's column is the width.
    """
    rows, columns = (torch.linspace(0, 1, n, dtype=theta.dtype, device=theta.device) for n in (height, width))
    column = theta[:, 2] if official else theta[:, 1]
    distance = ((rows - theta[:, :1]).square()[:, :, None] + (columns - column[:, None]).square()[:, None])  # (B, H, W)
    return (-distance / (2 * sharpness * theta[:, 2, None, None] + EPS)).exp()[:, None]


# ------------------------------------------------------------------------------------------------ targets
@in_float32
def balanced_target(p: Tensor) -> Tensor:
    """T: probabilities (M, K), each divided by its cluster's sum, so that small clusters count more; rows sum to 1."""
    t = p / (p.sum(0) + EPS)
    return t / (t.sum(1, keepdim=True) + EPS)


@in_float32
def sharpened_target(p: Tensor) -> Tensor:
    """q: probabilities (M, K) made surer, and clusters more alike in size (DEC's target); rows sum to 1."""
    q = p.square() / (p.sum(0) + EPS)
    return q / (q.sum(1, keepdim=True) + EPS)


def usable_clusters(labels: Tensor, clusters: int, min_ratio: float = 0.1) -> Tensor:
    """Clusters (M,) int64, or each image one of its own if a cluster has fewer than min_ratio M / K images, or none."""
    counts = torch.bincount(labels, minlength=clusters)
    poor = counts.min() < min_ratio * len(labels) / clusters or counts.min() == 0
    return torch.arange(len(labels), device=labels.device) if poor else labels


def found_clusters(points: Tensor, clusters: int, generator: torch.Generator) -> Tensor:
    """k-means of the points (M, D), the best of 5 starts: (M,) int64; all 0 if fewer points than clusters differ."""
    if len(points.unique(dim=0)) < clusters:
        return torch.zeros(len(points), dtype=torch.long, device=points.device)
    tried = [torch.cdist(points, kmeans(points, clusters, generator, 100)).min(1) for _ in range(5)]
    return min(tried, key=lambda found: float(found.values.square().sum())).indices


# ------------------------------------------------------------------------------------------------ the four tasks
@in_float32
def invariance_loss(p: Tensor, target: Tensor) -> Tensor:
    """Minus the mean inner product of probabilities and their targets, (N, K) each -> scalar."""
    return -(p * target.detach()).sum(1).mean()


@in_float32
def entropy_loss(p: Tensor) -> Tensor:
    """Minus the entropy of the mean of probabilities (N, K), over all ranks: -log K if all clusters are used alike."""
    return -torch.special.entr(gather(p).mean(0).clamp(min=EPS)).sum()


@in_float32
def relation_loss(p: Tensor, labels: Tensor) -> Tensor:
    """Are two images in one cluster? BCE of the cosines of probabilities (N, K), over the pairs of all ranks' images.

    labels: (N,) int64, equal where k-means has put two images into one cluster. A pair counts once, and each image
    with itself.
    """
    p, labels = gather(p), gather(labels)
    unit = p / (p.norm(dim=1, keepdim=True) + EPS)
    first, second = torch.tril_indices(len(p), len(p), device=p.device)
    cosines = (unit[first] * unit[second]).sum(1).clamp(0, 1)  # one for each pair
    return F.binary_cross_entropy(cosines, (labels[first] == labels[second]).to(p))


@in_float32
def attention_loss(p: Tensor, target: Tensor) -> Tensor:
    """BCE of the attention head's probabilities and the sharpened target, (N, K) each, over all entries -> scalar."""
    return F.binary_cross_entropy(p, target.detach())


# ------------------------------------------------------------------------------------------------ the module
class ClusterHeads(nn.Module):
    """Map (B, C, H, W) -> probabilities p and p^a (B, K), and the attention map A (B, 1, H, W)."""

    def __init__(self, channels: int, side: int, clusters: int, width: int = 32, sharpness: float = 0.05,
                 official: bool = False):
        super().__init__()
        self.side, self.sharpness, self.official = side, sharpness, official
        self.features = nn.Sequential(nn.Conv2d(channels, width, 1), BatchNorm2d(width))
        self.classifier = nn.Sequential(nn.Linear(width, clusters), nn.ReLU(), nn.Linear(clusters, clusters))
        self.attend = nn.Sequential(nn.Conv2d(channels, clusters, 1), BatchNorm2d(clusters), nn.ReLU())
        self.theta = nn.Linear(clusters * side * side, 3)
        self.attention_classifier = nn.Sequential(nn.Linear(width, clusters), nn.ReLU(),
                                                  nn.Linear(clusters, clusters))

    def attention(self, maps: Tensor) -> Tensor:
        theta = self.theta(self.attend(maps).flatten(1)).sigmoid()  # (B, 3)
        return gaussian_map(theta, self.side, self.side, self.sharpness, self.official)

    def logits(self, maps: Tensor) -> Tensor:
        return at_least_float32(self.classifier(self.features(maps).mean((2, 3))))  # (B, K)

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        features, attention = self.features(maps), self.attention(maps)  # (B, width, H, W), (B, 1, H, W)
        attended = (features * attention).sum((2, 3))  # (B, width): a sum, so a narrow map has small features
        scores = self.classifier(features.mean((2, 3))), self.attention_classifier(attended)  # (B, K) each
        p, attended = (at_least_float32(score).softmax(1) for score in scores)
        return p, attended, attention


class GATCluster(ClusteringMethod):
    """The method: a conv net, two cluster heads, and a pool of images with their targets.

    clusters: K, which the method must be told. width: channels of the heads (32 or 10). pool: images of a pool (1000),
    at least a batch; each is kept, so the pool is in the checkpoint, at the size that the network sees. passes: over
    the pool before its targets are made anew (8). invariance, relation, entropy, attention: weights of the four tasks
    (5, 1, 3, 5). sharpness: lambda. official: the attention of the official code. augment: of the transformed images,
    turned, shifted and zoomed a little and recoloured in the paper. recipe: settings of `fit` for short runs; the paper
    has Adam, 0.001, without weight decay, in batches of 32. Gradients are cut to -10 .. 10 each.
    """

    title = "GATCluster"
    week = 19
    needs = ("clusters",)
    recipe = {"lr": 2e-3, "weight_decay": 0.0, "batch_size": 32, "warmup": 0.02, "betas": (0.9, 0.999)}
    shapes_options = {"augment": TURNED_VIEWS, "clusters": 8}
    explored = ("heads",)
    backbone: ConvBackbone
    pool: Tensor      # (M, 3, S, S) uint8
    balanced: Tensor  # (M, K): T
    sharpened: Tensor  # (M, K): q
    labels: Tensor    # (M,) int64: the clusters of k-means
    counters: Tensor  # (2,): images of this pool trained on, over all passes (-1: no pool yet); pools so far

    def __init__(self, backbone: ConvBackbone, image_size: int = 32, clusters: int = 10, width: int = 32,
                 pool: int = 1024, passes: int = 4, invariance: float = 5.0, relation: float = 1.0,
                 entropy: float = 3.0, attention: float = 5.0, sharpness: float = 0.05, official: bool = False,
                 augment: Augment | None = None):
        super().__init__()
        check_maps(backbone, self.title)
        check_clusters(clusters)
        for name, value, least in (("passes", passes, 1), ("pool", pool, clusters)):
            if value < least:
                raise ValueError(f"{name} is {value}; expected {least} or more" + (
                    f", one image for each of {clusters} clusters" if name == "pool" else ""))
        self.backbone = backbone
        self.clusters, self.passes, self.size = clusters, passes, image_size
        self.weights = {"invariance": invariance, "relation": relation, "entropy": entropy, "attention": attention}
        side = -(-image_size // self.backbone.strides[-1])
        self.heads = ClusterHeads(self.backbone.widths[-1], side, clusters, width, sharpness, official)
        self.register_buffer("pool", torch.zeros(pool, 3, image_size, image_size, dtype=torch.uint8))
        for name in ("balanced", "sharpened"):
            self.register_buffer(name, torch.zeros(pool, clusters))
        self.register_buffer("labels", torch.arange(pool))
        self.register_buffer("counters", torch.tensor([-1, 0]))
        self.augment = augment or Augment(image_size, scale=(1.0, 1.0), ratio=(1.0, 1.0), jitter=(0.3, 0.3, 0.0, 0.2),
                                          jitter_p=1.0, gray_p=0.0, turn=10.0, shift=0.1, zoom=(0.8, 1.2))

    def prepare(self, images: Tensor) -> None:
        """The first pool, drawn from all images; of fewer than a pool, each is in it several times."""
        check_clusters(self.clusters, len(images))
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
        self.pool.copy_(self._fitted(images[order[torch.arange(len(self.pool)) % len(order)].to(images.device)]))
        self.counters.zero_()

    def _fitted(self, images: Tensor) -> Tensor:
        """uint8 images at the size of the pool's."""
        if images.shape[2:] == self.pool.shape[2:]:
            return images
        return F.interpolate(images.float(), (self.size, self.size), mode="area").round().to(torch.uint8)

    def views(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, ...]:
        """As many transformed images of the pool as the batch has, (B, 3, H, W), with their T, q and clusters.

        In the last pass over the pool the batch's images (of all ranks) take the places of those.
        """
        place, pools = self.counters.tolist()
        if place < 0:
            self.prepare(batch.images)
        together = gather(self._fitted(batch.images))  # of all ranks: each holds the whole pool
        count, size = len(together), len(self.pool)
        if count > size:
            raise ValueError(f"batches of {count} images are larger than the pool of {size}: set a larger pool")
        one_pass = size - size % count
        if place <= 0 or place >= self.passes * one_pass:
            place, pools = 0, pools + 1
            self.make_targets(pools)
        number, start = divmod(place, one_pass)
        order = torch.randperm(size, generator=torch.Generator().manual_seed(mix(pools, number)))
        chosen = order[start : start + count].to(self.pool.device)
        mine = chosen.chunk(world_size())[rank()]
        images, targets = self.pool[mine], (self.balanced[mine], self.sharpened[mine], self.labels[mine])
        if number == self.passes - 1:
            self.pool[chosen] = together
        self.counters.copy_(torch.tensor([place + count, pools]))
        return self.augment(images, generator), *targets

    @torch.no_grad()
    def make_targets(self, seed: int) -> None:
        """The first step: T, q and clusters of the whole pool, from what the network of now says of it."""
        if len(self.pool) % world_size():
            raise ValueError(f"a pool of {len(self.pool)} images cannot be shared by {world_size()} ranks: set a "
                             "multiple of them")
        training = self.training
        self.eval()
        share = self.pool.chunk(world_size())[rank()]
        p = gather(torch.cat([self.probabilities(part) for part in share.split(256)]))  # (M, K)
        self.train(training)
        self.set_targets(p, seed)

    def set_targets(self, p: Tensor, seed: int) -> None:
        """T, q and clusters of the pool's probabilities (M, K); seed: of k-means."""
        self.balanced.copy_(balanced_target(p))
        self.sharpened.copy_(sharpened_target(p))
        found = found_clusters(self.sharpened, self.clusters, torch.Generator().manual_seed(seed))
        self.labels.copy_(usable_clusters(found, self.clusters))

    def loss(self, views: tuple[Tensor, ...], progress: float = 0.0) -> dict[str, Any]:
        images, *targets = views
        return self.tasks(self.backbone.stages(standardize(images))[-1], *targets)

    def tasks(self, maps: Tensor, balanced: Tensor, sharpened: Tensor, labels: Tensor) -> dict[str, Any]:
        """The four tasks and their weighted sum, of maps (N, C, H, W) with their images' targets."""
        p, attended, _ = self.heads(maps)  # (N, K) each
        parts = {"invariance": invariance_loss(p, balanced), "relation": relation_loss(p, labels),
                 "entropy": entropy_loss(p) + entropy_loss(attended), "attention": attention_loss(attended, sharpened)}
        loss = sum(self.weights[name] * part for name, part in parts.items())
        share = gather(F.one_hot(p.argmax(1), self.clusters).to(p)).mean(0)
        return {"loss": loss, **parts, "clusters": torch.special.entr(share).sum().exp(),
                "embedding": normalize(p.detach()), "views_per_image": 1}

    def before_update(self) -> None:
        nn.utils.clip_grad_value_(self.parameters(), 10.0)

    @torch.no_grad()
    def logits(self, images: Tensor) -> Tensor:
        """What p is the softmax of: (B, 3, H, W), uint8 or in [0, 1] -> (B, K)."""
        return self.heads.logits(self.backbone.stages(standardize(check_images(images)))[-1])

    @torch.no_grad()
    def attention(self, images: Tensor) -> Tensor:
        """Where the network looks: the attention maps (B, 1, h, w), with a 1 at their centre."""
        return self.heads.attention(self.backbone.stages(standardize(check_images(images)))[-1])
