"""What the methods learn in a given time: the groups "recap" and "photographs" of figures.py; runs are stored."""

from __future__ import annotations

import torch
from torch import nn

from course_lib.augment.views import SHAPES_VIEWS, two_views
from course_lib.data.images import Splits
from course_lib.data.loading import load
from course_lib.evaluate.features import embed
from course_lib.evaluate.measures import alignment, uniformity
from course_lib.evaluate.reconstruction import hidden_errors
from course_lib.evaluate.scoring import score
from course_lib.methods import METHODS, build_method, method_class
from course_lib.runs.recap import recap_runs
from course_lib.runs.stored import StoredRun, read_runs, record_run, runs_folder, write_run
from course_lib.train.loop import fit

SEEDS = (0, 1, 2)
# shapes: the kNN target of one CPU minute; BYOL and SimSiam start slowly and get five (`PATIENT`)
TARGETS = {"vicreg": 0.8, "simclr": 0.8, "swav": 0.6, "barlow-twins": 0.6, "moco-v2": 0.6}
# the joint-embedding methods, in the order of the lessons
JOINT = tuple(name for name, place in METHODS.items() if place.startswith("contrastive") and name != "simclr-v2")
PATIENT = {"byol": 0.6, "simsiam": 0.6}


def cores(runs: list[StoredRun]) -> str:
    """The number of CPU cores of the runs, in words."""
    numbers = (run.provenance["threads"] for run in runs)
    used = sorted({number for each in numbers for number in (each if isinstance(each, list) else [each])})
    return f"{' or '.join(map(str, used))} CPU core{'s' if used != [1] else ''}"


def percent(values: list[float]) -> str:
    return " ".join(f"{100 * value:.1f}" for value in values) + " %"


def aligned(method: nn.Module, splits: Splits) -> dict[str, float]:
    """The representation's alignment of two views of the test images, and its uniformity."""
    views = two_views(splits.test.images, SHAPES_VIEWS, torch.Generator().manual_seed(0))
    first, second = (embed(method, view) for view in views)
    return {"alignment": alignment(first, second), "uniformity": uniformity(first)}


def shapes_run(name: str, seed: int, seconds: float, splits: Splits, id: str) -> StoredRun:
    """One method with its own recipe on generated shapes, last step, with controls and a probe per cause."""
    torch.manual_seed(seed)
    method = build_method(name, "convnet", augment=SHAPES_VIEWS)
    history = fit(method, splits.train, seconds=seconds, device="cpu", seed=seed, progress=False, **method.recipe)
    rows = score(method, splits, name=name, factors=True, seed=seed)
    rows[0] |= aligned(method, splits)
    rows[1] |= aligned(_untrained(name, seed), splits)
    settings = {"optimizer": "adamw", **method.recipe, "n": len(splits.train), "seconds": seconds,
                "views_per_second": history.views_per_second}
    return StoredRun.from_history(name, splits.train.name, history, id=id, backbone="convnet", scores=rows,
                                  augmentation=repr(SHAPES_VIEWS), seed=seed, settings=settings,
                                  note=f"Recap: {seconds:.0f} CPU seconds on generated shapes.")


def _untrained(name: str, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return build_method(name, "convnet", augment=SHAPES_VIEWS).eval()


def make_shapes_runs(names, seconds: float, folder: str) -> list[StoredRun]:
    """Make the runs that lessons/runs/<folder> lacks, for every method and seed; then read all."""
    splits, where = load("shapes"), runs_folder() / folder
    for seed in SEEDS:
        for name in names:
            id = f"{name}-s{seed}"
            if not (where / f"{id}.json").exists():
                run = shapes_run(name, seed, seconds, splits, id)
                write_run(run, where)
                print(f"{id:20s} {run.steps:5d} steps, kNN {run.scores[0]['knn']:.3f}", flush=True)
    return recap_runs() if folder == "recap" else read_runs(where)


def recap(names: tuple[str, ...] = JOINT, seconds: float = 60.0, patience: float = 300.0) -> list[dict]:
    """The joint-embedding methods for one CPU minute on shapes, three seeds each; the slow starters also for five."""
    rows = []
    for known, folder, budget in ((JOINT, "recap", seconds), (PATIENT, "recap_long", patience)):
        wanted = [name for name in known if name in names]
        runs = make_shapes_runs(wanted, budget, folder) if wanted else []
        for name in wanted:
            mine = [run for run in runs if run.method == name]
            values = [run.scores[0]["knn"] for run in mine]
            target = (TARGETS if folder == "recap" else PATIENT).get(name)
            rows.append(dict(
                figure=f"shapes, {budget:.0f} seconds on {cores(mine)}, {method_class(name).title}, "
                       f"kNN of {len(values)} seeds",
                value=percent(values), target="-" if target is None else f">= {100 * target:.0f} %",
                holds=None if target is None else min(values) >= target,
                beside=f"{mine[0].settings['views_per_second']:.0f} views/s"))
    controls = {name: [row["knn"] for run in recap_runs() for row in run.scores if row["name"] == name]
                for name in ("raw pixels", "random encoder")}
    for name, most in (("raw pixels", 0.4), ("random encoder", 0.3)):
        rows.append(dict(figure=f"{name} on shapes, kNN (highest)", value=percent([max(controls[name])]),
                         target=f"<= {100 * most:.0f} %", holds=max(controls[name]) <= most, beside=""))
    return rows


# ------------------------------------------------------------------------------------------------ photographs
def photographs(where: str, names: tuple[str, ...] = JOINT, seconds: float = 300.0) -> list[dict]:
    """Each method for five CPU minutes on CIFAR-10 photographs, one seed; stored runs are reused."""
    splits, rows = load(where), []
    for part in (splits.train, splits.validation, splits.test):
        part.name = "CIFAR-10 photographs"
    for name in names:
        id = f"cifar10-{name}-convnet-s0"
        if not (runs_folder() / f"{id}.json").exists():
            _photograph_run(name, id, splits, seconds)
        run = next(run for run in read_runs() if run.id == id)
        title = method_class(name).title
        begin = f"CIFAR-10 photographs, {seconds:.0f} seconds on {cores([run])}, {title}"
        knn = {row["name"]: row["knn"] for row in run.scores}
        if name == "spark":
            errors = run.scores[0]["hidden_error"]
            fill = min(errors["visible mean"], errors["nearest visible pixel"])
            rows.append(dict(figure=f"{begin}: hidden error over variance", value=f"{errors['spark']:.3f}",
                             target="below both fills", holds=errors["spark"] < fill,
                             beside=", ".join(f"{k} {v:.3f}" for k, v in errors.items() if k != "spark")))
        controls = {k: v for k, v in knn.items() if k in ("raw pixels", "random encoder")}
        target = 0.55 if name == "vicreg" else None
        rows.append(dict(figure=f"{begin}, last-step kNN", value=percent([run.scores[0]["knn"]]),
                         target="-" if target is None else f">= {100 * target:.0f} %",
                         holds=None if target is None else run.scores[0]["knn"] >= target,
                         beside=", ".join(f"{k} {100 * v:.1f} %" for k, v in controls.items())))
    return rows


def _photograph_run(name: str, id: str, splits: Splits, seconds: float) -> None:
    torch.manual_seed(0)
    method = build_method(name, "convnet", **({"normalized": False} if name == "spark" else {}))
    recipe = getattr(method, "recipe", {})
    history = fit(method, splits.train, seconds=seconds, device="cpu", seed=0, progress=False, **recipe)
    print(name, history, flush=True)
    table = score(method, splits, name=name)
    if name == "spark":
        table[0]["hidden_error"] = hidden_errors(method, splits.test, seed=0)
    record_run(id, method, splits, history, table,
               {"method": name, "backbone": "convnet", "seed": 0, "seconds": seconds, "optimizer": "adamw", **recipe})
