"""The commands train, evaluate, embed, export and papers."""

from __future__ import annotations

import argparse
import json
import os
import time
from contextlib import suppress
from pathlib import Path

SETS = "shapes, cifar10, stl10, fashion-mnist, or the path of a folder of JPEG, PNG or WebP files"


def _data_arguments(parser: argparse.ArgumentParser, default: str | None = "shapes") -> None:
    parser.add_argument("--data", default=default, required=default is None, metavar="SET", help=SETS)
    parser.add_argument("--image-size", type=int, metavar="PIXELS", help="resize to this (default: the set's own)")
    parser.add_argument("--limit", type=int, metavar="N", help="at most N images per split")
    parser.add_argument("--data-root", metavar="FOLDER", help="where downloads and caches live (or $COURSE_DATA)")
    parser.add_argument("--stream", action="store_true",
                        help="read each batch from disk (default: only if the images do not fit into memory)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps (default: %(default)s)")
    parser.add_argument("--threads", metavar="N", help="CPU threads (default: $COURSE_THREADS, else auto: all, or "
                        "fewer while other programs keep cores busy)")


def _load(args: argparse.Namespace, size: int | None = None):
    """The splits; under torchrun one process per machine downloads and decodes, and the others read the result."""
    from course_lib.data.loading import load
    from course_lib.threads import VARIABLE, requested_threads
    from course_lib.train.ranks import download_once_per_machine

    if args.threads is not None:  # for everything this process computes, not only training
        os.environ[VARIABLE] = str(requested_threads(args.threads) or "auto")
    return download_once_per_machine(lambda first: load(args.data, size=args.image_size or size, root=args.data_root,
                                                        limit=args.limit, progress=first, stream=args.stream or None))


def _options(pairs: list[str]) -> dict:
    """["covariance=4", "stem=32,64", "pool=mean"] -> {name: number, list of numbers, or text}."""
    found = {}
    for pair in pairs:
        name, given, text = pair.partition("=")
        if not given:
            raise ValueError(f"--set and --backbone-set expect NAME=VALUE, such as covariance=4, got {pair!r}")
        found[name] = text
        with suppress(ValueError):
            found[name] = json.loads(f"[{text}]" if "," in text and text[0] not in "[{" else text)
    return found


class train:
    """Train a method on images: writes last.pt, backbone.pt, metrics.csv and results.json into the out folder.

    examples:
      course train vicreg --data shapes --seconds 60 --out out/shapes
      course train spark --data ~/photos --image-size 96 --backbone resnet18 --epochs 100 --out out/photos
      course train vicreg --data ~/photos --out out/photos --epochs 100 --resume     (continues where it stopped)
      torchrun --nproc-per-node 4 -m course_lib train vicreg --data cifar10 ...      (one process per GPU)
    """

    @staticmethod
    def add_arguments(parser: argparse.ArgumentParser) -> None:
        from course_lib.methods import METHODS
        from course_lib.models.backbones import BACKBONES
        from course_lib.optim import OPTIMIZERS

        parser.add_argument("method", choices=sorted(METHODS))
        _data_arguments(parser)
        parser.add_argument("--backbone", default="convnet", choices=BACKBONES, help="default: %(default)s, for CPUs")
        length = parser.add_mutually_exclusive_group()
        length.add_argument("--epochs", type=float, help="passes over the images (default: 10)")
        length.add_argument("--steps", type=int, help="optimizer steps")
        length.add_argument("--seconds", type=float, help="as many steps as fit into this time")
        parser.add_argument("--batch-size", type=int, help="images per update (default: the method's, mostly 256)")
        parser.add_argument("--accumulate", type=int, help="compute a batch in this many parts, to save memory")
        parser.add_argument("--optimizer", choices=OPTIMIZERS,
                            help="default: the method's, with its lr, weight decay and warm-up")
        parser.add_argument("--lr", type=float, help="learning rate")
        parser.add_argument("--weight-decay", type=float)
        parser.add_argument("--warmup", type=float, help="fraction of the steps (default: 0.1)")
        parser.add_argument("--clip", type=float, help="maximum gradient norm")
        parser.add_argument("--precision", default="auto", choices=("auto", "float32", "bfloat16", "float16"))
        parser.add_argument("--seed", type=int, default=0)
        parser.add_argument("--compile", action="store_true", help="torch.compile the step")
        parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", dest="options",
                            help="an option of the method, such as covariance=4 or mask_ratio=0.75; may be repeated")
        parser.add_argument("--backbone-set", action="append", default=[], metavar="NAME=VALUE",
                            dest="backbone_options",
                            help="an option of the backbone, such as patch=4 or, of a ViT, stem=32,64; may be repeated")
        parser.add_argument("--out", metavar="FOLDER", help="default: out/METHOD-SET")
        parser.add_argument("--resume", action="store_true", help="continue from last.pt in the out folder")
        parser.add_argument("--no-evaluate", action="store_true", help="stop after training")
        parser.add_argument("--record", metavar="ID", help="also store the run in lessons/runs under this name")

    @staticmethod
    def run(args: argparse.Namespace) -> int:
        import torch

        from course_lib.files import write_text
        from course_lib.methods import build_method, method_class
        from course_lib.methods.base import ReconstructionMethod
        from course_lib.train.loop import fit
        from course_lib.train.ranks import join
        from course_lib.train.settings import Settings

        rank = join()
        if args.epochs is None and args.steps is None and args.seconds is None:
            args.epochs = 10
        splits = _load(args)
        images = splits.unlabelled if splits.unlabelled is not None else splits.train
        cls = method_class(args.method)
        settings = Settings.resolve(cls, optimizer=args.optimizer, lr=args.lr, weight_decay=args.weight_decay,
                                    batch_size=args.batch_size, warmup=args.warmup, clip=args.clip,
                                    accumulate=args.accumulate)
        options = {**(cls.shapes_options if args.data == "shapes" else {}), **_options(args.options)}
        torch.manual_seed(args.seed)
        method = build_method(args.method, args.backbone, images.size, backbone_options=_options(args.backbone_options),
                              **options)
        out = Path(args.out or f"out/{args.method}-{Path(args.data).name}")
        if (out / "last.pt").exists() and not args.resume:
            raise ValueError(f"{out} already holds a run: add --resume to continue it, or choose another --out")
        if rank == 0:
            print(images.describe())
        history = fit(method, images, epochs=args.epochs, steps=args.steps, seconds=args.seconds, **settings.record(),
                      precision=args.precision, device=args.device, seed=args.seed, compile=args.compile,
                      stream=args.stream or None, out=out, resume=args.resume)
        if rank:
            return 0
        print(f"{history!r}\nWritten: {out / 'last.pt'}, backbone.pt, metrics.csv")
        if args.no_evaluate or history.interrupted:
            return 0
        rows = _score(method, splits, args.method, args.device)
        if isinstance(method, ReconstructionMethod) and method.pixels and not method.normalized:
            from course_lib.evaluate.reconstruction import hidden_errors

            errors = hidden_errors(method, splits.test, args.seed, args.method)
            rows[0]["hidden_error"] = errors
            print("squared error on hidden pixels over their variance: "
                  + ", ".join(f"{name} {value:.3f}" for name, value in errors.items()))
        write_text(out / "results.json", json.dumps({"rows": rows, "steps": history.steps,
                                                     "seconds": history.seconds}, indent=1))
        if args.record:
            from course_lib.runs.stored import record_run

            stored = record_run(args.record, method, splits, history, rows, {**vars(args), **settings.record()})
            print(f"Stored: {stored}")
        return 0


class evaluate:
    """Measure a checkpoint: kNN, linear probe and rank, next to raw pixels and a random encoder."""

    @staticmethod
    def add_arguments(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("checkpoint", help="a last.pt that `course train` wrote")
        _data_arguments(parser)
        parser.add_argument("--clusters", action="store_true", help="also k-means accuracy, NMI and ARI")
        parser.add_argument("--factors", action="store_true", help="shapes: also a probe per known cause")
        parser.add_argument("--out", metavar="FILE.json", help="also write the rows to this file")

    @staticmethod
    def run(args: argparse.Namespace) -> int:
        from course_lib.files import write_text
        from course_lib.train.checkpoint import load_method

        method = load_method(args.checkpoint)
        splits = _load(args, method.settings["image_size"])
        rows = _score(method, splits, method.settings["method"], args.device, clusters=args.clusters,
                      factors=args.factors)
        for row in rows:
            if row.get("factors"):
                print(f"{row['name']:<16}" + "  ".join(f"{k} {v:.2f}" for k, v in row["factors"].items()))
        if args.out:
            write_text(Path(args.out), json.dumps({"rows": rows}, indent=1))
        return 0


class embed:
    """Write the representation of every image: features, labels, splits and names in one .npz (no pickles)."""

    @staticmethod
    def add_arguments(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("checkpoint", help="a last.pt that `course train` wrote")
        _data_arguments(parser)
        parser.add_argument("--out", default="features.npz", metavar="FILE.npz", help="default: %(default)s")

    @staticmethod
    def run(args: argparse.Namespace) -> int:
        import numpy as np

        from course_lib.evaluate.features import embed as embed_images
        from course_lib.files import atomic
        from course_lib.train.checkpoint import load_method

        method = load_method(args.checkpoint)
        splits = _load(args, method.settings["image_size"])
        parts = [part for part in (splits.train, splits.validation, splits.test, splits.unlabelled) if part]
        features = np.concatenate([embed_images(method, part, device=args.device).numpy() for part in parts])
        labels = np.concatenate([part.labels.numpy() if part.labels is not None else np.full(len(part), -1)
                                 for part in parts])
        split = np.concatenate([np.full(len(part), part.split) for part in parts])
        names = np.concatenate([np.array(part.names or [""] * len(part)) for part in parts])
        with atomic(Path(args.out)) as file:
            np.savez(file, features=features, labels=labels, split=split, names=names,
                     classes=np.array(parts[0].classes or [""]))
        print(f"Written: {args.out}, features {features.shape}; labels are -1 where there are none")
        return 0


class export:
    """Write a checkpoint's backbone as a plain state dict; torchvision's model loads a ResNet for large images."""

    @staticmethod
    def add_arguments(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("checkpoint", help="a last.pt that `course train` wrote")
        parser.add_argument("--out", default="backbone.pt", metavar="FILE.pt", help="default: %(default)s")

    @staticmethod
    def run(args: argparse.Namespace) -> int:
        import torch

        from course_lib.files import atomic
        from course_lib.train.checkpoint import export as backbone_state
        from course_lib.train.checkpoint import load_method

        method = load_method(args.checkpoint)
        with atomic(Path(args.out)) as file:
            torch.save(backbone_state(method), file)
        name, size = method.settings["backbone"], method.settings["image_size"]
        stored = f"torch.load('{args.out}', weights_only=True)"
        options = "".join(f", {key}={value!r}" for key, value in method.settings["backbone_options"].items())
        ours = f"course_lib.models.backbones.build_backbone('{name}', {size}{options})"
        if not name.startswith("resnet"):
            how = f"{ours}.load_state_dict({stored})"
        elif method.backbone.small:  # its stem is not torchvision's
            how = f"{ours}.net.load_state_dict({stored})"
        else:
            how = f"torchvision.models.{name}().load_state_dict({stored}, strict=False)"
        print(f"Written: {args.out}, the weights of {name} for {size} px; load them with {how}")
        return 0


class papers:
    """Search the reading list: 115 papers by title, family, year and treatment in the course."""

    @staticmethod
    def add_arguments(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("search", nargs="*", metavar="WORD", help="words that must occur in title, venue or idea")
        parser.add_argument("--family", help="contrastive, non-contrastive, masked, clustering, ...")
        parser.add_argument("--year", help="a year, 2020, or a range, 2019-2021")
        parser.add_argument("--treatment", help="in the course: implement, 'reproduce small' or read")
        parser.add_argument("--ideas", action="store_true", help="add a sentence and the addresses of each")

    @staticmethod
    def run(args: argparse.Namespace) -> int:
        from course_lib.papers import load_papers, search, table

        everything = load_papers()
        found = search(" ".join(args.search), args.family, args.year, args.treatment, everything)
        if not found:
            print(f"None of the {len(everything)} papers fits. Try fewer words, or leave out --family, --year.")
            return 1
        print(table(found, ideas=args.ideas or len(found) <= 3))  # whoever searches for one paper wants its address
        print(f"\n{len(found)} of {len(everything)} papers")
        return 0


# ------------------------------------------------------------------------------------------------ details
def _score(method, splits, name: str, device: str, **options) -> list[dict]:
    from course_lib.evaluate.scoring import score, table

    began = time.perf_counter()
    rows = score(method, splits, name=name, device=device, **options)
    print(table(rows))
    print(f"(test images, last step; probe settings picked on validation; {time.perf_counter() - began:.0f} s)")
    return rows
