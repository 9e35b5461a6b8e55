"""Other renderings of the generated shapes: one cause that moves, and several objects in one picture, to count."""

from __future__ import annotations

import torch
from torch import Tensor

from course_lib.data.images import ImageSet
from course_lib.data.shapes import CLASSES, draw_causes, object_masks, render

MOST = 5
CELLS, SHIFT, RADIUS = 3, 0.06, (0.22, 0.28)  # objects stand in the cells of a 3 x 3 grid, a little off their middles


# an image of the generator in which nothing is extreme
USUAL = dict(hue=0.0, size=0.5, pos_x=-0.2, pos_y=0.0, angle=0.2, background=3.0, texture=0.0, lighting=0.0, phase=0.0)


def one_cause_moves(cause: str, low: float, high: float, shape: str, steps: int = 8) -> Tensor:
    """Images of `shape` whose cause goes from low to high in equal steps, then every shape at low: uint8.

    (steps + classes, 3, 32, 32). All other causes are `USUAL`. ValueError for a cause or a shape that there is not.
    """
    if cause not in USUAL or shape not in CLASSES:
        raise ValueError(f"{cause!r} of {shape!r}; expected a cause of {', '.join(USUAL)}, a shape of "
                         f"{', '.join(CLASSES)}")
    count = len(CLASSES)
    causes = {name: torch.full((steps + count,), value) for name, value in USUAL.items()}
    causes[cause] = torch.cat([torch.linspace(low, high, steps), torch.full((count,), low)])
    causes["class"] = torch.cat([torch.full((steps,), CLASSES.index(shape)), torch.arange(count)]).float()
    return render(causes)


def make_crowds(n: int, seed: int = 0, size: int = 32, split: str = "train") -> ImageSet:
    """n images of 1 to 5 small objects that do not overlap, labelled by their number less one: int64 0..4.

    The number is no cause of `make_shapes`, whose pictures hold one object. Shapes, hues, textures and angles are drawn
    for each object; background, lighting and noise are the picture's. The same on every machine. ValueError for n
    below 1.
    """
    if n < 1:
        raise ValueError(f"n is {n}; expected one image or more")
    generator = torch.Generator().manual_seed(seed)
    number = torch.randint(1, MOST + 1, (n,), generator=generator)
    cells = torch.rand(n, CELLS * CELLS, generator=generator).argsort(1)[:, :MOST]  # distinct cells of each image
    first: dict[str, Tensor] = {}
    images = torch.empty(n, 3, size, size, dtype=torch.uint8)
    for place in range(MOST):
        causes = draw_causes(n, generator)
        first = first or causes
        shift = SHIFT * (2 * torch.rand(2, n, generator=generator) - 1)
        across, down = cells[:, place] % CELLS, cells[:, place] // CELLS
        low, high = RADIUS
        causes |= {name: first[name] for name in ("background", "lighting", "phase")} | {
            "pos_x": (across - 1) * 2 / CELLS + shift[0], "pos_y": (down - 1) * 2 / CELLS + shift[1],
            "size": low + (high - low) * torch.rand(n, generator=generator)}
        drawn = render(causes, size, generator=generator)
        here = object_masks(causes, size) & (place < number)[:, None, None]
        images = drawn if place == 0 else torch.where(here[:, None], drawn, images)
    return ImageSet(images, number - 1, tuple(map(str, range(1, MOST + 1))), {"number": number.float()},
                    {"number": "number"}, name="crowds", split=split)
