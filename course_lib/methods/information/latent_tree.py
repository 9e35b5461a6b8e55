r"""Latent trees, on which dual deep networks are understood. Tian, Yu, Chen and Ganguli, 2020, arXiv 2010.00578;
official: facebookresearch/luckmatters, ssl/hltm.

A latent z = +1 or -1 is the root; a node has two children, and a child equals its parent with chance (1 + rho) / 2,
where rho in [-1, 1] is the edge's polarity. The leaves are the pixels. An augmentation keeps the latents of the upper
levels and draws all below anew. With K the features of an input at a layer (of the first layer: the pixels),

    the weights' update  ~  OP vec(W),   OP = Cov over x of ( mean over the augmentations x' of x of K(x') )

the *covariance operator*: what differs from picture to picture and survives the mean over augmentations grows. For the
loss r+ - r-, half the squared distance of two views of one picture less that of two pictures, and a linear network,
that is exact, up to a factor: r- - r+ = trace(W OP W'). In a latent tree the mean of a leaf is the kept latent
times the polarities on the way, so that OP can be written down (`operator`).

The network has a tree's shape, too: `width` ReLU nodes for each latent, which see the nodes of its two children alone.
Nobody tells it the latents; how well its best node follows each is `best_correlations`. The best of many is better by
luck alone, also untrained: that is the control. The official code contrasts one positive with one negative; here all
of a batch are negatives, of which half have the anchor's root.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from course_lib.methods.contrastive.simclr import nt_xent


def draw_polarities(depth: int, low: float, high: float, generator: torch.Generator) -> list[Tensor]:
    """Of the edges to each level below the root, float32 (2,), (4,), ...: uniform in [low, high], signs at random."""
    sizes = [2**level for level in range(1, depth + 1)]
    return [(low + (high - low) * torch.rand(n, generator=generator)) * _signs(torch.full((n,), 0.5), generator)
            for n in sizes]


def _signs(chances: Tensor, generator: torch.Generator) -> Tensor:
    """+1 with these chances, else -1."""
    return 2 * torch.bernoulli(chances, generator=generator) - 1


def draw_latents(polarities: Sequence[Tensor], n: int, generator: torch.Generator,
                 kept: Sequence[Tensor] = ()) -> list[Tensor]:
    """n pictures: the latents of every level, (n, 1), (n, 2), (n, 4), ..., of which the last are the pixels.

    kept: upper levels of other pictures, as this function returns them; drawn is what lies below. An augmentation.
    """
    levels = list(kept) or [_signs(torch.full((n, 1), 0.5), generator)]
    for polarity in polarities[len(levels) - 1:]:
        parents = levels[-1].repeat_interleave(2, 1)
        levels.append(parents * _signs((1 + polarity).div(2).expand(parents.shape), generator))
    return levels


def paths(polarities: Sequence[Tensor], level: int) -> Tensor:
    """(2^level, leaves): the product of the polarities from each latent of the level to each leaf; 0 where none is."""
    ways = torch.eye(2**level)
    for polarity in polarities[level:]:
        ways = ways.repeat_interleave(2, 1) * polarity
    return ways


def operator(polarities: Sequence[Tensor], level: int) -> Tensor:
    """The covariance operator of the pixels, (leaves, leaves), where augmentations keep the levels down to this one."""
    above = torch.ones(1, 1)  # covariance of the latents of a level, whose variance is 1
    for polarity in polarities[:level]:
        above = above.repeat_interleave(2, 0).repeat_interleave(2, 1) * polarity[:, None] * polarity
        above.fill_diagonal_(1.0)
    ways = paths(polarities, level)
    return ways.T @ above @ ways


def covariance_of_means(features: Tensor) -> Tensor:
    """The covariance operator of samples: features (n, views, d) -> (d, d), over n of the means over views."""
    means = features.mean(1)
    centred = means - means.mean(0)
    return centred.T @ centred / len(means)


class TreeNet(nn.Module):
    """Pixels (N, 2^depth) -> what the nodes of each level hold before the ReLU, the root's (N, 1, width) first."""

    def __init__(self, depth: int, width: int):
        super().__init__()
        inputs = [2 if level == depth - 1 else 2 * width for level in range(depth)]
        self.weights = nn.ParameterList(torch.empty(2**level, k, width).uniform_(-(k**-0.5), k**-0.5)
                                        for level, k in enumerate(inputs))
        self.biases = nn.ParameterList(torch.empty(2**level, 1, width).uniform_(-(k**-0.5), k**-0.5)
                                       for level, k in enumerate(inputs))

    def forward(self, pixels: Tensor) -> list[Tensor]:
        below, found = pixels[:, :, None], []
        for weight, bias in zip(reversed(self.weights), reversed(self.biases)):
            pairs = below.unflatten(1, (-1, 2)).flatten(2).transpose(0, 1)  # (nodes, N, inputs)
            found.insert(0, (pairs @ weight + bias).transpose(0, 1))
            below = found[0].relu()
        return found


@torch.no_grad()
def best_correlations(net: TreeNet, latents: Sequence[Tensor]) -> list[float]:
    """Of each level from the root, without the pixels: |correlation| of a latent with the best of its nodes, a mean."""
    found = []
    for z, nodes in zip(latents, net(latents[-1])):
        z, nodes = z - z.mean(0), nodes - nodes.mean(0)
        both = (z[:, :, None] * nodes).mean(0)
        scale = z.square().mean(0).sqrt()[:, None] * nodes.square().mean(0).sqrt()
        found.append(float((both / (scale + 1e-8)).abs().amax(1).mean()))
    return found


def read_tree(seed: int, width: int, steps: int, depth: int = 4, batch: int = 128, lr: float = 1e-2,
              temperature: float = 0.2) -> tuple[list[dict], list[float]]:
    """A contrastive training, by Adam, with the root kept -> rows of scores, "correlations" by level, and the losses.

    The tree is the seed's, with polarities from 0.7 to 1; width: nodes for each latent. Beside the network stand itself
    before the training, and raw pixels: of each latent the pixel below that follows it best.
    """
    g = torch.Generator().manual_seed(seed)
    tree = draw_polarities(depth, 0.7, 1.0, g)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = TreeNet(depth, width)
    test, losses = draw_latents(tree, 4000, g), []
    before = best_correlations(net, test)
    optimizer = torch.optim.Adam(net.parameters(), lr)
    for _ in range(steps):
        first = draw_latents(tree, batch, g)
        second = draw_latents(tree, batch, g, kept=first[:1])
        z1, z2 = (net(levels[-1])[0][:, 0] for levels in (first, second))
        loss = nt_xent(z1, z2, temperature)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    pixels = [float(paths(tree, level).abs().amax(1).mean()) for level in range(depth)]
    return [{"name": name, "kind": kind, "correlations": found} for name, kind, found in (
        ("trained", "method", best_correlations(net, test)), ("untrained", "control", before),
        ("raw pixels", "control", pixels))], losses
