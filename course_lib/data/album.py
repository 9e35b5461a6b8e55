"""An album as people have them: every scene photographed several times; and parting a folder by scenes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from course_lib.data.images import DataError, ImageSet, Splits
from course_lib.data.shapes import CLASSES, make_shapes

SHIFT, LIGHT, NOISE = 1, 0.05, 5.0  # pixels, share of the brightness, standard deviation of 255


def write_album(folder: str | Path, scenes: int = 1200, frames: int = 3, seed: int = 0, size: int = 32) -> Path:
    """Write scenes x frames PNG files, `class/scene0000_0.png`, ...: generated shapes, photographed in bursts.

    The frames of a scene differ as those of a burst do: by a pixel of shift, a little light, and noise. ValueError if
    the folder exists already: nothing is written over. -> the folder.
    """
    folder = Path(folder).expanduser()
    if folder.exists():
        raise ValueError(f"{folder} is there already: give a folder that does not exist yet.")
    if scenes < 1 or frames < 1:
        raise ValueError(f"scenes is {scenes} and frames {frames}; expected at least 1 of each.")
    found = make_shapes(scenes, seed, size=size)
    generator = torch.Generator().manual_seed(seed)
    for name in CLASSES:
        (folder / name).mkdir(parents=True)
    for frame in range(frames):
        for number, picture in enumerate(_photographed(found.images, generator)):
            name = f"{CLASSES[int(found.labels[number])]}/scene{number:04d}_{frame}.png"  # pyright: ignore
            Image.fromarray(picture.permute(1, 2, 0).numpy()).save(folder / name)
    return folder


def _photographed(images: Tensor, generator: torch.Generator) -> Tensor:
    """uint8 (N, 3, H, W) -> the same scenes as another frame of the burst sees them."""
    count = len(images)
    moves = torch.randint(-SHIFT, SHIFT + 1, (count, 2), generator=generator).tolist()
    moved = torch.stack([image.roll(move, (1, 2)) for image, move in zip(images.float(), moves)])
    light = 1 + LIGHT * (2 * torch.rand(count, 1, 1, 1, generator=generator) - 1)
    noise = NOISE * torch.randn(images.shape, generator=generator)
    return (moved * light + noise).clamp(0, 255).round().byte()


def whole(splits: Splits) -> ImageSet:
    """All labelled pictures of train, validation and test as one set, with their file names. DataError where none is
    labelled."""
    parts = [part for part in (splits.train, splits.validation, splits.test) if len(part)]
    if any(part.labels is None for part in parts):
        raise DataError("these pictures have no classes, and this needs some: put each class into a sub-folder of its "
                        "own. `python course.py look FOLDER --with simclr` looks at pictures without classes.")
    names = tuple(name for part in parts for name in part.names)
    return ImageSet(torch.cat([part.images for part in parts]), torch.cat([part.labels for part in parts]),  # pyright: ignore
                    splits.train.classes, name=splits.train.name, names=names)


def groups(names: Sequence[str], scene: Callable[[str], str]) -> Tensor:
    """File names -> int64 (N,): the number of each picture's scene, in the order of their first pictures.

    scene: file name -> what the pictures of one scene share.
    """
    numbers: dict[str, int] = {}
    return torch.tensor([numbers.setdefault(scene(name), len(numbers)) for name in names], dtype=torch.int64)


def pictures_of(album: ImageSet, scenes: Tensor, some: Tensor, count: int) -> dict[str, Tensor]:
    """The first `count` pictures of `some` scenes, int64 (S,): "picture 1" -> (S, 3, H, W), and so on.

    scenes: int64 (N,), the scene of each picture. A scene with fewer shows its last one again.
    """
    members = [(scenes == scene).nonzero().flatten() for scene in some]
    return {f"picture {i + 1}": torch.stack([album.images[of[min(i, len(of) - 1)]] for of in members])
            for i in range(count)}


def split_scenes(scenes: Tensor, order: Tensor, train: float, validation: float) -> dict[str, Tensor]:
    """Part pictures so that no scene is torn apart.

    scenes: int64 (N,), the scene of each picture. order: int64 (S,), all scenes, shuffled; the first go to training.
    train, validation: shares of the *scenes*; testing gets the rest. -> positions of the pictures of "train",
    "validation" and "test", int64.
    """
    first = round(train * len(order))
    second = first + round(validation * len(order))
    parts = {"train": order[:first], "validation": order[first:second], "test": order[second:]}
    return {name: torch.isin(scenes, some).nonzero().flatten() for name, some in parts.items()}
