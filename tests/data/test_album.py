"""The example album, its scenes, and parting by scenes."""

from __future__ import annotations

import pytest
import torch

from course_lib.data import DataError, ImageSet, Splits
from course_lib.data.album import groups, pictures_of, split_scenes, whole, write_album
from course_lib.data.folder import read_folder


def scene_of(name: str) -> str:
    return name.rsplit("_", 1)[0]


def test_an_album_is_read_as_the_folder_that_it_is(tmp_path):
    folder = write_album(tmp_path / "album", scenes=60, frames=3, seed=5)
    splits, report = read_folder(folder, 32, progress=False, cache=False)
    album = whole(splits)
    assert len(album) == 180 == report.used and not report.skipped
    assert album.labels is not None and len(album.classes) == 8
    scenes = groups(album.names, scene_of)
    assert torch.equal(torch.bincount(scenes), torch.full((60,), 3))
    for scene in range(60):
        burst = album.select(scenes == scene)
        assert burst.labels is not None and len(burst.labels.unique()) == 1
        assert len({picture.numpy().tobytes() for picture in burst.images}) == 3, "frames of a burst differ"


def test_frames_of_a_scene_are_nearer_than_other_scenes(tmp_path):
    splits, _ = read_folder(write_album(tmp_path / "album", 16, 2), 32, progress=False, cache=False)
    album = whole(splits)
    scenes, pixels = groups(album.names, scene_of), album.images.flatten(1).float()
    apart = torch.cdist(pixels, pixels).fill_diagonal_(torch.inf)
    assert (scenes[apart.argmin(1)] == scenes).float().mean() > 0.9


def test_an_album_writes_over_nothing(tmp_path):
    with pytest.raises(ValueError, match="is there already"):
        write_album(tmp_path)
    with pytest.raises(ValueError, match="expected at least 1"):
        write_album(tmp_path / "album", scenes=0)
    assert not (tmp_path / "album").exists()


def test_pictures_without_classes_are_refused():
    bare = ImageSet(torch.zeros(3, 3, 8, 8, dtype=torch.uint8))
    with pytest.raises(DataError, match="sub-folder of its own"):
        whole(Splits(bare, bare, bare))


def test_no_scene_is_torn_apart():
    generator = torch.Generator().manual_seed(0)
    scenes = torch.randint(20, (200,), generator=generator)
    order = torch.randperm(20, generator=generator)
    found = split_scenes(scenes, order, 0.6, 0.15)
    expected: dict[str, list[int]] = {"train": [], "validation": [], "test": []}
    for i, scene in enumerate(scenes.tolist()):
        rank = order.tolist().index(scene)
        expected["train" if rank < 12 else "validation" if rank < 15 else "test"].append(i)
    assert {name: some.tolist() for name, some in found.items()} == expected


def test_the_pictures_of_a_scene_are_shown_in_rows_and_the_last_is_repeated():
    images = torch.arange(5, dtype=torch.uint8)[:, None, None, None].expand(5, 3, 2, 2)
    rows = pictures_of(ImageSet(images, torch.zeros(5, dtype=torch.long), ("disc",)), torch.tensor([0, 1, 0, 0, 1]),
                       torch.tensor([1, 0]), 3)
    assert {name: row[:, 0, 0, 0].tolist() for name, row in rows.items()} == {
        "picture 1": [1, 0], "picture 2": [4, 2], "picture 3": [4, 3]}
