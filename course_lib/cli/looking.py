"""The command look."""

from __future__ import annotations

import argparse
from html import escape
from pathlib import Path
from typing import Any

MAP, FEW, LEAST = 500, 12, 4   # pictures in the map, with attention and patches, and from how many a map says something
CSS = """body { font: 15px/1.5 system-ui, sans-serif; margin: 1.5rem auto; max-width: 1100px; padding: 0 1rem }
h1 { font-size: 22px } h2 { font-size: 17px; margin: 1.6em 0 .3em } p { margin: .3em 0; max-width: 50em }
footer { margin-top: 2em; font-size: 13px }"""


class look:
    """Show your own pictures as a trained network sees them: one HTML page, which needs no network.

    A map of the pictures by their features with the nearest neighbours of each; for some of them which places are alike
    to the network, the colours of its components and, where it is a vision transformer, its attention.

    examples:
      course look ~/photos --with my_run                a run of `course train`: its folder, last.pt or backbone.pt
      course look cat.jpg dog.jpg --with photographs:mae --out animals.html
      course look ~/photos --with vicreg                a network that the lessons look into
    """

    @staticmethod
    def add_arguments(parser: argparse.ArgumentParser) -> None:
        from course_lib.cli.common import filled

        parser.add_argument("pictures", nargs="+", type=filled, metavar="PICTURE-OR-FOLDER",
                            help="a folder of JPEG, PNG or WebP files (sub-folders are classes), or one or more files")
        parser.add_argument("--with", dest="network", required=True, metavar="RUN",
                            help="a run's folder, its last.pt or backbone.pt, what `course export` wrote, or a learned "
                                 "network, such as vicreg or photographs:mae")
        parser.add_argument("--out", default="look.html", metavar="FILE.html", help="default: %(default)s")
        parser.add_argument("--image-size", type=int, metavar="PIXELS", help="make the pictures this large (default: "
                            "as large as in training); larger ones have more places")
        parser.add_argument("--depth", type=int, default=16, choices=range(8, 17), metavar="BITS",
                            help="bits that 16-bit PNG files use, such as 12 (default: all)")
        parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps (default: %(default)s)")

    @staticmethod
    def run(args: argparse.Namespace) -> int:
        from course_lib.cli.common import checked_out
        from course_lib.data.pictures import LARGEST, open_pictures
        from course_lib.files import write_text
        from course_lib.runs.networks import open_network

        if args.image_size is not None and not 1 <= args.image_size <= LARGEST:
            raise ValueError(f"--image-size is {args.image_size}; expected 1 to {LARGEST} pixels.")
        out = checked_out(args.out)
        model, trained_size = open_network(args.network)
        images, notes = open_pictures(args.pictures, args.image_size or trained_size, MAP, args.depth)
        html, more = page(model, images, str(args.network), args.device)
        write_text(out, html)
        for note in [*notes, *more]:
            print(note)
        print(f"Written: {args.out}, {len(images):,} picture{'s' * (len(images) > 1)} of {images.size} x {images.size} "
              "pixels; open it in a browser, it needs no network.")
        return 0


def page(model: Any, images: Any, network: str, device: str = "auto") -> tuple[str, list[str]]:
    """The HTML of an ImageSet under a model, and sentences about what is not in it.

    ValueError for a network without places.
    """
    import numpy as np

    from course_lib.evaluate.features import embed
    from course_lib.methods.base import Method
    from course_lib.notebook.embedding_map import explore_embedding
    from course_lib.notebook.pages import Part, offline_page
    from course_lib.notebook.places import places

    count = len(images)
    some = np.unique(np.linspace(0, count - 1, min(FEW, count)).round().astype(int)).tolist()
    names = [images.names[i] for i in some]
    found, notes = places(model, images.images[some], names)
    title = f"{images.name} as {network} sees {'them' if count > 1 else 'it'}"
    settings = model.settings if isinstance(model, Method) else {}
    about = f"{type(model).title}, {settings['backbone']}" if settings.get("backbone") else type(model).__name__
    parts: list[Part | str] = [f"<h1>{escape(title)}</h1><p>{escape(about)}; pictures of {images.size} × {images.size} "
                               "pixels, cut square, which is all that the network gets of them.</p>"]
    if not Path(network).expanduser().exists() and not network.startswith("photographs:"):
        parts.append("<p>This network has seen generated shapes only: on photographs, expect colours and edges rather "
                     "than things.</p>")
    if count >= LEAST:
        made = explore_embedding(embed(model, images, device=device), images, k=min(8, count - 1))
        follow = (f"state => {{ const at = {some[: len(found['names'])]}.indexOf(state.picked); "
                  "if (at >= 0) window.places.set({ picture: at }); }")
        parts += ["<h2>The pictures by their features</h2>", made.part(follow)]
    elif count > 1:
        notes.append(f"A map needs {LEAST} pictures or more; these are {count}.")
    head = "Places and attention" if found["attention"] else "Places"
    few = f"Of {len(found['names'])} of the {count:,} pictures. " if len(found["names"]) < count else ""
    parts += [f"<h2>{head}</h2><p>{few}Click a place in any picture to ask for it, or use the arrow keys.</p>",
              Part("places", found, "window.places = draw(element, data);"),
              "<footer>Colours and maps show what the network's features have in common, not what an answer depends on."
              "</footer>"]
    if few:
        notes.append(f"Attention and patches: of {len(found['names'])} pictures, spread over all.")
    return offline_page(title, *parts, css=CSS), notes
