r"""PIRL: pretext-invariant representations. Misra and van der Maaten, CVPR 2020, arXiv 1912.01991; official: VISSL.

Jigsaw's picture in shuffled pieces, I^t, is here not a puzzle to be solved: its embedding is to be that of the picture
I. Both are compared with I's row m_I of a memory bank, by NPID's NCE, and never with each other:

    L = lambda * NCE(m_I, g(f(pieces of I^t))) + (1 - lambda) * NCE(m_I, h(f(I)))

h is a linear layer. g has one for each piece, the same for all, and another over all of them, one behind the other in
their random order. The memory follows h(f(I)), so both terms are judged by a slow average of plain pictures. lambda = 0
is NPID.

What other implementations get wrong: memory that takes in the pieces' embedding; memory moved before both terms are
computed; pieces averaged and not put in a row; one draw of negatives for both terms (each has its own); Z estimated for
each (the first batch's pieces set it, for both and for ever: VISSL's order).

NCE as in the official code, whose eps is float32's smallest step. cross_entropy=True is its later recipe: a softmax
over a row and the K drawn ones. The official pieces have colours of their own; here a picture's pieces share them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from course_lib.augment.pixels import standardize
from course_lib.augment.views import SHAPES_VIEWS, Augment, many_views, moco_v1_view
from course_lib.data.images import Batch
from course_lib.methods.base import Method
from course_lib.methods.contrastive.moco import info_nce
from course_lib.methods.pretext.jigsaw import check_pieces, cut, in_order, patch_side, random_offsets
from course_lib.methods.pretext.memory import MemoryBank, draw_rows, first_look
from course_lib.methods.pretext.npid import check_bank_options, nce_loss
from course_lib.models.layers import Backbone, normalize
from course_lib.precision import in_float32

OFFICIAL_EPS = torch.finfo(torch.float32).eps


@in_float32
def pirl_loss(pieces: Tensor, image: Tensor, log_z: Tensor | float | None, n: int, lam: float = 0.5,
              eps: float = OFFICIAL_EPS) -> dict[str, Tensor]:
    """The two terms, from scores m . v / tau (B, 1 + K), the image's own row in column 0 -> "loss", "pieces", "image".

    pieces, image: of the two embeddings, each with rows of its own. log_z: of NCE's constant Z, for n rows; None: a
    softmax over the 1 + K rows.
    """
    terms = [info_nce(s)["loss"] if log_z is None else nce_loss(s, log_z, n, eps)["loss"] for s in (pieces, image)]
    return {"loss": lam * terms[0] + (1 - lam) * terms[1], "pieces": terms[0], "image": terms[1]}


class PieceHead(nn.Module):
    """g: features of c pieces (B, c, D) -> (B, out): one linear layer for each piece, another over all, in a row."""

    def __init__(self, dim: int, pieces: int, out: int):
        super().__init__()
        self.each, self.all = nn.Linear(dim, out), nn.Linear(pieces * out, out)

    def forward(self, features: Tensor) -> Tensor:
        return self.all(self.each(features).flatten(1))


class PIRL(Method):
    """The method: a backbone, a head for pictures and one for pieces, and the memory bank, filled by `prepare`.

    lam: the weight of the pieces' term (0.5; 0 is NPID, 1 leaves the memory to follow a head that learns nothing).
    grid, patch: cells along a side (3) and pixels of a patch, as Jigsaw's. out: the embedding's width (128).
    negatives: K, rows drawn for each image and term (32,000). temperature: tau (0.07). memory: the old row's share when
    it moves (0.5). cross_entropy: a softmax in place of NCE. warm: as NPID's. augment: of the picture; other: of that
    which is cut. recipe: for small sets and short runs; the paper has SGD, 0.12 for 1024 images, 800 epochs.
    """

    title = "PIRL"
    week = 26
    needs = ("negatives", "memory bank")
    recipe = {"lr": 1e-3, "batch_size": 128}
    shapes_options = {"augment": SHAPES_VIEWS}
    explored = ("image_head", "piece_head")

    def __init__(self, backbone: Backbone, image_size: int = 32, lam: float = 0.5, grid: int = 2,
                 patch: int | None = None, out: int = 128, negatives: int = 512, temperature: float = 0.1,
                 memory: float = 0.5, cross_entropy: bool = False, warm: bool = False,
                 augment: Augment | None = None, other: Augment | None = None):
        super().__init__()
        check_bank_options(negatives, temperature, 1)
        if not 0 <= lam <= 1:
            raise ValueError(f"lam is {lam}; expected a number from 0, only the picture's term, to 1, only the pieces'")
        self.grid, self.patch = grid, patch_side(image_size, grid, patch)
        check_pieces(self.patch, backbone)
        self.room = image_size // grid - self.patch
        self.backbone, self.image_head = backbone, nn.Linear(backbone.dim, out)
        self.piece_head = PieceHead(backbone.dim, grid * grid, out)
        self.memory = MemoryBank(out, memory)
        self.lam, self.negatives, self.temperature, self.cross_entropy = lam, negatives, temperature, cross_entropy
        self.warm = warm
        self.augment = augment or moco_v1_view(image_size)
        self.other = other or augment or Augment(image_size, scale=(0.6, 1.0), jitter=(0.4, 0.4, 0.4, 0.4))

    def prepare(self, images: Tensor) -> None:
        look = first_look(self.augment, lambda x: self.image_head(self.backbone(x))) if self.warm else None
        self.memory.prepare(images, look)

    def views(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """The picture (B, 3, H, W), its pieces in a random order (B, c, 3, p, p), and the rows that each meets."""
        n, count = self.memory.of(batch), len(batch.images)
        image, whole = many_views(batch.images, [self.augment, self.other], generator)
        pieces = cut(whole, self.grid, self.patch, random_offsets(count, self.grid, self.room, generator))
        order = torch.rand(count, self.grid**2, generator=generator, device=generator.device).argsort(1)
        drawn = [draw_rows(count, self.negatives, n, generator, image.device) for _ in range(2)]
        own = batch.indices[:, None]
        return {"image": image, "pieces": in_order(pieces, order.to(image.device)), "indices": batch.indices,
                "image_rows": torch.cat([own, drawn[0]], 1), "piece_rows": torch.cat([own, drawn[1]], 1)}

    def loss(self, views: dict[str, Tensor], progress: float = 0.0) -> dict[str, Any]:
        v = normalize(self.image_head(self.backbone(standardize(views["image"]))))  # (B, out)
        features = self.backbone(standardize(views["pieces"].flatten(0, 1)))  # (B * c, D)
        g = normalize(self.piece_head(features.unflatten(0, views["pieces"].shape[:2])))  # (B, out)
        image = self.memory.scores(v, views["image_rows"], self.temperature)  # (B, 1 + K)
        pieces = self.memory.scores(g, views["piece_rows"], self.temperature)  # (B, 1 + K)
        log_z = None if self.cross_entropy else self.memory.log_partition(pieces)
        parts = pirl_loss(pieces, image, log_z, len(self.memory), self.lam)
        if self.training:  # after both terms, and by the picture alone
            self.memory.update(views["indices"], v)
        return {**parts, "agreement": (v.detach() * g.detach()).sum(1).mean(), "embedding": v.detach()}
