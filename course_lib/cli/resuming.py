"""Where a run of `course train` lies, and going on with it: what was not given is as it was when the run began."""

from __future__ import annotations

import argparse
import math
import os
from pathlib import Path
from typing import Any

from course_lib.cli.common import seed_number, still_there

# What does not shape a run: a resumed one may have others.
FREE = ("out", "resume", "more_epochs", "no_evaluate", "record", "device", "threads", "data_root", "stream",
        "processes", "traceback", "rest")
LENGTH = ("epochs", "steps", "seconds")


def place(args: argparse.Namespace) -> Path:
    """The folder of the run."""
    data = Path(os.path.abspath(Path(args.data or "shapes").expanduser())).name  # also of "."
    return Path(args.out or f"out/{args.method}-{data}").expanduser()


def found(args: argparse.Namespace, parser: argparse.ArgumentParser) -> dict | None:
    """With --resume, the checkpoint in the out folder, or None; what `args` leaves open becomes as it was there.

    parser: of the command's arguments. Without --resume, ValueError if the folder holds a run.
    """
    from course_lib.train.checkpoint import CheckpointError, load, refuse

    if args.more_epochs is not None and any(getattr(args, name) is not None for name in LENGTH):
        raise ValueError("--more-epochs says how long: leave out --epochs, --steps and --seconds")
    if args.more_epochs is not None and not 0 < args.more_epochs < math.inf:
        raise ValueError(f"--more-epochs is {args.more_epochs:g}; expected a number above 0")
    last = place(args) / "last.pt"
    if not args.resume:
        if args.more_epochs is not None:
            raise ValueError("--more-epochs goes on with a run: add --resume and its --out")
        refuse_another(args)
        return None
    if args.out is None and args.method is None:
        raise ValueError("--resume needs the --out folder of the run that goes on")
    if not last.exists():
        if args.method is None or args.more_epochs is not None:
            raise ValueError(f"there is no {last} to resume: give the folder of a run as --out, or start one")
        return None
    state = load(last)
    step, total = state.get("step"), state.get("total_steps")
    if not (isinstance(step, int) and isinstance(total, int) and 0 <= step <= total):
        raise CheckpointError(f"{last} holds a trained network alone, not a run that can go on")
    if args.more_epochs is not None and step < total:
        raise ValueError(f"{last} has done {step} of its {total} steps: finish it with "
                         "--resume before it gets --more-epochs")
    settings = state.get("settings")
    run = settings.get("run") if isinstance(settings, dict) else None
    if not isinstance(run, dict):
        if args.method is None:
            raise ValueError(f"{last} does not say how it was started (an earlier version wrote it, or Python code): "
                             "give METHOD and the settings that it was started with")
        return state
    defaults = vars(parser.parse_args([]))
    for action in parser._actions:
        if action.dest in run and action.dest not in FREE and not could_be(action, run[action.dest]):
            raise CheckpointError(f"{last} was started with {action.dest} {run[action.dest]!r}, which cannot be: it is "
                                  "damaged, or somebody's own. Start the run anew in another --out.")
    given = {name for name, value in vars(args).items() if value != defaults.get(name)}
    for name in ("method", "backbone", "depth", "weights", "seconds"):  # first, or as `fit` does not see them
        if name in given:
            refuse(last, [(name, run.get(name), getattr(args, name))])
    if args.data is None and isinstance(run.get("data"), str):
        still_there(run["data"])
    for name, value in run.items():
        if name in FREE or not hasattr(args, name):  # of a later version
            continue
        if isinstance(value, list):  # of --set: what is given now comes after, and wins
            setattr(args, name, value + getattr(args, name))
        elif name not in given and not (name in LENGTH and given & set(LENGTH)):
            setattr(args, name, value)
    return state


def could_be(action: argparse.Action, value: Any) -> bool:
    """Whether an argument may have the value, which a file says it had."""
    if isinstance(action.default, list):
        return isinstance(value, list) and all(isinstance(each, str) for each in value)
    if action.nargs == 0:
        return isinstance(value, bool)
    kinds: dict[Any, tuple[type, ...]] = {int: (int,), float: (int, float), seed_number: (int,)}
    return value is None or isinstance(value, kinds.get(action.type, (str,))) and not isinstance(value, bool) and (
        action.choices is None or value in action.choices)


def refuse_another(args: argparse.Namespace) -> None:
    """ValueError where a run that does not resume would be written over another one."""
    if not args.resume and args.method is not None and (place(args) / "last.pt").exists():
        raise ValueError(f"{place(args)} already holds a run: add --resume to continue it, or choose another --out")
