r"""DeepCluster. Caron, Bojanowski, Joulin and Douze, ECCV 2018, arXiv 1807.05520; facebookresearch/deepcluster.

In turn: (a) k-means of the features of *all* images gives each a label; (b) a network learns these labels with
cross-entropy for an epoch. Random filters already put similar images together a little, which (b) makes more of.

    (a)  f(x_i) -> PCA, whitened: (f - mean) v_d / sqrt(variance_d), for some d -> length 1 -> k-means -> y_i
    (b)  L = mean over the batch of  -log softmax( h(f(view of x_i)) )_{y_i}

Nothing stops all images from going to one cluster, where the loss is 0. What keeps it off: whitening, an empty cluster
gets half of a full one's points (here k-means takes the farthest point), and in (b) clusters are drawn *uniformly*: an
epoch has as many pictures as there are, about the same number from each cluster that is not empty.

What other implementations get wrong: a head that is kept when labels are found anew (cluster 5 of today has nothing to
do with that of yesterday, so it is drawn anew, N(0, 0.01)); features with augmentation or in training mode in (a);
whitening without taking off the mean; images drawn as they come, so that the largest cluster is learned alone; few
clusters (ten for each class were best); colour, by which networks group first: the paper's sees only edges, `sobel` of
the grey image.

The head's learning rate and momentum start anew in the official code; here the optimizer keeps what it knows of the
head. It also takes off the last ReLU for (a); here features are means of a map after it.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.augment.colour import sobel
from course_lib.augment.pixels import standardize
from course_lib.augment.views import SHAPES_VIEWS, Augment
from course_lib.data.images import Batch
from course_lib.methods.base import Method
from course_lib.methods.clustering.shared import PerImage, check_clusters, through
from course_lib.methods.masked.tokenizers import kmeans
from course_lib.models.layers import Backbone, normalize
from course_lib.precision import in_float32
from course_lib.seeds import mix


@torch.no_grad()
@in_float32
def whitened(features: Tensor, components: int = 256) -> Tensor:
    """(N, D) -> (N, min(components, D)): principal components, each divided by its deviation, then rows of length 1.

    The sign of a component is arbitrary, and so is one without variance, which becomes 0. ValueError for one row.
    """
    if len(features) < 2 or components < 1:
        raise ValueError(f"{len(features)} rows and {components} components; expected two rows or more, and one "
                         "component")
    x = features - features.mean(0)
    variance, axes = torch.linalg.eigh(x.mT @ x / len(x))  # rising
    variance, axes = variance.flip(0)[:components], axes.flip(1)[:, :components]
    scale = torch.where(variance > 1e-9 * variance[0].clamp(min=1e-12), variance, torch.inf).rsqrt()
    return normalize(x @ axes * scale)


def uniform_over(labels: Tensor, clusters: int, generator: torch.Generator) -> Tensor:
    """Which N images an epoch sees, int64 (N,): about as many of each cluster of labels (N,) that is not empty.

    Of a cluster with fewer images than its share they repeat; else they do not. In random order.
    """
    members = [(labels == k).nonzero().flatten() for k in range(clusters)]
    members = [rows for rows in members if len(rows)]
    share = len(labels) // len(members) + 1
    drawn = []
    for rows in members:
        order = (torch.randint(len(rows), (share,), generator=generator) if len(rows) <= share else
                 torch.randperm(len(rows), generator=generator)[:share])
        drawn.append(rows[order.to(rows.device)])
    mixed = torch.cat(drawn)
    return mixed[torch.randperm(len(mixed), generator=generator)[: len(labels)].to(mixed.device)]


@torch.no_grad()
def clusters_of(features: Tensor, clusters: int, components: int, seed: int, iterations: int = 20) -> Tensor:
    """k-means of whitened features (N, D) -> labels int64 (N,). Fewer clusters where features are alike."""
    z = whitened(features, components)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Number of distinct clusters")  # all images alike: they share a label
        centres = kmeans(z, clusters, torch.Generator().manual_seed(seed), iterations)
    return torch.cdist(z, centres).argmin(1)


def mutual_information(a: Tensor, b: Tensor) -> float:
    """Of two labellings, int64 (N,) each: normalised by the mean of their entropies, 0 to 1 (1: the same groups)."""
    from sklearn.metrics import normalized_mutual_info_score

    return float(normalized_mutual_info_score(a.numpy(), b.numpy()))


@in_float32
def cluster_loss(logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Logits (B, K) and labels int64 (B,) -> "loss" and "accuracy", of this rank's images."""
    accuracy = (logits.argmax(1) == labels).to(logits.dtype).mean()
    return {"loss": F.cross_entropy(logits, labels), "accuracy": accuracy}


class Assigned(PerImage):
    """The cluster of each image, and which image takes its place in the epoch: (N,) int64 each."""

    labels: Tensor
    order: Tensor


class OnEdges(Backbone):
    """A backbone that sees the edges of normalised images, `sobel` of the grey one, and zeros as third channel."""

    def __init__(self, network: Backbone):
        super().__init__()
        self.network, self.dim = network, network.dim

    def forward(self, images: Tensor) -> Tensor:
        along = sobel(images)  # (B, 2, S, S)
        return self.network(torch.cat([along, torch.zeros_like(along[:, :1])], 1))


class DeepCluster(Method):
    """The method: a backbone, a linear head, and a label for every image, found anew at the start of an epoch.

    clusters: K (10,000 for 1000 classes), at most one for four images. every: epochs from one k-means to the next (1);
    each looks at all images. components: of the whitening (256). uniform: clusters alike in an epoch; False: images as
    they come. reset: a new head with new labels. edges: the backbone is one `OnEdges`, also where it is evaluated.
    augment: of the images that are learned. recipe: for small sets and short runs; the paper has SGD, 0.05 for 256
    images, 200 epochs and more.
    """

    title = "DeepCluster"
    week = 21
    needs = ("clusters",)
    recipe = {"lr": 1e-3, "batch_size": 128}
    shapes_options = {"augment": SHAPES_VIEWS}
    due: Tensor      # () bool: labels are to be found before the next step
    rounds: Tensor   # () int64: how often they have been
    settled: Tensor  # () what the last labels tell of those before, normalised mutual information: 1 if nothing moved

    def __init__(self, backbone: Backbone, image_size: int = 32, clusters: int = 100, every: int = 1,
                 components: int = 64, uniform: bool = True, reset: bool = True, edges: bool = False,
                 augment: Augment | None = None):
        super().__init__()
        check_clusters(clusters)
        for name, value in (("every", every), ("components", components)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} is {value!r}; expected a whole number from 1 up")
        self.clusters, self.every, self.components = clusters, every, components
        self.uniform, self.reset = uniform, reset
        self.backbone: Backbone = OnEdges(backbone) if edges else backbone
        self.head, self.memory = nn.Linear(backbone.dim, clusters), Assigned()
        for name, value in (("due", True), ("rounds", 0), ("settled", 0.0)):
            self.register_buffer(name, torch.tensor(value))
        self.augment = augment or Augment(image_size, scale=(0.3, 1.0), jitter_p=0.0, gray_p=0.0)

    def prepare(self, images: Tensor) -> None:
        """Labels of another set are refused; those of this one, of a finished run, are found anew."""
        if len(self.memory):
            self.memory.check(len(images), "the labels")
        self.due.fill_(True)

    def on_epoch(self, epoch: int) -> None:
        if epoch % self.every == 0:
            self.due.fill_(True)

    def views(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Views (B, 3, S, S) of the images that the epoch has in place of the batch's, and their labels (B,)."""
        if self.due:
            self.relabel(batch)
        self.memory.check(len(self.memory) if batch.source is None else len(batch.source), "the labels")
        chosen = self.memory.order[batch.indices]
        return self.augment(batch.others(chosen), generator), self.memory.labels[chosen]

    @torch.no_grad()
    def relabel(self, batch: Batch) -> None:
        """New labels of all images of the set that the batch is from, an epoch's order, and a new head.

        The same on each rank. ValueError for a batch that does not hold its set.
        """
        if batch.source is None:
            raise ValueError("this batch does not hold the set that it is from: give Batch(..., source=images)")
        n, seed = len(batch.source), mix(int(self.rounds), len(batch.source))
        found = clusters_of(through(self, self.embed, batch.source).cpu(), max(2, min(self.clusters, n // 4)),
                            self.components, seed)
        generator = torch.Generator().manual_seed(seed)
        order = uniform_over(found, self.clusters, generator) if self.uniform else torch.arange(n)
        if len(self.memory):
            self.settled.fill_(mutual_information(self.memory.labels.cpu(), found))
        self.memory.fill(labels=found.to(self.due.device), order=order.to(self.due.device))
        if self.reset:
            drawn = torch.randn(self.head.weight.shape, generator=generator) / 100
            self.head.weight.copy_(drawn)
            self.head.bias.zero_()
        self.rounds += 1
        self.due.fill_(False)

    def loss(self, views: tuple[Tensor, Tensor], progress: float = 0.0) -> dict[str, Any]:
        images, labels = views
        features = self.backbone(standardize(images))  # (B, D)
        share = torch.bincount(self.memory.labels, minlength=self.clusters) / len(self.memory)
        return {**cluster_loss(self.head(features), labels), "clusters": torch.special.entr(share).sum().exp(),
                "settled": self.settled.clone(), "embedding": normalize(features.detach()), "views_per_image": 1}
