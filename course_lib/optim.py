"""Optimizers, parameter groups, and schedules as functions of the step."""

from __future__ import annotations

import math
from typing import Any, Required, TypedDict

import torch
from torch import Tensor, nn

_torch: Any = torch  # its _foreach functions, which type checkers take for private


class Group(TypedDict, total=False):
    """A group of parameters and its settings."""

    params: Required[list[nn.Parameter]]
    weight_decay: Required[float]
    betas: tuple[float, float]  # AdamW's
    adapt: bool          # LARS: with trust ratio and decay (default True)
    lr_scale: float      # factor of the learning rate (default 1)
    lars_scale: float    # a further one, under LARS only (default 1)
    fixed_lr: bool       # neither warmed up nor decayed (default False)
    final_decay: float   # weight decay at the end of the run, reached along a cosine (default: constant)


class _ByGroups(torch.optim.Optimizer):
    """`step` of the optimizers below, which say how the parameters of a group move."""

    @torch.no_grad()
    def step(self, closure=None):
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            if params := [p for p in group["params"] if p.grad is not None]:
                self._move(params, group)
        return loss

    def _move(self, params: list[nn.Parameter], group: dict[str, Any]) -> None:
        raise NotImplementedError


class LARS(_ByGroups):
    """Layer-wise adaptive rate scaling (You et al. 2017) in the three flavours of official code.

    For a parameter p with gradient g, d = g + weight_decay * p, trust = eta * |p| / |d| (1 where either norm is 0):

    - "torch" (Barlow Twins, VICReg, MoCo v3, BYOL):  v <- momentum * v + trust * d;       p <- p - lr * v
    - "simclr" (SimCLR's lars_optimizer.py):          v <- momentum * v + lr * trust * d;  p <- p - v
    - "larc" (SwAV, by apex's LARC around SGD):       as "torch", with trust = eta * |p| / (|g| + weight_decay * |p|)

    The first two differ once the learning rate changes. Groups with `adapt=False` (biases and norms, see
    `parameter_groups`) get neither decay nor trust.
    """

    def __init__(self, params, lr: float, momentum: float = 0.9, weight_decay: float = 0.0, eta: float = 0.001,
                 flavour: str = "torch"):
        if flavour not in ("torch", "simclr", "larc"):
            raise ValueError(f"LARS flavour must be 'torch', 'simclr' or 'larc', got {flavour!r}")
        defaults = dict(lr=lr, momentum=momentum, weight_decay=weight_decay, eta=eta, flavour=flavour, adapt=True)
        super().__init__(params, defaults)

    def _move(self, params: list[nn.Parameter], group: dict[str, Any]) -> None:
        update: Any = [p.grad for p in params]
        if group["adapt"]:
            weights, norms = (torch.stack(_torch._foreach_norm(tensors)) for tensors in (params, update))
            update = _torch._foreach_add(update, params, alpha=group["weight_decay"])
            if group["flavour"] == "larc":
                norms = norms + group["weight_decay"] * weights
            else:
                norms = torch.stack(_torch._foreach_norm(update))
            trust = group["eta"] * weights / norms
            trust = torch.where((weights > 0) & (norms > 0), trust, torch.ones_like(trust))
            update = _torch._foreach_mul(update, list(trust.unbind()))
        for p in params:
            if "momentum" not in self.state[p]:
                self.state[p]["momentum"] = torch.zeros_like(p)
        buffers = [self.state[p]["momentum"] for p in params]
        inside = group["lr"] if group["flavour"] == "simclr" else 1.0
        outside = 1.0 if group["flavour"] == "simclr" else group["lr"]
        _torch._foreach_mul_(buffers, group["momentum"])
        _torch._foreach_add_(buffers, update, alpha=inside)
        _torch._foreach_add_(params, buffers, alpha=-outside)


class Muon(_ByGroups):
    """Momentum whose matrices are made orthogonal (Jordan et al. 2024, kellerjordan.github.io/posts/muon).

    For a matrix p with gradient g, a kernel being (out, in * height * width):

        m <- momentum * m + (1 - momentum) * g;   u = momentum * m + (1 - momentum) * g      (Nesterov's look ahead)
        p <- p - lr * (weight_decay * p + 0.2 * sqrt(longer side) * orthogonal(u))

    so that all directions of u are equally large, and the step has the size that Adam's usually has, at the same lr
    (Liu et al. 2025, arXiv 2502.16982). Vectors and scalars, which have no directions to make equal, take Adam's step.
    """

    def __init__(self, params, lr: float, momentum: float = 0.95, betas: tuple[float, float] = (0.9, 0.95),
                 weight_decay: float = 0.0):
        super().__init__(params, dict(lr=lr, momentum=momentum, betas=betas, weight_decay=weight_decay))

    def _move(self, params: list[nn.Parameter], group: dict[str, Any]) -> None:
        for p in params:
            assert p.grad is not None
            matrix = p.ndim > 1
            step = self._turned(p, p.grad, group["momentum"]) if matrix else self._adam(p, p.grad, *group["betas"])
            p.mul_(1 - group["lr"] * group["weight_decay"]).add_(step, alpha=-group["lr"])

    def _turned(self, p: Tensor, grad: Tensor, momentum: float) -> Tensor:
        mean = self.state[p].setdefault("mean", torch.zeros_like(p)).lerp_(grad, 1 - momentum)
        update = orthogonal(grad.lerp(mean, momentum).flatten(1))
        return (0.2 * max(update.shape) ** 0.5 * update).view_as(p)

    def _adam(self, p: Tensor, grad: Tensor, beta1: float, beta2: float) -> Tensor:
        state = self.state[p]
        state["steps"] = steps = state.get("steps", 0) + 1
        mean = state.setdefault("mean", torch.zeros_like(p)).lerp_(grad, 1 - beta1)
        square = state.setdefault("square", torch.zeros_like(p)).lerp_(grad.square(), 1 - beta2)
        return mean / (1 - beta1**steps) / (square / (1 - beta2**steps)).sqrt().add_(1e-8)


def orthogonal(matrix: Tensor, rounds: int = 5) -> Tensor:
    """(R, C) -> (R, C): U V^T of its singular value decomposition U S V^T, roughly: singular values from 0.7 to 1.2.

    By Newton and Schulz's iteration, which needs matrix products only, in bfloat16. Its coefficients, from the post,
    let small singular values grow fastest instead of reaching 1 exactly. A matrix of zeros stays one.
    """
    x = (matrix.T if matrix.shape[0] > matrix.shape[1] else matrix).bfloat16()
    x = x / (x.norm() + 1e-7)
    for _ in range(rounds):
        square = x @ x.T
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return (x.T if matrix.shape[0] > matrix.shape[1] else x).to(matrix.dtype)


def parameter_groups(module: nn.Module, weight_decay: float, exempt: bool = True,
                     spare: tuple[str, ...] = ()) -> list[Group]:
    """Two groups: matrices and kernels, which decay; biases, norms, other vectors and scalars, which do not.

    The second has weight_decay=0 and adapt=False (no LARS trust ratio), and takes in what is called one of `spare`.
    With exempt=False one group holds everything and decays (MoCo, SimSiam, SwAV). A method with groups of its own
    overrides `param_groups()` and builds on this.
    """
    named = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
    if not exempt:
        return [Group(params=[p for _, p in named], weight_decay=weight_decay, adapt=True)]
    decays = [p for name, p in named if p.ndim > 1 and not {*spare} & {*name.split(".")}]
    known = {id(p) for p in decays}
    spared = [p for _, p in named if id(p) not in known]
    groups = [Group(params=decays, weight_decay=weight_decay, adapt=True),
              Group(params=spared, weight_decay=0.0, adapt=False)]
    return [group for group in groups if group["params"]]


def layer_decay_groups(vit: nn.Module, weight_decay: float, decay: float) -> list[Group]:
    """Groups for fine-tuning a ViT whose early layers learn more slowly: block i has lr_scale decay^(blocks - i).

    Stem, patch embedding, class token and positions have decay^(blocks + 1); the layers after the blocks, and a
    position bias that all blocks share, 1. Vectors, biases, class token and positions have no weight decay, position
    biases do.
    Source: util/lr_decay.py of MAE, optim_factory.py of BEiT, optimizer.py of SimMIM.
    """
    if not (hasattr(vit, "class_token") and isinstance(vit.blocks, nn.ModuleList)):
        raise ValueError(f"layer-wise decay needs a ViT, whose blocks are numbered; {type(vit).__name__} has none")
    groups: dict[tuple[int, bool], Group] = {}
    blocks = len(vit.blocks)
    for name, p in vit.named_parameters():
        if not p.requires_grad:
            continue
        first = name.startswith(("stem.", "patch_embed.", "class_token", "positions"))
        height = 0 if first else int(name.split(".")[1]) + 1 if name.startswith("blocks.") else blocks + 1
        decays = p.ndim > 1 and name not in ("class_token", "positions")
        new = Group(params=[], weight_decay=weight_decay if decays else 0.0, adapt=decays,
                    lr_scale=decay ** (blocks + 1 - height))
        groups.setdefault((height, decays), new)["params"].append(p)
    return list(groups.values())


def position_bias_groups(module: nn.Module, weight_decay: float, scale: float) -> list[Group]:
    """`parameter_groups` of BEiT and SimMIM, and a ViT's tables of position biases at `scale` times the learning rate.

    As in their code the tables decay; class token and learned positions do not. A table starts at zero and takes small
    steps, too slow for runs of minutes at the common learning rate.
    """
    tables = [p for name, p in module.named_parameters() if name.endswith("relative.table")]
    known = {id(p) for p in tables}
    rest: list[Group] = [{**group, "params": [p for p in group["params"] if id(p) not in known]}
                         for group in parameter_groups(module, weight_decay, spare=("class_token", "positions"))]
    return rest + ([Group(params=tables, weight_decay=weight_decay, adapt=True, lr_scale=scale)] if tables else [])


OPTIMIZERS = ("adamw", "muon", "sgd", "lars", "lars-simclr", "larc")


ADAMS = ("adamw", "muon")  # with betas, and a learning rate that does not depend on the batch size


def build_optimizer(name: str, groups: list[Group], lr: float, **options) -> torch.optim.Optimizer:
    """"adamw", "muon", "sgd" (momentum .9), "lars", "lars-simclr" or "larc", fused where torch can; else ValueError."""
    if name not in OPTIMIZERS:
        raise ValueError(f"unknown optimizer {name!r}: choose one of {', '.join(OPTIMIZERS)}")
    lars = name.startswith("lar")
    known = ("params", "weight_decay", *(("adapt",) if lars else ("betas",) if name in ADAMS else ()))
    kept = [{key: value for key, value in group.items() if key in known} for group in groups]
    if lars:
        flavour = {"lars-simclr": "simclr", "larc": "larc"}.get(name, "torch")
        return LARS(kept, lr=lr, flavour=flavour, **options)
    if name == "muon":
        return Muon(kept, lr=lr, **options)
    fused = groups[0]["params"][0].device.type in ("cuda", "cpu")
    if name == "adamw":
        return torch.optim.AdamW(kept, lr=lr, fused=fused, **{"betas": (0.9, 0.95), **options})
    return torch.optim.SGD(kept, lr=lr, fused=fused, **{"momentum": 0.9, **options})


# ------------------------------------------------------------------------------------------------ schedules
def warmup_cosine(step: int, total: int, warmup: int, final: float = 0.0) -> float:
    """The learning rate's factor at `step`: linear 0 -> 1 over `warmup` steps, then a cosine to `final` at `total`.

    The last update of a run is step total - 1: its rate is not 0.
    """
    if step < warmup:
        return step / warmup
    done = min(1.0, (step - warmup) / max(1, total - warmup))
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * done))


class Schedule:
    """The learning rates and weight decays of an optimizer's groups; call `set(step, total)` before each update.

    lr: the peak learning rate. Over the share `warmup` of the steps it is approached in equal parts, the first update
    having one part and the last of them all; then a cosine to final_lr * lr, which would be reached one step after the
    last (DINO's cosine_scheduler; MAE and MoCo the same after the warm-up). late: the cosine one step ahead, as in runs
    that began with an earlier version.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, groups: list[Group], lr: float, warmup: float = 0.1,
                 final_lr: float = 0.0):
        self.optimizer, self.groups, self.lr, self.warmup, self.final_lr = optimizer, groups, lr, warmup, final_lr
        self.late = False

    def factor(self, step: int, total: int) -> float:
        """The share of the peak learning rate for update `step` (from 0) of `total`."""
        if self.late:
            return warmup_cosine(step + 1, total, max(1, round(self.warmup * total)), self.final_lr)
        warmup = round(self.warmup * total)
        return (step + 1) / warmup if step < warmup else warmup_cosine(step, total, warmup, self.final_lr)

    def set(self, step: int, total: int) -> None:
        """Set the values for update `step` (from 0) of `total`."""
        factor, lars = self.factor(step, total), isinstance(self.optimizer, LARS)
        for group, own in zip(self.optimizer.param_groups, self.groups):
            group["lr"] = self.lr * (1.0 if own.get("fixed_lr") else factor) * own.get("lr_scale", 1.0)
            if lars:
                group["lr"] *= own.get("lars_scale", 1.0)
            if "final_decay" in own:
                group["weight_decay"] = cosine(own["weight_decay"], own["final_decay"], step / max(1, total))


def cosine(start: float, end: float, progress: float) -> float:
    """From `start` to `end` along half a cosine, progress in [0, 1] (weight decay, temperatures, EMA momentum)."""
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * min(1.0, max(0.0, progress))))


def ema_momentum(base: float, step: float, total: float = 1.0) -> float:
    """The momentum of a target network at `step` (BYOL, DINO, MoCo v3): half a cosine from `base` to 1 at `total`.

    In steps (or a share of them), never in epochs: a short run has too few of those.
    """
    return 1 - (1 - base) * (1 + math.cos(math.pi * min(step, total) / total)) / 2
