"""The group "growth" of figures.py: how time and memory grow with each size, and what is quadratic.

A figure is the exponent e of cost ~ size^e over the larger half of the sizes: 1 is linear, 2 quadratic. Memory is what
a step keeps for its backward pass, counted tensor by tensor, the same on every device.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from contenders import Course, Work
from tables import devices, row, seconds, slope
from torch import Tensor

from course_lib.evaluate.neighbours import knn_predict
from course_lib.methods.contrastive.simclr import nt_xent
from course_lib.methods.contrastive.vicreg import vicreg_loss
from course_lib.models.layers import sinkhorn

QUADRATIC = 1.7  # exponents from here on are named


@dataclass(frozen=True)
class Series:
    """A size that grows: `make(value, device)` returns the work to measure; expected: from the algorithm."""

    name: str
    values: tuple[int, ...]
    make: Callable[[int, str], Callable[[], object]]
    expected: str


def kept_bytes(work: Callable[[], object]) -> int:
    """Bytes of the tensors that autograd keeps for the backward pass of `work`, each storage once, without weights."""
    storages: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        owner = tensor if tensor._base is None else tensor._base
        if not isinstance(owner, torch.nn.Parameter):
            storage = tensor.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        result = work()  # held until summed, so that no address is reused
    total = sum(storages.values())
    del result
    return total


# ------------------------------------------------------------------------------------------------ what grows
def pairs(n: int, dim: int, device: str) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(n, dim, generator=generator).to(device).requires_grad_() for _ in range(2)]


def contrast(n: int, device: str):
    a, b = pairs(n, 128, device)
    return lambda: nt_xent(a, b)["loss"]


def covariance(width: int, device: str):
    a, b = pairs(256, width, device)
    return lambda: vicreg_loss(a, b)["loss"]


def balance(prototypes: int, device: str):
    scores = torch.randn(256, prototypes, generator=torch.Generator().manual_seed(0)).to(device)
    return lambda: sinkhorn(scores)


def neighbours(n: int, device: str):
    bank = torch.randn(n, 256, generator=torch.Generator().manual_seed(0)).to(device)
    labels = torch.arange(n, device=device) % 10
    return lambda: knn_predict(bank, labels, bank[:1000] + 0.1, k=min(20, n))


def order(n: int, device: str):
    """The random order of a data set."""
    return lambda: torch.randperm(n, generator=torch.Generator().manual_seed(0))


def step(**fixed) -> Callable[[int, str], Callable[[], Tensor]]:
    """A training step's forward pass; keywords: `image_size`, `batch`, the method's options; None: the one to grow."""

    def make(value: int, device: str):
        given = {key: value if known is None else known for key, known in fixed.items()}
        batch = given.pop("batch", 64)
        work = Work(given.pop("method"), given.pop("backbone", "convnet"), given.pop("image_size", 32), batch,
                    images=max(batch, 64), device=device, options=given)
        course = Course(work)
        return lambda: course.loss(course.views(course.batch()))

    return make


SERIES = (
    Series("NT-Xent alone, by batch", (256, 512, 1024, 2048, 4096), contrast,
           "quadratic: every view against every other"),
    Series("VICReg's loss alone, by embedding width", (256, 512, 1024, 2048, 4096), covariance,
           "linear: beyond the batch, here 256, a product of every two images stands for one of every two dimensions"),
    Series("Sinkhorn alone, by prototypes", (512, 1024, 2048, 4096, 8192), balance, "linear"),
    Series("SimCLR's step, by batch", (32, 64, 128, 256, 512), step(method="simclr", batch=None),
           "linear until NT-Xent's square outgrows the network"),
    Series("VICReg's step, by image side", (32, 48, 64, 96, 128), step(method="vicreg", image_size=None),
           "quadratic in the side: linear in pixels"),
    Series("MAE's step, by image side, patch 4", (32, 48, 64, 96), step(
        method="mae", backbone="vit-tiny", image_size=None, backbone_options={"patch": 4}),
        "quadratic in the side by its tokens, and attention is quadratic in these: up to 4"),
    Series("MoCo's step, by queue", (1024, 4096, 16384, 65536), step(method="moco-v2", queue=None), "linear"),
    Series("SwAV's step, by small crops", (2, 4, 6, 8), step(method="swav", crops=None), "linear"),
    Series("kNN of 1000 queries, by bank", (5000, 10000, 20000, 40000), neighbours, "linear, in blocks of queries"),
    Series("an epoch's order, by data-set size", (10**5, 10**6, 4 * 10**6), order,
           "linear; `fit` draws it at every step"),
)


def measure(series: Series, device: str, quick: bool) -> list[dict]:
    """Rows for time, and for memory if something is kept for a backward pass."""
    values = series.values
    if quick:
        values = tuple(value // 8 if values[0] >= 256 else value for value in values[:2])
    times, kept = [], []
    for value in values:
        work = series.make(value, device)

        def whole(work=work) -> None:
            result = work()
            if isinstance(result, Tensor) and result.requires_grad:
                result.backward()

        times.append(seconds(whole, device, 0.0 if quick else 0.5))
        kept.append(kept_bytes(work))
    rows = [_fitted("time", device, values, times, [f"{1000 * t:.1f} ms" for t in times], series)]
    if min(kept) > 0:
        shown = [f"{size / 2**20:.1f} MB" for size in kept]
        rows.append(_fitted("memory kept for the backward", device, values, kept, shown, series))
    return rows


def _fitted(cost: str, device: str, values: tuple[int, ...], costs: list[float], shown: list[str],
            series: Series) -> dict:
    exponent = slope(list(values), costs)
    what = "quadratic or more; " if exponent >= QUADRATIC else ""
    points = ", ".join(f"{value}: {cost}" for value, cost in zip(values, shown))
    beside = f"{what}{points} (expected: {series.expected})"
    return row(f"{series.name}, {device}: {cost}", f"size^{exponent:.2f}", beside, kind="growth", series=series.name,
               cost=cost, device=device, sizes=values, costs=costs, exponent=exponent, expected=series.expected)


def growth(quick: bool = False, series: tuple[Series, ...] = SERIES) -> list[dict]:
    """The rows of the group."""
    rows = []
    for device in devices():
        for each in series:
            rows += measure(each, device, quick)
            print(rows[-1]["figure"], rows[-1]["value"], flush=True)
    return rows
