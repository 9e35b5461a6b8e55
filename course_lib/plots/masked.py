"""Figures of lesson 12: what a copy leaves, how alike positions are, MAE's path of tokens, its drawings and runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from course_lib.evaluate.reconstruction import fill_nearest
from course_lib.methods.masked.mae import MAE
from course_lib.plots.drawing import BLACK, BLUE, GREY, RED, SIGNED, THIS, drawn
from course_lib.plots.pictures import image_rows
from course_lib.plots.sketch import mosaic, picture, striped

# runs with a part taken away -> their names; the first is MAE
BROKEN = {"hidden-0.75": "MAE", "not-put-back": "not put\nback", "no-positions": "no posi-\ntions"}


@drawn
def neighbour_copy(images: Tensor, visible: Tensor, filled: Tensor, curves: Mapping[int, Sequence[tuple[float, float]]],
                   patch: int, here: tuple[float, float]) -> Figure:
    """Left: six pictures (6, 3, H, W) and their copies; right: the error of a copy over the share that is hidden.

    curves: side of a patch in pixels -> (share hidden, error) of several masks. here: of the chosen `patch` and mask.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.5, 2.6), width_ratios=(1.7, 1))
    strip = torch.cat([striped(images, visible), filled])
    picture(left, mosaic(strip, 6), f"shown, and filled: error {here[1]:.2f}")
    for (side, points), marker in zip(curves.items(), "os^D"):
        right.plot(*zip(*sorted(points)), marker=marker, ms=4, alpha=1.0 if side == patch else 0.35,
                   label=f"{side} px")
    right.plot(*here, "o", ms=12, mfc="none", mec=BLACK)
    right.axhline(1, color=GREY, ls=":")
    right.set(xlabel="share hidden", ylabel="error of a copy", xlim=(0.2, 1), ylim=(0, 2.6))
    right.legend(fontsize=8, title="patch", ncols=2)
    return figure


@drawn
def alike_positions(table: Tensor, cosine: Tensor, place: tuple[int, int], twins: int) -> Figure:
    """Left: the cosine (g, g) of one position (row, column) with all others; right: the table of positions (g*g, D)."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(7.5, 2.6), width_ratios=(1, 2))
    row, column = place
    figure.colorbar(left.imshow(cosine.numpy(), cmap="viridis", vmin=0.5, vmax=1), ax=left)
    left.plot(column, row, "wx", ms=9, mew=2)
    left.set(xticks=[], yticks=[], title=f"cosine with x; {twins} twin(s)")
    figure.colorbar(right.imshow(table.T.numpy(), aspect="auto", cmap=SIGNED, vmin=-1, vmax=1), ax=right)
    right.axvline(row * len(cosine) + column, color=BLACK, lw=1)
    right.set(xlabel="patch, in reading order", ylabel="channel", title="the table of positions")
    return figure


def _column(axes: Axes, x: float, colours: Sequence, words: Sequence[str], label: str, top: int = 0,
            dotted: Sequence[int] = ()) -> None:
    """Tokens as a column of boxes, the first at height `top`."""
    for i, (colour, word) in enumerate(zip(colours, words)):
        axes.add_patch(Rectangle((x, top - i), 0.8, 0.8, fc=colour, ec="#444444", ls=":" if i in dotted else "-"))
        axes.text(x + 0.4, top - i + 0.4, word, ha="center", va="center", fontsize=7)
    axes.text(x + 0.4, 2.1, label, ha="center", va="bottom", fontsize=8)


@drawn
def token_path() -> Figure:
    """MAE with eight patches, of which two stay: shuffled, encoded, put back among mask tokens, predicted."""
    figure, axes = plt.subplots(figsize=(8.5, 3.1))
    hues, keep, names = [plt.get_cmap("Set3")(i) for i in range(8)], [4, 1], [str(i) for i in range(8)]
    kept, everywhere = [hues[i] for i in keep], [hues[i] if i in keep else "#dddddd" for i in range(8)]
    _column(axes, 0, hues, names, "8 patches,\n+ positions")
    _column(axes, 2.1, kept, "41", "2 kept,\nshuffled")
    _column(axes, 7.1, ["white", *kept], "c41", "encoded", 1)
    _column(axes, 9.2, ["white", *everywhere], ["c", *(names[i] if i in keep else "m" for i in range(8))],
            "put back,\n+ positions", 1)
    _column(axes, 12.5, ["white" if i in keep else "#f6e8c3" for i in range(8)], names, "predicted", 0, keep)
    for x, wide, low, tall, word in ((3.6, 2.9, -1.2, 3.1, "encoder:\nc and 2 patches"),
                                     (10.8, 0.9, -7.2, 9.1, "decoder:\nc and all 8")):
        axes.add_patch(Rectangle((x, low), wide, tall, fc="#cfe3f2", ec=BLUE))
        axes.text(x + wide / 2, low + tall / 2, word, ha="center", va="center", fontsize=8,
                  rotation=90 if wide < 1 else 0)
    for start, end in ((0.9, 2.0), (3.0, 3.5), (6.6, 7.0), (8.0, 9.1), (10.1, 10.7), (11.8, 12.4)):
        axes.annotate("", (end, 0), (start, 0), arrowprops={"arrowstyle": "->"})
    axes.set(xlim=(-0.4, 13.6), ylim=(-7.4, 3.4))
    axes.set_axis_off()
    return figure


def opening(method: MAE, images: Tensor, visible: Tensor) -> Figure:
    """What a learned MAE drew of pictures (N, 3, H, W) from their visible patches, in two ways, beside a copy."""
    return image_rows({"16 of 64 patches": striped(images, visible),
                       "nearest pixel copied": fill_nearest(images, visible),
                       "network, drawn one way": method.reconstruct(images, visible, true_statistics=False),
                       "network, drawn another way": method.reconstruct(images, visible), "image": images})


def drawings(shown: Tensor, visible: Tensor, found: Mapping[str, tuple[Tensor, float]], count: int = 8,
             whole: bool = True) -> Figure:
    """Rows of pictures: what is shown of them, each way's drawing with its error, and (whole) the pictures themselves.

    shown: (N, 3, H, W), visible (N, g, g); found: name -> pictures and `hidden_error`, see `evaluate.patterns.draw`.
    """
    rows = {"shown": striped(shown[:count], visible[:count]),
            **{f"{name}\nerror {error:.2f}": pictures[:count] for name, (pictures, error) in found.items()}}
    return image_rows({**rows, "image": shown[:count]} if whole else rows)


def drawn_by_ratio(images: Tensor, masks: Mapping[float, Tensor], found: Mapping[str, Sequence[Tensor]]) -> Figure:
    """Columns: the images (N, 3, H, W) at one mask ratio after the other; rows: shown, and each way's drawings.

    masks: ratio -> visible (N, g, g). found: name -> drawings (N, 3, H, W) for each ratio.
    """
    rows = {"image": images.repeat(len(masks), 1, 1, 1),
            "shown": torch.cat([striped(images, visible) for visible in masks.values()]),
            **{name: torch.cat(list(pictures)) for name, pictures in found.items()}}
    return image_rows(rows, titles=[f"{ratio:.0%} hidden" for ratio in masks for _ in images])


@drawn
def mae_trainings(level: Mapping[str, Sequence[float]], tuned: Mapping[str, Sequence[float]],
                  linear: Mapping[str, Sequence[float]]) -> Figure:
    """A dot for each training: the loss and the gain of MAE and of two broken ones; gains by the share hidden.

    All from `runs.mae_trainings.MaeTrainings`: name -> a value for each seed.
    """
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(8.8, 2.7))
    for place, name in enumerate(BROKEN):
        for panel, values in ((left, level[name]), (middle, tuned[name])):
            panel.plot([place] * len(values), values, "o", color=RED if place else THIS, alpha=0.7)
    left.set(ylabel="loss at the end", ylim=(0, 1.15 * max([*level["not-put-back"], *level["no-positions"]])))
    plt.setp((left, middle), xticks=range(3), xticklabels=BROKEN.values(), xlim=(-0.5, 2.5))
    for ratio in (0.25, 0.5, 0.75, 0.9):
        hidden = 1 - int(16 * (1 - ratio)) / 16
        for gains, shift, look in ((tuned, -0.015, {"marker": "o", "ms": 6, "label": "fine-tuned"}),
                                   (linear, 0.015, {"marker": "D", "ms": 5, "mfc": "none", "label": "linear probe"})):
            values = gains[f"hidden-{ratio}"]
            look = look if ratio == 0.5 else {**look, "label": None}
            right.plot([hidden + shift] * len(values), values, ls="none", color=THIS, alpha=0.7, **look)
    right.set(xlabel="share of the 16 patches that is hidden", xlim=(0.15, 1))
    right.legend(loc="lower left", fontsize=8)
    for panel, what in ((middle, "fine-tuned minus scratch\n(points)"), (right, "minus the same untrained\n(points)")):
        panel.set(ylabel=what, ylim=(-15, 15))
        panel.axhline(0, color=GREY, ls="--")
    return figure
