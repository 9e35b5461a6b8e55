r"""CMC: contrastive multiview coding. Tian, Krishnan, Isola, ECCV 2020, arXiv 1906.05849; HobbitLong/CMC.

Two views of a picture that are not crops but *channels*: its lightness L, and its colours ab, each with an encoder of
its own and a memory bank M of one row for each of n images. With embeddings v of length 1,

    L = L(v1 -> M2) + L(v2 -> M1),    scores of one direction s_j = m_j . v / tau of the own row and K drawn ones

    NCE       P_j = exp(s_j) / Z,  L = -log( P_0 / (P_0 + K/n) )  -  sum over K of log( (K/n) / (P_j + K/n) )
    softmax   L = -log( exp(s_0) / sum over all 1 + K of exp(s_j) )

Z is n times the mean of exp(s) of the *first* batch, one for each direction, and kept. After the scores the rows
follow: m <- (m + v) / 2, to length 1. The representation is that of both encoders, one after the other.

What other implementations get wrong: a view contrasted with its own bank; channels scaled by RGB's statistics; the own
row kept out of the K (they are drawn with repetition from all); a probe on one encoder. The official code has half an
AlexNet for each view; here each encoder is a whole backbone, of the same weights at first, and sees zeros in the
channels of the other; both banks begin with the same random rows, there each with its own. By the authors' note YCbCr
and the softmax do better than Lab and NCE. With more views the paper adds all pairs; here there are two.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from course_lib.augment.pixels import MEAN, STD, standardize
from course_lib.augment.views import Augment
from course_lib.data.images import Batch
from course_lib.methods.base import Method
from course_lib.methods.contrastive.moco import info_nce
from course_lib.methods.pretext.memory import MemoryBank, draw_rows
from course_lib.methods.pretext.npid import check_bank_options, nce_loss
from course_lib.models.layers import Backbone, normalize

# of the light of a monitor (sRGB, D65): red, green, blue -> X, Y, Z over those of white
XYZ = ((0.4124564 / 0.95047, 0.3575761 / 0.95047, 0.1804375 / 0.95047), (0.2126729, 0.7151522, 0.0721750),
       (0.0193339 / 1.08883, 0.1191920 / 1.08883, 0.9503041 / 1.08883))


# ------------------------------------------------------------------------------------------------ channels
def lab(images: Tensor) -> Tensor:
    """sRGB images (B, 3, H, W) in [0, 1] -> L, a and b, each scaled to about [-1, 1] as in the official code."""
    light = torch.where(images > 0.04045, ((images.clamp(min=0) + 0.055) / 1.055) ** 2.4, images / 12.92)
    xyz = torch.einsum("kc,bchw->bkhw", light.new_tensor(XYZ), light)
    f = torch.where(xyz > (6 / 29) ** 3, xyz.clamp(min=1e-9) ** (1 / 3), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = f.unbind(1)
    return torch.stack([(116 * y - 66) / 50, (500 * (x - y) - 6.0) / 92.2, (200 * (y - z) + 6.7) / 101.2], 1)


def ycbcr(images: Tensor) -> Tensor:
    """RGB images (B, 3, H, W) in [0, 1] -> luminance and the two differences in colour, each in [-1, 1]."""
    red, green, blue = images.unbind(1)
    y = 0.299 * red + 0.587 * green + 0.114 * blue
    return torch.stack([2 * y - 1, (blue - y) / 0.886, (red - y) / 0.701], 1)


def rgb(images: Tensor) -> Tensor:
    """In [-1, 1]: red against green and blue."""
    return 2 * images - 1


SPACES: dict[str, Callable[[Tensor], Tensor]] = {"lab": lab, "ycbcr": ycbcr, "rgb": rgb}


class Halves(nn.Module):
    """Two encoders, of a picture's first channel and of its other two: normalised images -> both vectors, (B, 2 D).

    split=False: both see all three.
    """

    def __init__(self, backbone: Backbone, space: str, split: bool = True):
        super().__init__()
        self.first, self.second, self.space, self.split = backbone, copy.deepcopy(backbone), space, split
        self.dim = 2 * backbone.dim

    def each(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised images (B, 3, H, W) -> the vectors of the two views, (B, D) each."""
        channels = SPACES[self.space](images * STD + MEAN)
        if not self.split:
            return self.first(channels), self.second(channels)
        seen = channels.new_tensor([1.0, 0.0, 0.0])[:, None, None]
        return self.first(channels * seen), self.second(channels * (1 - seen))

    def forward(self, images: Tensor) -> Tensor:
        return torch.cat(self.each(images), 1)


# ------------------------------------------------------------------------------------------------ the method
def cmc_loss(scores: Sequence[Tensor], log_z: Sequence[Tensor] | None, n: int) -> dict[str, Tensor]:
    """Scores (B, 1 + K) of both directions, the own row in column 0, of n rows -> "loss", their sum, "first", "second".

    log_z: of the constant Z of each direction, for NCE; None for the softmax. Means over this rank's images.
    """
    if log_z is None:
        first, second = (info_nce(each)["loss"] for each in scores)
    else:
        first, second = (nce_loss(each, z, n)["loss"] for each, z in zip(scores, log_z))
    return {"loss": first + second, "first": first, "second": second}


class CMC(Method):
    """The method: two backbones, a linear head and a memory bank for each, which `fit` fills by `prepare`.

    space: lab, ycbcr or rgb, whose first channel is one view and the other two the second. split: False as a control,
    in which both encoders see the whole picture. out: of the heads (128).
    negatives: K, rows drawn for each image (16384 of 1.28 million). softmax: in place of NCE. temperature: tau (0.07,
    on STL-10 0.1). memory: the old row's share when it moves (0.5). augment: crops and flips alone, in the paper.
    recipe: for short runs; the release has SGD, 0.03 for 128 images, 240 epochs.
    """

    title = "CMC"
    week = 24
    needs = ("negatives", "memory bank")
    recipe = {"lr": 1e-3, "batch_size": 128}
    explored = ("heads",)

    def __init__(self, backbone: Backbone, image_size: int = 32, space: str = "lab", out: int = 128,
                 negatives: int = 512, softmax: bool = False, temperature: float = 0.07, memory: float = 0.5,
                 augment: Augment | None = None, split: bool = True):
        super().__init__()
        check_bank_options(negatives, temperature, 1)
        if space not in SPACES:
            raise ValueError(f"space is {space!r}; expected one of {', '.join(SPACES)}")
        self.encoders = Halves(backbone, space, split)
        self.heads = nn.ModuleList(nn.Linear(backbone.dim, out) for _ in range(2))
        self.memories = nn.ModuleList(MemoryBank(out, memory) for _ in range(2))
        self.negatives, self.softmax, self.temperature = negatives, softmax, temperature
        self.augment = augment or Augment(image_size, jitter_p=0.0, gray_p=0.0)

    @property
    def backbone(self) -> Any:
        """The encoder of the first channel."""
        return self.encoders.first

    @property
    def evaluated(self) -> nn.Module:
        return self.encoders

    @property
    def banks(self) -> tuple[MemoryBank, MemoryBank]:
        first, second = self.memories
        assert isinstance(first, MemoryBank) and isinstance(second, MemoryBank)
        return first, second

    def prepare(self, images: Tensor) -> None:
        for bank in self.banks:
            bank.prepare(images)

    def views(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """One crop (B, 3, H, W), the images' numbers (B,), and the rows that are compared, own first (B, 1 + K)."""
        n, view = self.banks[0].of(batch), self.augment(batch.images, generator)
        drawn = draw_rows(len(view), self.negatives, n, generator, view.device)
        return view, batch.indices, torch.cat([batch.indices[:, None], drawn], 1)

    def loss(self, views: tuple[Tensor, Tensor, Tensor], progress: float = 0.0) -> dict[str, Any]:
        view, indices, rows = views
        v = [normalize(head(half)) for head, half in zip(self.heads, self.encoders.each(standardize(view)))]
        others = self.banks[::-1]  # a view's scores are with the other view's bank
        scores = [bank.scores(each, rows, self.temperature) for each, bank in zip(v, others)]  # (B, 1 + K) each
        log_z = None if self.softmax else [bank.log_partition(each) for each, bank in zip(scores, others)]
        parts = cmc_loss(scores, log_z, len(self.banks[0]))
        if self.training:  # after the scores: no image meets itself
            for bank, each in zip(self.banks, v):
                bank.update(indices, each)
        return {**parts, "embedding": v[0].detach(), "views_per_image": 1}
