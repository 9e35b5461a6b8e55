"""The groups "peers" and "limit" of figures.py: steps against other libraries, and against the bare net."""

from __future__ import annotations

import argparse
import dataclasses
import gc
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

import torch
from torch import nn

from contenders import Course, Loop, TorchVision, Work
from course_lib.optim import build_optimizer, parameter_groups
from tables import (STAGES, at_least, at_most, devices, median, median_ratio, missing, row, seconds, take_turns,
                    wait)

LIBRARIES = {"lightly": "lightly", "torchvision": "torchvision"}  # contender -> package
SOLO_LEARN = ("not installable: solo-learn 1.0.2, the only release in the registry, pins torch 1.9.1, which has no build "
              "for Python 3.11; without its pins it needs lightning-bolts, which does not import with Lightning 2")
WANTED = {"convnet": (4.0, 2.4), "resnet18": (2.0, None)}  # on a CPU: at defaults, at equal precision and layout


@dataclasses.dataclass(frozen=True)
class Effort:
    """How much is measured: rounds; steps of a turn (course: `fit`, its own number), and for shares of time."""

    rounds: int = 2
    steps: int = 10
    run: int = 200
    large: int = 10  # the same for networks that take seconds a step on a CPU

    def fitted(self, work: Work) -> int:
        """Steps of a run of `fit`."""
        return self.large if slow(work) else self.run

    def turn(self, work: Work) -> int:
        """Steps of a plain loop's turn."""
        return min(self.steps, self.large // 2) if slow(work) else self.steps

    def times(self, work: Work) -> int:
        """Rounds."""
        return 1 if slow(work) else self.rounds


def slow(work: Work) -> bool:
    """Whether a step takes seconds."""
    return work.backbone == "resnet18" and work.device == "cpu"


QUICK = Effort(rounds=1, steps=2, run=10, large=2)


def works(quick: bool, device: str) -> list[Work]:
    """What is compared on this device."""
    methods = ("simclr", "byol", "vicreg", "swav", "mae")
    size = dict(batch=32, images=64) if quick else dict(batch=256)
    where = dict(device=device, workers=min(8, os.cpu_count() or 2))
    small = [Work(m, "vit-tiny" if m == "mae" else "convnet", **size, **where) for m in methods]
    if quick:
        return small
    if device == "cpu":  # seconds a step: one method says it for all
        return [*small, Work("simclr", "resnet18", batch=128, **where)]
    return small + [Work(m, "resnet18", batch=512, **where) for m in methods[:-1]]


def contender(name: str, work: Work) -> Loop:
    """By name; "lightly equal" is at the course's precision and memory layout, "course float32" without half."""
    kind, _, how = name.partition(" ")
    if kind == "course":
        return Course(work, half=how != "float32")
    if kind == "torchvision":
        return TorchVision(work, half=how == "equal")
    if kind == "lightly":
        from lightly_peer import Lightly

        return Lightly(work, half=how == "equal")
    raise ValueError(f"unknown contender {name!r}: choose course, torchvision or lightly")


def installed(library: str) -> bool:
    return importlib.util.find_spec(LIBRARIES[library]) is not None


# ------------------------------------------------------------------------------------------------ peers
def compare(work: Work, effort: Effort, memory: bool = True) -> list[dict]:
    """All rows of one Work."""
    here = [name for name in LIBRARIES if installed(name)]
    equal = [f"{name} equal" for name in here]
    rounds, stages = _measure(work, effort, ["course", "course float32", *here, *equal])
    gc.collect()
    rows = []
    for library in LIBRARIES:
        rows += _against(library, work, rounds) if library in here else [
            missing(f"{work.name}: views/s against {library}", f"{library} is not installed: see requirements.txt",
                    kind="rate", library=library, **work.facts)]
    gains = ", ".join(f"{name} {median_ratio(rounds, f'{name} equal', name):.2f}x with its layout" for name in here)
    half = f"bfloat16 over float32, both channels_last; {gains}" if work.half() else "no fast half precision here"
    rows.append(row(f"{work.name}: the course's gain from half precision",
                    f"{median_ratio(rounds, 'course', 'course float32'):.2f}x", half, kind="precision",
                    rounds=rounds, **work.facts))
    for name in ["course", *here, *equal]:
        spent = stages[name]
        shares = ", ".join(f"{stage} {1000 * spent[stage]:.1f}" for stage in STAGES)
        figure = f"{work.name}: where a step of {name} goes, one process, ms"
        rows.append(row(figure, f"{1000 * sum(spent.values()):.0f} ms", shares, kind="stages", contender=name,
                        stages=spent, **work.facts))
    return rows + ([peak(name, work) for name in ["course", *here]] if memory else [])


def _measure(work: Work, effort: Effort, names: list[str]) -> tuple[list[dict], dict[str, dict]]:
    """Views/s of these contenders in every round, by turns, and each one's seconds by stage."""
    programs = {name: contender(name, work) for name in names}
    steps = {name: effort.fitted(work) if name.startswith("course") else effort.turn(work) for name in names}
    turns = {name: partial(program.rate, steps[name]) for name, program in programs.items()}
    rounds = take_turns(turns, effort.times(work))
    return rounds, {name: program.stages(effort.turn(work)) for name, program in programs.items()}


def _against(library: str, work: Work, rounds: list[dict]) -> list[dict]:
    wanted = WANTED.get(work.backbone, (None, None)) if work.device == "cpu" else (None, None)
    rows = []
    texts = (f"against {library}, each at its defaults", f"against {library} at equal precision and layout")
    for how, name, what, target in zip(("defaults", "equal"), (library, f"{library} equal"), texts, wanted):
        each = [turn["course"] / turn[name] for turn in rounds]
        beside = (f"{median(rounds, 'course'):.0f} against {median(rounds, name):.0f} views/s; rounds "
                  f"{min(each):.2f} to {max(each):.2f}")
        rows.append(at_least(f"{work.name}: views/s {what}", statistics.median(each), target, beside,
                             kind="rate", library=library, how=how, ratios=each, ours=median(rounds, "course"),
                             theirs=median(rounds, name), **work.facts))
    return rows


def peak(name: str, work: Work, steps: int = 5) -> dict:
    """Peak memory of a process of its own that makes a few steps: what a process has had never falls again."""
    command = [sys.executable, __file__, name, json.dumps(dataclasses.asdict(work)), str(steps)]
    figure = f"{work.name}: peak memory of {name}"
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        why = (done.stderr.strip().splitlines() or ["it ended without a message"])[-1]
        return missing(figure, why, kind="peak", contender=name, **work.facts)
    found = json.loads(done.stdout.splitlines()[-1])
    beside = f"{found['before']:.0f} MB before the first step, images included"
    if found["workers"]:
        beside += f"; its {work.workers} workers up to {found['workers']:.0f} MB each besides"
    value = found["gpu"] if work.device == "cuda" else found["peak"]
    return row(figure, f"{value:.0f} MB", beside, kind="peak", contender=name, **found, **work.facts)


def measure_peak(name: str, work: Work, steps: int) -> dict[str, float]:
    """MB: before the steps, the peak of this process and of a worker, and of the GPU; to be called in a new process."""
    import resource

    unit = 2**20 if sys.platform == "darwin" else 2**10  # bytes on macOS, kilobytes elsewhere

    def own() -> float:
        with suppress(OSError):  # Linux: what getrusage says includes the process that this one was forked from
            lines = Path("/proc/self/status").read_text().splitlines()
            return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 2**10
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit

    program = contender(name, work)
    before = own()
    program.rate(steps)
    gpu = torch.cuda.max_memory_allocated() / 2**20 if work.device == "cuda" else 0.0
    peak_memory = own()
    del program  # ends the workers, which are counted once they have ended
    gc.collect()
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / unit
    return {"before": before, "peak": peak_memory, "workers": children, "gpu": gpu}


def peers(quick: bool = False) -> list[dict]:
    """The rows of the group."""
    rows = [missing("views/s against solo-learn", SOLO_LEARN)]
    for device in devices():
        for work in works(quick, device):
            rows += compare(work, QUICK if quick else Effort(), memory=work.method == "simclr")
            print("\n".join(f"{each['figure']}: {each['value']} ({each['beside']})" for each in rows[-4:]), flush=True)
    return rows


# ------------------------------------------------------------------------------------------------ limit
HEADS = {"simclr": "head", "byol": "projector", "vicreg": "expander", "swav": "projector"}


def bare(course: Course, steps: int) -> float:
    """Views/s of the encoder and its head alone, forward and backward, on ready tensors (MAE: encoder and decoder)."""
    from course_lib.augment import normalize

    method, work = course.method.train(), course.work
    views = course.views(course.batch())
    if work.method == "mae":
        images, visible = normalize(views[0]), views[1]
        ready = [images]
    else:
        head = getattr(method, HEADS[work.method])
        ready = [normalize(view).contiguous(memory_format=torch.channels_last) for view in views]

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
    """What this device reaches: FLOP/s of a large matrix product at the training precision, bytes/s of a large copy."""
    from course_lib.device import pick_device, pick_precision

    side, length = (512, 2**22) if quick else (8192, 2**30) if device == "cuda" else (2048, 2**27)
    kind = pick_precision(pick_device(device))[0]
    a, b = (torch.randn(side, side, device=device).to(kind) for _ in range(2))
    flops = 2 * side**3 / seconds(lambda: a @ b, device)
    source = torch.zeros(length, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return {"flops": flops, "bytes": 2 * length / seconds(lambda: target.copy_(source), device)}


def flops_of_step(course: Course) -> int:
    """Floating-point operations of one forward and backward, counted by torch on the operators that are called."""
    from torch.utils.flop_counter import FlopCounterMode

    views = course.views(course.batch())
    with FlopCounterMode(display=False) as counter:
        with course.cast():
            loss = course.loss(views)
        loss.backward()
    course.method.zero_grad(set_to_none=True)
    return counter.get_total_flops()


def limits(work: Work, effort: Effort, found: dict[str, float]) -> list[dict]:
    """Rows of one Work: step over bare step, and shares of the ceilings."""
    course, run = Course(work), effort.fitted(work)
    rounds = take_turns({"fit": lambda: course.rate(run), "bare": lambda: bare(course, effort.turn(work))},
                        effort.times(work))
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


if __name__ == "__main__":  # a process of its own, started by `peak`
    parser = argparse.ArgumentParser(description=__doc__)
    for argument in ("contender", "work", "steps"):
        parser.add_argument(argument)
    given = parser.parse_args()
    print(json.dumps(measure_peak(given.contender, Work(**json.loads(given.work)), int(given.steps))))
