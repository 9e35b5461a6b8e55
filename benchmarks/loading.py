"""The group "loading" of figures.py: pictures from a folder, in memory or left on disk, and what evaluation costs."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock

import torch
from contenders import Work
from tables import at_least, at_most, devices, median, median_ratio, row, seconds, slope, take_turns
from torch import Tensor

from course_lib.data.batches import Batches
from course_lib.data.folder import load_folder
from course_lib.data.images import Batch
from course_lib.data.loading import load
from course_lib.data.shapes import make_shapes
from course_lib.evaluate.features import embed
from course_lib.evaluate.neighbours import knn_accuracy
from course_lib.evaluate.probes import linear_probe
from course_lib.train.loop import fit

PIXELS = (500, 375)  # width and height of the JPEGs, as of most photographs in the usual sets


def write_jpegs(folder: Path, count: int, pixels: tuple[int, int] = PIXELS) -> None:
    """`count` JPEGs (quality 90) of generated shapes, with some noise, in two class folders below `folder`."""
    from PIL import Image

    generator = torch.Generator().manual_seed(0)
    pictures = make_shapes(n=count, size=64).images
    for number, picture in enumerate(pictures):
        noisy = picture + torch.randint(0, 24, picture.shape, generator=generator)
        image = Image.fromarray(noisy.clamp(0, 255).to(torch.uint8).permute(1, 2, 0).numpy()).resize(pixels)
        path = folder / f"class{number % 2}" / f"{number:05d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path, quality=90)


def with_image_folder(folder: Path, size: int, workers: int) -> Tensor:
    """The same in torchvision: ImageFolder, shorter side resized, centre cropped, through a DataLoader."""
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import v2

    transform = v2.Compose([v2.PILToTensor(), v2.Resize(size, antialias=True), v2.CenterCrop(size)])
    data = torch.utils.data.DataLoader(ImageFolder(folder, transform), 64, num_workers=workers)
    return torch.cat([images for images, _ in data])


def decoding(count: int, size: int, rounds: int, workers: int = 2) -> list[dict]:
    """Images/s from JPEGs to one uint8 tensor, against torchvision, and from the course's cache."""
    with TemporaryDirectory() as place:
        folder, cache = Path(place) / "pictures", Path(place) / "cache"
        write_jpegs(folder, count)

        def course() -> float:
            began = time.perf_counter()
            load_folder(folder, size, progress=False, cache=False, workers=workers)
            return count / (time.perf_counter() - began)

        def torchvision() -> float:
            began = time.perf_counter()
            with_image_folder(folder, size, workers)
            return count / (time.perf_counter() - began)

        turns = take_turns({"course": course, "torchvision": torchvision}, rounds)
        load_folder(folder, size, progress=False, cache=cache, workers=workers)
        cached = seconds(lambda: load_folder(folder, size, progress=False, cache=cache, workers=workers), least=0.0)
    figure = f"folder of JPEGs of {PIXELS[0]} x {PIXELS[1]} to {size} px, {workers} workers"
    ratio, facts = median_ratio(turns, "course", "torchvision"), dict(size=size, workers=workers)
    beside = f"{median(turns, 'course'):.0f} against {median(turns, 'torchvision'):.0f} images/s"
    return [at_least(f"{figure}: images/s against torchvision's ImageFolder", ratio, None, beside, kind="decode",
                     rounds=turns, **facts),
            row(f"{figure}: the second time, from the cache", f"{count / cached:.0f} images/s", kind="cache",
                rate=count / cached, **facts)]


def forget(folder: Path) -> bool:
    """Ask the OS to drop the files in `folder` from its page cache; False if it cannot be asked."""
    if not hasattr(os, "posix_fadvise"):
        return False
    for path in (each for each in folder.rglob("*") if each.is_file()):
        file = os.open(path, os.O_RDONLY)
        try:
            os.fsync(file)  # only written pages can be dropped
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(file)
    return True


def streaming(work: Work, rounds: int) -> list[dict]:
    """Training views/s of one epoch streamed from disk, read afresh, over those from memory."""
    with TemporaryDirectory() as place:
        folder, cache = Path(place) / "pictures", Path(place) / "cache"
        write_jpegs(folder, work.images, (work.size, work.size))
        settings = dict(size=work.size, progress=False, cache=cache)
        held = load_folder(folder, **settings, stream=False).train
        load_folder(folder, **settings, stream=True)
        fresh = forget(cache)

        def train(images, stream: bool) -> float:
            return fit(work.build(), images, epochs=1, batch_size=work.batch, device=work.device, progress=False,
                       stream=stream).views_per_second

        def disk() -> float:
            forget(cache)
            return train(load_folder(folder, **settings, stream=True).train, True)

        turns = take_turns({"memory": lambda: train(held, False), "disk": disk}, rounds)
    figure = f"{work.name}, {work.size} px: training views/s from a folder on disk over from memory"
    beside = f"{median(turns, 'disk'):.0f} against {median(turns, 'memory'):.0f} views/s, {len(held)} images once; " + (
        "read from the disk anew in each round" if fresh else "the system may have kept the file in memory")
    return [at_least(figure, median_ratio(turns, "disk", "memory"), 0.95, beside, kind="stream", rounds=turns,
                     fresh=fresh, **work.facts)]


class Timed(Batches):
    """Batches that add up the seconds for which the loop waits for them."""

    waited = 0.0

    def __call__(self, step: int) -> Iterator[tuple[Batch, torch.Generator]]:
        batches = super().__call__(step)
        while True:
            began = time.perf_counter()
            batch = next(batches, None)
            Timed.waited += time.perf_counter() - began
            if batch is None:
                return
            yield batch


def waiting(work: Work, steps: int) -> list[dict]:
    """The share of training's time that passes until a step has its pictures, from a folder of work.images JPEGs."""
    rows = []
    with TemporaryDirectory() as place, mock.patch("course_lib.train.loop.Batches", Timed):
        folder, cache = Path(place) / "pictures", Path(place) / "cache"
        write_jpegs(folder, work.images)
        for where, stream in (("in memory", False), ("on disk", True)):
            began = time.perf_counter()
            images = load_folder(folder, work.size, progress=False, cache=cache, stream=stream).train
            decoded = time.perf_counter() - began
            forget(cache)
            Timed.waited = 0.0
            took = fit(work.build(), images, steps=steps, batch_size=work.batch, device=work.device, progress=False,
                       stream=stream).seconds
            figure = f"{work.name}, {work.size} px, {work.images} JPEGs {where}: share of a step waiting for pictures"
            beside = f"{1000 * took / steps:.0f} ms per step; decoded before, in {decoded:.0f} s"
            rows.append(at_most(figure, 100 * Timed.waited / took, 1.0, beside, " %", kind="wait", where=where,
                                seconds=took, waited=Timed.waited, steps=steps, **work.facts))
    return rows


def features(count: int, dim: int, seed: int) -> tuple[Tensor, Tensor]:
    """Ten Gaussian classes, float32 (count, dim), and labels."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(10, (count,), generator=generator)
    centres = torch.randn(10, dim, generator=torch.Generator().manual_seed(7))
    return torch.randn(count, dim, generator=generator) + centres[labels], labels


def evaluation(banks: tuple[int, ...], queries: int, dim: int) -> list[dict]:
    """kNN by device and linear probe, by the number of training images."""
    test, validation = features(queries, dim, 1), features(queries, dim, 2)
    rows = []
    for device in devices():
        times = []
        for bank in banks:
            train, labels = features(bank, dim, 0)
            train = train.to(device)
            times.append(seconds(partial(knn_accuracy, train, labels, *test), device))
        figure = f"kNN of {queries} images, {dim} features, {device}"
        rows.append(_by_size(figure, banks, times, kind="knn", device=device, queries=queries))
    times = []
    for bank in banks:
        train = features(bank, dim, 0)
        times.append(seconds(partial(linear_probe, train, validation, test)))
    return rows + [_by_size(f"linear probe, {dim} features, cpu", banks, times, kind="probe", device="cpu")]


def _by_size(figure: str, sizes: tuple[int, ...], times: list[float], **facts) -> dict:
    points = ", ".join(f"{size}: {took:.2f} s" for size, took in zip(sizes, times))
    exponent = slope(list(sizes), times)
    return row(f"{figure}, by bank", f"size^{exponent:.2f}", points, sizes=sizes, times=times, exponent=exponent,
               **facts)


def embedding(images: int) -> list[dict]:
    """Images/s that the encoder turns into features for kNN and probe."""
    pictures = load("shapes", n=images).train
    rows = []
    for device in devices():
        method = Work("simclr", images=images).build()
        work = partial(embed, method, pictures, device=device)
        took = statistics.median(seconds(work, device, 0.0) for _ in range(2))
        rows.append(row(f"features of the small conv net, {device}", f"{len(pictures) / took:.0f} images/s",
                        kind="embed", device=device, rate=len(pictures) / took))
    return rows


def loading(quick: bool = False) -> list[dict]:
    """The rows of the group."""
    if quick:
        rows = decoding(16, 32, rounds=1, workers=0) + streaming(Work("simclr", images=40, batch=8), rounds=1)
        rows += waiting(Work("simclr", images=40, batch=8), steps=2)
        return rows + evaluation((200, 400), 100, 16) + embedding(256)
    rows = decoding(1000, 32, rounds=3) + decoding(1000, 224, rounds=3)
    for device in devices():
        rows += streaming(Work("simclr", images=20000, device=device), rounds=3)
        rows += streaming(Work("simclr", size=96, batch=128, images=4000, device=device), rounds=3)
        rows += waiting(Work("simclr", "resnet18", 96, 64, 5000, device), steps=20)
    return rows + evaluation((5000, 10000, 20000, 40000), 5000, 256) + embedding(20000)
