"""A folder of photographs: every kind of file that people have, splits by hash, the cache."""
import io
import os
import random
import struct
import sys
import unicodedata
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from course_lib.data import folder as folders
from course_lib.data import photo
from course_lib.data import splits as layout
from course_lib.data.folder import load_folder, read_folder
from course_lib.data.images import DataError
from course_lib.data.photo import decode_photo


def picture(seed=0, size=8):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8))


def put(path, image=None, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    (image or picture(zlib.crc32("/".join(path.parts[-3:]).encode()))).save(path, **options)
    return path


def read(path, size=8, **options):
    options = {"cache": False, "progress": False, "workers": 2} | options
    return read_folder(path, size, **options)


def everything(splits):
    parts = (splits.train, splits.validation, splits.test, splits.unlabelled)
    return {name: image for part in parts if part is not None for name, image in zip(part.names, part.images)}


def labels(part):
    return {name: part.classes[label] for name, label in zip(part.names, part.labels.tolist())}


# ---------------------------------------------------------------- one file -> pixels

def test_a_picture_of_the_right_size_keeps_every_pixel(tmp_path):
    path = put(tmp_path / "a.png", picture(7))
    assert np.array_equal(decode_photo(path, 8), np.asarray(picture(7)))


def test_short_side_is_resized_and_the_centre_cut_out(tmp_path):
    wide = np.zeros((40, 100, 3), dtype=np.uint8)
    wide[:, :30], wide[:, 30:70], wide[:, 70:] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    got = decode_photo(put(tmp_path / "wide.png", Image.fromarray(wide)), 10)
    assert np.array_equal(got[:, 1:-1], np.broadcast_to([0, 255, 0], (10, 8, 3)))
    tall = decode_photo(put(tmp_path / "tall.png", Image.fromarray(wide.transpose(1, 0, 2).copy())), 10)
    assert np.array_equal(tall, got.transpose(1, 0, 2))


def test_reducing_has_antialias(tmp_path):
    board = np.indices((64, 64)).sum(0) % 2 * 255
    grey = Image.fromarray(board.astype(np.uint8))
    assert np.abs(decode_photo(put(tmp_path / "board.png", grey), 8).astype(int) - 127).max() <= 2


def test_enlarging_and_the_single_pixel(tmp_path):
    dot = put(tmp_path / "dot.png", Image.new("RGB", (1, 1), (10, 20, 30)))
    assert np.array_equal(decode_photo(dot, 8), np.broadcast_to([10, 20, 30], (8, 8, 3)))
    line = put(tmp_path / "line.png", Image.new("RGB", (500, 1), (9, 8, 7)))
    assert np.array_equal(decode_photo(line, 8), np.broadcast_to([9, 8, 7], (8, 8, 3)))


def test_a_large_jpeg_at_reduced_scale_is_close_to_the_full_decoding(tmp_path):
    yy, xx = np.mgrid[:768, :1024] / 1024
    smooth = np.stack([xx, yy, (np.sin(9 * xx) * np.cos(7 * yy) + 1) / 2], -1)
    path = put(tmp_path / "large.jpg", Image.fromarray((smooth * 255).astype(np.uint8)), quality=95)
    with Image.open(path) as image:
        full = image.crop((128, 0, 896, 768)).resize((32, 32), Image.Resampling.BILINEAR)
    assert np.abs(decode_photo(path, 32).astype(int) - np.asarray(full)).max() <= 4


def ramp():
    return (np.arange(64).reshape(8, 8) * 4).astype(np.uint8)


@pytest.mark.parametrize("name, image", [
    ("grey.png", Image.fromarray(ramp())),
    ("grey.webp", Image.fromarray(ramp())),
    ("palette.png", Image.fromarray(np.stack([ramp()] * 3, -1)).quantize(256)),
    ("black_white.png", Image.fromarray(ramp()).convert("1")),
    ("cmyk.jpg", Image.fromarray(np.stack([ramp()] * 3, -1)).convert("CMYK")),
    ("deep.png", Image.fromarray(ramp().astype(np.uint16) * 257)),
])
def test_modes_become_rgb(tmp_path, name, image):
    path = put(tmp_path / name, image, **({"quality": 100} if name.endswith("jpg") else {}),
               **({"lossless": True} if name.endswith("webp") else {}))
    want = np.asarray(image.convert("RGB")) if image.mode == "1" else np.stack([ramp()] * 3, -1)
    got = decode_photo(path, 8)
    assert got.dtype == np.uint8 and got.shape == (8, 8, 3)
    assert np.abs(got.astype(int) - want).max() <= (12 if "cmyk" in name else 3 if "palette" in name else 0)


def png(width, height, depth, colour, rows):
    """A PNG as the specification has it; `rows` are bytes with the filter byte in front."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"".join(rows))) \
        + chunk(b"IEND", b"")


def test_of_sixteen_bits_only_twelve_used_is_noted_and_can_be_told(tmp_path, monkeypatch):
    """Bug: a 12-bit microscope's 16-bit PNG came out nearly black, without a word."""
    values = np.linspace(0, 4095, 64).astype(np.uint16).reshape(8, 8)
    for i in range(3):
        put(tmp_path / "p" / f"{i}.png", Image.fromarray(np.roll(values, i)))
    for cached in (False, True):        # the note comes from the cache as well
        splits, report = read(tmp_path / "p", cache=tmp_path / "cache")
        assert report.cached is cached and splits.train.images.max() <= 16
        assert "3 pictures nearly black, with 12 of 16 bits used" in report.notes[0] and "--depth 12" in report.notes[0]
    splits, report = read(tmp_path / "p", cache=tmp_path / "cache", depth=12)
    assert splits.train.images.max() == 255 and not any("bits" in note for note in report.notes)
    assert np.abs(decode_photo(tmp_path / "p" / "0.png", 8, 12)[..., 0] - values * (255 / 4095)).max() <= 1
    put(tmp_path / "p" / "bright.png", Image.fromarray(values * 16))    # the others are just dark
    assert not any("bits" in note for note in read(tmp_path / "p")[1].notes)
    with pytest.raises(ValueError, match="depth is 4"):
        read(tmp_path / "p", depth=4)


@pytest.mark.parametrize("colour, channels", [(2, 3), (4, 2), (6, 4)], ids=["rgb", "grey+alpha", "rgba"])
def test_dark_colour_of_sixteen_bits_is_noted_too(tmp_path, colour, channels):
    values = np.random.default_rng(0).integers(0, 4096, (8, 8, channels)).astype(">u2")
    if channels != 3:
        values[..., -1] = 65535
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "a.png").write_bytes(png(8, 8, 16, colour, [b"\0" + row.tobytes() for row in values]))
    splits, report = read(tmp_path / "p", seed=1)
    assert "1 picture nearly black" in report.notes[0] and "upper 8" in report.notes[0]
    got = everything(read(tmp_path / "p", depth=12)[0])["a.png"].permute(1, 2, 0).float().numpy()
    colours = values[..., :1] if channels == 2 else values[..., :3]
    assert np.abs(got - colours * (255 / 4095)).max() < 17


@pytest.mark.parametrize("colour, channels", [(0, 1), (2, 3), (4, 2), (6, 4)],
                         ids=["grey", "rgb", "grey+alpha", "rgba"])
def test_sixteen_bits_are_scaled_and_not_clipped(tmp_path, colour, channels):
    values = np.linspace(0, 65535, 64).astype(">u2").reshape(8, 8)
    pixels = np.stack([values] * channels, -1)
    if channels in (2, 4):
        pixels[..., -1] = 65535
    path = tmp_path / "deep.png"
    path.write_bytes(png(8, 8, 16, colour, [b"\0" + row.astype(">u2").tobytes() for row in pixels]))
    got = decode_photo(path, 8).astype(int)
    assert np.abs(got - (values.astype(int) / 257)[..., None]).max() <= 1
    assert got.min() == 0 and got.max() == 255


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_is_laid_on_white(tmp_path, mode):
    image = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    image.paste((0, 0, 0, 255), (0, 0, 4, 8))
    if mode == "P":
        flat = Image.new("P", (8, 8), 1)
        flat.putpalette([0, 0, 0, 50, 50, 50])
        flat.paste(0, (0, 0, 4, 8))
        path = put(tmp_path / "x.png", flat, transparency=1)
    else:
        path = put(tmp_path / "x.png", image.convert(mode))
    got = decode_photo(path, 8)
    assert (got[:, :4] == 0).all() and (got[:, 4:] == 255).all()
    half = put(tmp_path / "half.png", Image.new("RGBA", (8, 8), (0, 0, 0, 128)))
    assert np.abs(decode_photo(half, 8).astype(int) - 127).max() <= 1


def test_rgb_with_a_transparent_colour(tmp_path):
    image = Image.new("RGB", (8, 8), (255, 0, 0))
    image.paste((0, 200, 0), (0, 0, 8, 4))
    got = decode_photo(put(tmp_path / "key.png", image, transparency=(255, 0, 0)), 8)
    assert (got[4:] == 255).all() and (got[:4] == (0, 200, 0)).all()


@pytest.mark.parametrize("ending", ["jpg", "png", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_turns_the_picture_upright(tmp_path, orientation, ending):
    upright = np.zeros((60, 40, 3), dtype=np.uint8)
    upright[:30, :20], upright[:30, 20:], upright[30:, :20] = (250, 0, 0), (0, 250, 0), (0, 0, 250)
    # how the camera stored it: the inverse of what the viewer is told to do
    inverse = {1: lambda a: a, 2: lambda a: a[:, ::-1], 3: lambda a: a[::-1, ::-1], 4: lambda a: a[::-1],
               5: lambda a: a.transpose(1, 0, 2), 6: lambda a: np.rot90(a),
               7: lambda a: a[::-1, ::-1].transpose(1, 0, 2), 8: lambda a: np.rot90(a, -1)}[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"jpg": {"quality": 100, "subsampling": 0}, "png": {}, "webp": {"lossless": True}}[ending]
    stored = Image.fromarray(np.ascontiguousarray(inverse(upright)))
    path = put(tmp_path / f"x.{ending}", stored, exif=exif, **options)
    want = Image.fromarray(upright).crop((0, 10, 40, 50)).resize((20, 20), Image.Resampling.BILINEAR)
    assert np.abs(decode_photo(path, 20).astype(int) - np.asarray(want)).max() <= 6


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_a_damaged_exif_tag_does_not_cost_the_picture(tmp_path):
    path = put(tmp_path / "x.jpg", picture(), exif=b"Exif\0\0II*\0\xff\xff\xff\xff" + b"\xff" * 20)
    assert decode_photo(path, 8).shape == (8, 8, 3)


def test_of_an_animation_the_first_frame(tmp_path):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ((255, 0, 0), (0, 255, 0))]
    path = put(tmp_path / "x.webp", frames[0], save_all=True, append_images=frames[1:], lossless=True)
    assert (decode_photo(path, 8) == (255, 0, 0)).all()


# ---------------------------------------------------------------- a folder with everything in it

def test_every_odd_file_is_read_or_named(tmp_path, capsys):
    root = tmp_path / "pictures"
    good = [put(root / "cat" / name).name for name in ("a.jpg", "b.JPEG", "c.png", "d.webp", "e.jfif")]
    put(root / "cat" / "grüße 猫.png")
    put(root / "cat" / "really_png.jpg", format="PNG")
    put(root / "dog" / "deeper" / "x.png")
    whole = put(root / "dog" / "whole.jpg", picture(size=64)).read_bytes()
    (root / "dog" / "cut.jpg").write_bytes(whole[:len(whole) // 2])
    data = put(root / "dog" / "whole.png", picture(size=64)).read_bytes()
    (root / "dog" / "cut.png").write_bytes(data[:len(data) // 2])
    data = put(root / "dog" / "whole.webp", picture(size=64)).read_bytes()
    (root / "dog" / "cut.webp").write_bytes(data[:len(data) // 2])
    (root / "dog" / "empty.jpg").touch()
    (root / "dog" / "text.png").write_text("hello")
    put(root / "dog" / "really_gif.jpg", format="GIF")
    (root / "dog" / "labels.csv").write_text("a,b")
    put(root / "dog" / "old.bmp")
    put(root / "dog" / "moving.gif")
    (root / "dog" / "no_ending").write_bytes(whole)
    (root / "dog" / "a_folder.jpg").mkdir()
    bomb = png(40000, 40000, 8, 0, [b""])
    (root / "dog" / "bomb.png").write_bytes(bomb)
    put(root / "loose.png")
    for hidden in (".DS_Store", "._a.jpg", "Thumbs.db", "desktop.ini"):
        (root / "dog" / hidden).write_bytes(b"\0\1")
    (root / "__MACOSX" / "cat").mkdir(parents=True)
    (root / "__MACOSX" / "cat" / "a.jpg").write_bytes(b"\0")
    (root / ".cache").mkdir()
    put(root / ".cache" / "thumb.png")

    splits, report = read(root)
    skipped = dict(report.skipped)
    assert skipped == {
        "dog/cut.jpg": "truncated or damaged", "dog/cut.png": "truncated or damaged",
        "dog/cut.webp": "truncated or damaged", "dog/empty.jpg": "empty file",
        "dog/text.png": "the content is not JPEG, PNG or WebP",
        "dog/really_gif.jpg": "the content is not JPEG, PNG or WebP",
        "dog/labels.csv": "not a JPEG, PNG or WebP file", "dog/old.bmp": "not a JPEG, PNG or WebP file",
        "dog/moving.gif": "not a JPEG, PNG or WebP file", "dog/no_ending": "not a JPEG, PNG or WebP file",
        "dog/bomb.png": "larger than 178 megapixels", "loose.png": "beside the class folders, not inside one"}
    got = everything(splits)
    assert set(got) == {f"cat/{name}" for name in good} | {
        "cat/grüße 猫.png", "cat/really_png.jpg", "dog/deeper/x.png", "dog/whole.jpg", "dog/whole.png",
        "dog/whole.webp"}
    assert report.used == len(got) == 11
    for name, image in got.items():     # broken neighbours moved no picture to another name
        assert np.array_equal(image, decode_photo(root / name, 8).transpose(2, 0, 1)), name
    for part in (splits.train, splits.validation, splits.test):
        assert all(name.startswith(group + "/") for name, group in labels(part).items())

    load_folder(root, 8, cache=False, progress=False)
    printed = capsys.readouterr()
    assert printed.err == "" and len(printed.out.strip().splitlines()) <= 10
    for text in ("11 of 19 pictures read", "12 files left out", "dog/empty.jpg", "dog/bomb.png", "cut.jpg"):
        assert text in printed.out
    assert "DS_Store" not in printed.out and "MACOSX" not in printed.out


def test_a_clean_folder_prints_nothing_without_progress_and_one_line_with(tmp_path, capsys):
    for i in range(40):
        put(tmp_path / "p" / "ab"[i % 2] / f"{i}.png")
    load_folder(tmp_path / "p", 8, progress=False, cache=False)
    assert capsys.readouterr() == ("", "")
    load_folder(tmp_path / "p", 8, progress=True, cache=False)
    printed = capsys.readouterr()
    assert "40 of 40 pictures read" in printed.out and "Reading pictures" in printed.err


def test_the_summary_stays_short(tmp_path):
    report = folders.FolderReport(tmp_path, 5000, 10)
    report.skipped = [(f"{i}.jpg", f"reason {i % 30}") for i in range(4000)]
    report.notes = ["a note"]
    lines = report.summary().splitlines()
    assert len(lines) == 10 and "4,000 files left out" in lines[0] and lines[-1] == "a note"
    assert lines[1].endswith("... and 130 more") and lines[-2] == "  ... and 23 more reasons"
    report.skipped.append(("x.tif", "no reader for .tif: save it as PNG, of 1 or 3 channels"))
    assert report.summary().splitlines()[1].startswith("  no reader for .tif"), "what can be mended is not left out"
    report.notes *= 20
    assert len(report.summary().splitlines()) == 10


@pytest.mark.parametrize("size, text", [(0, "size is 0"), (2.5, "size is 2.5")])
def test_wrong_sizes_are_refused(tmp_path, size, text):
    with pytest.raises(ValueError, match=text):
        read(tmp_path, size)


def test_what_has_no_reader_is_said_with_what_to_do(tmp_path):
    put(tmp_path / "p" / "a.png")
    put(tmp_path / "p" / "stack.tif")
    np.save(tmp_path / "p" / "channels.npy", np.zeros((5, 8, 8)))
    reasons = dict(read(tmp_path / "p")[1].skipped)
    assert reasons == {"stack.tif": "no reader for .tif: save it as PNG, of 1 or 3 channels",
                       "channels.npy": "no reader for .npy: save it as PNG, of 1 or 3 channels"}
    (tmp_path / "p" / "a.png").unlink()
    with pytest.raises(DataError, match="1 .tif.*\n.*(.*\n)*.*save it as PNG"):
        read(tmp_path / "p")


def test_nothing_usable_says_what_was_looked_for(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        read(tmp_path / "nowhere")
    archive = tmp_path / "pictures.zip"
    archive.write_bytes(b"PK")
    with pytest.raises(DataError, match="unpack"):
        read(archive)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"Looked for JPEG, PNG and WebP.*no files"):
        read(tmp_path / "empty")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.gif").write_bytes(b"GIF89a")
    (tmp_path / "other" / "b.jpg").touch()
    with pytest.raises(DataError) as caught:
        read(tmp_path / "other")
    assert "1 .gif" in str(caught.value) and "b.jpg" in str(caught.value)


needs_links = pytest.mark.skipif(sys.platform == "win32", reason="links need rights of their own on Windows")


@needs_links
def test_links_are_followed_broken_ones_named_and_circles_left(tmp_path):
    put(tmp_path / "elsewhere" / "far.png")
    root = tmp_path / "p"
    put(root / "a" / "x.png")
    put(root / "b" / "y.png")
    (root / "a" / "link.png").symlink_to(tmp_path / "elsewhere" / "far.png")
    (root / "a" / "gone.png").symlink_to(tmp_path / "not there")
    (root / "a" / "itself.png").symlink_to(root / "a" / "itself.png")
    (root / "c").symlink_to(tmp_path / "elsewhere")
    (root / "b" / "up").symlink_to(root)
    splits, report = read(root)
    assert set(everything(splits)) == {"a/x.png", "a/link.png", "b/y.png", "c/far.png"}
    assert dict(report.skipped) == {"a/gone.png": "broken link", "a/itself.png": "broken link",
                                    "b/up": "a link to a folder above it"}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_does_not_hang(tmp_path):
    put(tmp_path / "p" / "x.png")
    os.mkfifo(tmp_path / "p" / "pipe.png")
    assert read(tmp_path / "p")[1].skipped == [("pipe.png", "not a regular file")]


@pytest.mark.parametrize("error, text", [
    (PermissionError(13, "Permission denied"), "no permission"), (MemoryError(), "memory"),
    (OSError(5, "Input/output error"), "Input/output error"),
    (FileNotFoundError(2, "No such file"), "No such file")])
def test_what_the_system_refuses_is_named(tmp_path, monkeypatch, error, text):
    for name in ("a.png", "b.png"):
        put(tmp_path / "p" / name)
    true = folders.decode_photo

    def refuse(path, size):
        if path.name == "a.png":
            raise error
        return true(path, size)

    monkeypatch.setattr(folders, "decode_photo", refuse)
    splits, report = read(tmp_path / "p", cache=tmp_path / "cache")
    assert list(everything(splits)) == ["b.png"]
    assert report.skipped[0][0] == "a.png" and text in report.skipped[0][1]
    # what may be better next time is not kept; a permission is in the key
    assert bool(list((tmp_path / "cache").glob("*.npz") if (tmp_path / "cache").exists() else [])) \
        == isinstance(error, PermissionError)


def test_a_sub_folder_that_cannot_be_opened_is_named(tmp_path, monkeypatch):
    put(tmp_path / "p" / "a" / "x.png")
    put(tmp_path / "p" / "b" / "x.png")
    put(tmp_path / "p" / "c" / "x.png")
    true = os.scandir

    def scandir(path):
        if str(path).endswith("b"):
            raise PermissionError(13, "Permission denied")
        return true(path)

    monkeypatch.setattr(os, "scandir", scandir)
    splits, report = read(tmp_path / "p")
    assert report.skipped == [("b", "folder cannot be opened (Permission denied)")]
    assert set(everything(splits)) == {"a/x.png", "c/x.png"}


@needs_links
@pytest.mark.skipif(sys.platform == "darwin", reason="macOS refuses names that are not UTF-8")
def test_names_that_are_not_text_can_be_read_cached_and_printed(tmp_path, monkeypatch, capsys):
    os.rename(put(tmp_path / "p" / "x.png"), os.fsencode(tmp_path / "p") + b"/bad\xff\n.png")
    (tmp_path / "p" / "猫.txt").touch()
    for _ in range(2):
        splits = load_folder(tmp_path / "p", 8, cache=tmp_path / "cache", progress=False)
    assert len(everything(splits)) == 1
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    load_folder(tmp_path / "p", 8, cache=False, progress=False)         # a terminal without any accents


def test_random_bytes_never_crash(tmp_path):
    """Random files, and good ones with random damage, in a folder with one good picture."""
    draw = random.Random(0)
    sources = []
    for ending, options in (("jpg", {}), ("png", {}), ("webp", {}), ("webp", {"lossless": True}),
                            ("jpg", {"progressive": True})):
        out = io.BytesIO()
        picture(draw.randrange(99), 24).save(out, {"jpg": "JPEG"}.get(ending, ending.upper()), **options)
        sources.append((ending, out.getvalue()))
    root = tmp_path / "p"
    put(root / "good.png")
    for i in range(300):
        ending, data = draw.choice(sources)
        data = bytearray(data)
        kind = draw.randrange(4)
        if kind == 0:
            data = bytearray(draw.randbytes(draw.randrange(200)))
        elif kind == 1:
            data = data[:draw.randrange(len(data))]
        elif kind == 2:
            for _ in range(draw.randrange(1, 12)):
                data[draw.randrange(len(data))] = draw.randrange(256)
        else:
            data = data[:draw.randrange(2, 40)] + draw.randbytes(draw.randrange(100))
        (root / f"{i}.{ending}").write_bytes(data)
    splits, report = read(root)
    assert report.used + len(report.skipped) == report.found == 301
    assert "good.png" in everything(splits) and len(everything(splits)) == report.used
    assert all(reason for _, reason in report.skipped)


def test_memory_that_does_not_suffice_is_a_sentence(tmp_path, monkeypatch):
    put(tmp_path / "p" / "x.png")
    with pytest.raises(DataError, match="GB of memory.*smaller size"):
        read(tmp_path / "p", 10 ** 8)
    # a system that promises more memory than it has would kill the process later
    monkeypatch.setattr(os, "sysconf", lambda name: 10, raising=False)
    with pytest.raises(DataError, match="1 pictures of 8x8 need"):
        read(tmp_path / "p")


def test_a_giant_is_named_also_where_pillow_was_told_to_allow_it(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    put(tmp_path / "p" / "x.png")
    (tmp_path / "p" / "giant.png").write_bytes(png(20000, 20000, 1, 0, [b""]))
    assert read(tmp_path / "p")[1].skipped == [("giant.png", "larger than 178 megapixels")]


def test_interrupting_stops_at_once(tmp_path, monkeypatch):
    for i in range(400):
        (tmp_path / "p").mkdir(exist_ok=True)
        (tmp_path / "p" / f"{i}.png").write_bytes(b"x")
    asked = []

    def stop(path, size):
        asked.append(path)
        raise KeyboardInterrupt

    monkeypatch.setattr(folders, "decode_photo", stop)
    with pytest.raises(KeyboardInterrupt):
        read(tmp_path / "p", cache=tmp_path / "cache", workers=1)
    assert len(asked) < 10 and not (tmp_path / "cache").exists()


# ---------------------------------------------------------------- layouts, labels and splits

def test_given_splits_share_their_classes(tmp_path):
    root = tmp_path / "p"
    for i in range(60):
        put(root / "train" / ("bee", "ant")[i % 2] / f"{i}.png")
    for i in range(6):
        put(root / "test" / ("bee", "ant")[i % 2] / f"{i}.png")
        put(root / "val" / ("bee", "ant")[i % 2] / f"{i}.png")
    splits, report = read(root)
    assert [len(p) for p in (splits.train, splits.validation, splits.test)] == [60, 6, 6] and not report.notes
    for part, top in ((splits.train, "train"), (splits.validation, "val"), (splits.test, "test")):
        assert part.classes == ("ant", "bee") and part.name == "p"
        assert all(name.split("/")[:2] == [top, group] for name, group in labels(part).items())
    assert (splits.train.split, splits.validation.split, splits.test.split) == ("train", "validation", "test")


def test_a_missing_validation_is_taken_from_train(tmp_path):
    root = tmp_path / "p"
    for i in range(300):
        put(root / "Train" / ("bee", "ant")[i % 2] / f"{i:04}.png", Image.new("L", (8, 8)))
    put(root / "TEST" / "bee" / "x.png")
    put(root / "TEST" / "ant" / "x.png")
    splits, _ = read(root)
    assert len(splits.test) == 2 and len(splits.train) + len(splits.validation) == 300
    assert 15 <= len(splits.validation) <= 45
    assert all(name.startswith("Train/") for name in splits.validation.names)


def test_train_alone_is_split_in_three(tmp_path):
    for i in range(200):
        put(tmp_path / "p" / "train" / "ab"[i % 2] / f"{i}.png", Image.new("L", (8, 8)))
    splits, _ = read(tmp_path / "p")
    assert len(splits.train) > 130 and len(splits.validation) > 5 and len(splits.test) > 5


def test_unlabelled_pictures_have_no_labels(tmp_path):
    for i in range(200):
        put(tmp_path / "p" / f"{i}.png", Image.new("L", (8, 8)))
    splits, report = read(tmp_path / "p")
    parts = (splits.train, splits.validation, splits.test)
    assert all(part.labels is None and part.classes == () for part in parts) and not report.notes
    assert sum(map(len, parts)) == 200 and splits.unlabelled is None


def test_one_sub_folder_tells_nothing_apart(tmp_path):
    for i in range(30):
        put(tmp_path / "p" / "images" / f"{i}.png")
    splits, report = read(tmp_path / "p")
    assert splits.train.labels is None and "one sub-folder only (images)" in report.notes[0]


def test_an_unlabelled_folder_is_its_own_set(tmp_path):
    root = tmp_path / "p"
    for i in range(4):
        for split in ("train", "val", "test"):
            put(root / split / "ab"[i % 2] / f"{i}.png")
        put(root / "unlabeled" / "some" / f"{i}.png")
    splits, report = read(root)
    assert len(splits.unlabelled) == 4 and splits.unlabelled.labels is None and not report.notes
    assert splits.unlabelled.split == "unlabelled" and len(splits.train) == 4


def test_classes_that_train_lacks_are_told(tmp_path):
    root = tmp_path / "p"
    for split, groups in (("train", "ab"), ("val", "ab"), ("test", "abz")):
        for group in groups:
            put(root / split / group / "x.png")
    splits, report = read(root)
    assert splits.test.classes == ("a", "b", "z") == splits.train.classes
    assert splits.test.labels.tolist() == [0, 1, 2] and splits.train.labels.tolist() == [0, 1]
    assert report.notes == ["Classes with pictures in test and none in train: z"]


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS takes both for one name")
def test_a_class_is_one_however_its_accents_are_written(tmp_path):
    """Bug: train/ from a Mac and test/ from Linux had two classes of each name with an accent."""
    root = tmp_path / "p"
    for split, form in (("train", "NFD"), ("val", "NFC"), ("test", "NFC")):
        for group in ("Größe", "b"):
            put(root / split / unicodedata.normalize(form, group) / "x.png")
    splits, report = read(root)
    assert len(splits.test.classes) == 2 and not report.notes
    assert splits.test.labels.tolist() == splits.train.labels.tolist() == [0, 1]


def test_empty_class_folders_are_told(tmp_path):
    root = tmp_path / "p"
    for i in range(12):
        put(root / "ab"[i % 2] / f"{i}.png")
    for name in ("c", "d ä", "b/inner"):
        (root / name).mkdir()
    (root / "d ä" / ".hidden").touch()
    splits, report = read(root)
    assert splits.train.classes == ("a", "b")
    assert report.notes[0] == "Empty sub-folders, which make no class: b/inner, c, d ä"


def test_a_test_set_without_labels_is_told(tmp_path):
    root = tmp_path / "p"
    for i in range(40):
        put(root / "train" / "ab"[i % 2] / f"{i}.png")
    put(root / "test" / "x.png")
    put(root / "stray" / "y.png")
    splits, report = read(root)
    assert splits.test.labels is None and splits.train.labels is not None
    assert any("No labels (no class folders) in: test" in note for note in report.notes)
    assert report.skipped == [("stray/y.png", "beside train/, not inside it")]


def test_without_train_the_names_are_classes(tmp_path):
    for group in ("test", "rest"):
        put(tmp_path / "p" / group / "x.png")
    splits, report = read(tmp_path / "p")
    assert set(everything(splits)) == {"test/x.png", "rest/x.png"}
    assert "There is no train/ folder" in report.notes[0]


def where(splits):
    parts = (splits.train, splits.validation, splits.test)
    return {name: part.split for part in parts for name in part.names}


def test_exact_copies_are_named_and_kept_out_of_validation_and_test(tmp_path):
    """Bug: with a third of doubles and labels drawn by lot, kNN reached 75 % without a warning."""
    root, names = tmp_path / "p", []
    for i in range(60):
        names.append(f"{'ab'[i % 2]}/{i}.png")
        put(root / names[-1], picture(i))
    for i in range(20):
        names.append(f"{'ba'[i % 2]}/{i} (1).png")      # of the other class
        put(root / names[-1], picture(i), compress_level=1)
    single = where(read(root)[0])
    for streamed in (False, True):
        splits, report = read(root, cache=tmp_path / "cache", stream=streamed)
        pictures = {split: [bytes(image.numpy()) for image in getattr(splits, split).images]
                    for split in ("train", "validation", "test")}
        for split, others in (("validation", ("train",)), ("test", ("train", "validation"))):
            assert len(set(pictures[split])) == len(pictures[split]) > 0
            assert not any(set(pictures[split]) & set(pictures[other]) for other in others)
        got = everything(splits)
        for name, image in got.items():     # the gaps were filled, and the names moved along
            assert np.array_equal(image, decode_photo(root / name, 8).transpose(2, 0, 1)), name
        assert set(got) | {name for name, _ in report.skipped} == set(names) and report.used == len(got) < 80
        assert {name for name, split in single.items() if split == "train"} <= set(splits.train.names)
        assert "Exact copies of other pictures: 20 (" in report.notes[0] and " = " in report.notes[0]
        assert f"{80 - len(got)} of them" in report.notes[0] and "20 have another class" in report.notes[0]
        assert all("the same picture is " in reason for _, reason in report.skipped)


def test_a_test_set_that_is_the_train_set_again_is_left_empty(tmp_path):
    for split in ("train", "test"):
        for i in range(30):
            put(tmp_path / "p" / split / "ab"[i % 2] / f"{i}.png", picture(i))
    splits, report = read(tmp_path / "p")
    assert len(splits.test) == 0 and len(splits.train) + len(splits.validation) == 30
    assert "(from" not in report.summary() and "30 files left out" in report.summary()
    assert "the same picture is in train too" in report.summary()


def test_hash_splits_are_disjoint_proportioned_and_stay(tmp_path):
    root = tmp_path / "p"
    for i in range(1000):
        put(root / "abcd"[i % 4] / f"{i}.png", Image.new("L", (2, 2)))
    before = where(read(root)[0])
    counts = [list(before.values()).count(split) for split in ("train", "validation", "test")]
    assert sum(counts) == 1000 and abs(counts[0] - 800) < 50 and all(abs(c - 100) < 40 for c in counts[1:])
    for i in range(1000, 1200):
        put(root / "abcde"[i % 5] / f"{i}.png", Image.new("L", (2, 2)))
    after = where(read(root)[0])
    assert len(after) == 1200 and all(after[name] == split for name, split in before.items())
    root.rename(tmp_path / "moved")
    assert where(read(tmp_path / "moved")[0]) == after
    other = where(read(tmp_path / "moved", seed=1)[0])
    assert 200 < sum(other[name] != after[name] for name in after) < 700


def test_the_hash_does_not_depend_on_how_accents_are_written():
    def split(name):
        return layout.split_of(name, "", {"validation", "test"}, 0)

    assert {split(f"a/{i}é.png") for i in range(50)} == {"train", "validation", "test"}
    assert all(split(f"a/{i}\u00e9.png") == split(f"a/{i}e\u0301.png") for i in range(50))
    # written down, so that nobody's split changes with a new version of the course
    places = {group: [i for i in range(40) if split(f"cat/{i}.jpg") == group]
              for group in ("validation", "test")}
    assert places == {"validation": [11, 24], "test": [5, 13, 14, 25, 28]}


# ---------------------------------------------------------------- the cache

@pytest.fixture
def cached(tmp_path, monkeypatch):
    root = tmp_path / "p"
    for i in range(20):
        put(root / "ab"[i % 2] / f"{i}.png")
    (root / "a" / "broken.png").write_bytes(b"x")
    decoded = []
    true = folders.decode_photo

    def count(path, size):
        decoded.append(path.name)
        return true(path, size)

    monkeypatch.setattr(folders, "decode_photo", count)

    def again(size=8, **options):
        decoded.clear()
        splits, report = read(root, size, cache=tmp_path / "cache", **options)
        return splits, report, len(decoded)

    again.root, again.folder = root, tmp_path / "cache"
    return again


def test_the_second_time_comes_from_the_cache(cached):
    first, report, decoded = cached()
    assert decoded == 21 and not report.cached
    second, other, decoded = cached()
    assert decoded == 0 and other.cached
    assert "from the cache" in other.summary()
    for split in ("train", "validation", "test"):
        one, two = getattr(first, split), getattr(second, split)
        assert torch.equal(one.images, two.images) and torch.equal(one.labels, two.labels)
        assert one.names == two.names and one.classes == two.classes
    assert (other.used, other.found, other.skipped) == (report.used, report.found, report.skipped)
    second.train.images.fill_(0)        # writable, and not the file's own memory
    assert not torch.equal(cached()[0].train.images, second.train.images)


@pytest.mark.parametrize("change", ["time", "length", "new", "removed", "renamed", "moved to another class"])
def test_a_changed_folder_is_decoded_again(cached, change):
    cached()
    file = cached.root / "a" / "0.png"
    if change == "time":
        os.utime(file, ns=(1, 1))
    elif change == "length":
        times = file.stat()
        file.write_bytes(file.read_bytes() + b"\0")
        os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    elif change == "new":
        put(cached.root / "b" / "new.png")
    elif change == "removed":
        file.unlink()
    elif change == "renamed":
        file.rename(file.with_name("zero.png"))
    else:
        file.rename(cached.root / "b" / "0.png")
    _, report, decoded = cached()
    assert decoded >= 20 and not report.notes
    assert cached()[2] == 0
    assert len(list(cached.folder.iterdir())) == 1      # the old one was replaced


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has other permissions")
def test_a_changed_permission_is_looked_at_again(cached):
    cached()
    (cached.root / "a" / "0.png").chmod(0o600)
    assert cached()[2] == 21


def test_sizes_and_seeds_have_caches_of_their_own(cached):
    cached(8), cached(16), cached(8, seed=1)
    assert len(list(cached.folder.glob("*.npz"))) == 3
    assert cached(8)[2] == cached(16)[2] == cached(8, seed=1)[2] == 0
    assert cached(16)[0].train.size == 16


class Trap:
    def __reduce__(self):
        return pytest.fail, ("the pickle was opened",)


@pytest.mark.parametrize("damage", ["cut", "empty", "one bit", "other", "pickle", "folder"])
def test_a_damaged_cache_is_made_again(cached, damage):
    first, _, _ = cached()
    file, = cached.folder.glob("*.npz")
    data = bytearray(file.read_bytes())
    if damage == "cut":
        file.write_bytes(data[:len(data) // 2])
    elif damage == "empty":
        file.write_bytes(b"")
    elif damage == "one bit":
        data[len(data) // 2] ^= 1           # among the pixels
        file.write_bytes(data)
    elif damage == "other":
        file.write_bytes(b"nothing like it" * 100)
    elif damage == "pickle":
        np.savez(file, facts=np.array([Trap()], dtype=object))
    else:
        file.unlink()
        file.mkdir()
    splits, report, decoded = cached()
    assert decoded == 21 and any("damaged" in note for note in report.notes)
    assert torch.equal(splits.train.images, first.train.images)
    if damage != "folder":
        assert cached()[2] == 0


def test_a_file_in_the_place_of_the_cache_is_no_damaged_cache(tmp_path):
    put(tmp_path / "p" / "x.png")
    (tmp_path / "file").touch()
    notes = read(tmp_path / "p", cache=tmp_path / "file")[1].notes
    assert any("could not be kept" in note for note in notes) and not any("damaged" in note for note in notes)


def test_a_cache_that_cannot_be_written_is_told_once(cached, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    for _ in range(2):
        splits = load_folder(cached.root, 8, cache=tmp_path / "file", progress=False)
        assert capsys.readouterr().out.count("could not be kept") == 1
    assert len(everything(splits)) == 20


def test_a_full_disk_leaves_the_old_cache_and_no_rubbish(cached, monkeypatch):
    cached()
    file, = cached.folder.iterdir()
    before = file.read_bytes()
    put(cached.root / "b" / "new.png")

    def full(target, **arrays):
        target.write(b"half")
        raise OSError(28, "No space left on device")

    def held(source, target):
        raise PermissionError(13, "Another process has it open")

    for module, name, refuse, text in ((np, "savez", full, "No space left"),
                                       (os, "replace", held, "has it open")):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, refuse)
            splits, report, _ = cached()
        assert len(everything(splits)) == 21 and text in report.notes[0]
        assert [path.name for path in cached.folder.iterdir()] == [file.name] and file.read_bytes() == before
    assert cached()[2] == 22 and cached()[2] == 0


def test_what_a_killed_process_left_is_removed(cached):
    cached()
    file, = cached.folder.iterdir()
    rubbish = [file.with_name(f".{file.name}.{pid}.part") for pid in (1, 2)]
    for path in rubbish:
        path.write_bytes(b"half")
    os.utime(rubbish[0], (1, 1))
    file.unlink()
    cached()
    assert not rubbish[0].exists() and rubbish[1].exists()      # the young one may be another process at work


def test_the_default_place_of_the_cache_is_the_data_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_DATA", str(tmp_path / "data"))
    put(tmp_path / "p" / "x.png")
    read(tmp_path / "p", cache=None)
    assert len(list((tmp_path / "data" / "folders").glob("*-8px.npz"))) == 1


def test_workers_give_the_same(tmp_path):
    for i in range(150):
        put(tmp_path / "p" / "ab"[i % 2] / f"{i}.png")
    one, four = (everything(read(tmp_path / "p", workers=workers)[0]) for workers in (1, 4))
    assert list(one) == list(four) and all(torch.equal(one[name], four[name]) for name in one)


def test_endings_are_those_of_the_formats():
    known = {ending for ending, kind in Image.registered_extensions().items() if kind in photo.FORMATS}
    assert known - {".apng"} == set(photo.ENDINGS)
