"""What explorers share: a method, a network, a learned one, a checkpoint; images, image sets and photograph files."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from PIL import Image

from course_lib.augment.pixels import standardize, to_float
from course_lib.data.shapes import make_shapes
from course_lib.evaluate.attention import to_grid
from course_lib.methods import build_method
from course_lib.notebook.attention import attention_view, explore_attention
from course_lib.notebook.completions import explore_reconstruction
from course_lib.notebook.controls import Patch
from course_lib.notebook.explorers import as_images, loaded, mosaic, network_of, open_image, transformer
from course_lib.notebook.knobs import knob
from course_lib.notebook.patches import explore_correspondence, explore_patches
from course_lib.plots.drawing import SKY
from course_lib.runs.networks import Learned
from course_lib.runs.stored import StoredRun
from course_lib.train.checkpoint import load_method, save_small
from course_lib.train.loop import fit
from helpers.tiny import SMALL, ibot, images, spark, vicreg, vit


def test_a_network_may_be_given_as_what_holds_it(tmp_path):
    """A learned network, a method, its backbone, a checkpoint, a run: one function opens them all."""
    method = vicreg()
    fit(method, images(), steps=1, out=tmp_path, **SMALL)
    stored = Learned(method.eval(), StoredRun("vicreg", "shapes"), [])
    weights = method.backbone.state_dict()
    for given in (stored, method, method.backbone, tmp_path, tmp_path / "last.pt", str(tmp_path)):
        found = network_of(given).state_dict()
        assert all(torch.equal(found[name], weights[name]) for name in weights)
        assert explore_patches(given, images(2).images).data["cosines"].shape == (4, 4)
    assert loaded(stored) is method
    teacher = ibot()
    assert network_of(teacher) is teacher.evaluated is not teacher.backbone


def test_images_may_be_given_as_what_holds_them(tmp_path):
    made, photo = make_shapes(3, size=16), tmp_path / "mine.png"
    for given in (made, made.images, to_float(made.images)):
        torch.testing.assert_close(as_images(given, 4, 32), to_float(made.images))
    assert as_images(made.images[0], 4, 32).shape == (1, 3, 16, 16)
    Image.fromarray(made.images[0].permute(1, 2, 0).numpy()).save(photo)
    torch.testing.assert_close(as_images([photo, str(photo)], 4, 16)[1], to_float(made.images[0]))


def test_a_mosaic_has_its_pictures_in_reading_order():
    cells = np.arange(6).reshape(2, 3, 1, 1, 1) / 10 * np.ones((2, 3, 4, 5, 3))
    whole = mosaic(cells)
    assert whole.shape == (4 * 2 + 1, 5 * 3 + 2, 3)
    for row in range(2):
        for column in range(3):
            np.testing.assert_array_equal(whole[5 * row : 5 * row + 4, 6 * column : 6 * column + 5],
                                          cells[row, column])
    assert (whole[4] == 1).all() and (whole[:, [5, 11]] == 1).all()


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
        explore_attention(vit(), "nowhere.jpg")
    for wrong in ([], [1, 2], 3):
        with pytest.raises(TypeError, match="paths of photograph files"):
            explore_attention(vit(), wrong)


def test_what_cannot_be_explored_is_said():
    with pytest.raises(ValueError, match="has no attention"):
        transformer(build_method("vicreg", "convnet"))
    with pytest.raises(ValueError, match="multiple of the patch"):
        attention_view(vit(), torch.zeros(1, 3, 18, 18))
    with pytest.raises(ValueError, match="Linear has no patches to look into"):
        explore_patches(torch.nn.Linear(2, 2), torch.zeros(1, 3, 16, 16))
    with pytest.raises(ValueError, match="multiple of the patch, 4"):
        explore_reconstruction(spark(), torch.zeros(1, 3, 18, 18))
    with pytest.raises(ValueError, match="does not draw"):
        explore_reconstruction(ibot(), images(1).images)
    with pytest.raises(ValueError, match="built again"):
        save_small("nowhere.pt", build_method("dino", vit(), 16))


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
    made = knob(lambda state: (state["where"], plt.figure(figsize=(1, 1))), where=Patch(2, 2))
    made._controls()
    grid = made._widgets["where"]
    buttons = grid.children[1].children
    buttons[3].click()
    assert made.state["where"] == (1, 1) and made.data == (1, 1)
    assert [b.style.button_color for b in buttons] == [None, None, None, SKY]
    made.set(where=(0, 1))
    assert grid.value == (0, 1) and [b.style.button_color for b in buttons] == [None, SKY, None, None]
    made.close()
