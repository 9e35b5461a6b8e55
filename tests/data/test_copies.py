"""Copies of pictures: near ones are found among photographs, and none among generated shapes."""
import io

import numpy as np
import pytest
from PIL import Image

from course_lib.data.copies import copies, fingerprints, near_copies
from course_lib.data.folder import read_folder
from course_lib.data.loading import sample_tiles
from course_lib.data.shapes import make_shapes


def again(pixels, quality=90, scale=1.0, gain=1.0):
    """uint8 (3, S, S) -> the same picture resized and back, brighter, and saved as JPEG."""
    image = Image.fromarray(pixels.transpose(1, 2, 0))
    size = image.size
    image = image.resize((int(scale * size[0]),) * 2, Image.Resampling.BILINEAR).resize(size, Image.Resampling.BILINEAR)
    stream = io.BytesIO()
    image.point(lambda value: min(255, int(value * gain))).save(stream, "JPEG", quality=quality)
    return np.asarray(Image.open(stream)).transpose(2, 0, 1)


@pytest.fixture(scope="module")
def scenes():
    """Photographs of 96 pixels, cut apart without overlap."""
    from sklearn.datasets import load_sample_images

    return np.stack([photo[r:r + 96, c:c + 96].transpose(2, 0, 1) for photo in load_sample_images().images
                     for r in range(0, 330, 96) for c in range(0, 540, 96)])


@pytest.mark.parametrize("change", [{"quality": 75}, {"scale": 2.0}, {"scale": 0.5}, {"gain": 1.1}])
def test_pictures_saved_again_are_near_copies(scenes, change):
    n, both = len(scenes), np.concatenate([scenes, [again(scene, **change) for scene in scenes]])
    found = near_copies(both, fingerprints(both))
    assert sum((i, i + n) in found for i in range(n)) > 0.75 * n and all(j == i + n for i, j in found)
    assert not copies(fingerprints(both)[:, 0])


@pytest.mark.parametrize("style", ["calm", "striped"])
def test_there_are_none_among_generated_shapes_nor_tiles_of_photographs(style):
    for images in (make_shapes(4000, style=style).images.numpy(), sample_tiles().numpy()):
        prints = fingerprints(images)
        assert not copies(prints[:, 0]) and not near_copies(images, prints)


def test_exact_copies_point_to_the_first_and_one_colour_is_no_picture():
    images = make_shapes(6, size=8).images.numpy()[[0, 1, 0, 2, 1, 0]]
    flat = np.full((3, 3, 8, 8), 9, np.uint8)
    assert copies(fingerprints(np.concatenate([images, flat]))[:, 0]) == {2: 0, 5: 0, 4: 1}
    assert not near_copies(flat, fingerprints(flat)) and fingerprints(flat[:0]).shape == (0, 3)


@pytest.mark.parametrize("size", [1, 2, 7, 9, 33])
def test_any_size_has_fingerprints(size):
    images = np.random.default_rng(size).integers(0, 256, (5, 3, size, size), dtype=np.uint8)
    prints = fingerprints(images)
    assert prints.shape == (5, 3) and len(set(prints[:, 0].tolist())) == (5 if size > 1 else 1)
    near_copies(images, prints)


def test_near_copies_in_a_folder_are_named_and_kept(scenes, tmp_path):
    (tmp_path / "p").mkdir()
    for i, scene in enumerate(scenes):
        Image.fromarray(scene.transpose(1, 2, 0)).save(tmp_path / "p" / f"{i}.png")
        Image.fromarray(again(scene).transpose(1, 2, 0)).save(tmp_path / "p" / f"copy of {i}.png")
    _, report = read_folder(tmp_path / "p", 32, cache=False, progress=False)
    note, = report.notes
    assert report.used == 2 * len(scenes) and note.startswith("Near copies: ") and "two splits" in note
    assert "copy of" in note and "6 of 64 bits" in note and "0.994" in note
