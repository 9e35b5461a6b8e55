r"""Local Aggregation. Zhuang, Zhai and Yamins, ICCV 2019, arXiv 1903.12355; neuroailab/LocalAggregation-Pytorch.

NPID pushes all images apart, also those that look alike. Here an embedding v_i has two sets of neighbours in NPID's
memory bank: background B_i, the k rows nearest to v_i, and close ones C_i, the rows that share a cluster with image i
in at least one of H k-means of the bank. Among the background the close ones are to win:

    L = mean over the batch of  -log( P(C_i and B_i | v_i) / P(B_i | v_i) )
    P(A | v) = sum over A of exp(m . v / tau) / Z

Z is the same above and below, so it cancels. Rows move as NPID's, clusters are found anew in each epoch. At the start
there is nothing to group yet, and the method is NPID (10 of 200 epochs in the paper).

What other implementations get wrong: C_i not intersected with B_i; one k-means, whose borders cut neighbours apart,
where the union of several does not; the same start for all of them; the image's own row taken out (it is in both sets).

The PyTorch port divides (B,) by (B, 1), which gives (B, B); in the mean of logarithms that is the same but for where
1e-7 is added. Here it is row by row. Z of the first epochs is a constant in the port; here it is NPID's.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from course_lib.augment.pixels import standardize
from course_lib.augment.views import SHAPES_VIEWS, Augment, moco_v1_view
from course_lib.data.images import Batch
from course_lib.methods.base import Method
from course_lib.methods.clustering.shared import PerImage, check_clusters, check_shares
from course_lib.methods.masked.tokenizers import kmeans
from course_lib.methods.pretext.memory import MemoryBank, draw_rows, first_look
from course_lib.methods.pretext.npid import check_bank_options, nce_loss
from course_lib.models.layers import Backbone, normalize
from course_lib.precision import in_float32
from course_lib.seeds import mix


@in_float32
def aggregation_loss(scores: Tensor, own: Tensor, groups: Tensor, k: int, eps: float = 1e-7) -> dict[str, Tensor]:
    """Scores m . v / tau with all rows (B, N) -> "loss", and "close", the share of the background that is close.

    own: (B, H), the clusters of each image; groups: (N, H), those of all rows. k: rows in the background, at most N.
    """
    near, rows = scores.topk(min(k, scores.shape[1]), dim=1)  # (B, k): B_i
    close = (groups[rows] == own[:, None]).any(2)  # (B, k): those in C_i
    share = (near.softmax(1) * close).sum(1)  # (B,): P(C and B) / P(B)
    return {"loss": -(share + eps).log().mean(), "close": close.to(share.dtype).mean()}


def clusterings(rows: Tensor, clusters: int, count: int, seed: int) -> Tensor:
    """`count` k-means of rows (N, D), each from another start: int64 (N, count)."""
    found = []
    for number in range(count):
        centres = kmeans(rows, clusters, torch.Generator().manual_seed(mix(seed, number)), iterations=10)
        found.append(torch.cdist(rows, centres).argmin(1))
    return torch.stack(found, 1)


class Groups(PerImage):
    """The clusters of every image's row: (N, H) int64."""

    groups: Tensor


class LocalAggregation(Method):
    """The method: NPID's backbone, head and memory bank, and the clusters of its rows.

    share: of the training that is NPID's (0.05). clusters: of each k-means (30,000 for 1.28 million; None:
    one for 40 images). clusterings: H (10). background: k (4096), all rows where there are fewer. out, negatives,
    temperature, memory, warm: as NPID's (128, 4096, 0.07, 0.5); negatives are of the first share only. augment: of
    the one view. recipe: for small sets and short runs; the paper has SGD, 0.03 for 128 images, 200 epochs.
    """

    title = "Local Aggregation"
    week = 26
    needs = ("negatives", "memory bank", "clusters")
    recipe = {"lr": 1e-3, "batch_size": 128}
    shapes_options = {"augment": SHAPES_VIEWS}
    explored = ("head",)

    def __init__(self, backbone: Backbone, image_size: int = 32, share: float = 0.2, clusters: int | None = None,
                 clusterings: int = 3, background: int = 512, out: int = 128, negatives: int = 512,
                 temperature: float = 0.1, memory: float = 0.5, warm: bool = False,
                 augment: Augment | None = None):
        super().__init__()
        check_bank_options(negatives, temperature, 1)
        if clusters is not None:
            check_clusters(clusters)
        for name, value in (("clusterings", clusterings), ("background", background)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} is {value!r}; expected a whole number from 1 up")
        check_shares(share=share)
        self.backbone, self.head = backbone, nn.Linear(backbone.dim, out)
        self.memory, self.near = MemoryBank(out, memory), Groups()
        self.share, self.clusters, self.clusterings, self.background = share, clusters, clusterings, background
        self.negatives, self.temperature, self.warm = negatives, temperature, warm
        self.augment = augment or moco_v1_view(image_size)

    def prepare(self, images: Tensor) -> None:
        if self.clusters is not None:
            check_clusters(self.clusters, len(images))
        look = first_look(self.augment, lambda x: self.head(self.backbone(x))) if self.warm else None
        self.memory.prepare(images, look)

    def views(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """One view (B, 3, H, W), the images' numbers (B,), and NPID's rows, own first (B, 1 + K)."""
        n, view = self.memory.of(batch), self.augment(batch.images, generator)
        drawn = draw_rows(len(view), self.negatives, n, generator, view.device)
        return view, batch.indices, torch.cat([batch.indices[:, None], drawn], 1)

    def group(self, epoch: int) -> None:
        """Find the clusters of the rows as they are."""
        rows = self.memory.rows
        clusters = self.clusters or max(2, len(rows) // 40)
        self.near.fill(groups=clusterings(rows, clusters, self.clusterings, epoch))

    def on_epoch(self, epoch: int) -> None:
        if len(self.near):
            self.group(epoch)

    def loss(self, views: tuple[Tensor, Tensor, Tensor], progress: float = 0.0) -> dict[str, Any]:
        view, indices, rows = views
        v = normalize(self.head(self.backbone(standardize(view))))  # (B, out)
        if progress < self.share:
            scores = self.memory.scores(v, rows, self.temperature)  # (B, 1 + K)
            loss = nce_loss(scores, self.memory.log_partition(scores), len(self.memory))["loss"]
            close = torch.zeros_like(loss)
        else:
            if not len(self.near):
                self.group(0)
            scores = self.memory.scores(v, None, self.temperature)  # (B, N)
            groups = self.near.groups
            parts = aggregation_loss(scores, groups[indices], groups, self.background)
            loss, close = parts["loss"], parts["close"]
        if self.training:  # after the scores, as in NPID
            self.memory.update(indices, v)
        return {"loss": loss, "close": close.detach(), "embedding": v.detach(), "views_per_image": 1}
