r"""BEiT: BERT pre-training of image transformers. Bao, Dong, Piao, Wei, ICLR 2022, arXiv 2106.08254.

A frozen tokenizer gives each patch of the *clean* image a word z_i out of K. Blocks of patches are hidden: a learned
mask token takes the place of their embeddings. The transformer names the word of every hidden patch:

    L = - 1/|M| * sum over images b and hidden patches i of log p(z_bi | image b with its blocks hidden)

with |M| the hidden patches of the whole batch. Code: microsoft/unilm, beit/. Its tokenizer is DALL-E's dVAE; ours are
in `tokenizers.py`, and how many words they really use is part of every result.

What other implementations get wrong: the mean of per-image means instead of one mean over the batch (images with more
hidden patches weigh more); cross-entropy over visible patches too; words taken from the *masked* image, or from another
crop than the network's; a block as wide as the grid; blocks that overshoot the count (they never do, though they may
fall short of it); masks without blocks; absolute positions beside the relative bias; a bias for keys.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.augment.masks import block_mask, check_hidden, enlarge, patch_mask
from course_lib.augment.pixels import standardize
from course_lib.augment.views import Augment, official_crop
from course_lib.collectives import all_reduce_sum
from course_lib.data.images import Batch
from course_lib.methods.base import ReconstructionMethod
from course_lib.methods.masked.tokenizers import VQVAE, KMeansTokenizer
from course_lib.models.patches import hidden_total
from course_lib.models.vit import ViT, init_truncated, require_vit
from course_lib.moved import signpost
from course_lib.optim import Group, position_bias_groups
from course_lib.precision import in_float32

__getattr__ = signpost(__name__)  # says where names are that have left this file

# what the paper's transformer has beyond the plain one: options of `vit.ViT`
BEIT_VIT = dict(positions="none", relative="shared", layer_scale=0.1, key_bias=False, pool="mean")


# ------------------------------------------------------------------------------------------------ the loss


@in_float32
def beit_loss(logits: Tensor, words: Tensor, visible: Tensor) -> Tensor:
    """Cross-entropy of the hidden patches' words, one mean over the hidden patches of the whole (global) batch.

    logits (B, L, K); words int64 and visible bool, (B, L) or (B, g, g), True = visible -> scalar. ValueError where
    nothing is hidden.
    """
    hidden = ~visible.flatten(1)  # (B, L)
    count = hidden_total(hidden)
    total = F.cross_entropy(logits[hidden], words.flatten(1)[hidden], reduction="sum")  # of (|M|, K) and (|M|,)
    return all_reduce_sum(total) / count.to(total)


# ------------------------------------------------------------------------------------------------ the method


class BEiT(ReconstructionMethod):
    """The method over a ViT; the paper's has the options `BEIT_VIT`, which `build_method` gives a ViT by name.

    tokenizer: "kmeans" (learned from the images before the first step), or a trained one with as many words on the
    same images (`tokenizers`). codes: words of "kmeans". mask_ratio: share of hidden patches. masks: "block" or
    "random". bias_lr: the position bias's learning rate over that of the rest. It starts at zero and moves by small
    steps: in short runs a quick one is what makes places known (1 in the paper). betas of the recipe: the paper's and
    its code's, 0.9 and 0.999; 0.98 is BEiT v2's (300 epochs).
    """

    title = "BEiT"
    week = 14
    needs = ("masks", "tokenizer")
    recipe = {"lr": 1e-3, "clip": 3.0, "betas": (0.9, 0.999)}
    backbone_options = BEIT_VIT
    explored = ("mask_token", "head", "tokenizer")
    normalized = pixels = False  # its targets are words
    backbone: ViT
    tokenizer: KMeansTokenizer | VQVAE

    def __init__(self, backbone: ViT, image_size: int = 32, tokenizer: str | KMeansTokenizer | VQVAE = "kmeans",
                 codes: int = 256, mask_ratio: float = 75 / 196, masks: str = "block", bias_lr: float = 20.0,
                 augment: Augment | None = None):
        super().__init__()
        require_vit(backbone, "BEiT needs a ViT, whose embeddings a mask token can replace, got a {}", image_size)
        if masks not in ("block", "random"):
            raise ValueError(f"masks must be 'block' or 'random', got {masks!r}")
        if isinstance(tokenizer, str):
            if tokenizer not in ("kmeans", "vqvae"):
                raise ValueError(f"tokenizer must be 'kmeans', 'vqvae' or a tokenizer itself, got {tokenizer!r}")
            tokenizer = (KMeansTokenizer if tokenizer == "kmeans" else VQVAE)(codes, max(2, backbone.patch))
        self.backbone, self.tokenizer = init_truncated(backbone), tokenizer.requires_grad_(False)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, backbone.dim))
        self.head = nn.Linear(backbone.dim, tokenizer.codes)
        for weight in (self.mask_token, self.head.weight):
            nn.init.trunc_normal_(weight, std=0.02, a=-0.02, b=0.02)
        nn.init.zeros_(self.head.bias)
        self.grid, self.patch = image_size // backbone.patch, backbone.patch
        self.mask_ratio, self.masks, self.bias_lr = mask_ratio, masks, bias_lr
        check_hidden(round(mask_ratio * self.grid**2), self.grid**2, mask_ratio)
        self.augment = augment or Augment(image_size, jitter=(0.4, 0.4, 0.4, 0.0), gray_p=0.0,
                                          interpolation=official_crop(image_size))

    def prepare(self, images: Tensor) -> None:
        """k-means learns its words from the images (uint8)."""
        if not self.tokenizer.fitted:
            if not isinstance(self.tokenizer, KMeansTokenizer):
                raise ValueError("the tokenizer is not trained: fit(VQVAE(...), images) first, and hand it to BEiT")
            self.tokenizer.learn(images, torch.Generator().manual_seed(0))

    def param_groups(self, weight_decay: float) -> list[Group]:
        return position_bias_groups(self, weight_decay, self.bias_lr)

    def train(self, mode: bool = True) -> BEiT:
        super().train(mode)
        self.tokenizer.eval()  # frozen: in training mode a VQ-VAE would move its words
        return self

    def views(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Images, the words of the same clean crop (colours are jittered before, for both), and what is visible."""
        images = self.augment(batch.images, generator)
        if self.masks == "block":
            visible = block_mask(len(images), self.grid, self.mask_ratio, generator, images.device)
        else:
            visible = patch_mask(len(images), self.grid, self.mask_ratio, generator, images.device)
        return images, self.words(images), visible

    @torch.no_grad()
    def words(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] -> the tokenizer's words (B, g, g), of a smaller copy if its patches are smaller."""
        size = self.grid * self.tokenizer.patch
        if images.shape[-1] != size:
            images = F.interpolate(images, size=(size, size), mode="bilinear", antialias=True, align_corners=False)
        return self.tokenizer.encode(images)

    def logits(self, images: Tensor, visible: Tensor) -> Tensor:
        """Normalised images (B, 3, H, W) with visible (B, g, g) -> logits of every patch's word, (B, L, codes)."""
        tokens = self.backbone.tokens(images, visible, mask_token=self.mask_token)  # (B, 1 + L, D)
        return self.head(tokens[:, 1:])  # without the class token

    def loss(self, views: tuple[Tensor, Tensor, Tensor], progress: float = 0.0) -> dict[str, Any]:
        images, words, visible = views
        logits = self.logits(standardize(images), visible)  # (B, L, codes)
        right = (logits.detach().argmax(-1) == words.flatten(1)) & ~visible.flatten(1)  # (B, L)
        accuracy = right.sum() / (~visible).sum().clamp(min=1)
        return {"loss": beit_loss(logits, words, visible), "accuracy": accuracy, "views_per_image": 1}

    @torch.no_grad()
    def reconstruct(self, images: Tensor, visible: Tensor, true_statistics: bool = True) -> Tensor:
        """Images in [0, 1] whose hidden patches show the likeliest word, as the tokenizer draws it: (B, 3, H, W).

        Words are drawn as they are: nothing leaks, whatever true_statistics is.
        """
        home, where = images.device, self.mask_token.device
        images, visible = images.to(where), visible.to(where)
        words = self.words(images)  # (B, g, g)
        guess = self.logits(standardize(images), visible).argmax(-1).view_as(words)  # (B, L) -> (B, g, g)
        drawn = self.tokenizer.decode(torch.where(visible, words, guess))
        drawn = F.interpolate(drawn, size=images.shape[-2:]) if drawn.shape != images.shape else drawn
        seen = enlarge(visible.unsqueeze(1), images.shape[-1])  # (B, 1, H, W)
        return torch.where(seen, images, drawn).to(home)
