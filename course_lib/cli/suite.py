"""`course evaluate --suite transfer`: week 23's table for any network and any images."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

LABELS, EPOCHS, OUTLIERS = 800, 20, 1000


def transfer(args: argparse.Namespace) -> int:
    """Print the table of `evaluate.suite`; with --out, each row is in that file (JSON) once it is measured."""
    from torch import nn

    from course_lib.data.images import Splits
    from course_lib.evaluate.suite import ATTACK, ATTACKED, TRAINED, transfer_rows, transfer_table
    from course_lib.files import write_text
    from course_lib.train.tuning import fine_tune

    if args.clusters or args.factors:
        raise ValueError("--clusters and --factors are not in the suite: run `course evaluate` without --suite for "
                         "them")
    model, name, splits = opened(args)
    for part in (splits.train, splits.validation, splits.test):
        if not len(part) or part.labels is None or len(part.labels.unique()) < 2:
            raise ValueError(f"{part.split or 'a split'} has no labelled images of two classes or more, which the "
                             "suite needs: name other images with --data")
    outliers = others(args, splits)
    began, rows = time.perf_counter(), []

    def tuned(encoder: nn.Module, images: Splits) -> float:
        body = getattr(encoder, "evaluated", encoder)
        return fine_tune(body, images, epochs=EPOCHS, limit=LABELS, batch_size=64, device=args.device).accuracy

    def keep(found: list[dict]) -> None:
        rows[:] = found
        if args.out:
            write_text(Path(args.out), json.dumps({"data": splits.train.name, "outliers": outliers.name, "rows": rows},
                                                  indent=1))

    try:
        transfer_rows(model, splits, outliers, name=name, fine_tune=tuned, device=args.device, watch=keep)
    finally:
        if rows:  # also of a measurement that broke off
            trained_on, labelled = (min(most, len(splits.train)) for most in (TRAINED, LABELS))
            episodes = ("few shots: ± 95 % over 600 episodes of test images; " if any("few_1" in row for row in rows)
                        else "")  # too few test images of a class
            print(f"{splits.train.name}: {trained_on:,} training images, {len(splits.test):,} test images\n"
                  f"{transfer_table(rows)}\n"
                  f"{episodes}fine-tuned: {labelled:,} labels, {EPOCHS} epochs; "
                  f"outliers: {len(outliers):,} {outliers.name}; PGD: {min(ATTACKED, len(splits.test)):,} test images, "
                  f"{max(ATTACK['steps'])} steps of {255 * ATTACK['step']:g}/255 within "
                  f"{255 * ATTACK['epsilon']:g}/255, {ATTACK['restarts']} restart, linear head\n"
                  f"(last step; {time.perf_counter() - began:.0f} s)")
    return 0


def opened(args: argparse.Namespace):
    """The network of args.checkpoint, its name, and the splits: of a run, or a learned network by name."""
    from course_lib.cli.common import load_images, trained
    from course_lib.runs.networks import open_network

    if Path(args.checkpoint).expanduser().exists():
        method, splits = trained(args)
        return method, str(method.settings["method"]), splits
    model, size = open_network(args.checkpoint)
    args.data = args.data or "shapes"
    return model, str(args.checkpoint), load_images(args, size)


def others(args: argparse.Namespace, splits):
    """Outliers of the size of the images, at most OUTLIERS: halves of two test images, or those of --outliers."""
    from course_lib.data.loading import load
    from course_lib.evaluate.outliers import spliced

    if args.outliers is None:
        return spliced(splits.test, OUTLIERS)
    found = load(args.outliers, size=splits.test.size, root=args.data_root, limit=OUTLIERS).test
    if not len(found):
        raise ValueError(f"--outliers takes the test images of {args.outliers}, and there are none: name a larger set")
    return found
