"""What a transformer is made of: multi-head self-attention, and the pre-norm block around it."""

from __future__ import annotations

import math

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.models.positions import RelativeBias


class Attention(nn.Module):
    """Multi-head self-attention, (B, T, D) -> (B, T, D); an optional bias (heads, T, T) is added to the logits.

    key_bias=False: queries and values have a bias, keys have none (BEiT). relative: the grid of a bias table of its
    own, used where no bias is given.
    """

    def __init__(self, dim: int, heads: int, key_bias: bool = True, relative: int | tuple[int, int] | None = None):
        super().__init__()
        if dim % heads:
            raise ValueError(f"dim {dim} is not a multiple of heads {heads}")
        self.heads, self.key_bias = heads, key_bias
        self.qkv = nn.Linear(dim, 3 * dim, bias=key_bias)
        if not key_bias:
            self.q_bias, self.v_bias = nn.Parameter(torch.zeros(dim)), nn.Parameter(torch.zeros(dim))
        self.relative = None if relative is None else RelativeBias(relative, heads)
        self.proj = nn.Linear(dim, dim)

    def reset_parameters(self) -> None:
        if not self.key_bias:
            nn.init.zeros_(self.q_bias)
            nn.init.zeros_(self.v_bias)

    def split(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, each (B, heads, T, D / heads)."""
        if self.key_bias:
            qkv = self.qkv(x)
        else:
            bias = torch.cat([self.q_bias, torch.zeros_like(self.q_bias), self.v_bias])
            qkv = F.linear(x, self.qkv.weight, bias)
        q, k, v = rearrange(qkv, "b t (three h d) -> three b h t d", three=3, h=self.heads)
        return q, k, v

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        q, k, v = self.split(x)
        bias = self._own(bias)
        if q.is_cpu and q.dtype == torch.bfloat16:  # there the backward of torch's fused kernel is 2 to 7 times slower
            out = self._maps(q, k, bias).to(v.dtype) @ v
        else:
            out = F.scaled_dot_product_attention(q, k, v, attn_mask=None if bias is None else bias.to(q.dtype))
        return self.proj(rearrange(out, "b h t d -> b t (h d)"))

    def weights(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """Attention maps (B, heads, T, T), rows (queries) summing to 1."""
        q, k, _ = self.split(x)
        return self._maps(q, k, self._own(bias))

    def _own(self, bias: Tensor | None) -> Tensor | None:
        return self.relative() if bias is None and self.relative is not None else bias

    @staticmethod
    def _maps(q: Tensor, k: Tensor, bias: Tensor | None) -> Tensor:
        logits = q @ k.mT / math.sqrt(q.shape[-1])
        return (logits if bias is None else logits + bias).softmax(-1)


def drop_path(x: Tensor, rate: float) -> Tensor:
    """A branch (B, T, D) left out for a random share `rate` of the images and scaled up for the others."""
    return x * x.new_empty(len(x), 1, 1).bernoulli_(1 - rate).div_(1 - rate)


class Block(nn.Module):
    """Pre-norm transformer block: x + attention(norm(x)), then x + mlp(norm(x)), exact GELU.

    layer_scale: each branch is multiplied by a learned vector that starts at this value. drop_path: the share of
    images for which a branch is left out, in training (stochastic depth, arXiv 1603.09382).
    """

    def __init__(self, dim: int, heads: int, mlp_ratio: float = 4.0, key_bias: bool = True,
                 layer_scale: float | None = None, relative: int | tuple[int, int] | None = None,
                 drop_path: float = 0.0):
        super().__init__()
        self.drop_path = drop_path
        hidden = int(dim * mlp_ratio)
        self.norm1, self.attn = nn.LayerNorm(dim, eps=1e-6), Attention(dim, heads, key_bias, relative)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, dim))
        self.layer_scale, self.scale1, self.scale2 = layer_scale, None, None
        if layer_scale is not None:
            self.scale1, self.scale2 = nn.Parameter(torch.empty(dim)), nn.Parameter(torch.empty(dim))
            self.reset_parameters()

    def reset_parameters(self) -> None:
        for scale in (self.scale1, self.scale2):
            if scale is not None and self.layer_scale is not None:
                nn.init.constant_(scale, self.layer_scale)

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        x = x + self._branch(self.attn(self.norm1(x), bias), self.scale1)
        return x + self._branch(self.mlp(self.norm2(x)), self.scale2)

    def _branch(self, y: Tensor, scale: Tensor | None) -> Tensor:
        y = y if scale is None else y * scale
        return drop_path(y, self.drop_path) if self.training and self.drop_path else y
