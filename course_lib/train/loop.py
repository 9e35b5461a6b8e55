"""The loop: `fit` trains any method on any ImageSet, on one device or under torchrun, and can be killed at any time.

Read `fit` from top to bottom: settings, resume, then one block per concern. All randomness is a function of the
seed and the step, so a resumed run is the same run; everything else that matters is in the checkpoint.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from contextlib import nullcontext, suppress
from pathlib import Path
from statistics import fmean, median

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel as DDP
from tqdm import tqdm

from course_lib import collectives
from course_lib.data.batches import Batches
from course_lib.data.images import ImageSet
from course_lib.device import compiled, keep_freed_memory, pick_device, pick_precision
from course_lib.methods.base import Method
from course_lib.optim import Group, Schedule, build_optimizer
from course_lib.seeds import rng_state, set_rng_state
from course_lib.text import counted
from course_lib.threads import Pace, threads_put_back
from course_lib.train import ranks as processes
from course_lib.train.checkpoint import Checkpoint
from course_lib.train.history import History, record, std_and_rank
from course_lib.train.interrupt import between_steps, last_of_its_cell, not_stopped
from course_lib.train.lock import holding_out_folder
from course_lib.train.settings import Settings, whole_number

PARTS = 5  # of a run, whose steps need not take equally long: those of `seconds` are timed in each


@holding_out_folder
@threads_put_back()
def fit(method: Method, images: ImageSet, *, epochs: float | None = None, steps: int | None = None,
        seconds: float | None = None, schedule_steps: int | None = None, batch_size: int | None = None,
        optimizer: str | None = None, lr: float | None = None, weight_decay: float | None = None,
        betas: tuple[float, float] | None = None, warmup: float | None = None, final_lr: float | None = None,
        clip: float | None = None, accumulate: int | None = None, precision: str = "auto",
        device: str | torch.device = "auto", seed: int = 0, compile: bool = False, stream: bool | None = None,
        threads: int | None = None, out: str | Path | None = None, resume: bool = False, save_every: float = 60.0,
        log_every: int = 10, progress: bool = True,
        watch: Callable[[History], None] | None = None) -> History:
    """Train `method` on `images` for `epochs`, `steps` or `seconds` (exactly one of them) and return its History.

    batch_size, optimizer, lr, weight_decay, betas, warmup, final_lr, clip, accumulate: see `Settings`; the defaults are
    the method's `recipe`. batch_size is that of the whole update, over all ranks and accumulated parts. seconds: the
    speed is measured once and the number of steps derived from it is stored, so the schedule and a resumed run are
    exact.
    schedule_steps: make only the first `steps` of a run of this many, so that the live minute of a lesson is the
    beginning of its long run; resume with more `steps` to go on.
    out: folder for last.pt (written every `save_every` seconds and at the end), metrics.csv and backbone.pt; resume:
    continue from its last.pt if there is one, on any number of ranks: the batches stay the same, and with the same
    ranks x accumulate also the views and the blocks of the loss. stream: gather batches from where the images are
    instead of moving all to the device; None: if they would fill half of its free memory. compile: torch.compile the
    loss; if that fails, a warning says why and the run continues without. threads: of the CPU, at most torch's own
    number; None: $COURSE_THREADS, else what is fastest (see `threads`). Equal numbers give equal results; the History
    keeps the number. watch: called with the History at every log, and when interrupted, for live figures.

    An interrupt (Ctrl-C, or a notebook's stop button) finishes the step, saves and returns the run so far, and a second
    one stops at once; in a notebook it also ends the run of cells: see `last_of_its_cell`. Raises NonFiniteLoss,
    without saving, when the loss or the weights become NaN or infinite; CheckpointError when `resume` finds another
    run's checkpoint; FolderInUse when another run is writing into `out`; RankLost when another rank dies; ValueError
    for invalid settings.
    """
    # settings, all checked before anything is touched
    not_stopped()
    use = Settings.resolve(method, optimizer=optimizer, lr=lr, weight_decay=weight_decay, batch_size=batch_size,
                           warmup=warmup, final_lr=final_lr, clip=clip, accumulate=accumulate, betas=betas)
    world, rank = collectives.world_size(), collectives.rank()
    per_epoch, total = _length(len(images), use.batch_size, epochs, steps, seconds)
    stop = total
    if schedule_steps is not None:
        total = whole_number("schedule_steps", schedule_steps, 1)
        if steps is None or steps > total:
            raise ValueError(f"schedule_steps={total} needs steps= up to that number, got steps={steps}")
    if use.batch_size % (world * use.accumulate):
        raise ValueError(f"batch_size {use.batch_size} must be a multiple of ranks x accumulate = "
                         f"{world * use.accumulate}")
    whole_number("log_every", log_every, 1)
    device = pick_device(str(device))
    dtype, _ = pick_precision(device, precision)
    history = History(batch_size=use.batch_size, device=str(device), precision=str(dtype).removeprefix("torch."))
    if device.type == "cpu":
        keep_freed_memory()
    pace = Pace(threads, device)

    # the model, its optimizer, the images
    method.to(device).to(memory_format=torch.channels_last).train()
    groups = [Group(**{**group, **use.group}) for group in method.param_groups(use.weight_decay)]
    opt = build_optimizer(use.optimizer, groups, use.peak_lr)
    schedule = Schedule(opt, groups, use.peak_lr, use.warmup, use.final_lr)
    scaler = torch.amp.GradScaler(device.type, enabled=dtype == torch.float16)
    autocast = (lambda: torch.autocast(device.type, dtype=dtype)) if dtype != torch.float32 else nullcontext
    step_module = processes.averaging(_Loss(method), device)
    run = compiled(step_module) if compile else step_module
    batches = Batches(images, device, batch_size=use.batch_size, seed=seed, accumulate=use.accumulate, rank=rank,
                      ranks=world, stream=stream)

    def update(step: int, total: int) -> dict[str, Tensor]:
        """One optimizer step -> the parts of the loss (of the last micro-batch), without waiting for the device."""
        schedule.set(step, total)
        if step % per_epoch == 0:
            method.on_epoch(step // per_epoch)
        opt.zero_grad(set_to_none=True)
        for part, (batch, generator) in enumerate(batches(step)):
            last = part == use.accumulate - 1
            with step_module.no_sync() if isinstance(step_module, DDP) and not last else nullcontext():
                with torch.no_grad():
                    views = method.views(batch, generator)
                with autocast():
                    parts = run(views, step / max(1, total))
                scaler.scale(parts["loss"] / use.accumulate).backward()
        scaler.unscale_(opt)  # hooks see the true gradients
        if use.clip < float("inf"):
            nn.utils.clip_grad_norm_(method.parameters(), use.clip)
        method.before_update()
        scaler.step(opt)
        scaler.update()
        method.after_update((step + 1) / total)
        return parts

    # where to start, how far to go
    checkpoint = Checkpoint(out, method, opt, scaler, device, {
        "images": len(images), "image_size": images.size, "checksum": images.checksum(), "seed": seed,
        "precision": history.precision, **use.record()})
    step, stored_total, stored = checkpoint.restore(total) if resume else (0, None, None)
    schedule.late = checkpoint.late
    processes.check_same_start(step, checkpoint.path, device)
    if stored is None:
        method.prepare(batches.images)  # of a new run only
    history, total = stored or history, stored_total or total
    if total is None:
        assert seconds is not None
        total = _steps_in(seconds, method, opt, scaler, update, device)
    stop = total if stop is None else min(stop, total)
    history.total_steps, history.stop_at, before = total, stop, history.seconds

    # the loop
    pending: list[tuple[int, dict[str, Tensor]]] = []
    probe_every = max(1, stop // 50)
    views_done, began, saved = 0, time.perf_counter(), time.perf_counter()
    bar = tqdm(total=stop, initial=step, disable=not progress or rank > 0, unit="step", leave=False)
    try:
        while step < stop:
            with between_steps():  # a Ctrl-C waits until the end of this block
                history.computes_with(pace.number, step + 1)
                parts = pace.time(update, step, total)
                step += 1
                views_done += use.batch_size * parts.pop("views_per_image", 2)
                embedding = parts.pop("embedding", None)
                if embedding is not None and (step % probe_every == 0 or step == stop):
                    parts = {"_embedding": std_and_rank(embedding), **parts}
                pending.append((step, parts))
                if step % log_every == 0 or step == stop:
                    record(history, pending)  # the only place where the CPU waits for the device
                    history.steps, history.seconds = step, before + time.perf_counter() - began
                    history.views_per_second = views_done / (time.perf_counter() - began)
                    bar.update(step - bar.n)
                    bar.set_postfix_str(f"loss {history.loss[-1]:.3g}, {history.views_per_second:.0f} views/s")
                    if watch is not None and rank == 0:
                        watch(history)
                if time.perf_counter() - saved > save_every and not pending:
                    checkpoint.save(step, history)
                    saved = time.perf_counter()
    except KeyboardInterrupt:
        history.interrupted = True
        record(history, pending)
        history.steps, history.seconds = step, before + time.perf_counter() - began
        last_of_its_cell()
        if watch is not None and rank == 0 and history.curve_steps:
            with suppress(KeyboardInterrupt):  # of an impatient hand
                watch(history)
    except torch.OutOfMemoryError as error:
        raise RuntimeError(f"the {device.type} ran out of memory at batch_size {use.batch_size}. Try batch_size "
                           f"{use.batch_size // 2}, or accumulate={2 * use.accumulate} for the same update.") from error
    except RuntimeError as error:
        if world == 1 or not processes.is_lost(error):
            raise
        raise processes.lost(step, checkpoint.path) from error
    finally:
        bar.close()
    checkpoint.save(step, history)
    checkpoint.finish(history)
    method.eval()
    return history


# ------------------------------------------------------------------------------------------------ details
class _Loss(nn.Module):
    """The method's loss as a forward, which is what DDP and torch.compile wrap."""

    def __init__(self, method: Method):
        super().__init__()
        self.method = method

    def forward(self, views, progress: float):
        return self.method.loss(views, progress)


def _length(images: int, batch_size: int, epochs: float | None, steps: int | None,
            seconds: float | None) -> tuple[int, int | None]:
    """Steps of an epoch, and of the run (None: to be measured, for `seconds`)."""
    if sum(x is not None for x in (epochs, steps, seconds)) != 1:
        raise ValueError("give exactly one of epochs=, steps= or seconds=")
    if not images:
        raise ValueError("there are no images to train on")
    if images < batch_size:
        raise ValueError(f"batch_size {batch_size} is larger than the {counted(images, 'image')}; use a smaller "
                         "batch_size")
    per_epoch = images // batch_size
    if seconds is not None:
        if not 0 < seconds < float("inf"):
            raise ValueError(f"seconds is {seconds!r}; expected a number above 0")
        return per_epoch, None
    if epochs is not None and not abs(epochs) < float("inf"):
        raise ValueError(f"epochs is {epochs!r}; expected a number above 0")
    total = whole_number("steps", steps, 1) if steps is not None else round((epochs or 0) * per_epoch)
    if total < 1:
        raise ValueError(f"nothing to do: {counted(epochs or 0, 'epoch')} of {counted(per_epoch, 'step')}; ask for "
                         "more epochs, steps or seconds")
    return per_epoch, total


def _steps_in(seconds: float, method: Method, opt: torch.optim.Optimizer, scaler: torch.amp.GradScaler,
              update: Callable, device: torch.device) -> int:
    """How many steps fit into `seconds`, timed on a few from all parts of the run (`PARTS`), which are then undone."""
    kept = copy.deepcopy((method.state_dict(), opt.state_dict(), scaler.state_dict()))
    rng = rng_state(device)
    rounds: list[list[float]] = []
    # a fixed number over ranks: each has its own clock, and all must make the same updates
    while len(rounds) < 3 or (collectives.world_size() == 1 and sum(map(sum, rounds)) < 0.02 * seconds
                              and len(rounds) < 10):
        rounds.append([])
        for part in range(PARTS):
            began = time.perf_counter()
            update(part * 1000 // PARTS + len(rounds) - 1, 1000)["loss"].item()
            rounds[-1].append(time.perf_counter() - began)
    for part, state in zip((method, opt, scaler), kept):
        part.load_state_dict(state)
    set_rng_state(rng, device)
    typical = fmean(median(times) for times in zip(*rounds[1:]))  # the first round warms caches up
    total = torch.tensor([max(1, int((seconds - sum(map(sum, rounds))) / typical))])
    if collectives.world_size() > 1:
        total = total.to(device)
        dist.broadcast(total, 0)
    return int(total)
