r"""LooC: leave-one-out contrastive learning. Xiao, Wang, Efros, Darrell, "What should not be contrastive in contrastive
learning", ICLR 2021, arXiv 2008.05659.

A loss that pulls two views together makes the network forget what the augmentations change. LooC has a head, and a
space, for each of n augmentations that is allowed to keep it, and one (head 0) that keeps none. Of an image there are
a query and n + 1 key views: in k_0 all parameters are drawn anew; k_i has the query's parameters of augmentation i and
others of the rest. With s_ij = q_i . k_ij, the query in head i times key view j in head i, all of length 1:

    head 0     -log( exp(s_00 / tau) / (exp(s_00 / tau) + sum over queue 0 of exp(q_0 . n / tau)) )
    head i     -log( exp(s_ii / tau) / (sum over j of exp(s_ij / tau) + sum over queue i of exp(q_i . n / tau)) )
    L          the mean over the n + 1 heads

So in head i the other key views of the *same image* are negatives: only what augmentation i has done tells them from
the positive. The backbone's features are evaluated (LooC), or all heads together (LooC++; here their outputs; in
the paper, by secondary notes, each head has a copy of the backbone's last stage).

What implementations get wrong: one queue for all heads; k_j, j != i, as a further positive of head i; the random crop
shared with a key view (crop, flip and blur are drawn anew for every view); a parameter shared by drawing the same kind
of augmentation instead of the same numbers. No official code was found. What a queue receives is not said: here, head
i's embedding of k_i. The paper leaves out colour, rotation and texture; here colour and place (turn, shift, zoom).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from course_lib.augment.pixels import standardize
from course_lib.augment.views import SHAPES_VIEWS, Augment
from course_lib.data.images import Batch
from course_lib.methods.base import Method
from course_lib.methods.contrastive.moco import shuffled_keys
from course_lib.methods.contrastive.simclr import projection_head
from course_lib.models.batch_norm import split_batch_norm
from course_lib.models.layers import Backbone, Queue, normalize
from course_lib.models.teacher import EMA
from course_lib.optim import Group, parameter_groups
from course_lib.precision import check_positive, check_several, in_float32

PLACE = {"turn": 0.0, "shift": 0.0, "zoom": (1.0, 1.0)}  # an Augment without them
COLOUR = {"jitter_p": 0.0, "gray_p": 0.0, "solarize_p": 0.0}
COMMON = {"scale": (1.0, 1.0), "ratio": (1.0, 1.0), "flip": 0.0, "blur_p": 0.0}
OFF = {"place": PLACE, "common": COMMON, "colour": COLOUR}  # in the order in which they are applied
KINDS = ("colour", "place")  # that can be left out
# for generated shapes: their views, not mirrored, and moved by up to a quarter of the side
MOVED_VIEWS = replace(SHAPES_VIEWS, flip=0.0, shift=0.25)


def sign_table(n: int) -> Tensor:
    """What key view j (column) is to head i (row), int64 (n + 1, n + 1): 1 positive, -1 negative, 0 not compared.

    n: of the augmentations that are left out in turn; 0 leaves MoCo's head alone. ValueError for fewer.
    """
    if n < 0:
        raise ValueError(f"n is {n}; expected 0 or more augmentations to leave out")
    signs = 2 * torch.eye(n + 1, dtype=torch.long) - 1
    signs[0] = 0
    signs[0, 0] = 1
    return signs


def shared_seeds(n: int, generator: torch.Generator) -> Tensor:
    """Seeds of what is drawn, int64 (n + 2, n): row 0 the query, row 1 + j key view j; a column for each augmentation.

    Equal seeds are equal parameters: key view i has the query's for augmentation i, and otherwise its own.
    """
    seeds = torch.randint(2**62, (n + 2, n), generator=generator, device=generator.device).cpu()
    i = torch.arange(n)
    seeds[2 + i, i] = seeds[0, i]
    return seeds


@in_float32
def looc_loss(q: Tensor, k: Tensor, queues: Tensor | None, temperature: float = 0.2) -> dict[str, Tensor]:
    """Raw queries (H, N, D) and keys (H, H, N, D), queues (H, K, D) of unit rows -> "loss", "accuracy", "head_0", ...

    q[i] is head i's embedding of the query, k[i, j] head i's of key view j; H = n + 1. Keys and queues are constants.
    queues=None: head i's negatives are its embeddings of key view i of the batch's other images, and gradients reach
    the keys. The mean over this rank's queries, and without queues over its keys; "accuracy": how often the positive
    wins, over all heads. ValueError for a temperature that is not above 0.
    """
    check_positive("temperature", temperature)
    heads = torch.arange(len(q), device=q.device)
    q, k = normalize(q), normalize(k if queues is None else k.detach())
    own = torch.einsum("ind,ijnd->inj", q, k)  # (H, N, H)
    own = own.masked_fill((sign_table(len(q) - 1).to(q.device) == 0)[:, None], -torch.inf)
    if queues is None:
        others = torch.einsum("ind,imd->inm", q, k[heads, heads])
        others = others.masked_fill(torch.eye(q.shape[1], dtype=torch.bool, device=q.device), -torch.inf)
    else:
        others = torch.einsum("ind,ikd->ink", q, queues.detach())
    logits = torch.cat([own, others], 2) / temperature  # (H, N, H + K)
    each = (logits.logsumexp(2) - logits.diagonal(dim1=0, dim2=2).T).mean(1)  # (H,): key view i is head i's positive
    right = (logits.argmax(2) == heads[:, None]).to(q.dtype).mean()
    return {"loss": each.mean(), "accuracy": right, **{f"head_{i}": part for i, part in enumerate(each)}}


class Heads(nn.Module):
    """A two-layer head for each space, SimCLR's, whose batch norm steadies short runs: (N, dim) -> (H, N, out)."""

    def __init__(self, number: int, dim: int, hidden: int, out: int):
        super().__init__()
        self.each = nn.ModuleList(projection_head(dim, hidden, out) for _ in range(number))

    def forward(self, features: Tensor) -> Tensor:
        return torch.stack([head(features) for head in self.each])


class LooC(Method):
    """The method over MoCo v2 (query encoder, key encoder, a queue for each head), or over SimCLR (queue=0).

    left_out: the augmentations that a head of their own may keep, of "colour" and "place"; (): all is forgotten.
    hidden, out, queue (of each head; 16384 in the paper), momentum, temperature, splits: see MoCo; the keys' batch is
    always shuffled. queue=0: one network, and the keys of the batch's other images as negatives, which short runs need.
    augment: of all views; crop and flip are drawn anew for each.
    """

    title = "LooC"
    week = 20
    needs = ("negatives", "queue", "teacher")
    recipe = {"lr": 1e-3, "weight_decay": 1e-4, "batch_size": 128}
    explored = ("heads",)
    shapes_options = {"augment": MOVED_VIEWS, "queue": 0}

    def __init__(self, backbone: Backbone, image_size: int = 32, left_out: tuple[str, ...] = KINDS, hidden: int = 512,
                 out: int = 64, queue: int = 512, momentum: float = 0.99, temperature: float = 0.2, splits: int = 2,
                 augment: Augment | None = None):
        super().__init__()
        left_out = tuple(filter(None, left_out.split(","))) if isinstance(left_out, str) else tuple(left_out)
        if wrong := [kind for kind in left_out if kind not in KINDS]:
            raise ValueError(f"left_out has {wrong[0]!r}; expected some of {', '.join(KINDS)}")
        if len(set(left_out)) < len(left_out):
            raise ValueError(f"left_out is {left_out!r}; expected each augmentation once")
        check_positive("temperature", temperature)
        self.left_out, self.momentum, self.temperature = left_out, momentum, temperature
        self.backbone, self.heads = backbone, Heads(1 + len(left_out), backbone.dim, hidden, out)
        self.keys = EMA(split_batch_norm(nn.Sequential(self.backbone, self.heads), splits)) if queue else None
        self.queues = nn.ModuleList(Queue(queue, out) for _ in range(1 + len(left_out)) if queue)
        self.augment = augment or Augment(image_size, turn=30.0)

    def view(self, images: Tensor, seeds: dict[str, int], device: torch.device) -> Tensor:
        """One view of each image, its place, crop and colour drawn from a seed each; all else of `augment` off."""
        for kind in OFF:
            others = {name: value for other, off in OFF.items() if other != kind for name, value in off.items()}
            images = replace(self.augment, **others)(images, torch.Generator(device).manual_seed(seeds[kind]))
        return images

    def views(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """The query view, the n + 1 key views, and for each an order in which its batch is shuffled."""
        n, device = len(self.left_out), generator.device
        made = []
        for row in shared_seeds(n, generator).tolist():
            own = torch.randint(2**62, (len(OFF),), generator=generator, device=device).tolist()
            made.append(self.view(batch.images, {**dict(zip(OFF, own)), **dict(zip(self.left_out, row))}, device))
        orders = [torch.randperm(len(batch.images), generator=generator, device=device).to(batch.images.device)
                  for _ in made[1:]]
        return made[0], made[1:], orders

    def encode_keys(self, views: list[Tensor], orders: list[Tensor]) -> Tensor:
        """Key views, (N, 3, H, W) each -> (H, H, N, out) of length 1: head, key view, image; a pass for each view."""
        keys = self.keys or nn.Sequential(self.backbone, self.heads)

        def encoder(images: Tensor) -> Tensor:
            return keys(images).transpose(0, 1)  # images in front, for `shuffled_keys`

        each = [shuffled_keys(encoder, standardize(view), order) for view, order in zip(views, orders)]
        return torch.stack(each).permute(2, 0, 1, 3)

    def loss(self, views: tuple[Tensor, list[Tensor], list[Tensor]], progress: float = 0.0) -> dict[str, Any]:
        query, key_views, orders = views
        if not self.queues:
            check_several(query, "LooC without a queue")
        q = self.heads(self.backbone(standardize(query)))  # (H, N, out)
        k = self.encode_keys(key_views, orders)
        memories: list[Any] = list(self.queues)  # nn.ModuleList does not say of what
        queues = torch.stack([queue.rows for queue in memories]) if memories else None
        parts = looc_loss(q, k, queues, self.temperature)
        if self.training:  # after the logits: no key is its own query's negative
            for i, queue in enumerate(memories):
                queue.enqueue(k[i, i])
        return {**parts, "embedding": normalize(q[0].detach()), "views_per_image": 2 + len(self.left_out)}

    def embed_head(self, images: Tensor, head: int) -> Tensor:
        """Unit embeddings of one head, (N, out), of standardised images (N, 3, H, W)."""
        return normalize(self.heads(self.backbone(images))[head])

    def after_update(self, progress: float) -> None:
        if self.keys is not None:
            self.keys.update(nn.Sequential(self.backbone, self.heads), self.momentum)

    def param_groups(self, weight_decay: float) -> list[Group]:
        return parameter_groups(self, weight_decay, exempt=False)
