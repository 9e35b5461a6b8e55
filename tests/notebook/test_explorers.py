"""Explorers: pure views, driven to both ends, on a method, a checkpoint and a photograph file."""

from __future__ import annotations

import matplotlib

matplotlib.use("Agg")

import numpy as np
import pytest
import torch
from PIL import Image

from course_lib.augment.masks import patch_mask
from course_lib.augment.pixels import standardize
from course_lib.evaluate.attention import rollout, similarity, to_grid
from course_lib.evaluate.reconstruction import hidden_error
from course_lib.methods import build_method
from course_lib.models.vit import ViT
from course_lib.notebook import explorers, knobs
from course_lib.notebook.controls import Patch
from course_lib.notebook.explorers import (
    attention_view,
    correspondence_view,
    explore_attention,
    explore_correspondence,
    explore_reconstruction,
    open_image,
    reconstruction_view,
    transformer,
)
from course_lib.notebook.knobs import knob
from course_lib.train.checkpoint import load_method, save_small
from course_lib.train.loop import fit
from helpers.driving import drive
from helpers.tiny import SMALL, images, spark


@pytest.fixture(autouse=True)
def _own_registry(monkeypatch):
    monkeypatch.setattr(knobs, "LIVE", {})


def network(seed=0):
    torch.manual_seed(seed)
    return ViT(16, 4, 12, 2, 3).eval()


def ibot():
    torch.manual_seed(0)
    return build_method("ibot", "vit-tiny", 16, backbone_options=dict(patch=4, dim=12, depth=2, heads=3), out=8,
                        hidden=8, bottleneck=4, crops=0)


STATE = {"image": 1, "layer": 2, "query": "patch", "patch": (1, 2)}


def test_attention_view_shows_the_networks_own_maps():
    net, pictures = network(), images(3).images
    data, figure = attention_view(net, pictures)(STATE)
    m = net.attention(standardize(pictures[1:2]))
    row = 1 + 1 * 4 + 2
    torch.testing.assert_close(data["heads"], to_grid(m[1, 0, :, row]))
    torch.testing.assert_close(data["rollout"], to_grid(rollout(m)[0, row]))
    torch.testing.assert_close(data["heads"].sum((1, 2)) + data["to class"], torch.ones(3))
    assert len(figure.axes) == 6
    data, _ = attention_view(net, pictures)({**STATE, "query": "class token", "layer": 1})
    torch.testing.assert_close(data["heads"], to_grid(m[0, 0, :, 0]))
    torch.testing.assert_close(data["rollout"], to_grid(rollout(m[:1])[0, 0]))


def test_attention_knob_is_driven():
    made = explore_attention(network(), images(3).images)
    assert drive(made) > 8
    assert made.ends("patch") == ((0, 0), (3, 3)) and made.ends("layer") == (1, 2)


def test_one_image_needs_no_slider_and_may_be_larger():
    made = explore_attention(network(), images(1, size=32).images)
    assert "image" not in made.controls and made.ends("patch") == ((0, 0), (7, 7))
    assert made.data["heads"].shape == (3, 8, 8)
    drive(made)


def test_a_view_leaves_the_network_as_it_was():
    method = ibot().train()
    before = {n: t.clone() for n, t in method.state_dict().items()}
    explore_attention(method, images(2).images)
    assert method.training and all(p.grad is None for p in method.parameters())
    assert all(torch.equal(t, before[n]) for n, t in method.state_dict().items())


def test_correspondence_view():
    net, pictures = network(), images(4).images
    state = {"pair": 1, "patch": (0, 3), "lines": 5}
    data, _ = correspondence_view(net, pictures[:2], pictures[2:])(state)
    with torch.no_grad():
        a, b = (net.tokens(standardize(p))[0, 1:] for p in (pictures[1:2], pictures[3:4]))
    torch.testing.assert_close(data["map"].flatten(), similarity(a, b)[3])
    assert data["map"][data["best"]] == data["map"].max() and 1 <= len(data["matches"]) <= 5
    same, _ = correspondence_view(net, pictures[:2], pictures[:2])({**state, "lines": 20})
    assert same["best"] == (0, 3) and torch.equal(same["matches"][:, :2], same["matches"][:, 2:])


def test_correspondence_knob_is_driven():
    pictures = images(4).images
    drive(explore_correspondence(network(), pictures[:2], pictures[2:]))
    drive(explore_correspondence(network(), pictures[:1], pictures[2:3]))
    with pytest.raises(ValueError, match="not pairs"):
        explore_correspondence(network(), pictures[:2], pictures[2:3])


def test_reconstruction_view_and_knob():
    method, pictures = spark(), images(3).images
    method.normalized = False
    data, figure = reconstruction_view(method, pictures, 4)({"image": 2, "mask_ratio": 0.5, "draw": 3})
    visible = patch_mask(1, 4, 0.5, torch.Generator().manual_seed(3))
    picture = pictures[2:3].float() / 255
    with torch.no_grad():
        drawn = method.eval().reconstruct(picture, visible)
    assert data["method"] == pytest.approx(hidden_error(drawn, picture, visible), rel=1e-4)
    assert data["mask_ratio"] == 0.5 and len(figure.axes) == 5
    drive(explore_reconstruction(method, pictures))
    drive(explore_reconstruction(method, pictures[:1]))


def test_a_picture_drawn_with_the_true_statistics_has_a_star():
    for normalized in (True, False):
        method = spark()
        method.normalized = normalized
        _, figure = reconstruction_view(method, images(1).images, 4)({"image": 0, "mask_ratio": 0.5, "draw": 0})
        assert figure.axes[2].get_title().endswith("*") is normalized
        assert [("not comparable" in text.get_text()) for text in figure.texts] == [True] * normalized


def test_a_checkpoint_and_a_photograph_of_ones_own(tmp_path):
    """The course's promise: train on a folder, then look into the checkpoint with a picture of one's own."""
    method = ibot()
    fit(method, images(), steps=2, out=tmp_path, **SMALL)
    photo = tmp_path / "mine.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (60, 90, 3), dtype=np.uint8)).save(photo)
    picture = open_image(photo, 32)
    assert picture.shape == (1, 3, 32, 32) and picture.dtype == torch.uint8
    made = explore_attention(tmp_path / "last.pt", picture)
    expected = method.evaluated.attention(standardize(picture))
    torch.testing.assert_close(made.data["heads"], to_grid(expected[-1, 0, :, 0]), rtol=1e-4, atol=1e-6)
    small = save_small(tmp_path / "small.pt", method)
    again = load_method(small)
    assert small.stat().st_size < (tmp_path / "last.pt").stat().st_size
    torch.testing.assert_close(again.embed(picture), method.embed(picture), rtol=2e-2, atol=2e-2)
    assert explore_attention(small, picture).data["heads"].shape == (3, 8, 8)


def test_paths_of_photographs_and_of_a_run(tmp_path):
    """One line: a run's folder or checkpoint, and photograph files, cut to the size of training or to another."""
    noise = np.random.default_rng(0)
    photos = [tmp_path / "a.jpg", tmp_path / "b.png"]
    for photo in photos:
        Image.fromarray(noise.integers(0, 255, (60, 90, 3), dtype=np.uint8)).save(photo)
    fit(ibot(), images(), steps=1, out=tmp_path / "run", **SMALL)
    made = explore_attention(tmp_path / "run", str(photos[0]))
    torch.testing.assert_close(made.data["heads"], explore_attention(tmp_path / "run" / "last.pt",
                                                                     open_image(photos[0], 16)).data["heads"])
    assert explore_attention(tmp_path / "run", photos, size=32).ends("patch") == ((0, 0), (7, 7))
    assert explore_correspondence(tmp_path / "run", photos[0], photos[1]).data["map"].shape == (4, 4)
    assert explore_reconstruction(spark(), photos).ends("image") == (0, 1)
    with pytest.raises(FileNotFoundError, match="there is no checkpoint"):
        explore_attention(tmp_path, photos[0])
    with pytest.raises(FileNotFoundError, match="nowhere.jpg"):
        explore_attention(network(), "nowhere.jpg")
    for wrong in ([], [1, 2], 3):
        with pytest.raises(TypeError, match="paths of photograph files"):
            explore_attention(network(), wrong)


def test_what_cannot_be_explored_is_said():
    with pytest.raises(ValueError, match="has no attention"):
        transformer(build_method("vicreg", "convnet"))
    with pytest.raises(ValueError, match="multiple of the patch"):
        attention_view(network(), torch.zeros(1, 3, 18, 18))
    with pytest.raises(ValueError, match="multiple of the patch, 4"):
        explore_reconstruction(spark(), torch.zeros(1, 3, 18, 18))
    with pytest.raises(ValueError, match="does not draw"):
        explore_reconstruction(ibot(), images(1).images)
    with pytest.raises(ValueError, match="built again"):
        save_small("nowhere.pt", build_method("dino", network(), 16))


# ---------------------------------------------------------------- the control: click a patch
def test_patch_control():
    control = Patch(2, 3, (1, 2))
    assert control.ends == ((0, 0), (1, 2)) and control.check([0, 1]) == (0, 1)
    for wrong in ((2, 0), (0, 3), 5, (0,), "ab"):
        with pytest.raises(ValueError, match="expected a place"):
            control.check(wrong)
    with pytest.raises(ValueError, match="at least two"):
        Patch(1, 1)


def test_a_click_moves_the_knob():
    made = knob(lambda state: (state["where"], explorers.plt.figure(figsize=(1, 1))), where=Patch(2, 2))
    made._controls()
    grid = made._widgets["where"]
    buttons = grid.children[1].children
    buttons[3].click()
    assert made.state["where"] == (1, 1) and made.data == (1, 1)
    assert [b.button_style for b in buttons] == ["", "", "", "warning"]
    made.set(where=(0, 1))
    assert grid.value == (0, 1) and [b.button_style for b in buttons] == ["", "warning", "", ""]
    made.close()
