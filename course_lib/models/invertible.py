r"""An invertible encoder: RealNVP's coupling layers. Dinh, Sohl-Dickstein, Bengio, ICLR 2017, arXiv 1605.08803.

What an invertible g makes of x holds all that x holds: I(g(x); y) = I(x; y) for every y, whatever the weights. It is
the encoder with which *On Mutual Information Maximization* (Tschannen et al., ICLR 2020, arXiv 1907.13625) separates
the information of features from their usefulness. A layer leaves one half a of its input as it is and changes the other
by a network of a alone, which need not be invertible itself:

    b' = b exp(s(a)) + t(a),      backwards      b = (b' - t(a)) exp(-s(a)),      log |det| = sum of s(a)

with s = tanh of the network's output, so that no half is stretched more than e times; additive layers (NICE, arXiv
1410.8516) have s = 0. Between two layers the halves are swapped, and each is shuffled once and for all. There is no
batch norm, whose statistics belong to a batch and not to an x. All is in float32: in half precision the inverse would
not be one. Rounding grows with the outputs; the inverse is exact to 1e-4 while they stay below about 50.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from course_lib.models.layers import Backbone
from course_lib.precision import in_float32


class Coupling(nn.Module):
    """One layer on vectors (B, dim): the first dim // 2 entries stay, and change the others. It starts as the identity.

    hidden: width of its network of two hidden layers. additive: only shifts, no scales.
    """

    def __init__(self, dim: int, hidden: int, additive: bool = False):
        super().__init__()
        self.kept, self.additive = dim // 2, additive
        changed = dim - self.kept
        last = nn.Linear(hidden, changed if additive else 2 * changed)
        self.net = nn.Sequential(nn.Linear(self.kept, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), last)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def parts(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """a, b, s(a) and t(a)."""
        a, b = x[:, : self.kept], x[:, self.kept :]
        out = self.net(a)
        if self.additive:
            return a, b, torch.zeros_like(b), out
        scale, shift = out.chunk(2, dim=1)
        return a, b, scale.tanh(), shift

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, dim) -> (B, dim), and the logarithm of the change of volume, (B,)."""
        a, b, s, t = self.parts(x)
        return torch.cat([a, b * s.exp() + t], 1), s.sum(1)

    def inverse(self, z: Tensor) -> Tensor:
        a, b, s, t = self.parts(z)
        return torch.cat([a, (b - t) * (-s).exp()], 1)


class InvertibleNet(Backbone):
    """Inputs (B, *shape) -> vectors (B, dim) of as many numbers, from which `inverse` makes the inputs again.

    At the start it only reorders them. blocks: coupling layers (two change every entry). hidden, additive:
    see `Coupling`. ValueError for a shape of fewer than two numbers, or no block.
    """

    def __init__(self, shape: int | Sequence[int], blocks: int = 4, hidden: int = 256, additive: bool = False):
        super().__init__()
        self.shape = (shape,) if isinstance(shape, int) else tuple(shape)
        self.dim = math.prod(self.shape)
        if self.dim < 2 or blocks < 1:
            raise ValueError(f"shape is {self.shape} and blocks {blocks}; expected two numbers or more in an input, "
                             "and one block or more")
        self.layers: Any = nn.ModuleList(Coupling(self.dim, hidden, additive) for _ in range(blocks))
        self.orders: Tensor  # (blocks, dim), before each layer
        kept = self.dim // 2
        swapped = [torch.cat([kept + torch.randperm(self.dim - kept), torch.randperm(kept)]) for _ in range(blocks - 1)]
        self.register_buffer("orders", torch.stack([torch.randperm(self.dim), *swapped]))

    @in_float32
    def flow(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, *shape) -> z (B, dim) and log |det dz/dx| (B,)."""
        if tuple(x.shape[1:]) != self.shape:
            raise ValueError(f"inputs have the shape {tuple(x.shape)}; this net was built for (B, "
                             f"{', '.join(map(str, self.shape))})")
        z = x.flatten(1)
        volume = z.new_zeros(len(z))
        for order, layer in zip(self.orders, self.layers):
            z, change = layer(z[:, order])
            volume = volume + change
        return z, volume

    def forward(self, x: Tensor) -> Tensor:
        return self.flow(x)[0]

    @in_float32
    def inverse(self, z: Tensor) -> Tensor:
        """(B, dim) -> (B, *shape)."""
        for order, layer in zip(self.orders.flip(0), reversed(self.layers)):
            z = layer.inverse(z)[:, order.argsort()]
        return z.unflatten(1, self.shape)
