"""The group "limit" of figures.py: the course's step over the bare network's, and shares of the machine's ceilings."""

from __future__ import annotations

import time

import torch
from contenders import Course, Work
from peers import QUICK, Effort, works
from tables import at_most, devices, median, median_ratio, row, seconds, take_turns, wait
from torch import nn

from course_lib.optim import build_optimizer, parameter_groups

HEADS = {"simclr": "head", "byol": "projector", "vicreg": "expander", "swav": "projector"}


def bare(course: Course, steps: int) -> float:
    """Views/s of the encoder and its head alone, forward and backward, on ready tensors (MAE: encoder and decoder)."""
    from course_lib.augment.pixels import standardize

    method, work = course.method.train(), course.work
    views = course.views(course.batch())
    if work.method == "mae":
        images, visible = standardize(views[0]), views[1]
        ready = [images]
    else:
        head = getattr(method, HEADS[work.method])
        ready = [standardize(view).contiguous(memory_format=torch.channels_last) for view in views]

    def step() -> None:
        with course.cast():
            out = [method.decode(images, visible, method.kept) if work.method == "mae" else head(method.backbone(view))
                   for view in ready]
        sum(each.float().square().mean() for each in out).backward()
        method.zero_grad(set_to_none=True)

    step()
    wait(work.device)
    began = time.perf_counter()
    for _ in range(steps):
        step()
    wait(work.device)
    return steps * work.batch * work.views / (time.perf_counter() - began)


def ceilings(device: str, quick: bool = False) -> dict[str, float]:
    """This device's ceilings: FLOP/s of a large matrix product at the training precision, bytes/s of a large copy."""
    from course_lib.device import pick_device, pick_precision

    side, length = (512, 2**22) if quick else (8192, 2**30) if device == "cuda" else (2048, 2**27)
    kind = pick_precision(pick_device(device))[0]
    a, b = (torch.randn(side, side, device=device).to(kind) for _ in range(2))
    flops = 2 * side**3 / seconds(lambda: a @ b, device)
    source = torch.zeros(length, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return {"flops": flops, "bytes": 2 * length / seconds(lambda: target.copy_(source), device)}


def flops_of_step(course: Course) -> int:
    """Floating-point operations of one forward and backward, counted by torch per operator."""
    from torch.utils.flop_counter import FlopCounterMode

    views = course.views(course.batch())
    with FlopCounterMode(display=False) as counter:
        with course.cast():
            loss = course.loss(views)
        loss.backward()
    course.method.zero_grad(set_to_none=True)
    return counter.get_total_flops()


def limits(work: Work, effort: Effort, found: dict[str, float]) -> list[dict]:
    """Rows of one Work: step over bare step, both in runs of equal length, and shares of the ceilings."""
    course, run = Course(work), effort.fitted(work)
    rounds = take_turns({"fit": lambda: course.rate(run), "bare": lambda: bare(course, run)}, effort.times(work))
    ratio, rate = median_ratio(rounds, "bare", "fit"), median(rounds, "fit")
    wanted = {("convnet", "cpu"): 1.2, ("resnet18", "cuda"): 1.1, ("resnet18", "cpu"): 1.05}
    target = wanted.get((work.backbone, work.device)) if work.method in ("simclr", "vicreg") else None
    beside = f"{rate:.0f} against {median(rounds, 'bare'):.0f} views/s"
    beside += "; its teacher's forward is in the step only" if work.method == "byol" else ""
    rows = [at_most(f"{work.name}: step over the bare network's step", ratio, target, beside, kind="bare",
                    rounds=rounds, **work.facts)]
    flops = flops_of_step(course) / (work.batch * work.views) * rate
    rows.append(row(f"{work.name}: model FLOP utilisation", f"{100 * flops / found['flops']:.1f} %",
                    f"{flops / 1e9:.1f} of {found['flops'] / 1e9:.1f} GFLOP/s of a large matrix product", kind="flops",
                    reached=flops, ceiling=found["flops"], **work.facts))
    batch = course.batch()
    took = seconds(lambda: course.views(batch), work.device)
    made = course.views(batch)
    moved = batch.images.nbytes + sum(view.nbytes for view in made if isinstance(view, torch.Tensor))
    rows.append(_bandwidth(work, "making the views", moved, took, found["bytes"]))
    return rows + [_bandwidth(work, "the optimizer", *_optimizer(course.method, work.device), found["bytes"])]


def _optimizer(method: nn.Module, device: str) -> tuple[int, float]:
    """Bytes that one AdamW step must move (it reads four tensors a parameter and writes three), and its seconds."""
    copies = [nn.Parameter(p.detach().clone()) for p in method.parameters() if p.requires_grad]
    for p in copies:
        p.grad = torch.zeros_like(p)
    optimizer = build_optimizer("adamw", parameter_groups(nn.ParameterList(copies), 0.05), 1e-3)
    return 7 * sum(p.nbytes for p in copies), seconds(optimizer.step, device)


def _bandwidth(work: Work, part: str, moved: int, took: float, ceiling: float) -> dict:
    figure = f"{work.name}: {part}, share of the memory bandwidth"
    return row(figure, f"{100 * moved / took / ceiling:.1f} %",
               f"{moved / 2**20:.1f} MB at least, {1000 * took:.2f} ms, a large copy reaches {ceiling / 1e9:.1f} GB/s",
               kind="bandwidth", part=part, reached=moved / took, ceiling=ceiling, **work.facts)


def limit(quick: bool = False) -> list[dict]:
    """The rows of the group."""
    rows = []
    for device in devices():
        found = ceilings(device, quick)
        for work in works(quick, device):
            rows += limits(work, QUICK if quick else Effort(), found)
            print(rows[-4]["figure"], rows[-4]["value"], flush=True)
    return rows
