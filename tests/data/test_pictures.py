"""Pictures to look at: files, folders, which of them, and what is said of those that cannot be read."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from course_lib.data.images import DataError
from course_lib.data.loading import suitable_size
from course_lib.data.pictures import open_pictures


def picture(path, shade: int, size=(12, 10)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*size, 3), shade, np.uint8)).save(path)
    return path


def test_files_come_in_their_order_and_a_folder_by_its_names(tmp_path):
    files = [picture(tmp_path / f"{name}.png", shade) for name, shade in (("b", 200), ("a", 10))]
    found, notes = open_pictures(files, 8, 10)
    assert found.images.shape == (2, 3, 8, 8) and found.images[:, 0, 0, 0].tolist() == [200, 10] and not notes
    assert found.names == ("b.png", "a.png") and found.labels is None
    assert open_pictures([tmp_path], 8, 10)[0].names == ("a.png", "b.png")


def test_sub_folders_are_classes_and_train_and_test_are_not(tmp_path):
    for i, name in enumerate(("train/cat/1", "train/dog/2", "test/cat/3")):
        picture(tmp_path / f"{name}.png", i)
    found = open_pictures([tmp_path], 4, 10)[0]
    assert found.classes == ("cat", "dog") and found.names[0] == "test/cat/3.png"
    assert found.labels.tolist() == [0, 0, 1] and found.labels.dtype == torch.int64


def test_of_many_some_are_shown_over_the_whole_folder_and_what_cannot_be_read_is_named(tmp_path):
    for i in range(20):
        picture(tmp_path / f"{i:02d}.png", i)
    (tmp_path / "19.png").write_text("no picture")
    found, notes = open_pictures([tmp_path], 4, 5)
    assert found.images[:, 0, 0, 0].tolist() == [0, 5, 10, 14]
    assert notes == ["5 of the 20 pictures are shown, spread over the folder.",
                     "Left out: 19.png (the content is not JPEG, PNG or WebP)."]


@pytest.mark.parametrize("names, said", [
    (["nowhere"], "There is no file or folder"), (["empty"], "There are none in it"),
    (["text.png"], "text.png: the content is not JPEG, PNG or WebP"), (["empty", "a.png"], "one folder alone"),
])
def test_what_is_no_picture_is_a_sentence(names, said, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.png").write_text("no picture")
    picture(tmp_path / "a.png", 3)
    with pytest.raises(DataError, match=said):
        open_pictures([tmp_path / name for name in names], 4, 5)


def test_of_sixteen_bits_only_twelve_used_is_noted_and_can_be_told(tmp_path):
    """Bug: `look` and `cluster` showed nearly black pictures without a word, and had no --depth."""
    grey = np.linspace(0, 4095, 32 * 32).reshape(32, 32).astype(np.uint16)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    images, notes = open_pictures([tmp_path / "grey.png"], 32, 10)
    assert images.images.max() < 20 and len(notes) == 1 and "grey.png: depth=12 (--depth 12)" in notes[0]
    images, notes = open_pictures([tmp_path / "grey.png"], 32, 10, depth=12)
    assert images.images.max() == 255 and not notes


def test_pillow_warns_of_no_single_file_and_here_has_a_name(tmp_path, monkeypatch, recwarn):
    """Bug: "DecompressionBombWarning: Image size ... could be decompression bomb DOS attack" for a large picture."""
    picture(tmp_path / "mine" / "a.png", 3, (40, 40))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    monkeypatch.chdir(tmp_path / "mine")
    assert suitable_size(tmp_path / "mine") == (32, (40, 40))
    assert open_pictures(["."], 8, 10)[0].name == "mine" and not recwarn.list
