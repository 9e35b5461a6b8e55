"""Containers and the named data sets. The downloads run for real, from a small server on this machine."""
import gzip
import hashlib
import http.server
import io
import pickle
import socket
import struct
import tarfile
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision.datasets as sets
from PIL import Image

from course_lib.data import downloads
from course_lib.data.images import Batch, DataError, ImageSet, Splits
from course_lib.data.loading import known_set, load, sample_photographs
from course_lib.files import data_root


def images(n=6, size=4):
    return torch.arange(n * 3 * size * size).remainder(256).to(torch.uint8).view(n, 3, size, size)


def a_set(n=6):
    return ImageSet(images(n), torch.arange(n) % 3, ("a", "b", "c"), {"hue": torch.arange(n).float()},
                    {"hue": "circular"}, "toy", "train", tuple(f"{i}.png" for i in range(n)))


# ---------------------------------------------------------------- ImageSet, Splits, Batch

def test_select_takes_every_column_in_order():
    chosen = a_set().select([4, -6, 4])
    assert chosen.labels.tolist() == [1, 0, 1]
    assert chosen.factors["hue"].tolist() == [4.0, 0.0, 4.0]
    assert chosen.names == ("4.png", "0.png", "4.png")
    assert torch.equal(chosen.images, a_set().images[[4, 0, 4]])
    assert (chosen.name, chosen.split, chosen.kinds, chosen.classes) == ("toy", "train", {"hue": "circular"},
                                                                         ("a", "b", "c"))


@pytest.mark.parametrize("indices", [
    slice(1, 5, 2), range(1, 5, 2), torch.tensor([1, 3]), [1, 3], np.array([1, 3]),
    torch.tensor([False, True, False, True, False, False])])
def test_select_understands_all_kinds_of_indices(indices):
    assert a_set().select(indices).names == ("1.png", "3.png")


def test_select_copies_pixels():
    whole = a_set()
    whole.select([0]).images.fill_(9)
    assert torch.equal(whole.images, images())


def test_select_of_nothing_and_head():
    assert len(a_set().select([])) == 0
    assert a_set().head(2).names == ("0.png", "1.png")
    assert len(a_set().head(100)) == 6 and len(a_set().head(0)) == 0
    assert len(a_set().select([]).select(torch.zeros(0, dtype=torch.bool))) == 0


@pytest.mark.parametrize("indices", [[6], [-7], torch.tensor([True]), torch.zeros(2, 2, dtype=torch.int64)])
def test_select_says_what_is_wrong(indices):
    with pytest.raises(IndexError, match="images|dimension"):
        a_set().select(indices)


@pytest.mark.parametrize("change, error, text", [
    (dict(images=images().float()), TypeError, "uint8"),
    (dict(images=images().numpy()), TypeError, "ndarray"),
    (dict(images=images()[:, :1]), ValueError, "grey channel"),
    (dict(images=images()[0]), ValueError, r"\(N, 3, H, W\)"),
    (dict(labels=torch.zeros(5, dtype=torch.int64)), ValueError, "labels has shape"),
    (dict(labels=torch.zeros(6)), TypeError, "int64"),
    (dict(labels=torch.full((6,), 3)), ValueError, "there are 3 classes"),
    (dict(labels=torch.full((6,), -1)), ValueError, "expected 0 to 2"),
    (dict(factors={"hue": torch.zeros(6, dtype=torch.float64)}), TypeError, "hue.*float32"),
    (dict(factors={"hue": torch.zeros(7)}), ValueError, "hue"),
    (dict(kinds={"hue": "round"}), ValueError, "circular"),
    (dict(kinds={"size": "number"}), ValueError, "size"),
    (dict(names=("a",)), ValueError, "names has 1"),
    (dict(split="val"), ValueError, "validation"),
])
def test_what_does_not_fit_is_refused_in_a_sentence(change, error, text):
    with pytest.raises(error, match=text):
        ImageSet(**{**vars(a_set()), **change})


def test_describe_is_one_line_for_each_split():
    assert a_set().describe() == "toy train: 6 images of 4x4, 3 classes, 0.0 MB"
    assert ImageSet(images()).describe() == "images: 6 images of 4x4, no labels, 0.0 MB"
    assert ImageSet(images(), torch.arange(6) % 2).describe().endswith("2 classes, 0.0 MB")
    assert ImageSet(images(0), torch.zeros(0, dtype=torch.int64)).describe().startswith("images: 0 images")
    assert repr(a_set()) == "<ImageSet toy train: 6 images of 4x4, 3 classes, 0.0 MB>"
    splits = Splits(a_set(), a_set(), a_set())
    assert splits.describe().count("\n") == 2 and splits.unlabelled is None
    assert a_set().size == 4
    assert Batch(images(), torch.arange(6)).labels is None


def test_the_cache_folder_stays_where_it_was_on_each_system(monkeypatch):
    import platformdirs
    from platformdirs import macos, unix, windows

    for name in ("COURSE_DATA", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(windows, "get_win_folder", lambda name: {"CSIDL_LOCAL_APPDATA": "C:/me/AppData/Local"}[name])
    expected = {unix.Unix: Path.home() / ".cache", macos.MacOS: Path.home() / "Library/Caches",
                windows.Windows: Path("C:/me/AppData/Local")}
    for system, folder in expected.items():
        monkeypatch.setattr(platformdirs, "user_cache_dir",
                            lambda *a, system=system, **k: system(*a, **k).user_cache_dir)
        assert data_root() == folder / "ssl-course"
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    assert unix.Unix("ssl-course").user_cache_dir == "/elsewhere/ssl-course"


def test_data_root_is_argument_then_variable_then_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_DATA", str(tmp_path / "variable"))
    assert data_root(tmp_path / "argument") == tmp_path / "argument"
    assert data_root() == tmp_path / "variable"
    assert not data_root().exists()
    monkeypatch.delenv("COURSE_DATA")
    assert data_root().is_absolute() and data_root().name == "ssl-course"


# ---------------------------------------------------------------- generated shapes

def test_shapes_have_splits_of_their_own():
    splits = load("shapes", n=2500, limit=60, seed=3)
    parts = (splits.train, splits.validation, splits.test)
    assert [len(part) for part in parts] == [60, 60, 60]
    assert [part.split for part in parts] == ["train", "validation", "test"]
    assert len({part.images[i].numpy().tobytes() for part in parts for i in range(60)}) == 180
    again = load("shapes", n=2500, limit=60, seed=3)
    assert torch.equal(again.test.images, splits.test.images)
    sizes = load("shapes", n=30)
    assert [len(sizes.train), len(sizes.validation), len(sizes.test)] == [30, 2000, 2000]


def test_shapes_pass_their_options_on():
    splits = load("shapes", n=8, limit=8, size=24, relation="confounded", style="striped")
    assert splits.train.images.shape == (8, 3, 24, 24)
    with pytest.raises((TypeError, ValueError)):
        load("shapes", n=8, relation="nonsense")


# ---------------------------------------------------------------- torchvision's sets, made small

@pytest.fixture
def server(tmp_path, monkeypatch):
    """Serves tmp_path/www; `server.cut` names files of which only the first half is sent."""
    folder = tmp_path / "www"
    folder.mkdir()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.server.asked.append(self.path)
            path = folder / self.path.lstrip("/")
            if not path.is_file():
                self.send_error(404)
                return
            data = path.read_bytes()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data[:len(data) // 2] if path.name in self.server.cut else data)

        do_HEAD = do_GET

        def log_message(self, *args):
            pass

    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    httpd.asked, httpd.cut, httpd.folder = [], set(), folder
    httpd.url = f"http://127.0.0.1:{httpd.server_port}/"
    monkeypatch.setenv("no_proxy", "*")
    thread = threading.Thread(target=httpd.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield httpd
    httpd.shutdown()
    httpd.server_close()
    thread.join()


def md5(data):
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def archive(files, folder):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, data in files.items():
            entry = tarfile.TarInfo(f"{folder}/{name}")
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return out.getvalue()


def publish(cls, files, server, monkeypatch, lists):
    """Put the archive on the server and make the class expect these files."""
    packed = archive(files, cls.base_folder)
    (server.folder / cls.filename).write_bytes(packed)
    monkeypatch.setattr(cls, "url", server.url + cls.filename)
    monkeypatch.setattr(cls, "tgz_md5", md5(packed))
    for attribute in lists:
        monkeypatch.setattr(cls, attribute, [[name, md5(files[name])] for name, _ in getattr(cls, attribute)])
    return packed


@pytest.fixture
def cifar10(server, monkeypatch):
    rng = np.random.default_rng(0)
    pixels = {f"data_batch_{i}": rng.integers(0, 256, (20, 3072), dtype=np.uint8) for i in range(1, 6)}
    pixels["test_batch"] = rng.integers(0, 256, (30, 3072), dtype=np.uint8)
    labels = {name: [int(v) for v in np.arange(len(x)) % 10] for name, x in pixels.items()}
    files = {name: pickle.dumps({"data": pixels[name], "labels": labels[name]}) for name in pixels}
    classes = [f"class{i}" for i in range(10)]
    files["batches.meta"] = pickle.dumps({"label_names": classes})
    packed = publish(sets.CIFAR10, files, server, monkeypatch, ("train_list", "test_list"))
    monkeypatch.setattr(sets.CIFAR10, "meta", {**sets.CIFAR10.meta, "md5": md5(files["batches.meta"])})
    return pixels, packed


def test_cifar10_is_downloaded_once_and_split(cifar10, server, tmp_path):
    pixels, _ = cifar10
    root = tmp_path / "data"
    splits = load("CIFAR-10", root=root, progress=False)
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (90, 10, 30)
    assert splits.train.images.shape == (90, 3, 32, 32) and splits.unlabelled is None
    whole = np.concatenate([pixels[f"data_batch_{i}"] for i in range(1, 6)]).reshape(-1, 3, 32, 32)
    for part in (splits.train, splits.validation):
        for image, label, name in zip(part.images, part.labels.tolist(), part.names):
            origin, group, number = name.split("/")
            assert origin == "train" and group == f"class{label}" and label == int(number) % 20 % 10
            assert np.array_equal(image, whole[int(number)])
    assert not set(splits.train.names) & set(splits.validation.names)
    assert np.array_equal(splits.test.images, pixels["test_batch"].reshape(-1, 3, 32, 32))
    assert splits.test.names[17] == "test/class7/00017"
    asked = len(server.asked)
    load("cifar10", root=root, progress=False)
    assert len(server.asked) == asked


def test_validation_does_not_move_with_the_seed(cifar10, tmp_path):
    one, two = (load("cifar10", root=tmp_path, seed=seed, progress=False) for seed in (0, 5))
    assert one.validation.names == two.validation.names
    few = [load("cifar10", root=tmp_path, seed=seed, limit=7, progress=False) for seed in (0, 5, 5)]
    assert [len(few[0].train), len(few[0].validation), len(few[0].test)] == [7, 7, 7]
    assert few[0].train.names != few[1].train.names == few[2].train.names
    assert set(few[1].train.names) <= set(one.train.names)


def test_cifar10_resized(cifar10, tmp_path):
    splits = load("cifar10", root=tmp_path, size=16, progress=False)
    assert splits.test.images.shape == (30, 3, 16, 16) and splits.test.images.dtype == torch.uint8
    full = load("cifar10", root=tmp_path, progress=False)
    for small, large in zip(splits.test.images, full.test.images):      # Pillow's resize has antialias
        pillow = Image.fromarray(large.permute(1, 2, 0).numpy()).resize((16, 16), Image.Resampling.BILINEAR)
        assert np.abs(small.permute(1, 2, 0).numpy().astype(int) - np.asarray(pillow)).max() <= 1


def test_set_that_lies_in_the_root_itself_is_found(cifar10, server, tmp_path):
    load("cifar10", root=tmp_path / "a", progress=False)
    server.asked.clear()
    load("cifar10", root=tmp_path / "a" / "cifar10", progress=False)
    assert not server.asked


def test_interrupted_download_is_a_sentence_and_the_next_start_succeeds(cifar10, server, tmp_path):
    server.cut.add("cifar-10-python.tar.gz")
    with pytest.raises(DataError) as caught:
        load("cifar10", root=tmp_path, progress=False)
    text = str(caught.value)
    assert "cifar-10-python.tar.gz" in text and str(tmp_path / "cifar10") in text and "shapes" in text
    assert sets.CIFAR10.tgz_md5 in text and "still packed" in text
    server.cut.clear()
    assert len(load("cifar10", root=tmp_path, progress=False).test) == 30


def test_a_half_written_archive_and_a_half_unpacked_file_are_repaired(cifar10, server, tmp_path):
    home = tmp_path / "cifar10"
    home.mkdir()
    (home / "cifar-10-python.tar.gz").write_bytes(cifar10[1][:500])
    assert len(load("cifar10", root=tmp_path, progress=False).test) == 30
    file = home / "cifar-10-batches-py" / "data_batch_2"
    file.write_bytes(file.read_bytes()[:100])
    server.asked.clear()
    assert len(load("cifar10", root=tmp_path, progress=False).train) == 90
    assert not server.asked         # unpacked again from the archive that is still there


def test_a_file_placed_by_hand_needs_no_network(cifar10, server, tmp_path):
    (server.folder / "cifar-10-python.tar.gz").unlink()
    with pytest.raises(DataError, match="404"):
        load("cifar10", root=tmp_path, progress=False)
    (tmp_path / "cifar10").mkdir(exist_ok=True)
    (tmp_path / "cifar10" / "cifar-10-python.tar.gz").write_bytes(cifar10[1])
    assert len(load("cifar10", root=tmp_path, progress=False).test) == 30


def test_a_pickle_that_is_not_the_official_one_is_never_opened(cifar10, tmp_path, monkeypatch):
    load("cifar10", root=tmp_path, progress=False)
    monkeypatch.setattr(sets.CIFAR10, "url", "http://127.0.0.1:9/none")
    (tmp_path / "cifar10" / "cifar-10-python.tar.gz").unlink()

    class Trap:
        def __reduce__(self):
            return pytest.fail, ("the pickle was opened",)

    (tmp_path / "cifar10" / "cifar-10-batches-py" / "test_batch").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(DataError, match="could not be downloaded"):
        load("cifar10", root=tmp_path, progress=False)


def test_progress_bar_only_when_asked(cifar10, tmp_path, capfd):
    load("cifar10", root=tmp_path / "quiet", progress=False)
    assert capfd.readouterr() == ("", "")
    load("cifar10", root=tmp_path / "loud", progress=True)
    assert "%" in capfd.readouterr().err


def test_no_place_to_write_is_a_sentence(cifar10, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="could not be downloaded"):
        load("cifar10", root=tmp_path / "file", progress=False)


def test_time_limit_of_sockets_is_put_back(cifar10, tmp_path):
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(77)
    try:
        load("cifar10", root=tmp_path, progress=False)
        assert socket.getdefaulttimeout() == 77
    finally:
        socket.setdefaulttimeout(before)


@pytest.fixture
def stl10(server, monkeypatch):
    rng = np.random.default_rng(1)
    # a smooth picture, so that resizing can be compared
    ramp = np.linspace(0, 200, 96, dtype=np.float32)
    base = np.broadcast_to(ramp[None, None, None, :], (1, 3, 96, 96))       # dark left, bright right
    parts = {name: (base + rng.integers(0, 50, (count, 3, 1, 1))).astype(np.uint8)
             for name, count in (("train_X.bin", 20), ("test_X.bin", 12), ("unlabeled_X.bin", 15))}
    files = {name: np.ascontiguousarray(x.transpose(0, 1, 3, 2)).tobytes() for name, x in parts.items()}
    files["train_y.bin"] = bytes(1 + i % 10 for i in range(20))
    files["test_y.bin"] = bytes(1 + i % 10 for i in range(12))
    files["class_names.txt"] = "\n".join(f"class{i}" for i in range(10)).encode()
    publish(sets.STL10, files, server, monkeypatch, ("train_list", "test_list"))
    return parts


def test_stl10_with_its_unlabelled_images(stl10, tmp_path):
    splits = load("stl10", root=tmp_path, progress=False)
    assert [len(splits.train), len(splits.validation), len(splits.test)] == [18, 2, 12]
    assert len(splits.unlabelled) == 15
    assert np.array_equal(splits.unlabelled.images, stl10["unlabeled_X.bin"])
    assert np.array_equal(splits.test.images, stl10["test_X.bin"])
    assert splits.unlabelled.labels is None and splits.unlabelled.split == "unlabelled"
    assert splits.test.labels.tolist() == [i % 10 for i in range(12)]
    for part in (splits.train, splits.validation):
        for image, label, name in zip(part.images, part.labels.tolist(), part.names):
            number = int(name.split("/")[2])
            assert label == number % 10 and np.array_equal(image, stl10["train_X.bin"][number])
    assert (splits.train.images[..., -1] > splits.train.images[..., 0]).all()       # not on its side


def test_stl10_small_and_without_the_unlabelled(stl10, tmp_path):
    splits = load("stl10", root=tmp_path, size=32, limit=5, progress=False)
    assert splits.unlabelled.images.shape == (5, 3, 32, 32)
    want = stl10["test_X.bin"].astype(np.float32).reshape(12, 3, 32, 3, 32, 3).mean((3, 5))
    got = load("stl10", root=tmp_path, size=32, progress=False).test.images.numpy()
    assert np.abs(got[..., 1:-1] - want[..., 1:-1]).max() <= 1.5
    assert load("stl10", root=tmp_path, unlabelled=False, progress=False).unlabelled is None


@pytest.fixture
def fashion(server, monkeypatch):
    rng = np.random.default_rng(2)
    pixels = {"train": rng.integers(0, 256, (40, 28, 28), dtype=np.uint8),
              "t10k": rng.integers(0, 256, (11, 28, 28), dtype=np.uint8)}
    resources = []
    for part, x in pixels.items():
        y = (np.arange(len(x)) % 10).astype(np.uint8)
        for name, data in ((f"{part}-images-idx3-ubyte.gz", struct.pack(">4i", 2051, *x.shape) + x.tobytes()),
                           (f"{part}-labels-idx1-ubyte.gz", struct.pack(">2i", 2049, len(y)) + y.tobytes())):
            packed = gzip.compress(data)
            (server.folder / name).write_bytes(packed)
            resources.append((name, md5(packed)))
    monkeypatch.setattr(sets.FashionMNIST, "mirrors", [server.url])
    monkeypatch.setattr(sets.FashionMNIST, "resources", resources)
    return pixels


def test_fashion_mnist_gets_three_channels_and_a_black_edge(fashion, tmp_path):
    splits = load("fashion-mnist", root=tmp_path, progress=False)
    assert [len(s) for s in (splits.train, splits.validation, splits.test)] == [36, 4, 11]
    assert splits.test.images.shape == (11, 3, 32, 32)
    assert np.array_equal(splits.test.images[:, 1, 2:-2, 2:-2], fashion["t10k"])
    assert splits.test.images[:, :, :2].sum() == splits.test.images[..., -2:].sum() == 0
    assert splits.test.names[0] == "test/T-shirt-top/00000"
    assert splits.train.classes[0] == "T-shirt/top" and len(splits.train.classes) == 10
    plain = load("fashion_mnist", root=tmp_path, size=28, progress=False)
    assert np.array_equal(plain.test.images[:, 2], fashion["t10k"])
    assert load("FashionMNIST", root=tmp_path, size=16, progress=False).test.images.shape[-2:] == (16, 16)


@pytest.mark.parametrize("length", [0, 3, 7, 1000])
def test_fashion_mnist_unpacked_half_way_is_repaired(fashion, server, tmp_path, length):
    load("fashion-mnist", root=tmp_path, progress=False)
    raw = tmp_path / "fashion-mnist" / "FashionMNIST" / "raw"
    file = raw / "train-images-idx3-ubyte"
    file.write_bytes(file.read_bytes()[:length])
    server.asked.clear()
    assert len(load("fashion-mnist", root=tmp_path, progress=False).train) == 36
    assert not server.asked


def test_fashion_mnist_tells_which_files_go_where(fashion, server, tmp_path):
    for file in server.folder.iterdir():
        file.unlink()
    with pytest.raises(DataError) as caught:
        load("fashion-mnist", root=tmp_path, progress=False)
    text = str(caught.value)
    assert all(name in text for name, _ in sets.FashionMNIST.resources)
    assert str(tmp_path / "fashion-mnist" / "FashionMNIST" / "raw") in text


# ---------------------------------------------------------------- load in general

@pytest.mark.parametrize("arguments, text", [
    (dict(name="cifar11"), "no data set and no folder 'cifar11'.*shapes, cifar10"),
    (dict(name="shapes", size=0), "size is 0"),
    (dict(name="shapes", size="32"), "size is '32'"),
    (dict(name="shapes", limit=0), "limit is 0"),
])
def test_wrong_requests_are_sentences(arguments, text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=text):
        load(**arguments)


def test_depth_is_of_folders_and_a_set_is_no_folder_that_has_its_name(tmp_path, monkeypatch):
    """Bug: with a folder cifar10 beside one, a traceback; of no folder, "has 8 bits"."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cifar10").mkdir()
    assert [known_set(name) for name in ("CIFAR-10", "Shapes", "fashion_mnist", "./cifar10", "photos")] == [
        "cifar10", "shapes", "fashion-mnist", "", ""]
    with pytest.raises(ValueError, match="depth is of a folder's 16-bit files; cifar10 has 8 bits"):
        load("cifar10", depth=12)
    with pytest.raises(DataError, match="no data set and no folder"):
        load("photos", depth=12)


def test_a_folder_is_loaded_and_limited(tmp_path):
    rng = np.random.default_rng(0)
    for split, count in (("train", 30), ("test", 8)):
        for group in ("cat", "dog"):
            (tmp_path / "mine" / split / group).mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / "mine" / split / group / f"{i}.png")
    whole = load(tmp_path / "mine", root=tmp_path / "data", progress=False)
    assert whole.train.size == 32 and len(whole.test) == 16
    some = load(str(tmp_path / "mine"), root=tmp_path / "data", size=8, limit=6, progress=False)
    assert len(some.train) == len(some.test) == 6
    assert set(some.train.labels.tolist()) == {0, 1}        # not the first class only
    assert list((tmp_path / "data" / "folders").glob("*.npz"))


def test_no_download_is_asked_of_generated_images(monkeypatch):
    monkeypatch.setattr(downloads, "load_torchvision", lambda *a, **k: pytest.fail("asked torchvision"))
    assert len(load("shapes", n=3, limit=3).train) == 3


def test_sample_photographs_are_two_square_colour_pictures():
    photos = sample_photographs(48)
    assert photos.shape == (2, 3, 48, 48) and photos.dtype == torch.uint8
    small = torch.nn.functional.interpolate(sample_photographs(96).float(), size=48, mode="area")
    assert (small - photos).abs().mean() < 12, "the same centre at every size"
    assert photos.float().std((2, 3)).min() > 20 and not torch.equal(photos[0], photos[1])
