"""What methods share: the types of backbones, heads, a queue of embeddings, Sinkhorn."""

from __future__ import annotations

import math
import warnings

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.collectives import gather, rank
from course_lib.models.batch_norm import BatchNorm1d
from course_lib.precision import at_least_float32, check_positive


class Backbone(nn.Module):
    """Normalised images (B, 3, H, W) -> (B, dim). It names the type; any module with a `dim` will do."""

    dim: int


class ConvBackbone(Backbone):
    """A convolutional one, whose feature maps are wanted too. It names the type; a module with these three will do."""

    widths: tuple[int, ...]   # channels of each stage
    strides: tuple[int, ...]  # pixels of the image, along a side, to one of the stage's map

    def stages(self, images: Tensor) -> list[Tensor]:
        """The maps of all stages, (B, width, H / stride, W / stride), from the largest to the smallest."""
        raise NotImplementedError


def check_maps(backbone: nn.Module, what: str) -> None:
    """ValueError for a backbone without feature maps, such as a ViT, which `what` needs."""
    if not hasattr(backbone, "stages"):
        raise ValueError(f"{what} needs feature maps, {type(backbone).__name__} has none; use a convolutional "
                         "backbone, such as convnet")


class MLP(nn.Sequential):
    """Linear-BN-ReLU blocks and a last linear layer: the projector, expander or predictor of most methods.

    widths: (input, hidden..., output). hidden_bias: whether linear layers that a batch norm follows have a bias
    (VICReg's and Barlow Twins' official code differ here). last_bias: the same for the last. last_norm: a final batch
    norm without affine parameters (SimSiam's projector).
    """

    def __init__(self, *widths: int, hidden_bias: bool = True, last_bias: bool = False, last_norm: bool = False):
        if len(widths) < 2 or min(widths) < 1:
            raise ValueError(f"an MLP needs an input and an output width, all of 1 or more, got {widths}")
        layers: list[nn.Module] = []
        for before, after in zip(widths[:-2], widths[1:-1]):
            layers += [nn.Linear(before, after, bias=hidden_bias), BatchNorm1d(after), nn.ReLU(inplace=True)]
        layers.append(nn.Linear(widths[-2], widths[-1], bias=last_bias))
        if last_norm:
            layers.append(BatchNorm1d(widths[-1], affine=False))
        super().__init__(*layers)


def normalize(z: Tensor, eps: float = 1e-12) -> Tensor:
    """(N, D) -> rows of unit length, in float32 or better."""
    return F.normalize(at_least_float32(z), dim=-1, eps=eps)


# ------------------------------------------------------------------------------------------------ memory

@torch.no_grad()
def enqueue(rows: Tensor, pointer: int | Tensor, new: Tensor) -> tuple[Tensor, int | Tensor]:
    """The queue (K, D) with its oldest rows, from `pointer` on and around the end, overwritten by `new`, (N, D).

    -> (rows, pointer to the row that is now the oldest). The old tensor is left as it was, so a loss of it can still be
    differentiated. Needs N <= K.
    """
    places = (pointer + torch.arange(len(new), device=new.device)) % len(rows)
    return rows.index_copy(0, places, new.to(rows)), (pointer + len(new)) % len(rows)


class Queue(nn.Module):
    """The last `length` embeddings, first in, first out: (length, dim) rows of unit length, random at first.

    Rows and pointer are persistent buffers, so a resumed run continues with the same negatives. (MoCo's official
    code stores the transpose, one key a column.)
    """

    rows: Tensor     # (length, dim)
    pointer: Tensor  # to the oldest row

    def __init__(self, length: int, dim: int):
        super().__init__()
        self.register_buffer("rows", F.normalize(torch.randn(length, dim), dim=1))
        self.register_buffer("pointer", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def enqueue(self, new: Tensor) -> None:
        """Overwrite the oldest rows with the `new` ones of all ranks, in rank order: (N, dim) of unit length."""
        new = gather(new.detach())
        if len(new) > len(self.rows):
            raise ValueError(f"{len(new)} new rows do not fit into a queue of {len(self.rows)}: use a longer queue")
        self.rows, pointer = enqueue(self.rows, self.pointer, new)
        self.pointer = torch.as_tensor(pointer)


def check_queue(queue: Queue, images: int, asked: bool, what: str = "images") -> None:
    """A queue longer than the set holds an image's own earlier keys, as negatives of itself.

    images: how many there are, or, where the queue holds keys of something else, of `what`. ValueError if that length
    was asked for, a warning if it is a default.
    """
    if (length := len(queue.rows)) <= images:
        return
    problem = (f"queue is {length}, but there are {images} {what}: earlier keys of an image would be among its own "
               f"negatives. Expected at most {images}: set a shorter queue, such as queue={max(1, images // 2)}, "
               "or use more images")
    if asked:
        raise ValueError(problem)
    warnings.warn(problem, stacklevel=3)


def sinkhorn_round(log_q: Tensor) -> tuple[Tensor, Tensor]:
    """One round on logarithms (N, K): all columns are given the mass 1, and then all rows the mass 1 / N.

    -> the new logarithms, and those of the rows' masses before their turn, (N, 1): log(K / N) once there is balance.
    """
    log_q = log_q - log_q.logsumexp(0)  # each prototype: the same mass
    rows = log_q.logsumexp(1, keepdim=True)
    return log_q - rows - math.log(len(log_q)), rows  # each sample: the same mass


@torch.no_grad()
def sinkhorn(scores: Tensor, epsilon: float = 0.05, iterations: int = 3, extra: Tensor | None = None) -> Tensor:
    """Soft, balanced assignments: cosines with K prototypes, (N, K) -> codes (N, K) whose rows sum to 1.

    Rows and columns of exp(scores / epsilon) are normalised in turn, columns (prototypes) first, so that each prototype
    gets about the same share of the samples (SwAV, distributed_sinkhorn). In the log domain nothing overflows, however
    small epsilon is. extra: (L, K) scores of further samples (a queue, the same on each rank) that count in the
    balance but get no codes. Over several ranks the balance is that of the global batch. ValueError for an epsilon that
    is not above 0.
    """
    check_positive("epsilon", epsilon)
    own, first = len(scores), rank() * len(scores)
    log_q = gather(at_least_float32(scores))
    if extra is not None:
        log_q = torch.cat([log_q, at_least_float32(extra)])
    log_q = log_q / epsilon
    log_q = log_q - log_q.logsumexp((0, 1))
    for _ in range(iterations):
        log_q, _ = sinkhorn_round(log_q)
    return (log_q[first : first + own] + math.log(len(log_q))).exp()
