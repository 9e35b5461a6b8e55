"""Batch norm over ranks, over visible positions, and over parts of a batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.collectives import all_reduce_sum, world_size
from course_lib.precision import at_least_float32, check_several

Net = TypeVar("Net", bound=nn.Module)


class _BatchNorm(nn.modules.batchnorm._BatchNorm):
    """Forward shared by BatchNorm1d and BatchNorm2d below; see `BatchNorm2d`."""

    dims: tuple[int, ...]
    num_batches_tracked: Tensor
    visible: Tensor | None = None
    splits: int = 1

    def _check_input_dim(self, x: Tensor) -> None:
        if x.dim() not in self.dims:
            raise ValueError(f"{type(self).__name__} got {x.dim()}-D input, expected {self.dims}-D")

    def forward(self, x: Tensor) -> Tensor:
        visible, mean, variance = self.visible, self.running_mean, self.running_var
        if self.splits > 1 and self.training:
            return self._forward_split(x)
        use_batch = self.training or mean is None or variance is None
        if use_batch and x.dim() == 2 and world_size() == 1:
            check_several(x, "batch norm")
        if visible is None and not (use_batch and world_size() > 1):
            return super().forward(x)
        channel = (1, -1) + (1,) * (x.dim() - 2)
        values = at_least_float32(x)
        mask = torch.ones_like(values[:, :1]) if visible is None else visible.to(values)
        if self.training or mean is None or variance is None:
            mean, variance = self._batch_statistics(values, mask)
        scale = torch.rsqrt(variance + self.eps)
        shift = -mean * scale
        if self.affine:
            scale, shift = scale * self.weight, shift * self.weight + self.bias
        out = torch.addcmul(shift.view(channel), values, scale.view(channel))
        return (out if visible is None else out * mask).to(x.dtype)

    def _forward_split(self, x: Tensor) -> Tensor:
        """Image n is normalised with part n mod `splits` of this rank's batch; running statistics average the parts."""
        n, c = x.shape[:2]
        if n % self.splits:
            raise ValueError(f"a batch of {n} cannot be split into {self.splits} equal parts for batch norm: "
                             "choose a batch size that is a multiple of splits")
        assert self.running_mean is not None and self.running_var is not None and self.momentum is not None
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
        # only on a CPU: reading the count would wait for a GPU, at every layer
        if values.device.type == "cpu" and self.training and count < 2:
            raise ValueError(f"batch norm needs at least 2 visible values per channel, got {int(count)}")
        mean = all_reduce_sum((values * mask).sum(over)) / count
        centred = (values - mean.view((1, -1) + (1,) * (values.dim() - 2))) * mask
        variance = all_reduce_sum(centred.square().sum(over)) / count
        if self.training and self.running_mean is not None and self.running_var is not None:
            with torch.no_grad():
                self.num_batches_tracked += 1
                rate = self.momentum if self.momentum is not None else 1.0 / float(self.num_batches_tracked)
                self.running_mean.lerp_(mean.to(self.running_mean), rate)
                unbiased = variance * count / (count - 1).clamp(min=1)
                self.running_var.lerp_(unbiased.to(self.running_var), rate)
        return mean, variance


class BatchNorm1d(_BatchNorm, nn.BatchNorm1d):
    """nn.BatchNorm1d, same state dict, whose statistics cover all ranks if there are several (on CPU too)."""

    dims = (2, 3)


class BatchNorm2d(_BatchNorm, nn.BatchNorm2d):
    """nn.BatchNorm2d, same state dict, over all ranks if there are several, and over visible positions.

    While the attribute `visible`, (B, 1, H, W) with 1 = visible, is set, the statistics count visible positions only
    and hidden positions come out as 0 (SparK's sparse batch norm, pretrain/encoder.py). The running variance is
    unbiased over the number of visible values, as in nn.BatchNorm2d. Without a mask and on one rank this *is*
    nn.BatchNorm2d. torch.nn.SyncBatchNorm refuses CPU tensors, hence this layer.
    """

    dims = (4,)


def split_batch_norm(module: nn.Module, splits: int) -> nn.Module:
    """Let every batch norm below `module` normalise `splits` parts of the batch apart, as if each had its own GPU.

    MoCo needs it on one device: the whole batch's statistics would tell the network which key belongs to a query. As in
    the official CIFAR demo (SplitBatchNorm) the parts are interleaved: image n is in part n mod splits.
    """
    for child in module.modules():
        if isinstance(child, _BatchNorm):
            child.splits = splits
    return module


def convert_batch_norm(module: Net) -> Net:
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
