"""The code's style and the library's types, by the tools and settings that pre-commit uses as well."""
from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SHOWN = 40  # lines of a long list that pytest prints


def tool(name: str, *arguments: str) -> subprocess.CompletedProcess:
    """`name`, a program of the tests' environment, run in the repository's root; skips where it is not there."""
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is not installed (python course.py test brings it)")
    return subprocess.run([sys.executable, "-m", name, *arguments], capture_output=True, text=True,
                          encoding="utf-8", cwd=ROOT)


def first(lines: list[str]) -> str:
    return "\n".join([f"{len(lines)} places:", *lines[:SHOWN]])


def test_ruff_finds_nothing():
    run = tool("ruff", "check", "--no-cache", "--output-format=concise", ".")
    assert run.returncode in (0, 1), run.stderr
    assert run.returncode == 0, first(run.stdout.splitlines())


@pytest.mark.slow
def test_basedpyright_finds_no_error_in_the_library():
    run = tool("basedpyright", "--level", "error", "--outputjson", "--pythonpath", sys.executable)
    assert run.stdout.strip().startswith("{"), run.stdout + run.stderr
    found = json.loads(run.stdout)
    assert found["summary"]["filesAnalyzed"] > 50, "the settings in pyproject.toml do not reach course_lib"
    errors = [f"{Path(e['file']).relative_to(ROOT)}:{e['range']['start']['line'] + 1}: {e['message']}"
              for e in found["generalDiagnostics"] if e["severity"] == "error"]
    assert not errors, first(errors)


def test_the_library_tells_type_checkers_that_it_is_typed():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert (ROOT / "course_lib/py.typed").is_file()
    assert "py.typed" in settings["tool"]["setuptools"]["package-data"]["course_lib"]
    assert "Typing :: Typed" in settings["project"]["classifiers"]


def test_pre_commit_downloads_nothing_and_runs_both():
    lines = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8").splitlines()
    values = [line.split("#")[0].strip().removeprefix("- ") for line in lines]
    assert [v for v in values if v.startswith("repo:")] == ["repo: local"]
    assert values.count("language: system") == sum(v.startswith("id:") for v in values) == 2
    assert {"id: ruff", "id: basedpyright"} <= set(values)
