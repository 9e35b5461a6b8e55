"""What the commands that look at images share: their arguments, loading, and the table of measures."""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path

SETS = "shapes, cifar10, stl10, fashion-mnist, or the path of a folder of JPEG, PNG or WebP files"


def data_arguments(parser: argparse.ArgumentParser, default: str = "shapes") -> None:
    """The arguments that say which images, and where they are computed on. default: in words, for the help."""
    parser.add_argument("--data", type=filled, metavar="SET", help=f"{SETS} (default: {default})")
    parser.add_argument("--image-size", type=int, metavar="PIXELS", help="resize to this (default: the set's own; for "
                        "a folder 32, 64 or 96, by the size of its pictures; for a trained network, its own)")
    parser.add_argument("--limit", type=int, metavar="N", help="at most N images per split")
    parser.add_argument("--depth", type=int, metavar="BITS", help="bits that 16-bit PNG files use, such as 12")
    parser.add_argument("--data-root", type=filled, metavar="FOLDER",
                        help="where downloads and caches live (or $COURSE_DATA)")
    parser.add_argument("--stream", action="store_true",
                        help="read each batch from disk (default: only if the images do not fit into memory)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps (default: %(default)s)")
    parser.add_argument("--threads", metavar="N", help="CPU threads (default: $COURSE_THREADS, else auto: all, or "
                        "fewer while other programs keep cores busy)")


def load_images(args: argparse.Namespace, size: int | None = None):
    """The splits; under torchrun one process per machine downloads and decodes, and the others read the result."""
    from course_lib.data.loading import load
    from course_lib.threads import VARIABLE, requested_threads
    from course_lib.train.ranks import download_once_per_machine

    if args.threads is not None:  # for everything this process computes, not only training
        os.environ[VARIABLE] = str(requested_threads(args.threads) or "auto")
    size = size if args.image_size is None else args.image_size
    return download_once_per_machine(lambda first: load(args.data, size=size, root=args.data_root, limit=args.limit,
                                                        progress=first, stream=args.stream or None, depth=args.depth))


def checked_out(path: str) -> Path:
    """The --out of a command, looked at before anything is computed. ValueError for a place that cannot be written."""
    from course_lib.files import refusal

    out = Path(path).expanduser()
    if out.is_dir():
        raise ValueError(f"--out is {path}, which is a folder: give the name of a file.")
    if out.name == "last.pt":
        raise ValueError(f"--out is {path}: a run keeps itself under that name, so choose another.")
    if why := refusal(out.parent):
        raise ValueError(f"{out.absolute().parent} cannot be written ({why}): choose another place with --out.")
    return out


def filled(text: str) -> str:
    """What an option takes that names something: an empty text comes from a variable that is not set."""
    if not text.strip():
        raise argparse.ArgumentTypeError("it is empty; is a variable not set?")
    return text


def seed_number(text: str) -> int:
    """What --seed takes: a number that every library here takes as a seed."""
    if not text.isdecimal() or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f"{text!r}; expected a whole number from 0 to {2**32 - 1}")
    return int(text)


def still_there(data: str) -> None:
    """ValueError where the folder of a run's images is there no longer."""
    from course_lib.data.loading import known_set

    if not known_set(data) and not Path(data).expanduser().exists():
        raise ValueError(f"the images of the run are no longer at {data}: say with --data where they are now")


def trained(args: argparse.Namespace):
    """The method of args.checkpoint (a last.pt or a run's folder) and its splits, by default those of its run."""
    from course_lib.train.checkpoint import load_method

    method = load_method(args.checkpoint)
    run = method.settings.get("run")
    if args.data is None:
        if not isinstance(run, dict) or not isinstance(run.get("data"), str):
            raise ValueError(f"{args.checkpoint} does not say which images it was trained on: name them with --data.")
        still_there(run["data"])
        for name in ("data", "limit", "depth"):
            if getattr(args, name) is None:
                setattr(args, name, run.get(name))
    return method, load_images(args, method.settings["image_size"])


def measure(method, splits, name: str, device: str, out: Path | None = None, **options) -> list[dict]:
    """The rows of `score`, printed as a table; with `out`, each row is in that file (JSON) once it is measured."""
    from course_lib.evaluate.clusters import assigned, cluster_table, score_clusters, unscorable
    from course_lib.evaluate.scoring import score, table
    from course_lib.files import write_text
    from course_lib.methods.base import ClusteringMethod

    began, rows = time.perf_counter(), []

    def keep(found: list[dict]) -> None:
        rows[:] = found
        if out is not None:
            write_text(out, json.dumps({"data": splits.train.name, "rows": rows}, indent=1))

    try:
        score(method, splits, name=name, device=device, progress=True, watch=keep, **options)
    finally:
        if rows:  # also of an evaluation that broke off: what it has measured stays
            print(f"{splits.train.name}: {rows[0]['bank']:,} training images (the kNN bank), {rows[0]['queries']:,} "
                  f"test images\n{table(rows)}\n(last step; probe settings picked on validation; "
                  f"{time.perf_counter() - began:.0f} s)")
    if isinstance(method, ClusteringMethod):
        if why := unscorable(splits):
            sizes = assigned(method, splits.train, device)[0].bincount(minlength=method.clusters).tolist()
            print(f"Its clusters are not compared with classes: {why}. Training images in each: "
                  + ", ".join(map(str, sizes)))
        else:
            rows[0]["clustering"] = score_clusters(method, splits, name=name, device=device)
            print("clusters, matched with the classes on training images, scored on test images\n"
                  + cluster_table(rows[0]["clustering"]))
            keep(rows)
    return rows
