"""The doctor: what it finds, that every FAIL names its fix, and that it never falls ill itself."""
from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from course_lib import files
from course_lib.cli import doctor
from helpers.environment import ROOT


def row(rows: list[doctor.Check], name: str) -> doctor.Check:
    return next(check for check in rows if check.name == name)


@pytest.mark.parametrize("found, floor, fine", [
    ("2.6.0+cpu", "2.6", True), ("2.6", "2.6.0", True), ("2.15.0", "2.6", True), ("2.5.9", "2.6", False),
    ("0.21.0a0", "0.21", True), ("1.9", "1.26", False), ("10.3", "10.3.0", True), ("unknown", "1", False),
])
def test_versions_are_compared_as_numbers(found, floor, fine):
    assert doctor.at_least(found, floor) is fine


def test_this_environment_is_in_order():
    rows = doctor.report()
    failed = [check for check in rows if not check.ok and check.name != "free disk"]
    assert not failed, doctor.format_report(rows)
    expected = {"python", "torch", "devices", "training uses", "data", "free disk", "lessons"}
    assert expected <= {check.name for check in rows}
    assert "CPU" in row(rows, "devices").found
    assert row(rows, "torch").needed == ">=2.6"


def test_floors_come_from_the_metadata_where_there_is_no_checkout(monkeypatch, tmp_path):
    at_checkout = doctor.requirements()
    monkeypatch.setattr(doctor, "CHECKOUT", tmp_path / "site-packages")
    lines = [f"{name}>={floor}" for name, floor in at_checkout.items()] + ['pytest>=8.0; extra == "test"']
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: lines)
    assert doctor.requirements() == at_checkout and "pytest" not in at_checkout


def test_a_missing_and_an_old_package_fail_with_their_fix(monkeypatch, capsys):
    real = importlib.metadata.version

    def version(name):
        if name == "einops":
            raise importlib.metadata.PackageNotFoundError(name)
        return "0.9.1" if name == "nbval" else "0.1" if name == "tqdm" else real(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    assert doctor.run(SimpleNamespace(data_root=None)) == 1
    rows = doctor.report()
    assert row(rows, "einops").found == "missing" and "course.py setup" in row(rows, "einops").fix
    assert not row(rows, "tqdm").ok and '"tqdm>=4.66"' in row(rows, "tqdm").fix
    text = capsys.readouterr().out
    assert "FAIL  einops" in text and "fix: python course.py setup" in text and "need fixing" in text


def test_a_torch_that_does_not_import_is_a_row(monkeypatch):
    def broken(name):
        raise OSError("libcudart.so: cannot open shared object file")

    monkeypatch.setattr(doctor.importlib, "import_module", broken)
    check = doctor.check_import("torch")
    assert "libcudart" in check.found and "--fresh" in check.fix
    monkeypatch.setattr(doctor.platform, "system", lambda: "Windows")
    assert "Visual C++" in doctor.check_import("torch").fix


def test_a_package_that_is_not_installed_has_no_second_row():
    assert doctor.check_import("no_such_package_anywhere") is None


@pytest.mark.parametrize("built_for, ok, says", [("13.2", False, "driver"), (None, True, "CPU build")])
def test_a_gpu_that_torch_does_not_use(monkeypatch, built_for, ok, says):
    import torch
    monkeypatch.setattr(doctor.shutil, "which", lambda name: "/usr/bin/nvidia-smi")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", built_for)
    check = row(doctor.check_devices(), "NVIDIA GPU")
    assert check.ok is ok and says in check.found + check.fix


def test_data_that_is_there_is_listed_and_a_full_disk_fails(monkeypatch, tmp_path):
    (tmp_path / "cifar10").mkdir()
    assert "cifar10" in row(doctor.check_data(tmp_path), "data").found
    assert "generated images need no data" in row(doctor.check_data(tmp_path / "not" / "yet"), "data").found
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 5e8})())
    check = row(doctor.check_data(tmp_path), "free disk")
    assert not check.ok and check.found.startswith("0.5 GB") and "COURSE_DATA" in check.fix


def test_folders_that_cannot_be_written_fail_with_their_fix(monkeypatch, tmp_path):
    """Bug: "all OK" in a class room with a read-only home, then "Permission denied"."""
    (tmp_path / "file").write_text("")      # nothing can be made below a file, not even by root
    check = row(doctor.check_data(tmp_path / "file" / "data"), "data")
    assert not check.ok and "cannot be written (Not a directory)" in check.found and "--data-root" in check.fix
    monkeypatch.setenv("COURSE_WORKSPACE", str(tmp_path / "file" / "mine"))
    assert not doctor.check_lessons().ok and "--workspace" in doctor.check_lessons().fix
    monkeypatch.setenv("COURSE_WORKSPACE", str(tmp_path / "not" / "yet"))
    assert doctor.check_lessons().ok and not (tmp_path / "not").exists()


def test_a_folder_that_cannot_even_be_looked_into_fails_with_its_fix(monkeypatch, tmp_path):
    exists = Path.exists

    def asked(path):
        if "locked" in path.parts:
            raise PermissionError(13, "Permission denied", str(path))
        return exists(path)

    monkeypatch.setattr(Path, "exists", asked)
    data, disk = doctor.check_data(tmp_path / "locked" / "data")
    assert "cannot be written (Permission denied)" in data.found and "--data-root" in data.fix
    assert "COURSE_DATA" in disk.fix


def test_without_lessons_the_row_says_what_to_do(monkeypatch):
    monkeypatch.setattr(files, "CHECKOUT", ROOT / "elsewhere")
    assert "Clone" in doctor.check_lessons().fix


def test_a_check_that_crashes_becomes_a_row(monkeypatch):
    def crash():
        raise RuntimeError("driver gone")

    monkeypatch.setattr(doctor, "check_devices", crash)
    check = row(doctor.report(), "devices")
    assert not check.ok and "driver gone" in check.found


def test_it_runs_on_a_bare_python():
    """-S leaves out site-packages: no torch, no numpy, nothing."""
    run = subprocess.run([sys.executable, "-S", "-m", "course_lib", "doctor"], cwd=ROOT, capture_output=True,
                         text=True, env={"PYTHONIOENCODING": "utf-8", "SYSTEMROOT": "C:\\Windows"})
    assert run.returncode == 1 and "Traceback" not in run.stderr, run.stderr
    for name in doctor.requirements():
        lines = [line.split()[:3] for line in run.stdout.splitlines()]
        assert ["FAIL", name, "missing"] in lines, run.stdout
    assert "OK    python" in run.stdout and run.stdout.count("fix:") == run.stdout.count("FAIL")


def test_a_home_that_cannot_be_written_is_told_by_its_row_alone(tmp_path):
    """Matplotlib complains of it when it is imported, above the table."""
    home = tmp_path / "file"  # no folder can be made below a file, whoever asks
    home.write_text("")
    env = {**os.environ, "HOME": str(home), "XDG_CONFIG_HOME": str(home), "XDG_CACHE_HOME": str(home)}
    env.pop("MPLCONFIGDIR", None)
    code = "from course_lib.cli import doctor; doctor.check_import('matplotlib')"
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
