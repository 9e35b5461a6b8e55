"""The command cluster."""

from __future__ import annotations

import argparse
import csv
import io
from pathlib import Path
from typing import Any

MOST, PER_GROUP = 10_000, 12  # pictures that are read, and of a cluster in the sheet


class cluster:
    """Sort your own pictures into groups: a CSV with the group of each, and a sheet of pictures, a row a group.

    Groups are k-means of a trained network's features, or those of a run of a clustering method (scan, ruc, mice,
    gatcluster) itself. Group 1 is the largest. Sub-folders are not looked at for grouping; where there are any, it is
    said how well groups and sub-folders agree.

    examples:
      course cluster ~/photos --with my_run -k 12       a run of `course train`: its folder, last.pt or backbone.pt
      course cluster ~/photos --with my_clusters        a run of `course train scan`: as many groups as it has
      course cluster ~/photos --with photographs:byol -k 20 --out holiday.csv
    """

    @staticmethod
    def add_arguments(parser: argparse.ArgumentParser) -> None:
        from course_lib.cli.common import filled, seed_number

        parser.add_argument("pictures", nargs="+", type=filled, metavar="PICTURE-OR-FOLDER",
                            help="a folder of JPEG, PNG or WebP files, or several files")
        parser.add_argument("--with", dest="network", required=True, metavar="RUN",
                            help="a run's folder, its last.pt or backbone.pt, what `course export` wrote, or a learned "
                                 "network, such as vicreg or photographs:byol")
        parser.add_argument("-k", "--clusters", type=int, metavar="K", help="how many groups (default: those of a "
                            "clustering run; for other networks it has to be said)")
        parser.add_argument("--out", default="clusters.csv", metavar="FILE.csv",
                            help="the sheet is written beside it, as .png (default: %(default)s)")
        parser.add_argument("--image-size", type=int, metavar="PIXELS", help="default: as large as in training")
        parser.add_argument("--seed", type=seed_number, default=0, help="of k-means (default: %(default)s)")
        parser.add_argument("--depth", type=int, default=16, choices=range(8, 17), metavar="BITS",
                            help="bits that 16-bit PNG files use, such as 12 (default: all)")
        parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps (default: %(default)s)")

    @staticmethod
    def run(args: argparse.Namespace) -> int:
        from course_lib.cli.common import checked_out
        from course_lib.data.pictures import LARGEST, open_pictures
        from course_lib.evaluate.clusters import grouped
        from course_lib.files import write_bytes, write_text
        from course_lib.runs.networks import open_network

        out = checked_out(args.out)
        if out.suffix.lower() != ".csv":
            raise ValueError(f"--out is {args.out}; expected a name that ends in .csv (the sheet becomes a .png).")
        if args.image_size is not None and not 1 <= args.image_size <= LARGEST:
            raise ValueError(f"--image-size is {args.image_size}; expected 1 to {LARGEST} pixels.")
        drawn = out.with_suffix(".png").resolve()
        given = [Path(picture).expanduser().resolve() for picture in args.pictures]
        if drawn.exists() and any(place == drawn or place in drawn.parents for place in given):
            raise ValueError(f"{drawn} is one of the pictures, and the sheet would replace it: choose another --out.")
        model, trained_size = open_network(args.network)
        images, notes = open_pictures(args.pictures, args.image_size or trained_size, MOST, args.depth)
        groups, fit = grouped(model, images, args.clusters, args.seed, args.device)
        order = [int(i) for i in sorted(range(len(groups)), key=lambda i: (groups[i], -fit[i]))]
        text = io.StringIO()
        lines = csv.writer(text, lineterminator="\n")
        lines.writerow(["picture", "group", "fit"])
        lines.writerows([images.names[i], int(groups[i]) + 1, f"{float(fit[i]):.3f}"] for i in order)
        write_text(out, text.getvalue())
        write_bytes(out.with_suffix(".png"), sheet(images, groups, order))
        if args.clusters and len(groups.unique()) < args.clusters:
            notes.append(f"Of {args.clusters} groups {len(groups.unique())} have pictures: the others are all the same "
                         "to this network.")
        for note in [*notes, *agreement(images, groups)]:
            print(note)
        print(f"Written: {out} and {out.with_suffix('.png')}, {len(images):,} pictures in "
              f"{len(groups.unique())} groups; in the sheet those first that fit their group best.")
        return 0


def sheet(images: Any, groups: Any, order: list[int]) -> bytes:
    """A PNG: a row for each group, with its size, and the first PER_GROUP of its pictures in `order`."""
    import matplotlib.pyplot as plt

    from course_lib.plots.pictures import image_rows

    sizes, rows = groups.bincount().tolist(), {}
    for group, size in enumerate(sizes):
        members = [i for i in order if groups[i] == group][:PER_GROUP]
        if members:
            rows[f"{group + 1} ({size:,})"] = images.images[members]
    figure, held = image_rows(rows), io.BytesIO()
    figure.savefig(held, format="png", dpi=150)
    plt.close(figure)
    return held.getvalue()


def agreement(images: Any, groups: Any) -> list[str]:
    """A sentence on how well groups and sub-folders agree; none without sub-folders."""
    from course_lib.evaluate.measures import partition_scores

    if images.labels is None or len(images.labels.unique()) < 2 or len(groups.unique()) < 2:
        return []
    found = partition_scores(groups, images.labels)
    return [f"Beside the {len(images.classes)} sub-folders, which were not used: adjusted mutual information "
            f"{found['ami']:.2f} (1: the same groups, 0: as by chance)."]
