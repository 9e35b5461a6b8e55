"""What methods share: batch norm (over ranks, visible positions, parts of a batch), heads, an EMA
teacher, a queue of embeddings, Sinkhorn.
"""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .collectives import all_reduce_sum, gather, rank, world_size


# ------------------------------------------------------------------------------------------------ precision
def at_least_float32(x: Tensor) -> Tensor:
    """Half types raised to float32; float32 and float64 left alone."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def _raised(value):
    """`value` with every tensor of a half type in it, also inside lists and tuples, raised to float32."""
    if isinstance(value, (list, tuple)):
        return type(value)(_raised(each) for each in value)
    return at_least_float32(value) if isinstance(value, Tensor) else value


def _device_type(values) -> str | None:
    for value in values:
        found = value.device.type if isinstance(value, Tensor) else None
        if isinstance(value, (list, tuple)):
            found = _device_type(value)
        if found is not None:
            return found
    return None


def in_float32(function):
    """Decorator for losses: autocast is off inside, and tensors of half types (lists of them too) arrive as float32.

    Without it a matrix product inside the loss would be cast back to half precision by autocast.
    """

    @functools.wraps(function)
    def wrapped(*args, **kwargs):
        with torch.autocast(_device_type((*args, *kwargs.values())) or "cpu", enabled=False):
            return function(*_raised(args), **{name: _raised(value) for name, value in kwargs.items()})

    return wrapped


# ------------------------------------------------------------------------------------------------ batch norm
class _BatchNorm:
    """Forward shared by BatchNorm1d and BatchNorm2d below; see `BatchNorm2d`."""

    visible: Tensor | None = None
    splits: int = 1

    def _check_input_dim(self, x: Tensor) -> None:
        if x.dim() not in self.dims:
            raise ValueError(f"{type(self).__name__} got {x.dim()}-D input, expected {self.dims}-D")

    def forward(self, x: Tensor) -> Tensor:
        visible = self.visible
        if self.splits > 1 and self.training:
            return self._forward_split(x)
        use_batch = self.training or self.running_mean is None
        if visible is None and not (use_batch and world_size() > 1):
            return super().forward(x)
        channel = (1, -1) + (1,) * (x.dim() - 2)
        values = at_least_float32(x)
        mask = torch.ones_like(values[:, :1]) if visible is None else visible.to(values)
        if use_batch:
            mean, variance = self._batch_statistics(values, mask)
        else:
            mean, variance = self.running_mean, self.running_var
        scale = torch.rsqrt(variance + self.eps)
        shift = -mean * scale
        if self.affine:
            scale, shift = scale * self.weight, shift * self.weight + self.bias
        out = torch.addcmul(shift.view(channel), values, scale.view(channel))
        return (out if visible is None else out * mask).to(x.dtype)

    def _forward_split(self, x: Tensor) -> Tensor:
        """Image n is normalised with part n mod `splits` of this rank's batch; running statistics: the parts' mean."""
        n, c = x.shape[:2]
        if n % self.splits:
            raise ValueError(f"a batch of {n} cannot be split into {self.splits} equal parts for batch norm: "
                             "choose a batch size that is a multiple of splits")
        mean, variance = (t.repeat(self.splits) for t in (self.running_mean, self.running_var))
        weight, bias = (None if t is None else t.repeat(self.splits) for t in (self.weight, self.bias))
        out = F.batch_norm(x.reshape(n // self.splits, c * self.splits, *x.shape[2:]), mean, variance, weight, bias,
                           True, self.momentum, self.eps)
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.copy_(mean.view(self.splits, c).mean(0))
            self.running_var.copy_(variance.view(self.splits, c).mean(0))
        return out.reshape(x.shape)

    def _batch_statistics(self, values: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and biased variance per channel over the visible positions of all ranks; updates the running ones."""
        over = [0] + list(range(2, values.dim()))
        count = all_reduce_sum(mask.sum())
        # only on a CPU: looking at the count would make it wait for a GPU, at every layer
        if values.device.type == "cpu" and self.training and count < 2:
            raise ValueError(f"batch norm needs at least 2 visible values per channel, got {int(count)}")
        mean = all_reduce_sum((values * mask).sum(over)) / count
        centred = (values - mean.view((1, -1) + (1,) * (values.dim() - 2))) * mask
        variance = all_reduce_sum(centred.square().sum(over)) / count
        if self.training and self.track_running_stats:
            with torch.no_grad():
                self.num_batches_tracked += 1
                rate = self.momentum if self.momentum is not None else 1.0 / float(self.num_batches_tracked)
                self.running_mean.lerp_(mean.to(self.running_mean), rate)
                unbiased = variance * count / (count - 1).clamp(min=1)
                self.running_var.lerp_(unbiased.to(self.running_var), rate)
        return mean, variance


class BatchNorm1d(_BatchNorm, nn.BatchNorm1d):
    """nn.BatchNorm1d, same state dict, whose statistics cover all ranks when there are several (on CPU too)."""

    dims = (2, 3)


class BatchNorm2d(_BatchNorm, nn.BatchNorm2d):
    """nn.BatchNorm2d, same state dict, over all ranks when there are several, and over visible positions.

    While the attribute `visible`, (B, 1, H, W) with 1 = visible, is set, the statistics count visible positions only
    and hidden positions come out as 0 (SparK's sparse batch norm, pretrain/encoder.py). The running variance is
    unbiased over the number of visible values, as in nn.BatchNorm2d. Without a mask and on one rank this *is*
    nn.BatchNorm2d. torch.nn.SyncBatchNorm refuses CPU tensors, hence a layer of our own.
    """

    dims = (4,)


def split_batch_norm(module: nn.Module, splits: int) -> nn.Module:
    """Let every batch norm below `module` see `splits` parts of the batch apart, as if each lay on a GPU of its own.

    MoCo's methods need it on one device: with the whole batch's statistics the network can tell which key belongs to
    a query. As in the official CIFAR demo (SplitBatchNorm) the parts are interleaved: image n is in part n mod splits.
    """
    for child in module.modules():
        if isinstance(child, _BatchNorm):
            child.splits = splits
    return module


def convert_batch_norm(module: nn.Module) -> nn.Module:
    """Replace every plain nn.BatchNorm1d/2d below `module` by the ones above, weights and statistics kept."""
    for name, child in module.named_children():
        ours = {nn.BatchNorm1d: BatchNorm1d, nn.BatchNorm2d: BatchNorm2d}.get(type(child))
        if ours is None:
            convert_batch_norm(child)
            continue
        norm = ours(child.num_features, child.eps, child.momentum, child.affine, child.track_running_stats)
        norm.load_state_dict(child.state_dict())
        reference = next(iter(child.state_dict().values()), torch.empty(0))
        norm.to(reference.device, reference.dtype if reference.is_floating_point() else None).train(child.training)
        for ours_param, param in zip(norm.parameters(), child.parameters()):
            ours_param.requires_grad_(param.requires_grad)
        setattr(module, name, norm)
    return module


def replace_batch_norm(module: nn.Module, make: Callable[[int], nn.Module]) -> nn.Module:
    """Put make(channels) in the place of every batch norm below `module` (nn.Identity, GroupNorm): for ablations."""
    for name, child in module.named_children():
        if isinstance(child, (nn.BatchNorm1d, nn.BatchNorm2d)):
            setattr(module, name, make(child.num_features))
        else:
            replace_batch_norm(child, make)
    return module


# ------------------------------------------------------------------------------------------------ heads
class MLP(nn.Sequential):
    """Linear-BN-ReLU blocks and a last linear layer: the projector, expander or predictor of most methods.

    widths: (input, hidden..., output). hidden_bias: whether linear layers that a batch norm follows have a bias
    (VICReg's and Barlow Twins' official code differ here). last_bias: the same for the last. last_norm: a final batch
    norm without affine parameters (SimSiam's projector).
    """

    def __init__(self, *widths: int, hidden_bias: bool = True, last_bias: bool = False, last_norm: bool = False):
        if len(widths) < 2:
            raise ValueError(f"an MLP needs an input and an output width, got {widths}")
        layers: list[nn.Module] = []
        for before, after in zip(widths[:-2], widths[1:-1]):
            layers += [nn.Linear(before, after, bias=hidden_bias), BatchNorm1d(after), nn.ReLU(inplace=True)]
        layers.append(nn.Linear(widths[-2], widths[-1], bias=last_bias))
        if last_norm:
            layers.append(BatchNorm1d(widths[-1], affine=False))
        super().__init__(*layers)


# ------------------------------------------------------------------------------------------------ teacher
@torch.no_grad()
def ema_update(target: nn.Module, online: nn.Module, momentum: float) -> nn.Module:
    """target <- momentum * target + (1 - momentum) * online, in place and for *parameters only*; returns target.

    Both hold the same parameters in the same order. Buffers (batch norm's running statistics) are left alone.
    """
    torch._foreach_lerp_(list(target.parameters()), list(online.parameters()), 1 - momentum)
    return target


class EMA(nn.Module):
    """A teacher that follows a student: teacher <- m * teacher + (1 - m) * student, for *parameters only*.

    Buffers (batch norm's running statistics) are not averaged: the teacher keeps its own, as in the official code of
    BYOL, MoCo and DINO. Being a submodule, it is saved with the method. Call `update(m)` once an optimizer step.
    """

    def __init__(self, student: nn.Module):
        super().__init__()
        self.module = copy.deepcopy(student).requires_grad_(False)

    def update(self, student: nn.Module, momentum: float) -> None:
        ema_update(self.module, student, momentum)

    def forward(self, *args, **kwargs):
        with torch.no_grad():
            return self.module(*args, **kwargs)


def normalize(z: Tensor, eps: float = 1e-12) -> Tensor:
    """(N, D) -> rows of unit length, in float32 or better."""
    return F.normalize(at_least_float32(z), dim=-1, eps=eps)


# ------------------------------------------------------------------------------------------------ memory
@torch.no_grad()
def enqueue(rows: Tensor, pointer: int | Tensor, new: Tensor) -> tuple[Tensor, int | Tensor]:
    """The queue (K, D) with its oldest rows, from `pointer` on and around the end, overwritten by `new`, (N, D).

    -> (rows, pointer to the row that is now the oldest). Makes a new tensor: a loss of the old rows can still be
    differentiated. Needs N <= K.
    """
    places = (pointer + torch.arange(len(new), device=new.device)) % len(rows)
    return rows.index_copy(0, places, new.to(rows)), (pointer + len(new)) % len(rows)


def ages(length: int, pointer: int | Tensor) -> Tensor:
    """How many rows were enqueued after each row of a queue, int64 (length,): 0 the newest, length - 1 the oldest."""
    return (pointer - 1 - torch.arange(length)) % length


class Queue(nn.Module):
    """The last `length` embeddings, first in, first out: (length, dim) rows of unit length, random ones at first.

    Rows and pointer are persistent buffers, so that a resumed run goes on with the same negatives. (MoCo's official
    code stores the transpose, one key a column.)
    """

    def __init__(self, length: int, dim: int):
        super().__init__()
        self.register_buffer("rows", F.normalize(torch.randn(length, dim), dim=1))
        self.register_buffer("pointer", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def enqueue(self, new: Tensor) -> None:
        """Overwrite the oldest rows by `new`, (N, dim) of unit length; the new rows of all ranks, in rank order."""
        new = gather(new.detach())
        if len(new) > len(self.rows):
            raise ValueError(f"{len(new)} new rows do not fit into a queue of {len(self.rows)}: use a longer queue")
        self.rows, self.pointer = enqueue(self.rows, self.pointer, new)


@torch.no_grad()
def sinkhorn(scores: Tensor, epsilon: float = 0.05, iterations: int = 3, extra: Tensor | None = None) -> Tensor:
    """Soft, balanced assignments: cosines with K prototypes, (N, K) -> codes (N, K) whose rows sum to 1.

    Rows and columns of exp(scores / epsilon) are normalised in turn, columns (prototypes) first, so that each prototype
    gets about the same share of the samples (SwAV, distributed_sinkhorn). In the log domain nothing overflows, however
    small epsilon is. extra: (L, K) scores of further samples (a queue, the same on each rank) that count in the
    balance but get no codes. Over several ranks the balance is that of the global batch.
    """
    own, first = len(scores), rank() * len(scores)
    log_q = gather(at_least_float32(scores))
    if extra is not None:
        log_q = torch.cat([log_q, at_least_float32(extra)])
    log_q = log_q / epsilon
    log_q = log_q - log_q.logsumexp((0, 1))
    for _ in range(iterations):
        log_q = log_q - log_q.logsumexp(0)  # each prototype: the same mass
        log_q = log_q - log_q.logsumexp(1, keepdim=True) - math.log(len(log_q))  # each sample: the same mass
    return (log_q[first : first + own] + math.log(len(log_q))).exp()
