"""Optimizers, parameter groups and schedules. Schedules are functions of progress, counted in steps."""

from __future__ import annotations

import math

import torch
from torch import nn


class LARS(torch.optim.Optimizer):
    """Layer-wise adaptive rate scaling (You et al. 2017) in the two flavours that official code uses.

    For a parameter p with gradient g, d = g + weight_decay * p, trust = eta * |p| / |d| (1 where either norm is 0):

    - "torch" (Barlow Twins, VICReg, MoCo v3, BYOL):  v <- momentum * v + trust * d;       p <- p - lr * v
    - "simclr" (SimCLR's lars_optimizer.py):          v <- momentum * v + lr * trust * d;  p <- p - v

    They differ as soon as the learning rate changes. Groups with `adapt=False` (biases and norms: see
    `parameter_groups`) have neither decay nor trust, but momentum and learning rate all the same.
    """

    def __init__(self, params, lr: float, momentum: float = 0.9, weight_decay: float = 0.0, eta: float = 0.001,
                 flavour: str = "torch"):
        if flavour not in ("torch", "simclr"):
            raise ValueError(f"LARS flavour must be 'torch' or 'simclr', got {flavour!r}")
        defaults = dict(lr=lr, momentum=momentum, weight_decay=weight_decay, eta=eta, flavour=flavour, adapt=True)
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure=None):
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            if not params:
                continue
            update = [p.grad for p in params]
            if group["adapt"]:
                update = torch._foreach_add(update, params, alpha=group["weight_decay"])
                weights = torch.stack(torch._foreach_norm(params))
                norms = torch.stack(torch._foreach_norm(update))
                trust = group["eta"] * weights / norms
                trust = torch.where((weights > 0) & (norms > 0), trust, torch.ones_like(trust))
                update = torch._foreach_mul(update, list(trust.unbind()))
            for p in params:
                if "momentum" not in self.state[p]:
                    self.state[p]["momentum"] = torch.zeros_like(p)
            buffers = [self.state[p]["momentum"] for p in params]
            inside = group["lr"] if group["flavour"] == "simclr" else 1.0
            outside = 1.0 if group["flavour"] == "simclr" else group["lr"]
            torch._foreach_mul_(buffers, group["momentum"])
            torch._foreach_add_(buffers, update, alpha=inside)
            torch._foreach_add_(params, buffers, alpha=-outside)
        return loss


def parameter_groups(module: nn.Module, weight_decay: float, exempt: bool = True) -> list[dict]:
    """Two groups: what decays (matrices, kernels) and what does not (biases, norms, other vectors and scalars).

    The second has weight_decay 0 and adapt False (no LARS trust ratio). With exempt=False everything decays in one
    group (MoCo, SimSiam). A method with groups of its own defines `param_groups()` and builds on this.
    """
    params = [p for p in module.parameters() if p.requires_grad]
    if not exempt:
        return [dict(params=params, weight_decay=weight_decay, adapt=True)]
    decays = [p for p in params if p.ndim > 1]
    spared = [p for p in params if p.ndim <= 1]
    groups = [dict(params=decays, weight_decay=weight_decay, adapt=True),
              dict(params=spared, weight_decay=0.0, adapt=False)]
    return [group for group in groups if group["params"]]


def layer_decay_groups(vit: nn.Module, weight_decay: float, decay: float) -> list[dict]:
    """Groups for fine-tuning a ViT whose early layers move less: `lr_scale` is decay^(blocks - i) in block i = 0, 1, ...

    Stem, patch embedding, class token and positions have decay^(blocks + 1); what comes after the blocks has 1.
    Vectors, biases, class token and positions do not decay. (MAE, BEiT: util/lr_decay.py.)
    """
    if not hasattr(vit, "class_token"):
        raise ValueError(f"layer-wise decay needs a ViT, whose blocks are numbered; {type(vit).__name__} has none")
    blocks, groups = len(vit.blocks), {}
    for name, p in vit.named_parameters():
        if not p.requires_grad:
            continue
        first = name.startswith(("stem.", "embed.", "class_token", "positions", "relative."))
        height = 0 if first else int(name.split(".")[1]) + 1 if name.startswith("blocks.") else blocks + 1
        decays = p.ndim > 1 and name not in ("class_token", "positions")
        key = (height, decays)
        groups.setdefault(key, dict(params=[], weight_decay=weight_decay if decays else 0.0, adapt=decays,
                                    lr_scale=decay ** (blocks + 1 - height)))["params"].append(p)
    return list(groups.values())


def position_bias_groups(module: nn.Module, weight_decay: float, scale: float) -> list[dict]:
    """`parameter_groups`, and a ViT's table of relative position biases apart: `scale` times the rate, no decay.

    The table starts at zero and moves by small steps: in runs of minutes it has to be quick before places are known.
    """
    tables = [p for name, p in module.named_parameters() if name.endswith("relative.table")]
    known = {id(p) for p in tables}
    rest = [{**group, "params": [p for p in group["params"] if id(p) not in known]}
            for group in parameter_groups(module, weight_decay)]
    return rest + ([dict(params=tables, weight_decay=0.0, adapt=False, lr_scale=scale)] if tables else [])


# learning rate and weight decay where the caller names none; lr is per 256 samples for SGD and LARS
DEFAULTS = {"adamw": dict(lr=1e-3, weight_decay=0.05), "sgd": dict(lr=0.06, weight_decay=5e-4),
            "lars": dict(lr=0.3, weight_decay=1e-6)}
OPTIMIZERS = ("adamw", "sgd", "lars", "lars-simclr")


def build_optimizer(name: str, groups: list[dict], lr: float, **options) -> torch.optim.Optimizer:
    """"adamw", "sgd" (momentum 0.9) or "lars" / "lars-simclr" over the groups, fused where torch has it."""
    if name not in OPTIMIZERS:
        raise ValueError(f"unknown optimizer {name!r}: choose one of {', '.join(OPTIMIZERS)}")
    device = groups[0]["params"][0].device.type
    groups = [dict(group) for group in groups]
    if name.startswith("lars"):
        return LARS(groups, lr=lr, flavour="simclr" if name == "lars-simclr" else "torch", **options)
    for group in groups:
        group.pop("adapt", None)
    fused = device in ("cuda", "cpu")
    if name == "adamw":
        return torch.optim.AdamW(groups, lr=lr, fused=fused, **{"betas": (0.9, 0.95), **options})
    return torch.optim.SGD(groups, lr=lr, fused=fused, **{"momentum": 0.9, **options})


# ------------------------------------------------------------------------------------------------ schedules
def warmup_cosine(step: int, total: int, warmup: int, final: float = 0.0) -> float:
    """Factor of the learning rate at `step`: linear 0 -> 1 over `warmup` steps, then a cosine to `final` at `total`."""
    if step < warmup:
        return step / warmup
    done = min(1.0, (step - warmup) / max(1, total - warmup))
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * done))


def cosine(start: float, end: float, progress: float) -> float:
    """From `start` to `end` along half a cosine, progress in [0, 1] (weight decay, temperatures, EMA momentum)."""
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * min(1.0, max(0.0, progress))))


def ema_momentum(base: float, step: float, total: float = 1.0) -> float:
    """A target's momentum after `step` of `total`: `base` at 0, 1 from `total` on, half a cosine between.

    BYOL, DINO, MoCo v3. In steps (or a share of them), never in epochs: a short run has only a few of those.
    """
    return 1 - (1 - base) * (1 + math.cos(math.pi * min(step, total) / total)) / 2
