"""The command train."""

from __future__ import annotations

import argparse
import json
import os
import sys
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from course_lib.cli.common import data_arguments, filled, load_images, measure, seed_number
from course_lib.cli.processes import start_processes
from course_lib.cli.resuming import FREE, LENGTH, found, place, refuse_another
from course_lib.models.backbones import options_of
from course_lib.text import counted

DEFAULTS = {"backbone": "convnet", "precision": "auto", "seed": 0}  # None until then: a resumed run has its own
PYTHONS = {"True": True, "False": False, "None": None}  # as the help shows defaults


def parsed(pairs: list[str]) -> dict:
    """["covariance=4", "stem=32,64", "pool=mean"] -> {name: number, list of numbers, or text}."""
    found: dict[str, Any] = {}
    for pair in pairs:
        name, given, text = pair.partition("=")
        if not given:
            raise ValueError(f"--set and --backbone-set expect NAME=VALUE, such as covariance=4, got {pair!r}")
        found[name] = PYTHONS.get(text, text)
        with suppress(ValueError):
            found[name] = json.loads(f"[{text}]" if "," in text and text[0] not in "[{" else text)
    return found


class train:
    """Train a method on images: writes last.pt, backbone.pt, metrics.csv and results.json into the out folder.

    examples:
      course train vicreg --data shapes --seconds 60 --out out/shapes
      course train spark --data ~/photos --image-size 96 --backbone resnet18 --epochs 100 --out out/photos
      course train --resume --out out/photos                    (goes on where it stopped, with the same settings)
      course train --resume --more-epochs 50 --out out/photos   (after its end, with a new schedule)
      course train vicreg --data cifar10 --processes 4 ...      (one process per GPU)

    `course train METHOD --help` also lists the options of that method, for --set.
    """

    @staticmethod
    def add_arguments(parser: argparse.ArgumentParser) -> None:
        from course_lib.methods import METHODS
        from course_lib.models.backbones import BACKBONES
        from course_lib.optim import OPTIMIZERS

        parser.add_argument("method", nargs="?", choices=sorted(METHODS), help="may be left out with --resume")
        data_arguments(parser)
        parser.add_argument("--backbone", choices=BACKBONES, help=f"default: {DEFAULTS['backbone']}, for CPUs")
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
        parser.add_argument("--precision", choices=("auto", "float32", "bfloat16", "float16"),
                            help=f"default: {DEFAULTS['precision']}")
        parser.add_argument("--seed", type=seed_number, help=f"default: {DEFAULTS['seed']}")
        parser.add_argument("--compile", action="store_true", help="torch.compile the step")
        parser.add_argument("--weights", metavar="FILE", help="begin with a trained backbone: backbone.pt of a run, "
                            "or its folder, with the same --backbone and image size")
        parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", dest="options",
                            help="an option of the method, such as covariance=4 or mask_ratio=0.75; may be repeated")
        parser.add_argument("--backbone-set", action="append", default=[], metavar="NAME=VALUE",
                            dest="backbone_options",
                            help="an option of the backbone, such as patch=4 or, of a ViT, stem=32,64; may be repeated")
        parser.add_argument("--out", type=filled, metavar="FOLDER", help="default: out/METHOD-SET")
        parser.add_argument("--resume", action="store_true", help="continue from last.pt in the out folder; what is "
                            "not given is as it was when the run began")
        parser.add_argument("--more-epochs", type=float, metavar="N",
                            help="with --resume: train a finished run for N more epochs, with a new schedule")
        parser.add_argument("--no-evaluate", action="store_true", help="stop after training")
        parser.add_argument("--record", metavar="ID", help="also store the run in lessons/runs under this name")
        parser.add_argument("--processes", type=int, metavar="N", help="on N GPUs of this machine, a process each")
        methods = [word for word in sys.argv[1:] if word in METHODS]
        if methods:
            parser.epilog = options_text(methods[0])

    @staticmethod
    def run(args: argparse.Namespace) -> int:
        from shlex import quote

        import torch

        from course_lib.data.loading import known_set
        from course_lib.evaluate.scoring import missing_lines, unmeasurable
        from course_lib.files import refusal, write_text
        from course_lib.methods import build_method, method_class
        from course_lib.methods.base import ClusteringMethod, ReconstructionMethod
        from course_lib.runs.sources import begun
        from course_lib.runs.stored import check_record, record_run
        from course_lib.train.checkpoint import MALFORMED, CheckpointError, load_backbone, refuse, shaped
        from course_lib.train.loop import fit
        from course_lib.train.ranks import join, leave
        from course_lib.train.settings import Settings

        named = args.data is not None or args.limit is not None  # the images, also where a run goes on
        args.data = args.data and (known_set(args.data) or args.data)
        before = found(args, arguments())
        if args.processes is not None and "TORCHELASTIC_RUN_ID" not in os.environ:  # not in those that it started
            return start_processes(args.processes)
        if args.more_epochs is not None:
            args.epochs, args.steps, args.seconds = args.more_epochs, None, None
        rank = join(args.device)
        if args.method is None:
            raise ValueError("name a METHOD to train, such as vicreg; or go on with a run: --resume --out FOLDER")
        if args.record and args.no_evaluate:
            raise ValueError("--record stores runs with all their scores: leave out --no-evaluate")
        cls, asked = method_class(args.method), parsed(args.options)
        networks = {} if before else begin_with(args, asked)
        if networks:
            refuse_another(args)  # in the folder of the images that they bring
        args.data = args.data or "shapes"
        for name, value in DEFAULTS.items():
            if getattr(args, name) is None:
                setattr(args, name, value)
        if all(getattr(args, name) is None for name in LENGTH):
            args.epochs = 10
        settings = Settings.resolve(cls, optimizer=args.optimizer, lr=args.lr, weight_decay=args.weight_decay,
                                    batch_size=args.batch_size, warmup=args.warmup, clip=args.clip,
                                    accumulate=args.accumulate)
        if why := refusal(place(args)):
            raise ValueError(f"{place(args)} cannot be written ({why}): choose another place with --out.")
        splits = load_images(args)
        if not len(splits.train) and not args.no_evaluate:
            raise ValueError("train has no images, and the evaluation needs some: give more pictures, or --no-evaluate")
        if issubclass(cls, ClusteringMethod) and "clusters" not in asked and len(splits.train.classes) > 1 and not any(
                isinstance(network, ClusteringMethod) for network in networks.values()):
            args.options = [*args.options, f"clusters={len(splits.train.classes)}"]  # for a resumed run too
        options = on_shapes(cls, parsed(args.options)) if args.data == "shapes" else parsed(args.options)
        images = splits.train if splits.unlabelled is None or cls.needs_labels else splits.unlabelled
        args.image_size = images.size
        torch.manual_seed(args.seed)
        try:
            method = begun(args.method, networks, images.size, options) if networks else build_method(
                args.method, args.backbone, images.size, backbone_options=parsed(args.backbone_options), **options)
        except (TypeError, AttributeError, LookupError, ArithmeticError, AssertionError, RuntimeError) as error:
            pairs = [*(f"--set {pair}" for pair in args.options),
                     *(f"--backbone-set {pair}" for pair in args.backbone_options)]
            if not pairs:
                raise
            raise ValueError(f"{args.method} cannot be built with {' '.join(pairs)} ({type(error).__name__}: {error}); "
                             f"`course train {args.method} --help` lists its options.") from error
        if args.weights and before is None:
            load_backbone(args.weights, alone(method))
        method.settings["run"] = {name: value for name, value in vars(args).items() if name not in FREE}
        if not known_set(args.data):  # a folder, found again from wherever the run goes on
            method.settings["run"]["data"] = str(Path(args.data).expanduser().resolve())
        out = place(args)
        if args.more_epochs is not None:
            assert before is not None  # `found` saw to it
            seen = {"images": len(images), "checksum": images.checksum()} if named else {}  # its own may have grown
            refuse(out, shaped(before, method) + [(key, before.get(key, value), value) for key, value in seen.items()])
            try:
                method.load_state_dict(before["method"])
            except MALFORMED as error:
                raise CheckpointError(f"{out} does not hold a whole {cls.__name__}, or one of another version of the "
                                      f"course ({type(error).__name__})") from error
        missing = unmeasurable(splits)
        if rank == 0:
            print("\n".join([images.describe(), *([] if args.no_evaluate else missing_lines(missing))]))
        if args.record and missing:
            raise ValueError(f"--record stores runs with all their scores. {' '.join(missing_lines(missing))}")
        if args.record:
            check_record(args.record, splits.train.name, vars(args))
        if rank == 0 and before and before["step"] == before["total_steps"]:
            print(f"{out} holds a finished run, {before['step']} steps. " + (
                f"It is trained for {counted(args.more_epochs, 'more epoch')} with a new schedule: the learning rate "
                "warms up and decays again." if args.more_epochs is not None else "--more-epochs N trains it further."))
        history = fit(method, images, epochs=args.epochs, steps=args.steps, seconds=args.seconds, **settings.record(),
                      precision=args.precision, device=args.device, seed=args.seed, compile=args.compile,
                      stream=args.stream or None, out=out, resume=args.resume and args.more_epochs is None)
        leave()
        if rank:
            return 0
        print(f"{history!r}\nWritten: {out / 'last.pt'}, backbone.pt, metrics.csv")
        if history.interrupted:
            print(f"`course train --resume --out {quote(str(out))}` goes on from here.")
        if args.no_evaluate or history.interrupted:
            return 0
        rows = measure(method, splits, args.method, args.device, out / "results.json")
        if isinstance(method, ReconstructionMethod) and method.pixels and not method.normalized and len(splits.test):
            from course_lib.evaluate.reconstruction import hidden_errors

            errors = hidden_errors(method, splits.test, args.seed, args.method)
            rows[0]["hidden_error"] = errors
            print("squared error on hidden pixels over their variance: "
                  + ", ".join(f"{name} {value:.3f}" for name, value in errors.items()))
        write_text(out / "results.json", json.dumps({"data": splits.train.name, "rows": rows, "steps": history.steps,
                                                     "seconds": history.seconds}, indent=1))
        if args.record:
            stored = record_run(args.record, method, splits, history, rows, {**vars(args), **settings.record()})
            print(f"Stored: {stored}")
        return 0


# ------------------------------------------------------------------------------------------------ details
def arguments() -> argparse.ArgumentParser:
    """A parser of the arguments alone."""
    parser = argparse.ArgumentParser()
    train.add_arguments(parser)
    return parser


def begin_with(args: argparse.Namespace, options: dict) -> dict:
    """The trained networks that the options name, read; the backbone is the first one's.

    So are, where nothing else is asked for, the images and their size.
    """
    from course_lib.runs.sources import sources_of

    networks = sources_of(args.method, options)
    for option, network in list(networks.items())[:1]:
        settings = network.settings
        if args.backbone_options or args.backbone not in (None, settings["backbone"]):
            raise ValueError(f"the backbone is that of {option}={options[option]}, {settings['backbone']}: leave out "
                             "--backbone and --backbone-set")
        args.backbone = settings["backbone"]
        args.backbone_options = [f"{name}={json.dumps(value)}" for name, value in settings["backbone_options"].items()]
        args.image_size = settings["image_size"] if args.image_size is None else args.image_size
        run = settings.get("run") or {}
        for name in ("data", "limit", "depth") if args.data is None else ():
            setattr(args, name, run.get(name) if getattr(args, name) is None else getattr(args, name))
    return networks


def alone(method: Any) -> Any:
    """The backbone of a method, to be given weights. ValueError for a method that has made a copy of it already."""
    from course_lib.models.teacher import EMA

    if any(isinstance(module, EMA) for module in method.modules()) or method.evaluated is not method.backbone:
        raise ValueError(f"{type(method).__name__} has a second encoder, a copy of its backbone as it was built, which "
                         "--weights would leave behind: begin with a method without one, such as simclr or lenses")
    return method.backbone


def on_shapes(cls: Any, options: dict) -> dict:
    """A method's options with those that suit the generated images; single fields of the views change only those."""
    suited = dict(cls.shapes_options)
    for key in suited.keys() & options.keys():
        if isinstance(options[key], dict):
            options[key] = {**asdict(suited[key]), **options[key]}
    return {**suited, **options}


def options_text(name: str) -> str:
    """The options of a method for --set, with their defaults, and what they mean: its class's docstring."""
    import inspect

    from course_lib.methods import method_class

    cls = method_class(name)
    defaults = [f"  {option}={'' if p.default is p.empty else p.default}" for option, p in options_of(cls).items()]
    recipe = ", ".join(f"{key} {value}" for key, value in cls.recipe.items()) or "the common one"
    return "\n".join([f"options of {name} for --set, with defaults (its recipe: {recipe}):", *defaults, "",
                      inspect.getdoc(cls) or ""])
