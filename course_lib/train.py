"""The loop: `fit` trains any method on any ImageSet, on one device or under torchrun, and can be killed at any time.

Read `fit` from top to bottom: set up, resume, then one block per concern. Everything that is random is a function of
the seed and the step, so a resumed run is the same run; what else matters lies in the checkpoint.
"""

from __future__ import annotations

import copy
import time
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Callable

import torch
import torch.distributed as dist
from torch import Tensor, nn
from tqdm import tqdm

from . import checkpoint, collectives, ranks as several
from .batches import Batches
from .data import ImageSet
from .device import compiled, keep_freed_memory, pick_device, pick_precision
from .history import History, NonFiniteLoss, non_finite, record, spread, write_metrics
from .interrupt import between_steps
from .lock import alone_in_out
from .optim import DEFAULTS, OPTIMIZERS, build_optimizer, cosine, parameter_groups, warmup_cosine


@alone_in_out
def fit(
    method: nn.Module,
    images: ImageSet,
    *,
    epochs: float | None = None,
    steps: int | None = None,
    seconds: float | None = None,
    batch_size: int = 256,
    optimizer: str = "adamw",
    lr: float | None = None,
    weight_decay: float | None = None,
    warmup: float = 0.1,
    final_lr: float = 0.0,
    clip: float | None = None,
    accumulate: int = 1,
    precision: str = "auto",
    device: str = "auto",
    seed: int = 0,
    compile: bool = False,
    stream: bool | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    save_every: float = 60.0,
    log_every: int = 10,
    progress: bool = True,
    watch: Callable[[History], None] | None = None,
) -> History:
    """Train `method` on `images` for `epochs`, `steps` or `seconds` (exactly one of them) and return its History.

    batch_size is that of the whole update: over all ranks and accumulated parts. lr is absolute for adamw; for sgd
    and lars it is per 256 images, scaled by batch_size / 256. warmup and final_lr are shares: of the steps, of lr.
    seconds: the rate is measured once on a copy, the number of steps fixed from it and stored, so that the schedule
    and a resumed run are exact. out: folder for last.pt (written every `save_every` seconds and at the end),
    metrics.csv and backbone.pt; resume: go on from its last.pt if there is one, written on however many ranks: the
    batches are the same, and so are views and blocks of the loss where ranks x accumulate is. stream: gather batches
    from where the images lie instead of holding all on the device; None: where they would take half of its free
    memory. compile: torch.compile the loss; where that does not work, a warning says why and the run goes on without.
    watch: called with the History at every log, for live figures.

    Interrupting (Ctrl-C, or a notebook's stop button) finishes the step, saves and returns what there is; a second
    one stops at once. Raises NonFiniteLoss when the loss or the weights become so, and saves nothing then;
    CheckpointError when `resume` finds another run's checkpoint; FolderInUse when another run is writing into `out`;
    RankLost when another rank died; ValueError for settings that do not fit.
    """
    if sum(x is not None for x in (epochs, steps, seconds)) != 1:
        raise ValueError("give exactly one of epochs=, steps= or seconds=")
    device = pick_device(device)
    ranks, rank = collectives.world_size(), collectives.rank()
    dtype, _ = pick_precision(device, precision)
    if batch_size % (ranks * accumulate):
        raise ValueError(f"batch_size {batch_size} must be a multiple of ranks x accumulate = {ranks * accumulate}")
    if len(images) < batch_size:
        raise ValueError(f"batch_size {batch_size} is larger than the {len(images)} images; use a smaller batch_size")
    per_epoch = len(images) // batch_size
    history = History(batch_size=batch_size, device=str(device), precision=str(dtype).removeprefix("torch."))

    if device.type == "cpu":
        keep_freed_memory()

    # the model and its optimizer
    method.to(device, memory_format=torch.channels_last).train()
    if optimizer not in OPTIMIZERS:
        raise ValueError(f"unknown optimizer {optimizer!r}: choose one of {', '.join(OPTIMIZERS)}")
    defaults = DEFAULTS[optimizer.split("-")[0]]
    base_lr = defaults["lr"] if lr is None else lr
    weight_decay = defaults["weight_decay"] if weight_decay is None else weight_decay
    groups = (method.param_groups(weight_decay) if hasattr(method, "param_groups")
              else parameter_groups(method, weight_decay))
    peak_lr = base_lr if optimizer == "adamw" else base_lr * batch_size / 256
    opt = build_optimizer(optimizer, groups, peak_lr)
    scaler = torch.amp.GradScaler(device.type, enabled=dtype == torch.float16)
    autocast = (lambda: torch.autocast(device.type, dtype=dtype)) if dtype != torch.float32 else nullcontext
    step_module = _Loss(method)
    if ranks > 1:
        step_module = nn.parallel.DistributedDataParallel(
            step_module, device_ids=[device] if device.type == "cuda" else None, broadcast_buffers=False)
    run = compiled(step_module) if compile else step_module

    batches = Batches(images, device, batch_size=batch_size, seed=seed, accumulate=accumulate, rank=rank, ranks=ranks,
                      stream=stream)

    def update(step: int, total: int) -> dict[str, Tensor]:
        """One optimizer step; returns the parts of the loss (of the last micro-batch) without waiting for the device."""
        at = step / max(1, total)
        factor = warmup_cosine(step + 1, total, max(1, round(warmup * total)), final_lr)
        for group in opt.param_groups:
            group["lr"] = peak_lr * (1.0 if group.get("fixed_lr") else factor) * group.get("lr_scale", 1.0)
            if group.get("final_decay") is not None:
                group["weight_decay"] = cosine(group.setdefault("first_decay", group["weight_decay"]), group["final_decay"], at)
        if step % per_epoch == 0 and hasattr(method, "on_epoch"):
            method.on_epoch(step // per_epoch)
        opt.zero_grad(set_to_none=True)
        for part, (batch, generator) in enumerate(batches(step)):
            hold = ranks > 1 and part < accumulate - 1
            with step_module.no_sync() if hold else nullcontext():
                with torch.no_grad():
                    views = method.views(batch, generator)
                with autocast():
                    parts = run(views, at)
                scaler.scale(parts["loss"] / accumulate).backward()
        if clip is not None or hasattr(method, "before_update"):
            scaler.unscale_(opt)  # who looks at gradients before the update sees true ones
        if clip is not None:
            nn.utils.clip_grad_norm_(method.parameters(), clip)
        if hasattr(method, "before_update"):
            method.before_update()
        scaler.step(opt)
        scaler.update()
        if hasattr(method, "after_update"):
            method.after_update((step + 1) / total)
        return parts

    # where to start, how far to go
    total = steps if steps is not None else round(epochs * per_epoch) if epochs is not None else None
    recipe = dict(images=len(images), optimizer=optimizer, lr=base_lr, weight_decay=weight_decay, warmup=warmup,
                  final_lr=final_lr, clip=clip, accumulate=accumulate)
    path = Path(out) / "last.pt" if out is not None else None
    start, elapsed = 0, 0.0
    state = checkpoint.load(path) if resume and path is not None and path.exists() else None
    several.check_same_start(state.get("step", 0) if state else 0, path, device)
    if state is not None:
        same = dict(name=type(method).__name__, batch_size=batch_size, seed=seed, **recipe)
        _check_same_run(state, same if total is None else {**same, "total_steps": total}, path, ranks)
        try:
            method.load_state_dict(state["method"])
            opt.load_state_dict(state["optimizer"])
            scaler.load_state_dict(state["scaler"])
            start, total = int(state["step"]), int(state["total_steps"])
            history = History(**{**state["history"], "interrupted": False})
            elapsed = float(history.seconds)
            checkpoint.set_rng_state(state["rng"], device)
        except checkpoint.MALFORMED as error:
            raise checkpoint.CheckpointError(
                f"{path} is of a {same['name']} of another shape, or not whole ({type(error).__name__}): resume with "
                "the same backbone and widths, or choose another out folder") from error
    elif hasattr(method, "prepare"):
        method.prepare(batches.images)  # a new run: what has to be learned from the images before the first step
    if total is None:
        total = _steps_in(seconds, method, opt, scaler, update, device)
    if total < 1:
        raise ValueError(f"nothing to do: {total} steps; ask for more epochs, steps or seconds")
    history.total_steps = total

    def save(step: int) -> None:
        if path is None or rank:
            return
        broken = [n for n, t in method.state_dict().items() if t.is_floating_point() and not t.isfinite().all()]
        if broken:
            raise NonFiniteLoss(non_finite(step, f"the weights {broken[0]!r} are not", history))
        history.checkpoint = str(path)
        checkpoint.save(path, dict(
            name=type(method).__name__, method=method.state_dict(), optimizer=opt.state_dict(),
            scaler=scaler.state_dict(), rng=checkpoint.rng_state(device), step=step, total_steps=total,
            batch_size=batch_size, seed=seed, ranks=ranks, recipe=recipe, history=asdict(history),
            settings=getattr(method, "settings", {})))

    # the loop
    pending: list[tuple[int, dict[str, Tensor]]] = []
    probe_every = max(1, total // 50)
    views_done, began, saved = 0, time.perf_counter(), time.perf_counter()
    bar = tqdm(total=total, initial=start, disable=not progress or rank > 0, unit="step", leave=False)
    step = start
    try:
        while step < total:
            with between_steps():  # a Ctrl-C waits until the end of this block
                parts = update(step, total)
                step += 1
                views_done += batch_size * parts.pop("views_per_image", 2)
                embedding = parts.pop("embedding", None)
                measure = embedding is not None and (step % probe_every == 0 or step == total)
                pending.append((step, {"_embedding": spread(embedding), **parts} if measure else parts))
                if step % log_every == 0 or step == total:
                    record(history, pending)  # the only place where the CPU waits for the device
                    history.steps, history.seconds = step, elapsed + time.perf_counter() - began
                    history.views_per_second = views_done / (time.perf_counter() - began)
                    bar.update(step - bar.n)
                    bar.set_postfix_str(f"loss {history.loss[-1]:.3g}, {history.views_per_second:.0f} views/s")
                    if watch is not None and rank == 0:
                        watch(history)
                if time.perf_counter() - saved > save_every and not pending:
                    save(step)
                    saved = time.perf_counter()
    except KeyboardInterrupt:
        history.interrupted = True
        record(history, pending)
        history.steps, history.seconds = step, elapsed + time.perf_counter() - began
    except torch.OutOfMemoryError as error:
        raise RuntimeError(f"the {device.type} ran out of memory at batch_size {batch_size}. Try batch_size "
                           f"{batch_size // 2}, or accumulate={2 * accumulate} for the same update.") from error
    except RuntimeError as error:
        if ranks == 1 or not several.is_lost(error):
            raise
        raise several.lost(step, path) from error
    finally:
        bar.close()
    save(step)
    if path is not None and rank == 0:
        write_metrics(history, path.parent / "metrics.csv")
        with checkpoint.atomic(path.parent / "backbone.pt") as file:
            torch.save(export(method), file)
    method.eval()
    return history


# ------------------------------------------------------------------------------------------------ details
class _Loss(nn.Module):
    """The method's loss as a forward, which is what DDP and torch.compile wrap."""

    def __init__(self, method: nn.Module):
        super().__init__()
        self.method = method

    def forward(self, views, progress: float):
        return self.method.loss(views, progress)


def _steps_in(seconds: float, method, opt, scaler, update, device: torch.device) -> int:
    """How many steps fit into `seconds`, measured on a few steps that are then undone."""
    kept = copy.deepcopy((method.state_dict(), opt.state_dict(), scaler.state_dict()))
    rng = checkpoint.rng_state(device)
    times: list[float] = []
    # over ranks a fixed number: each measures its own time, and all must make the same updates
    while len(times) < 5 or (collectives.world_size() == 1 and sum(times) < 0.02 * seconds and len(times) < 50):
        began = time.perf_counter()
        update(len(times), 1000)["loss"].item()
        times.append(time.perf_counter() - began)
    method.load_state_dict(kept[0])
    opt.load_state_dict(kept[1])
    scaler.load_state_dict(kept[2])
    checkpoint.set_rng_state(rng, device)
    typical = sorted(times[2:])[len(times[2:]) // 2]  # the first steps warm caches up
    total = torch.tensor([max(1, int((seconds - sum(times)) / typical))])
    if collectives.world_size() > 1:
        total = total.to(device)
        dist.broadcast(total, 0)
    return int(total)


def _check_same_run(state: dict, expected: dict, path: Path, ranks: int) -> None:
    recipe = state.get("recipe")
    found = {**state, **(recipe if isinstance(recipe, dict) else {})}
    if found.get("ranks", 1) * found.get("accumulate", 1) == ranks * expected["accumulate"]:
        expected = {**expected, "accumulate": found.get("accumulate")}  # the same blocks, on other ranks
    for key, value in expected.items():
        if found.get(key) != value:
            raise checkpoint.CheckpointError(
                f"{path} is of a run with {key} {found.get(key)!r}, this one has {value!r}; "
                "resume with the same settings or choose another out folder")


def export(method: nn.Module) -> dict[str, Tensor]:
    """The backbone that is evaluated, alone, as a plain state dict; for a ResNet the one that torchvision's model loads."""
    backbone = getattr(method, "evaluated", method.backbone)
    state = backbone.export() if hasattr(backbone, "export") else backbone.state_dict()
    return {name: tensor.detach().cpu().clone() for name, tensor in state.items()}
