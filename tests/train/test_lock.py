"""Two runs never write into one folder; what a killed run left is taken over."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys

import pytest

from course_lib.train import lock
from course_lib.train.checkpoint import CheckpointError, load
from course_lib.train.lock import FolderInUse, only_run_in
from course_lib.train.loop import fit
from helpers.tiny import SMALL, Toy, images

HOLDER = """if True:
    import sys
    from pathlib import Path
    from course_lib.train.lock import only_run_in
    with only_run_in(Path(sys.argv[1])):
        print("held", flush=True)
        sys.stdin.readline()"""


@pytest.fixture
def other(tmp_path):
    """Another process that holds tmp_path."""
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], text=True, stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE)
    assert process.stdout.readline().strip() == "held"
    yield process
    process.kill()
    process.communicate()


def test_a_second_run_is_refused_and_names_the_first_which_is_killed_and_taken_over(tmp_path, other):
    method = Toy()
    with pytest.raises(FolderInUse, match=f"process {other.pid} on .*, since 20.*another out folder") as caught:
        fit(method, images(), steps=2, out=tmp_path, **SMALL)
    assert str(tmp_path) in str(caught.value) and not method.calls, "not a step was made"
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", ".owner"], "nothing was written"
    other.kill()
    other.wait()
    assert (tmp_path / ".lock").exists(), "as after any SIGKILL"
    assert fit(method, images(), steps=2, out=tmp_path, **SMALL).steps == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["backbone.pt", "last.pt", "metrics.csv"]


def test_the_folder_is_free_again_however_fit_ended(tmp_path):
    class Fails(Toy):
        def loss(self, views, progress):
            with pytest.raises(FolderInUse, match=f"process {os.getpid()} "):
                fit(Toy(), images(), steps=1, out=tmp_path, **SMALL)
            raise KeyError("a mistake in the method")

    with pytest.raises(KeyError):
        fit(Fails(), images(), steps=1, out=tmp_path, **SMALL)
    assert not list(tmp_path.iterdir())
    fit(Toy(), images(), steps=1, out=tmp_path, **SMALL)
    fit(Toy(), images(), steps=1, **SMALL)


@pytest.mark.parametrize("left", ["", "{", "[]", '{"pid": 1}', "\0\1"])
def test_a_lock_file_without_a_name_is_still_a_lock(tmp_path, left):
    with only_run_in(tmp_path):
        (tmp_path / ".owner").write_text(left)
        with pytest.raises(FolderInUse, match="not written its name"):
            with only_run_in(tmp_path):
                pass
    (tmp_path / ".owner").write_text(left)
    with only_run_in(tmp_path):
        assert json.loads((tmp_path / ".owner").read_text())["pid"] == os.getpid()


def test_a_folder_that_cannot_be_written_is_told_before_the_first_step(tmp_path):
    (tmp_path / "file").write_text("")
    method = Toy()
    with pytest.raises(CheckpointError, match="could not write into .*file.*--out"):
        fit(method, images(), steps=2, out=tmp_path / "file", **SMALL)
    assert not method.calls


def test_a_disk_without_locks_stops_nobody(tmp_path, monkeypatch):
    def unknown(*_, **__):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(lock.FileLock, "acquire", unknown)
    assert fit(Toy(), images(), steps=1, out=tmp_path, **SMALL).steps == 1


def test_a_folder_in_the_home_is_not_one_that_is_called_so(tmp_path, monkeypatch):
    """Bug: out="~/run" made a folder of the name ~ where Python stood."""
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert fit(Toy(), images(), steps=1, out="~/run", **SMALL).checkpoint == str(tmp_path / "run" / "last.pt")
    assert [path.name for path in tmp_path.iterdir()] == ["run"] and load("~/run")["step"] == 1
