"""The group "peers" of figures.py: training steps against other libraries, each in its own process."""

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
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path

import torch
from contenders import Course, Loader, Loop, TorchVision, Work
from tables import STAGES, at_least, at_most, devices, median, median_ratio, missing, row, take_turns

LIBRARIES = {"lightly": "lightly", "torchvision": "torchvision"}  # contender -> package
SOLO_LEARN = ("not installable: solo-learn 1.0.2, the only release in the registry, pins torch 1.9.1, which has no "
              "build for Python 3.11; unpinned, it needs lightning-bolts, which does not import with Lightning 2")
WANTED = {"convnet": (4.0, 2.4), "resnet18": (2.0, None)}  # on a CPU: at defaults, at equal precision and layout


@dataclasses.dataclass(frozen=True)
class Effort:
    """How much to measure: rounds; steps per turn; steps per run of `fit`."""

    rounds: int = 3
    steps: int = 10
    run: int = 100
    large: int = 10  # steps per run of `fit` for networks that take seconds per step

    def fitted(self, work: Work) -> int:
        """Steps per run of `fit`."""
        return self.large if slow(work) else self.run

    def turn(self, work: Work) -> int:
        """Steps per turn of a plain loop."""
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
    if device == "cpu":  # seconds per step: one method stands for all
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
    rows.append(besides(work, stages["course"]))
    return rows + ([peak(name, work) for name in ["course", *here]] if memory else [])


def besides(work: Work, stages: dict[str, float]) -> dict:
    """The share of a step outside the networks' forward and backward passes; has a target for the small one on CPUs."""
    share = 100 * (1 - (stages["forward"] + stages["backward"]) / sum(stages.values()))
    wanted = 25 if (work.backbone, work.device) == ("convnet", "cpu") and work.method in ("simclr", "vicreg") else None
    return at_most(f"{work.name}: share of a step that is not the network's forward and backward", share, wanted, "",
                   " %", kind="besides", **work.facts)


@contextmanager
def apart(name: str, work: Work):
    """A contender in its own process, so that none inherits another's memory or thread settings.

    Yields `measure("rate" or "stages", steps)`.
    """
    spawn, begin = torch.multiprocessing.get_context("spawn"), (name, work, torch.get_num_threads())
    with ProcessPoolExecutor(1, spawn, _begin, begin) as process:
        yield lambda what, steps: process.submit(_ask, what, steps).result()


def _begin(name: str, work: Work, threads: int) -> None:
    global _program
    torch.set_num_threads(threads)
    _program = contender(name, work)


def _ask(what: str, steps: int):
    return getattr(_program, what)(steps)


def _measure(work: Work, effort: Effort, names: list[str]) -> tuple[list[dict], dict[str, dict]]:
    """Views/s of these contenders in every round, by turns, and each one's seconds by stage."""
    with ExitStack() as stack:
        programs = {name: stack.enter_context(apart(name, work)) for name in names}
        steps = {name: effort.fitted(work) if name == "course" else effort.turn(work) for name in names}
        steps["course float32"] = max(1, effort.fitted(work) // 2)  # for the gain from half precision only
        turns = {name: partial(measure, "rate", steps[name]) for name, measure in programs.items()}
        rounds = take_turns(turns, effort.times(work))
        return rounds, {name: measure("stages", effort.turn(work)) for name, measure in programs.items()}


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
    """Peak memory over a few steps in a new process, as a process's peak never falls."""
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
        with suppress(OSError):  # Linux: getrusage includes the process that this one was forked from
            lines = Path("/proc/self/status").read_text().splitlines()
            return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 2**10
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit

    program = contender(name, work)
    before = own()
    program.rate(steps)
    gpu = torch.cuda.max_memory_allocated() / 2**20 if work.device == "cuda" else 0.0
    peak_memory = own()
    has_workers = isinstance(program, Loader) and work.workers > 0
    del program  # ends the workers; they count only once ended
    gc.collect()
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / unit if has_workers else 0.0
    return {"before": before, "peak": peak_memory, "workers": children, "gpu": gpu}


def peers(quick: bool = False, wanted: str = "", known: Sequence[dict] = ()) -> list[dict]:
    """The rows of the group; `wanted`: only these methods, "byol,vicreg", while the others keep their `known` rows."""
    rows = [missing("views/s against solo-learn", SOLO_LEARN)]
    for device in devices():
        for work in works(quick, device):
            if wanted and work.method not in wanted.split(","):
                rows += [each for each in known if each["figure"].startswith(f"{work.name}:")]
                continue
            rows += compare(work, QUICK if quick else Effort(), memory=work.method == "simclr")
            print("\n".join(f"{each['figure']}: {each['value']} ({each['beside']})" for each in rows[-4:]), flush=True)
    return rows


if __name__ == "__main__":  # the process started by `peak`
    parser = argparse.ArgumentParser(description=__doc__)
    for argument in ("contender", "work", "steps"):
        parser.add_argument(argument)
    given = parser.parse_args()
    print(json.dumps(measure_peak(given.contender, Work(**json.loads(given.work)), int(given.steps))))
