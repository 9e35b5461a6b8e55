"""Folders larger than memory: decoded into a file, trained from there, with the weights of a run in memory."""

from __future__ import annotations

import os
import threading

import numpy as np
import pytest
import torch
from PIL import Image

from course_lib import device
from course_lib.cli.main import main
from course_lib.data import batches as batches_module
from course_lib.data import cache as caches
from course_lib.data import folder as folders
from course_lib.data.batches import Batches
from course_lib.data.folder import read_folder
from course_lib.data.images import DataError
from course_lib.train.loop import fit
from helpers.tiny import SMALL, Stop, images, same, spark, state, vicreg

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def pictures(tmp_path, monkeypatch):
    """A folder of 150 pictures and four files that are none; .decoded counts what was decoded."""
    root, pixels = tmp_path / "p", np.random.default_rng(0)
    for i in range(150):
        (root / "ab"[i % 2]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(root / "ab"[i % 2] / f"{i:03d}.png")
    for i in (0, 63, 64, 149):
        (root / "a" / f"{i:03d}.broken.png").write_bytes(b"x" * bool(i))
    decoded, true = [], folders.decode_photo

    def count(path, size):
        decoded.append(path.name)
        return true(path, size)

    monkeypatch.setattr(folders, "decode_photo", count)

    def read(**options):
        decoded.clear()
        options = dict(cache=tmp_path / "cache", progress=False, workers=2) | options
        return read_folder(root, 8, **options)

    read.root, read.cache, read.decoded = root, tmp_path / "cache", decoded
    return read


# ---------------------------------------------------------------- the file
def test_streamed_pictures_are_those_in_memory(pictures):
    wanted, report = pictures(cache=False)
    for from_cache in (False, True):
        splits, other = pictures(stream=True)
        assert other.cached is from_cache and bool(pictures.decoded) is not from_cache
        assert (other.used, other.found, other.skipped) == (report.used, 154, report.skipped) and report.used == 150
        for split in ("train", "validation", "test"):
            one, two = getattr(wanted, split), getattr(splits, split)
            assert torch.equal(one.images, two.images) and torch.equal(one.labels, two.labels)
            assert one.names == two.names
        assert isinstance(splits.train.images, torch.Tensor) and splits.train.images.dtype == torch.uint8
        splits.train.images.fill_(0)  # changes nobody's file
    assert [path.suffix for path in pictures.cache.iterdir()] == [".pixels"]


@pytest.mark.parametrize("damage", ["cut", "empty", "facts", "longer"])
def test_a_damaged_file_is_made_again(pictures, damage):
    wanted = pictures(stream=True)[0].train.images.clone()
    file, = pictures.cache.iterdir()
    data = file.read_bytes()
    file.write_bytes({"cut": data[:-3], "empty": b"", "facts": data[:-20] + b"}" * 12 + data[-8:],
                      "longer": data[:500] + data}[damage])
    splits, report = pictures(stream=True)
    assert len(pictures.decoded) == 153 and "damaged" in report.notes[0] and torch.equal(splits.train.images, wanted)
    assert pictures(stream=True)[1].cached


def test_a_changed_folder_is_decoded_again(pictures):
    pictures(stream=True)
    (pictures.root / "a" / "000.png").unlink()
    assert pictures(stream=True)[1].used == 149 and pictures.decoded and pictures(stream=True)[1].cached


def test_what_may_be_read_another_time_is_tried_another_time(pictures, monkeypatch):
    def refused(path, size):
        if path.name == "001.png":
            raise OSError(5, "Input/output error")
        return true(path, size)

    true = folders.decode_photo
    with monkeypatch.context() as patch:
        patch.setattr(folders, "decode_photo", refused)
        assert pictures(stream=True)[1].used == 149
    assert pictures(stream=True)[1].used == 150 and pictures(stream=True)[1].cached


def test_a_full_disk_is_a_sentence_and_leaves_nothing(pictures, monkeypatch):
    def full(array):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(caches.np, "ascontiguousarray", full)
    with pytest.raises(DataError, match="0.0 GB, could not be written into .*No space left.*smaller size"):
        pictures(stream=True)
    assert not list(pictures.cache.iterdir())


def test_without_a_cache_there_is_nothing_to_stream_from(pictures):
    with pytest.raises(DataError, match="stream=True and cache=False"):
        pictures(stream=True, cache=False)


def test_a_folder_without_pictures_is_told(tmp_path):
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "x.png").write_bytes(b"x")
    with pytest.raises(DataError, match="No picture could be read"):
        read_folder(tmp_path / "p", 8, cache=tmp_path / "cache", stream=True, progress=False)


def test_too_large_for_memory_is_streamed_unasked(pictures, monkeypatch):
    monkeypatch.setattr(os, "sysconf", lambda name: 200, raising=False)  # 40 kB in all; the pictures take 29
    assert pictures()[1].used == 150
    assert [path.suffix for path in pictures.cache.iterdir()] == [".pixels"]


@pytest.mark.skipif(not hasattr(os, "sysconf"), reason="Windows does not say how much memory there is")
def test_a_container_has_the_memory_that_it_is_allowed(pictures, monkeypatch, tmp_path):
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(device, "CONTAINER", (str(tmp_path / "nowhere"), str(limit)))
    limit.write_text("max\n")
    assert device.free_memory(torch.device("cpu")) == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit.write_text("40000\n")
    assert device.free_memory(torch.device("cpu")) == 40_000
    pictures()
    assert [path.suffix for path in pictures.cache.iterdir()] == [".pixels"]


# ---------------------------------------------------------------- the batches
@pytest.mark.parametrize("build, accumulate", [(vicreg, 1), (spark, 2)])
def test_a_streamed_run_has_the_weights_of_one_in_memory(tmp_path, build, accumulate):
    settings = {**SMALL, "steps": 9, "accumulate": accumulate, "log_every": 1}
    resident, streamed, again = build(), build(), build(5)
    fit(resident, images(), **settings)
    fit(streamed, images(), stream=True, **settings)
    assert same(state(resident), state(streamed))
    fit(build(), images(), stream=True, out=tmp_path, watch=Stop(5), **settings)
    fit(again, images(), out=tmp_path, resume=True, **settings)
    assert same(state(resident), state(again))


def test_a_thread_reads_each_block_once_and_ahead(monkeypatch):
    reads, read = [], Batches._read

    def noted(self, step, part):
        reads.append((step, part, threading.current_thread() is threading.main_thread()))
        return read(self, step, part)

    monkeypatch.setattr(Batches, "_read", noted)
    pictures = images()
    batches = Batches(pictures, torch.device("cpu"), batch_size=8, accumulate=2, stream=True)
    for step in (0, 1, 0):  # measuring the rate goes back to the start
        for batch, _ in batches(step):
            assert torch.equal(batch.images, pictures.images[batch.indices])
            assert batch.labels.tolist() == [i % 3 for i in batch.indices.tolist()]
    batches.reader.shutdown()
    assert [read[:2] for read in reads] == [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (0, 0), (0, 1), (1, 0)]
    assert not any(main for *_, main in reads)


def test_images_are_streamed_where_they_would_not_fit(monkeypatch):
    pictures, cpu = images(), torch.device("cpu")
    for free, stream in ((3 * pictures.images.numel(), False), (pictures.images.numel(), True)):
        monkeypatch.setattr(batches_module, "free_memory", lambda device, free=free: free)
        assert (Batches(pictures, cpu, batch_size=8).reader is not None) is stream
    assert Batches(pictures, cpu, batch_size=8, stream=False).reader is None


def test_the_command_streams_a_folder(pictures, tmp_path):
    for out, more in (("memory", []), ("stream", ["--stream"])):
        assert main(["train", "vicreg", "--data", str(pictures.root), "--image-size", "16", "--steps", "2",
                     "--data-root", str(tmp_path / "data"), "--batch-size", "16", "--device", "cpu", "--precision",
                     "float32", "--set", "width=16", "--out", str(tmp_path / out), "--no-evaluate", *more]) == 0
    assert {path.suffix for path in (tmp_path / "data" / "folders").iterdir()} == {".npz", ".pixels"}
    one, two = (torch.load(tmp_path / out / "backbone.pt", weights_only=True) for out in ("memory", "stream"))
    assert same(one, two)
