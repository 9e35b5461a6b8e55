r"""RoCo: contrastive learning with negatives of diminished semantics. Ge, Mishra, Li, Wang, Jacobs, NeurIPS 2021, arXiv
2110.14189. (The name is the study group's; the paper has none.)

MoCo v2 with n more negatives t per query, made from the *same image* so that its colours and textures remain and its
content does not. An encoder that goes by colour or texture cannot tell them from the positive:

    L = mean of -log( exp(q . k / tau) / ( exp(q . k / tau) + sum over the queue of exp(q . n / tau)
                                                            + sum over t of exp(alpha q . t / tau) ) )

Patches: t is the query's view (after its augmentation) put together anew from squares of itself; one side per t,
uniform from 16 to 72 pixels of 224. Textures: a texture made from two patches of the image, which then gets the *same*
augmentation as the query. The paper makes the textures beforehand with a tool of its own (EmbarkStudios), one an image;
here they are made anew at each step by image quilting (augment/textures.py), which is the course's choice.

The share of a t in the gradient grows with alpha twice: in its weight in the softmax, and as a factor. Too large an
alpha costs accuracy on images like those of the training and gains on sketches (the official README: 1, 2 and 3).

What other implementations get wrong: alpha as a factor of the term and not of the similarity, or applied to the queue's
negatives; t encoded by the query encoder, or with gradient, or batch-normalised together with the keys; t enqueued;
patches cut from the original and not from the query's view. Official code: songweige/
Contrastive-Learning-with-Non-Semantic-Negatives; it draws the corner of a patch short of the last row and column.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from course_lib.augment.pixels import standardize, to_float
from course_lib.augment.textures import patch_negatives, patch_sides, texture_negatives
from course_lib.augment.views import Augment, two_views
from course_lib.methods.contrastive.moco import MoCoV2, info_nce, moco_logits
from course_lib.models.layers import Backbone, normalize
from course_lib.precision import in_float32

KINDS = ("patch", "texture")


@in_float32
def roco_logits(q: Tensor, k: Tensor, negatives: Tensor, t: Tensor, temperature: float = 0.2,
                alpha: float = 2.0) -> Tensor:
    """(N, D), (N, D), (K, D), (N, n, D), rows of length 1 -> (N, 1 + K + n) logits, the positive in column 0.

    t: the images' own non-semantic negatives. Keys, queue and t are taken as constants.
    """
    own = (t.detach() @ q.unsqueeze(-1)).squeeze(-1)  # (N, n)
    return torch.cat([moco_logits(q, k, negatives, temperature), alpha * own / temperature], dim=1)


@in_float32
def roco_loss(q: Tensor, k: Tensor, negatives: Tensor, t: Tensor, temperature: float = 0.2,
              alpha: float = 2.0) -> dict[str, Tensor]:
    """InfoNCE of raw queries, keys and non-semantic negatives against a queue of unit rows -> dict of scalars.

    "loss"; "accuracy", the positive ranked first; "own", the mean cosine of queries and their own t (0 without any).
    """
    q, k, t = normalize(q), normalize(k), normalize(t)
    own = (t @ q.unsqueeze(-1)).detach()  # (N, n, 1)
    return {**info_nce(roco_logits(q, k, negatives, t, temperature, alpha)), "own": own.sum() / max(1, own.numel())}


class RoCo(MoCoV2):
    """MoCo v2 with negatives made from the image itself: colours and textures kept, shapes destroyed.

    kind: "patch" (the query's view, shuffled) or "texture". n: how many for each query; 0 is MoCo v2. alpha: factor of
    their similarity (1 to 3; 2 in the published runs). patch: the smallest and largest side of the squares, in pixels
    of a picture of 224. queue: K (None: 512; 16384 on ImageNet-100), at most as many as there are images. momentum: of
    the key encoder (0.99). temperature: 0.2. splits, shuffle: see MoCo; every set of t is shuffled anew. recipe: for
    small sets and short runs; the published runs have SGD, 0.8 for 512 images.
    """

    title = "RoCo"
    week = 10
    explored = ("head", "keys", "queue")

    def __init__(self, backbone: Backbone, image_size: int = 32, kind: str = "patch", n: int = 1, alpha: float = 2.0,
                 patch: tuple[float, float] = (16, 72), hidden: int = 512, out: int = 128, queue: int | None = None,
                 momentum: float = 0.99, temperature: float = 0.2, splits: int = 2, shuffle: bool = True,
                 augment: Augment | None = None, other: Augment | None = None):
        super().__init__(backbone, image_size, hidden=hidden, out=out, queue=512 if queue is None else queue,
                         momentum=momentum, temperature=temperature, splits=splits, shuffle=shuffle, augment=augment,
                         other=other)
        if kind not in KINDS:
            raise ValueError(f"kind is {kind!r}; expected one of {', '.join(KINDS)}")
        if n < 0 or not alpha >= 0:
            raise ValueError(f"n is {n} and alpha {alpha}; expected 0 or more of each: how many negatives are made "
                             "of an image, and the factor of their similarity")
        patch_sides(image_size, patch)
        self.asked, self.kind, self.n, self.alpha, self.patch = queue is not None, kind, n, alpha, (patch[0], patch[1])

    def views(self, batch, generator: torch.Generator) -> tuple[Any, ...]:
        """Two views and the keys' order, as MoCo; then n times non-semantic negatives (N, 3, H, W) with an order."""
        def shuffled() -> Tensor:
            order = torch.randperm(len(batch.images), generator=generator, device=generator.device)
            return order.to(batch.images.device)

        order, before = shuffled(), generator.get_state()
        a, b = two_views(batch.images, self.augment, generator, self.other)
        own = [(self.own_negatives(batch.images, a, generator, before), shuffled()) for _ in range(self.n)]
        return a, b, order, own

    def own_negatives(self, images: Tensor, query: Tensor, generator: torch.Generator, before: Tensor) -> Tensor:
        """t (N, 3, H, W): the query's view in patches, or textures that are augmented as it was.

        before: the generator's state when the queries' views were drawn.
        """
        if self.kind == "patch":
            return patch_negatives(query, generator, self.patch)
        textures, after = texture_negatives(to_float(images), generator), generator.get_state()
        generator.set_state(before)
        t = self.augment(textures, generator)
        generator.set_state(after)
        return t

    def loss(self, views: tuple[Any, ...], progress: float = 0.0) -> dict[str, Any]:
        a, b, order, own = views
        q, k = self.head(self.backbone(standardize(a))), self.encode_keys(standardize(b), order)  # (N, out) each
        # one set at a time: each has batch-norm statistics of its own
        t = [self.encode_keys(standardize(images), shuffled) for images, shuffled in own]
        t = torch.stack(t, 1) if t else k.new_zeros(len(k), 0, k.shape[1])  # (N, n, out)
        parts = roco_loss(q, k, self.queue.rows, t, self.temperature, self.alpha)
        if self.training:  # the keys only, and after the logits
            self.queue.enqueue(k)
        return {**parts, "embedding": normalize(q.detach()), "views_per_image": 2 + self.n}
