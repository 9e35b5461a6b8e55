"""The commands evaluate, embed, export and papers; `train` is in training.py."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from course_lib.cli.common import checked_out, data_arguments, measure, trained


class evaluate:
    """Measure a checkpoint: kNN, linear probe and rank, next to raw pixels and a random encoder.

    examples:
      course evaluate out/shapes
      course evaluate out/shapes --suite transfer                        (week 23's table on the run's own images)
      course evaluate out/shapes --suite transfer --data fashion-mnist   (on images that it was not trained on)
      course evaluate byol --suite transfer --data shapes                (a learned network of this course)
    """

    @staticmethod
    def add_arguments(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("checkpoint", help="a run's folder, or its last.pt; with --suite also the name of a "
                            "learned network")
        data_arguments(parser, "those of the run")
        parser.add_argument("--suite", choices=("transfer",), help="few shots, linear probe, fine-tuning with few "
                            "labels, outliers and robustness instead")
        parser.add_argument("--outliers", metavar="SET", help="with --suite: images of another kind, as --data takes "
                            "them (default: halves of two test images, put together)")
        parser.add_argument("--clusters", action="store_true", help="also k-means accuracy, NMI and ARI")
        parser.add_argument("--factors", action="store_true", help="shapes: also a probe per known cause")
        parser.add_argument("--out", metavar="FILE.json", help="also write the rows to this file")

    @staticmethod
    def run(args: argparse.Namespace) -> int:
        out = args.out = args.out and checked_out(args.out)
        if args.suite is not None:
            from course_lib.cli.suite import transfer

            return transfer(args)
        if args.outliers is not None:
            raise ValueError("--outliers belongs to --suite transfer: add it, or leave --outliers out")
        method, splits = trained(args)
        if args.factors and not splits.train.factors:
            raise ValueError("--factors is for generated images, whose causes are known: leave it out")
        rows = measure(method, splits, method.settings["method"], args.device, out,
                       clusters=args.clusters, factors=args.factors)
        for row in rows:
            if row.get("factors"):
                print(f"{row['name']:<16}" + "  ".join(f"{k} {v:.2f}" for k, v in row["factors"].items()))
        return 0


class embed:
    """Write the representation of every image: features, labels, splits and names in one .npz (no pickles)."""

    @staticmethod
    def add_arguments(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("checkpoint", help="a run's folder, or its last.pt")
        data_arguments(parser, "those of the run")
        parser.add_argument("--out", default="features.npz", metavar="FILE.npz", help="default: %(default)s")

    @staticmethod
    def run(args: argparse.Namespace) -> int:
        import numpy as np

        from course_lib.evaluate.features import embed as embed_images
        from course_lib.files import atomic

        out = checked_out(args.out)
        method, splits = trained(args)
        parts = [part for part in (splits.train, splits.validation, splits.test, splits.unlabelled) if part]
        features = np.concatenate([embed_images(method, part, device=args.device).numpy() for part in parts])
        labels = np.concatenate([part.labels.numpy() if part.labels is not None else np.full(len(part), -1)
                                 for part in parts])
        split = np.concatenate([np.full(len(part), part.split) for part in parts])
        names = np.concatenate([np.array(part.names or [""] * len(part)) for part in parts])
        with atomic(out) as file:
            np.savez(file, features=features, labels=labels, split=split, names=names,
                     classes=np.array(next((part.classes for part in parts if part.classes), [""])))
        print(f"Written: {args.out}, features {features.shape}; labels are -1 where there are none")
        return 0


class export:
    """Write a checkpoint's backbone as a plain state dict, and beside it, as JSON, what its input has to look like.

    torchvision's model loads a ResNet; the three lines that are printed (and in the JSON) turn images into features.
    """

    @staticmethod
    def add_arguments(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("checkpoint", help="a run's folder, or its last.pt")
        parser.add_argument("--out", default="backbone.pt", metavar="FILE.pt", help="default: %(default)s")
        parser.add_argument("--safetensors", action="store_true",
                            help="also FILE.safetensors (needs the package safetensors)")
        parser.add_argument("--onnx", action="store_true", help="also FILE.onnx (needs onnx and onnxscript)")

    @staticmethod
    def run(args: argparse.Namespace) -> int:
        import torch

        from course_lib.files import atomic, write_bytes, write_text
        from course_lib.train.checkpoint import export as backbone_state
        from course_lib.train.checkpoint import load_method
        from course_lib.train.exported import as_onnx, as_safetensors, sidecar

        out = checked_out(args.out)
        if out.suffix in (".json", ".safetensors", ".onnx"):
            raise ValueError(f"--out is {args.out}, which is the name of a file beside the weights: give one that ends "
                             "in .pt.")
        method = load_method(args.checkpoint)
        more = {ending: make(method) for ending, wanted, make in (
            (".safetensors", args.safetensors, as_safetensors), (".onnx", args.onnx, as_onnx)) if wanted}
        with atomic(out) as file:
            torch.save(backbone_state(method), file)
        for ending, content in more.items():
            write_bytes(out.with_suffix(ending), content)
        about = sidecar(method, str(out))
        write_text(out.with_suffix(".json"), json.dumps(about, indent=1))
        written = [str(out.with_suffix(ending)) for ending in (".json", *more)]
        print("\n".join([f"Input: {about['input']}", f"Scaling: {about['scaling']['rule']}",
                         f"Pooling: {about['pooling']}", f"Output: {about['output']}",
                         "From images, uint8 (B, 3, height, width), to features:",
                         *(f"    {line}" for line in about["recipe"]), f"Also written: {', '.join(written)}"]))
        name, size = method.settings["backbone"], method.settings["image_size"]
        stored = f"torch.load({str(out)!r}, weights_only=True)"
        options = "".join(f", {key}={value!r}" for key, value in method.settings["backbone_options"].items())
        ours = f"course_lib.models.backbones.build_backbone('{name}', {size}{options})"
        if not name.startswith("resnet"):
            how = f"{ours}.load_state_dict({stored})"
        elif method.backbone.small:  # its stem is not torchvision's
            how = f"{ours}.net.load_state_dict({stored})"
        else:
            how = f"torchvision.models.{name}().load_state_dict({stored}, strict=False)"
        print(f"Written: {out}, the weights of {name} for {size} px; load them with {how}")
        return 0


class papers:
    """Search the reading list: 115 papers by title, family, year and treatment in the course.

    With --map it becomes one HTML page to wander in: the papers by family and year, and for each a card with its idea,
    its equation, what it builds on and what the course has of it. Words, --family and --year are set there at first.

    examples:
      course papers negatives --year 2020-2021          a table of those that fit
      course papers --map                               all of them, in papers.html
      course papers --family masked --map masked.html   with a filter set, which the page can take away again
      course papers --where mochi                       its file, lesson, stored run or network, and test
      course papers clustering --where                  the same of all that fit
    """

    @staticmethod
    def add_arguments(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("search", nargs="*", metavar="WORD", help="words that must occur in title, venue or idea")
        parser.add_argument("--family", help="contrastive, non-contrastive, masked, clustering, ...")
        parser.add_argument("--year", help="a year, 2020, or a range, 2019-2021")
        parser.add_argument("--treatment", help="in the course: implement, 'reproduce small' or read")
        parser.add_argument("--ideas", action="store_true", help="add a sentence and the addresses of each")
        parser.add_argument("--where", nargs="?", const="", metavar="KEY",
                            help="where the course has the paper with this key, or those that fit: file, lesson, "
                            "stored run or network, test")
        parser.add_argument("--map", nargs="?", const="papers.html", metavar="FILE.html",
                            help="write the map of all papers as a page that needs no network (default: papers.html)")

    @staticmethod
    def run(args: argparse.Namespace) -> int:
        from course_lib.papers import load_papers, search, table

        if args.map is not None:
            return papers._map(args)
        everything = load_papers()
        if args.where:
            return papers._where([paper for paper in everything if paper.key == args.where], args.where)
        found = search(" ".join(args.search), args.family, args.year, args.treatment, everything)
        if not found:
            print(f"None of the {len(everything)} papers fits. Try fewer words, or leave out --family, --year.")
            return 1
        if args.where is not None:
            return papers._where(found)
        print(table(found, ideas=args.ideas or len(found) <= 3))  # whoever searches for one paper wants its address
        print(f"\n{len(found)} of {len(everything)} papers")
        return 0

    @staticmethod
    def _where(found: list, key: str = "") -> int:
        from course_lib.runs.reading import where
        from course_lib.text import text_table

        if not found:
            raise ValueError(f"no paper has the key {key!r}; `course papers WORD --where` finds by words")
        for paper in found:
            print(f"{paper.key}: {paper.title} ({paper.venue} {paper.year})")
            has = where(paper)
            if any(has.values()):
                print(text_table([["", name, value or "-"] for name, value in has.items()]))
            else:
                print(f"  to read: {paper.url}")
        return 0

    @staticmethod
    def _map(args: argparse.Namespace) -> int:
        from course_lib.files import write_text
        from course_lib.notebook.papers_map import explore_papers

        if Path(args.map).suffix.lower() not in (".html", ".htm"):
            raise ValueError(f"--map is {args.map}; expected a file that ends in .html. Words to search for come "
                             f"first: course papers {args.map} --map")
        if args.treatment or args.ideas:
            raise ValueError("--map shows all papers with their cards, and has filters of its own: leave out "
                             "--treatment and --ideas.")
        made = explore_papers(word=" ".join(args.search), family=args.family, year=args.year)
        write_text(Path(args.map).expanduser(), made.html())
        print(f"Written: {args.map}, {len(made.data['papers'])} papers; open it in a browser, it needs no network.")
        return 0
