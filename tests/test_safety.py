"""Files from strangers run no code, what is damaged is named, and the fuzzed readers raise their own errors only."""

from __future__ import annotations

import ast
import io
import os
import pickle
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from course_lib.data.cache import cache_file
from course_lib.data.folder import read_folder
from course_lib.data.images import DataError
from course_lib.papers import FILE as PAPERS
from course_lib.papers import load_papers
from course_lib.runs.stored import Panel, StoredRun, read_runs, write_run
from course_lib.train import checkpoint
from course_lib.train.checkpoint import CheckpointError
from course_lib.train.loop import fit
from helpers.environment import ROOT
from helpers.tiny import SMALL, images, vicreg

few = settings(max_examples=40, deadline=None, derandomize=True, database=None,
               suppress_health_check=[HealthCheck.function_scoped_fixture])


# ---------------------------------------------------------------- the source
def calls_of(path: Path):
    """(line, dotted name, keyword names with constant values) of every call, and every imported module, in a file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            keywords = {k.arg: getattr(k.value, "value", None) for k in node.keywords}
            yield node.lineno, ast.unparse(node.func), keywords
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [each.name for each in node.names]
            for name in names:
                yield node.lineno, f"import {name.split('.')[0]}", {}


SOURCES = sorted([*ROOT.glob("course_lib/**/*.py"), *ROOT.glob("benchmarks/*.py"), ROOT / "course.py"])
UNSAFE = {f"import {name}" for name in ("pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve")}
FORKING = {"import multiprocessing", "os.fork", "os.forkpty", "torch.multiprocessing.spawn", "DataLoader"}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_library_reads_without_pickles_and_never_forks(path):
    for line, name, keywords in calls_of(path):
        where = f"{path.name}:{line}: {name}"
        own = path.name == "mutants.py" and name == "exec"  # a changed copy of a function that is in memory already
        assert own or name not in UNSAFE | {"eval", "exec"}, f"{where} could run code from a file"
        assert name not in FORKING, f"{where} forks: a process that has used CUDA must not"
        if name in ("torch.load", "load_state_dict_from_url"):
            assert keywords.get("weights_only") is True, f"{where} without weights_only=True"
        if name in ("np.load", "numpy.load"):
            assert keywords.get("allow_pickle", "absent") is False, f"{where} without allow_pickle=False"


def test_the_rule_above_finds_what_it_is_for(tmp_path):
    (tmp_path / "bad.py").write_text("import pickle\ntorch.load(p)\nnp.load(p, allow_pickle=True)\neval('1')\n")
    for source in ("import pickle", "torch.load(p)", "np.load(p, allow_pickle=True)", "eval('1')", "os.fork()"):
        (tmp_path / "bad.py").write_text(source)
        with pytest.raises(AssertionError):
            test_the_library_reads_without_pickles_and_never_forks(tmp_path / "bad.py")


# ---------------------------------------------------------------- bombs
class Bomb:
    """Unpickled, it makes the folder `mark`."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


@pytest.fixture
def mark(tmp_path):
    """What a bomb would make; that it would is checked first, that none did at the end."""
    path = tmp_path / "the bomb went off"
    pickle.loads(pickle.dumps(Bomb(path)))
    assert path.exists()
    path.rmdir()
    yield path
    assert not path.exists(), "code from a file was run"


def bombs(mark: Path) -> dict[str, bytes]:
    """A bomb as torch saves it now, as it did before version 1.6, bare, and inside a checkpoint's values."""
    files = {"bare pickle": pickle.dumps(Bomb(mark))}
    for name, value, new in (("zip", Bomb(mark), True), ("before 1.6", Bomb(mark), False),
                             ("inside", {"format": 1, "settings": {"method": Bomb(mark)}}, True)):
        out = io.BytesIO()
        torch.save(value, out, _use_new_zipfile_serialization=new)
        files[name] = out.getvalue()
    return files


@pytest.mark.parametrize("kind", ["bare pickle", "zip", "before 1.6", "inside"])
def test_no_checkpoint_runs_code(tmp_path, mark, kind):
    out = tmp_path / "out"
    out.mkdir()
    path = out / "last.pt"
    path.write_bytes(bombs(mark)[kind])
    for read in (checkpoint.load, checkpoint.load_method,
                 lambda _: fit(vicreg(), images(), steps=2, out=out, resume=True, **SMALL)):
        with pytest.raises(CheckpointError, match="not a readable checkpoint"):
            read(path)


@pytest.mark.parametrize("bad", [
    dict(settings=[1]), dict(settings={"method": "os.system", "backbone": "convnet"}), dict(settings={"backbone": "x"}),
    dict(method=3), dict(settings={"method": "vicreg", "backbone": "convnet", "image_size": "a",
                                   "backbone_options": {}, "options": {"augment": {"a": 1}}})])
def test_settings_of_a_stranger_are_values_and_nothing_else(tmp_path, bad):
    small = vicreg()
    checkpoint.save(tmp_path / "x.pt", dict(name="VICReg", method=small.state_dict(), settings=small.settings) | bad)
    with pytest.raises(CheckpointError, match=str(tmp_path / "x.pt")):
        checkpoint.load_method(tmp_path / "x.pt")


def test_no_cache_and_no_stored_run_runs_code(tmp_path, mark):
    pictures, folder = tmp_path / "p", tmp_path / "cache"
    pictures.mkdir(), folder.mkdir()
    Image.new("RGB", (8, 8)).save(pictures / "a.png")
    objects = np.array([Bomb(mark)], dtype=object)
    for entries in ({"facts": objects}, {"facts": np.frombuffer(b'{"key": 1}', dtype=np.uint8), "images": objects}):
        np.savez(cache_file(folder, pictures, 8, 0), **entries)
        splits, report = read_folder(pictures, 8, cache=folder, progress=False)
        assert not report.cached and report.used == 1
    run = write_run(StoredRun("vicreg", "shapes", panel=Panel(np.zeros((1, 2)), [0], [("test", "a", 0)])), tmp_path)
    for key in ("features", "labels", "split", "number"):
        arrays = dict(np.load(run.with_suffix(".npz"), allow_pickle=False)) | {key: objects}
        np.savez(run.with_suffix(".npz"), **arrays)
        with pytest.raises(ValueError, match="cannot be read"):
            read_runs(tmp_path)
        write_run(StoredRun("vicreg", "shapes", panel=Panel(np.zeros((1, 2)), [0], [("test", "a", 0)])), tmp_path)
    for text in (pickle.dumps(Bomb(mark)), b"!!python/object/apply:os.mkdir ['x']", b"__import__('os').mkdir('x')"):
        run.write_bytes(text)
        with pytest.raises(ValueError, match="cannot be read"):
            read_runs(tmp_path)


def test_the_reading_list_is_text(tmp_path, mark):
    copy = tmp_path / "papers.csv"
    copy.write_bytes(pickle.dumps(Bomb(mark)))
    with pytest.raises(ValueError):
        load_papers(copy)
    columns = PAPERS.read_text(encoding="utf-8").splitlines()[0]
    formula = columns + '\n"=cmd|calc",__import__,v,2020' + ",x" * (columns.count(",") - 3) + "\n"
    copy.write_text(formula, encoding="utf-8")
    assert load_papers(copy)[0].key == "=cmd|calc", "a cell is a word"


# ---------------------------------------------------------------- fuzz
@st.composite
def damage(draw):
    """How a file is spoiled: cut, some bytes changed, a piece put elsewhere, or replaced as a whole."""
    kind = draw(st.sampled_from(["cut", "bytes", "moved", "other"]))
    places = draw(st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), min_size=1, max_size=4))
    junk = draw(st.binary(max_size=60))

    def spoil(data: bytes) -> bytes:
        first = int(places[0][0] * len(data))
        if kind == "cut":
            return data[:first]
        if kind == "moved":
            return data[first:] + data[:first]
        if kind == "other":
            return junk
        spoiled = bytearray(data)
        for place, change in places:
            spoiled[int(place * len(data))] ^= change
        return bytes(spoiled)

    return spoil


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """One good file of each format: a checkpoint, a stored run with its panel, a cache and a picture of a folder."""
    folder = tmp_path_factory.mktemp("good")
    fit(vicreg(), images(), steps=1, out=folder / "out", **SMALL)
    panel = Panel(np.ones((4, 3)), [0, 1, 0, 1], [("test", "cat", i) for i in range(4)])
    write_run(StoredRun("vicreg", "shapes", curve_steps=[1, 2], curves={"loss": [2.0, 1.0]},
                        scores=[{"name": "vicreg", "kind": "method", "knn": 0.5}], panel=panel), folder / "runs")
    (folder / "pictures").mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)
    for name, image in zip(("a.png", "b.jpg", "c.webp"), pixels):
        Image.fromarray(image).save(folder / "pictures" / name)
    read_folder(folder / "pictures", 8, cache=folder / "cache", progress=False)
    return folder


def tensors(state) -> list:
    return [state["method"][name] for name in sorted(state["method"])]


@few
@given(spoil=damage())
def test_a_damaged_checkpoint_is_the_same_or_refused(good, tmp_path, spoil):
    whole = checkpoint.load(good / "out" / "last.pt")
    path = tmp_path / "last.pt"
    path.write_bytes(spoil((good / "out" / "last.pt").read_bytes()))
    try:
        state = checkpoint.load(path)
    except CheckpointError as error:
        assert str(path) in str(error)
    else:  # a byte that carries nothing, such as one of padding
        assert all(torch.equal(a, b) for a, b in zip(tensors(state), tensors(whole)))


@few
@given(key=st.sampled_from(["method", "optimizer", "scaler", "rng", "step", "total_steps", "history", "recipe",
                            "settings"]),
       value=st.sampled_from(["absent", None, 0, "x", [], {}, {"a": 1}, [1, 2]]))
def test_a_checkpoint_with_other_contents_is_refused_or_read(good, tmp_path, key, value):
    state = checkpoint.load(good / "out" / "last.pt")
    state[key] = value
    if value == "absent":
        del state[key]
    shutil.rmtree(tmp_path / "out", ignore_errors=True)
    checkpoint.save(tmp_path / "out" / "last.pt", state)
    for read in (lambda: fit(vicreg(), images(), steps=1, out=tmp_path / "out", resume=True, **SMALL),
                 lambda: checkpoint.load_method(tmp_path / "out" / "last.pt")):
        try:
            read()
        except CheckpointError as error:
            assert str(tmp_path / "out") in str(error)


@few
@given(spoil=damage())
def test_a_damaged_run_is_refused_or_read(good, tmp_path, spoil):
    for path in (good / "runs").iterdir():
        data = path.read_bytes()
        (tmp_path / path.name).write_bytes(spoil(data) if path.suffix == ".json" else data)
    try:
        assert all(isinstance(run, StoredRun) for run in read_runs(tmp_path))
    except ValueError as error:
        assert "cannot be read" in str(error)


@few
@given(spoil=damage())
def test_a_damaged_cache_is_made_again(good, spoil):
    whole, _ = read_folder(good / "pictures", 8, cache=False, progress=False)
    path, = (good / "cache").glob("*px.*")
    path.write_bytes(spoil(path.read_bytes()))
    splits, _ = read_folder(good / "pictures", 8, cache=good / "cache", progress=False)
    assert torch.equal(splits.train.images, whole.train.images)


@few
@given(spoil=damage(), name=st.sampled_from(["a.png", "b.jpg", "c.webp"]))
def test_a_damaged_picture_is_read_or_named(good, tmp_path, spoil, name):
    folder = tmp_path / "p"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(good / "pictures", folder)
    (folder / name).write_bytes(spoil((folder / name).read_bytes()))
    try:
        _, report = read_folder(folder, 8, cache=False, progress=False)
    except DataError:
        pytest.fail("the other two pictures are good")
    assert report.used + len(report.skipped) == 3 and report.used >= 2
    assert all(where == name and why for where, why in report.skipped)


def test_a_flipped_bit_among_the_numbers_is_seen(good, tmp_path):
    """torch.load itself does not look at the checksums that its files carry."""
    data = bytearray((good / "out" / "last.pt").read_bytes())
    with zipfile.ZipFile(good / "out" / "last.pt") as archive:
        numbers = [entry for entry in archive.infolist() if "/data/" in entry.filename]  # beside them: a pickle
        largest = max(numbers, key=lambda entry: entry.file_size)
    at = largest.header_offset
    lengths = int.from_bytes(data[at + 26 : at + 28], "little") + int.from_bytes(data[at + 28 : at + 30], "little")
    data[at + 30 + lengths + largest.file_size // 2] ^= 1  # behind the entry's header, its name and its padding
    (tmp_path / "last.pt").write_bytes(data)
    torch.load(tmp_path / "last.pt", weights_only=True)
    with pytest.raises(CheckpointError, match="not a readable checkpoint"):
        checkpoint.load(tmp_path / "last.pt")
