"""Figures: every function draws what it was given, names its axes, and leaves pyplot as it was."""
from __future__ import annotations

import inspect
import io
import math

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

matplotlib.use("Agg")
from matplotlib import pyplot as plt

from course_lib import plots as P
from course_lib.papers import load_papers
from course_lib.plots import charts, pictures


def gaussian(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


IMAGES = torch.randint(0, 256, (40, 3, 16, 16), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
LABELS = torch.arange(40) % 4
NAMES = ("disc", "square", "star", "ring")
Z = torch.cat([4 * torch.eye(4)[LABELS], gaussian(40, 6)], 1)
ROWS = [{"name": "VICReg", "kind": "method", "knn": 0.83, "rankme": 40.2},
        {"name": "raw pixels", "kind": "control", "knn": 0.39, "rankme": None}]

# name -> (figure, whether its axes carry data and so must be labelled)
FIGURES = {
    "image_grid": (lambda: P.image_grid(IMAGES[:11], list("abcdefghijk"), columns=4), False),
    "image_grid_grey": (lambda: P.image_grid(IMAGES[:1, :1].float() / 255), False),
    "image_rows": (lambda: P.image_rows({"a": IMAGES[:3], "b\nc": IMAGES[:2].float() / 255}, titles="xyz",
                                        frames={"b\nc": torch.eye(3)[:2]}), False),
    "traces": (lambda: P.traces({"loss": {"A": ([1, 2], [3, 2]), "B": [([1, 2], [2, 1])] * 2},
                                 "kNN": {"A": ([0], [5])}}, levels={"loss": 2.5}, tops=(4,)), False),
    "neighbours": (lambda: P.neighbours(Z, IMAGES, LABELS, (0, 3), k=5, classes=NAMES), False),
    "neighbours_unlabelled": (lambda: P.neighbours(Z, IMAGES, queries=[1], k=3), False),
    "two_forces": (lambda: P.two_forces(IMAGES[:2], IMAGES[3:5].float() / 255, torch.eye(2), -torch.eye(2)), False),
    "two_tests": (lambda: P.two_tests({"image": IMAGES[:4]}, ("own", "other"), {"a": [(0.9, 0.2), (0.8, 0.3)],
                                                                               "b": [(0.5, 0.5)]}, "a",
                                      {"raw pixels": (0.4, 0.3)}, 0.25), False),
    "curves": (lambda: P.curves({"loss": [3, 2, 1], "std": ([0, 5, 9], torch.rand(3))}, {"log K": 2}), True),
    "curves_log": (lambda: P.curves({"loss": torch.rand(50) + 0.1}, log=True, ylabel="loss (nats)"), True),
    "embedding": (lambda: P.embedding(Z[:, :2], LABELS, NAMES, title="t"), True),
    "embedding_thumbnails": (lambda: P.embedding(Z[:, :2], LABELS, thumbnails=IMAGES), True),
    "embedding_scale": (lambda: P.embedding(Z[:, :2], LABELS, scale=["#000000", "#888888", "#ffffff"] * 4,
                                            legend="size", ends=(2.0, 3.0)), True),
    "embedding_plain": (lambda: P.embedding(Z[:, :2].numpy()), True),
    "factor_bars": (lambda: P.factor_bars({"a": {"x": 0.5, "y": math.nan}, "raw pixels": {"x": 0.2}}), True),
    "factor_map": (lambda: P.factor_map({"a": {"x": 0.5, "y_z": math.nan}, "b": {"x": -0.2, "y_z": 1}}, signed=True,
                                        frame="b"), True),
    "score_bars": (lambda: P.score_bars(ROWS, chance=0.1), True),
    "score_bars_rank": (lambda: P.score_bars(ROWS, "rankme"), True),
    "paper_map": (lambda: P.paper_map(load_papers(), ["spark"]), True),
}


def texts(figure: Figure) -> list[str]:
    return [t.get_text() for t in figure.findobj(matplotlib.text.Text) if t.get_text()]


@pytest.mark.parametrize("name", FIGURES)
def test_figure(name):
    draw, labelled = FIGURES[name]
    before = dict(matplotlib.rcParams)
    figure = draw()
    assert isinstance(figure, Figure) and not plt.get_fignums()  # closed: a notebook shows it once
    assert dict(matplotlib.rcParams) == before
    assert figure.get_figwidth() <= P.WIDTH
    if labelled:
        main = figure.axes[0]
        assert main.get_xlabel() and (main.get_ylabel() or [t.get_text() for t in main.get_yticklabels()])
    first, second = io.BytesIO(), io.BytesIO()
    figure.savefig(first, format="png", dpi=50)
    draw().savefig(second, format="png", dpi=50)
    assert len(first.getvalue()) > 1000
    if name not in ("curves", "curves_log"):  # those draw random input
        assert first.getvalue() == second.getvalue()


def test_every_public_function_is_tried():
    tried = {name.split("_grey")[0] for name in FIGURES}
    public = {name for module in (charts, pictures) for name, thing in vars(module).items()
              if inspect.isfunction(thing) and thing.__module__ == module.__name__ and not name.startswith("_")}
    assert public - {"project"} <= tried


def test_colours_are_okabe_and_ito():
    assert set(P.CYCLE) == set(P.COLORS) and len(set(P.COLORS)) == 8
    assert P.COLORS[1:] == ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7")


def test_curves_draw_the_numbers_and_the_floor():
    axes = P.curves({"loss": ([0, 10, 20], [3.0, 2.0, 1.0])}, {"log K": 2.3}).axes[0]
    assert axes.lines[0].get_xydata().tolist() == [[0, 3], [10, 2], [20, 1]]
    assert axes.lines[1].get_ydata()[0] == 2.3 and "log K" in texts(axes.figure)


def test_traces_bring_the_chosen_run_forward():
    runs = {"A": ([1, 2, 3], [3, 2, 1]), "B": [([1, 2], [0, 1]), ([1, 2], [1, 1])]}
    loss, score = P.traces({"loss": runs, "score": {"A": ([0, 0], [4, 5])}}, chosen="B", xlabels=("step", ""),
                           levels={"loss": 2.0}).axes
    assert [line.get_color() for line in loss.lines[:3]] == ["#BBBBBB", P.THIS, P.THIS]
    assert loss.lines[3].get_ydata()[0] == 2.0 and loss.get_ylim()[0] <= 0
    assert score.lines[0].get_linestyle() == "None" and not score.get_xticks().size
    assert P.traces({"loss": runs}).legends[0].get_texts()[1].get_text() == "B"


def test_neighbours_are_those_of_centred_cosine():
    figure = P.neighbours(Z, IMAGES, LABELS, [6], k=4)
    z = Z - Z.mean(0)
    z = z / z.norm(dim=1, keepdim=True)
    order = [i for i in (z @ z[6]).argsort(descending=True).tolist() if i != 6][:4]
    shown = [axes.images[0].get_array() for axes in figure.axes]
    for pixels, index in zip(shown, [6, *order]):
        np.testing.assert_allclose(pixels, IMAGES[index].permute(1, 2, 0).numpy() / 255)
    crossed = [bool(axes.lines) for axes in figure.axes[1:]]
    assert crossed == [bool(LABELS[i] != LABELS[6]) for i in order]


def test_embedding_draws_all_points_and_names_classes():
    figure = P.embedding(Z[:, :2], LABELS, NAMES)
    assert sum(len(drawn.get_offsets()) for drawn in figure.axes[0].collections) == 40
    assert set(NAMES) <= set(texts(figure))


@pytest.mark.parametrize("maps", [1, 2])
def test_embedding_thumbnails_do_not_overlap(maps):
    points = gaussian(400, 2)
    figure = P.embedding(points if maps == 1 else {"a": points, "b": -points}, thumbnails=IMAGES.repeat(10, 1, 1, 1),
                         most=60)
    figure.draw_without_rendering()
    for axes in figure.axes:
        boxes = [a.get_window_extent() for a in axes.artists]
        assert 20 / maps < len(boxes) <= 60 / maps
        assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_embeddings_stand_side_by_side_under_one_key():
    figure = P.embedding({"first": Z[:, :2], "second": Z[:, 1:3]}, LABELS, NAMES, title="Two networks")
    assert [axes.get_title("left") for axes in figure.axes] == ["first", "second"] and len(figure.legends) == 1
    assert "Two networks" in texts(figure)
    for axes in figure.axes:
        assert sum(len(drawn.get_offsets()) for drawn in axes.collections) == 40


def test_tsne_sets_out_from_given_points():
    start = torch.tensor([[0.0, 0], [20, 0], [0, 20]]).repeat_interleave(12, 0)
    groups = 8 * torch.eye(3).repeat_interleave(12, 0) + 0.1 * gaussian(36, 3)
    for turn in (torch.eye(2), torch.tensor([[0.0, 1], [-1, 0]])):
        pair = P.project(groups, "tsne", start=start @ turn), start @ turn
        found, wanted = (points - points.mean(0) for points in pair)
        middles = [points.view(3, 12, 2).mean(1) for points in (found, wanted)]
        assert (torch.nn.functional.cosine_similarity(*middles) > 0.7).all()


def test_bars_are_as_long_as_the_scores():
    axes = P.score_bars(ROWS, chance=0.1).axes[0]
    assert [bar.get_width() for bar in axes.patches] == [83.0, 39.0]
    assert axes.patches[0].get_facecolor() != axes.patches[1].get_facecolor()
    assert "chance" in texts(axes.figure) and axes.get_xlabel() == "kNN accuracy (%)"
    figure = P.factor_bars({"a": {"hue": 0.5, "size": math.nan}})
    assert "0.50" in texts(figure) and "–" in texts(figure)


def test_paper_map_has_a_dot_a_paper():
    axes = P.paper_map(load_papers(), ["spark", "vicreg"]).axes[0]
    assert sum(len(dots.get_offsets()) for dots in axes.collections) == 115 + 2
    assert P.paper_map([]).axes


def test_paper_map_orders_families_by_papers_then_by_name():
    names = [label.get_text() for label in P.paper_map(load_papers()).axes[0].get_yticklabels()]
    counts = [sum(paper.family == name for paper in load_papers()) for name in names]
    order = sorted(zip(names, counts), key=lambda item: (item[0] == "other", -item[1], item[0]))
    assert list(zip(names, counts)) == order


def test_project_pca():
    z = gaussian(60, 5) * torch.tensor([9.0, 4, 1, 1, 1])
    points = P.project(z)
    centred = (z - z.mean(0)).double()
    _, _, axes = np.linalg.svd(centred.numpy())
    wanted = np.abs(centred.numpy() @ axes[:2].T)
    np.testing.assert_allclose(np.abs(points.numpy()), wanted, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(P.project(z + 100), points, rtol=1e-3, atol=1e-3)
    # Points turned by -1 would be as good a projection: the axes' largest entries are made positive.
    for sign in (1, -1):
        axes = torch.linalg.lstsq(P.project(sign * z).double(), sign * centred).solution
        assert all(axis[axis.abs().argmax()] > 0 for axis in axes)
    assert P.project(gaussian(9, 1)).shape == (9, 2)
    with pytest.raises(ValueError, match="expected 'pca' or 'tsne'"):
        P.project(z, "umap")


def test_project_tsne_keeps_groups_and_repeats():
    points = P.project(Z, "tsne", seed=1)
    assert torch.equal(points, P.project(Z, "tsne", seed=1)) and points.shape == (40, 2)
    near = torch.cdist(points, points).fill_diagonal_(torch.inf).argmin(1)
    assert (LABELS[near] == LABELS).float().mean() > 0.8


def test_images_of_a_wrong_shape_are_refused():
    with pytest.raises(ValueError, match=r"images have shape \(3, 8, 8\); expected \(N, 3, H, W\)"):
        P.image_grid(torch.zeros(3, 8, 8))


def test_style_is_only_inside():
    before = matplotlib.rcParams["axes.spines.top"]
    with P.style():
        assert matplotlib.rcParams["axes.spines.top"] is False
    assert matplotlib.rcParams["axes.spines.top"] == before


def test_a_figure_has_rounded_corners_and_a_white_ground_on_any_page():
    """Bug: in JupyterLab's dark theme figures were white rectangles with hard edges."""
    with P.style():
        figure, axes = plt.subplots(figsize=(3, 2))
    axes.plot([0, 1])
    seen = io.BytesIO()
    figure.savefig(seen, format="png", dpi=50, bbox_inches="tight")
    pixels = np.asarray(Image.open(seen))
    height, width = pixels.shape[:2]
    assert max(pixels[0, 0, 3], pixels[-1, -1, 3]) < 50 and tuple(pixels[3, width // 2]) == (255, 255, 255, 255)
    assert pixels[0, width // 2, 3] > 0 and pixels[height // 2, 0, :3].max() < 255  # the thin frame
    plt.close(figure)
