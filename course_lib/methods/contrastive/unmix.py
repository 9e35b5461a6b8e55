r"""Un-Mix: mixed images and soft targets. Shen, Liu, Liu, Savvides, Darrell, Xing, AAAI 2022, arXiv 2003.05438.

Beside MoCo's loss L(q, k) there is one for mixtures. Image i of the first views is mixed with image N - 1 - i, the
batch in reverse, at one ratio lam for the batch; with m the query of the mixtures and m_r the same rows in reverse,

    L = L(q, k) + lam L(m, k) + (1 - lam) L(m_r, k)

A mixture is to be as near to each of its two images as its share in it: the target is soft. The mixture of i and its
partner is also that of the partner and i, so the second pairing is the same features read backwards and needs no
second forward. The weights add up to 2: at the start L is about 2 log(K + 1).

The ratio is drawn from Beta(1, 1). With probability P all pixels are blended (mixup), else a rectangle is exchanged
(CutMix), and lam *becomes* the area that is left: see `augment.mixing`. P is 0.5 in the official CIFAR script; the
ImageNet script's default is 0, rectangles only.

What other implementations get wrong: the drawn lam kept for a rectangle that the edge has cut; keys of mixed images
(keys are of clean second views); a ratio for each image, with which the reversed features would have the wrong weight;
lam on the partner. In the symmetric form all six terms are added, mixtures still of first views only. With an odd N the
middle image is mixed with itself. Over several ranks each mixes its own part of the batch. Official code:
szq0214/Un-Mix.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from course_lib.augment.mixing import random_mix
from course_lib.augment.pixels import standardize
from course_lib.data.images import Batch
from course_lib.methods.contrastive.moco import MoCoV2, moco_loss
from course_lib.models.layers import Backbone, normalize
from course_lib.precision import check_positive


def unmix_loss(q: Tensor, mixed: Tensor, k: Tensor, negatives: Tensor, lam: Tensor | float,
               temperature: float = 0.1) -> dict[str, Tensor]:
    """Raw queries of clean and of mixed images and keys, (N, D) each, a queue (K, D) of unit rows -> scalars.

    lam: the share of image i in mixture i; the rest is of image N - 1 - i. "loss" is the sum of "plain", MoCo's loss,
    and "mixed"; "accuracy" is that of the clean queries. The mean over this rank's batch.
    """
    plain = moco_loss(q, k, negatives, temperature)
    own = moco_loss(mixed, k, negatives, temperature)["loss"]
    partners = moco_loss(mixed.flip(0), k, negatives, temperature)["loss"]  # mixture N - 1 - i with the key of i
    soft = lam * own + (1 - lam) * partners
    return {"loss": plain["loss"] + soft, "plain": plain["loss"], "mixed": soft, "accuracy": plain["accuracy"]}


class UnMix(MoCoV2):
    """The method: MoCo v2 with a second query, of mixed images.

    alpha: of the ratio's Beta(alpha, alpha). blend_p: the probability P of blending all pixels; else a rectangle is
    exchanged. symmetric: both views are queries in turn, with the same mixtures: six terms. The other options are
    MoCo's, but a queue that is asked for may be at most as long as the set; the official CIFAR run has those of the
    MoCo demo: temperature 0.1, momentum 0.99, queue 4096, 8 splits, one layer.
    """

    title = "Un-Mix"
    week = 11
    recipe = {"lr": 1e-3, "batch_size": 128}
    explored = ("head", "keys", "queue")

    def __init__(self, backbone: Backbone, image_size: int = 32, alpha: float = 1.0, blend_p: float = 0.5, **options):
        super().__init__(backbone, image_size, **options)
        check_positive("alpha", alpha)
        if not 0 <= blend_p <= 1:
            raise ValueError(f"blend_p is {blend_p}; expected a probability from 0 (rectangles only) to 1")
        self.asked, self.alpha, self.blend_p = "queue" in options, alpha, blend_p

    def views(self, batch: Batch, generator: torch.Generator) -> tuple:
        """MoCo's two views and the order of the keys' batch; first views mixed in pairs, and the ratio."""
        first, second, order = super().views(batch, generator)
        mixed, lam = random_mix(first, self.alpha, self.blend_p, generator)
        return first, second, order, mixed, torch.tensor(lam, device=mixed.device)

    def loss(self, views: tuple, progress: float = 0.0) -> dict[str, Any]:
        a, b, mixtures = (standardize(views[i]) for i in (0, 1, 3))
        order, lam = views[2], views[4]
        mixed = self.head(self.backbone(mixtures))  # (N, out)
        directions = [(a, b), (b, a)] if self.symmetric else [(a, b)]
        parts, keys = [], []
        for query, key in directions:
            q, k = self.head(self.backbone(query)), self.encode_keys(key, order)
            parts.append(unmix_loss(q, mixed, k, self.queue.rows, lam, self.temperature))
            keys.append(k)
        if self.training:
            self.queue.enqueue(torch.cat(keys[::-1]))
        sums = {name: sum(part[name] for part in parts) for name in ("loss", "plain", "mixed")}
        return {**sums, "accuracy": parts[0]["accuracy"], "embedding": normalize(q.detach()), "views_per_image": 3}
