"""The bootstrap course.py, the lists of packages, what is packed, the documents' paths, and the command line."""
from __future__ import annotations

import ast
import importlib.util
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import warnings
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
REAL_RUN = subprocess.run
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


# ------------------------------------------------------------ course.py in a folder of its own, pip replaced

@pytest.fixture
def course(tmp_path, monkeypatch):
    """course.py as a module whose checkout is `tmp_path`; pip and venv only take notes (`course.calls`)."""
    spec = importlib.util.spec_from_file_location("course_bootstrap", ROOT / "course.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (tmp_path / "pyproject.toml").write_bytes((ROOT / "pyproject.toml").read_bytes())
    module.calls, module.handed, module.works = [], [], True
    module.real_pip, module.real_venv_version = module.pip, module.venv_version

    def fake_pip(arguments, env=None):
        if module.works is not True:
            raise module.SetupError(module.works)
        module.calls.append(("pip", arguments, env))

    def fake_run(command, **_):
        assert command[1:3] == ["-m", "venv"], command
        module.calls.append(("venv", command[3]))
        (Path(command[3]) / "pyvenv.cfg").write_text("")
        return subprocess.CompletedProcess(command, 0, b"")

    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module, "VENV", tmp_path / ".venv")
    monkeypatch.setattr(module, "pip", fake_pip)
    starts = tmp_path / ".venv/pyvenv.cfg"
    monkeypatch.setattr(module, "venv_version", lambda: "3.11" if starts.exists() else None)
    monkeypatch.setattr(module.subprocess, "run", fake_run)
    monkeypatch.setattr(module, "hand_over", lambda command: module.handed.append(command[1:]) or 0)
    monkeypatch.delenv("COURSE_TORCH_INDEX", raising=False)
    monkeypatch.setenv("PYTHONPATH", "")    # course.py sets it for the doctor; put back afterwards
    monkeypatch.chdir(tmp_path)
    return module


def pip_lines(course) -> list[list[str]]:
    return [call[1] for call in course.calls if call[0] == "pip"]


def test_the_first_start_installs_and_the_second_installs_nothing(course, capsys):
    assert course.main([]) == 0
    assert [call[0] for call in course.calls] == ["venv", "pip"]
    assert pip_lines(course) == [["--editable", "."]]
    assert course.handed == [["-P", "-m", "course_lib", "lab"]]
    said = capsys.readouterr().out
    assert "GB" in said and "Downloading" in said and "Mbit/s" in said
    course.calls.clear()
    assert course.main(["lesson", "03", "--out", "x.html"]) == 0
    assert course.calls == []
    assert course.handed[-1] == ["-P", "-m", "course_lib", "lesson", "03", "--out", "x.html"]
    assert capsys.readouterr().out == ""


def test_test_brings_its_own_packages_once_and_lab_keeps_them(course):
    course.main(["setup"])
    assert course.main(["test", "-k", "setup"]) == 0
    assert pip_lines(course) == [["--editable", "."], ["--editable", ".[test]"]]
    assert course.handed[-1][:3] == ["-m", "pytest", "-n"] and course.handed[-1][-2:] == ["-k", "setup"]
    course.main(["test"])
    course.main(["lab"])
    assert len(pip_lines(course)) == 2


def test_a_changed_dependency_installs_again_and_a_changed_test_setting_does_not(course, tmp_path):
    course.main(["test"])
    file = tmp_path / "pyproject.toml"
    text = file.read_text(encoding="utf-8")
    file.write_text(text + "\n[tool.other]\nx = 1\n", encoding="utf-8")
    course.main(["lab"])
    assert len(pip_lines(course)) == 1
    file.write_text(text.replace('"einops>=', '"somethingelse>=1",\n    "einops>='), encoding="utf-8")
    course.main(["lab"])
    assert pip_lines(course)[1:] == [["--editable", ".[test]"]]      # the extra that was there stays
    assert [call[0] for call in course.calls].count("venv") == 1


@pytest.mark.parametrize("damage", ["half-made", "no python", "other python", "empty folder", "a file"])
def test_a_broken_environment_is_made_anew(course, tmp_path, damage):
    course.main(["setup"])
    venv = tmp_path / ".venv"
    stamp = json.loads((venv / course.STAMP).read_text())
    if damage == "half-made":
        (venv / course.STAMP).write_text(json.dumps({"state": "making"}))
    elif damage == "no python":
        (venv / "pyvenv.cfg").unlink()                               # the fake's sign of a Python that starts
    elif damage == "other python":
        (venv / course.STAMP).write_text(json.dumps({**stamp, "python": "3.10"}))
    else:
        course.shutil.rmtree(venv)
        venv.mkdir() if damage == "empty folder" else venv.write_text("")
    (venv / "leftover").write_text("") if venv.is_dir() and damage != "empty folder" else None
    if damage == "a file":
        with pytest.raises(course.SetupError, match="no Python environment"):
            course.plan()
        return
    course.calls.clear()
    assert course.main(["setup"]) == 0
    assert [call[0] for call in course.calls] == ["venv", "pip"]
    assert not (venv / "leftover").exists()
    assert course.plan()[0] == "ready"


def test_an_install_that_was_stopped_is_seen(course):
    course.works = "no network"
    assert course.main(["setup"]) == 2
    assert course.plan()[0] == "make"
    course.works = True
    assert course.main(["setup"]) == 0 and course.plan()[0] == "ready"


def test_a_folder_that_is_no_environment_is_not_deleted(course, tmp_path, capsys):
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv/letters.txt").write_text("dear")
    assert course.main(["lab"]) == 2
    assert (tmp_path / ".venv/letters.txt").read_text() == "dear"
    assert "Move it away" in capsys.readouterr().err


def test_an_own_environment_is_used_not_replaced(course, tmp_path):
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv/pyvenv.cfg").write_text("")
    assert course.main(["setup", "--cpu-torch"]) == 0
    assert "venv" not in [call[0] for call in course.calls]


def test_a_moved_folder_installs_again(course, tmp_path):
    course.main(["setup"])
    file = tmp_path / ".venv" / course.STAMP
    file.write_text(json.dumps({**json.loads(file.read_text()), "place": "/elsewhere"}))
    assert course.plan() == ("install", "the folder was moved")


def test_scripts_of_a_moved_environment_name_its_new_place(course, tmp_path):
    """Bug: `. .venv/bin/activate` put the old folder, which was gone, on the PATH."""
    course.main(["setup"])
    scripts = course.venv_python().parent
    scripts.mkdir(exist_ok=True)
    file = tmp_path / ".venv" / course.STAMP
    file.write_text(json.dumps({**json.loads(file.read_text()), "place": "/else where"}))
    old = os.path.join("/else where", ".venv")
    (scripts / "activate").write_text(f'VIRTUAL_ENV="{old}"\n')
    (scripts / "other").write_text("#!/bin/sh\n")
    program = b"\0" + os.fsencode(old)
    (scripts / "program").write_bytes(program)
    course.main(["setup"])
    assert (scripts / "activate").read_text() == f'VIRTUAL_ENV="{tmp_path / ".venv"}"\n'
    assert (scripts / "other").read_text() == "#!/bin/sh\n" and (scripts / "program").read_bytes() == program


def test_an_update_without_network_goes_on_with_what_served(course, tmp_path, capsys):
    course.main(["setup"])
    file = tmp_path / "pyproject.toml"
    file.write_text(file.read_text(encoding="utf-8").replace("einops>=0.8", "einops>=0.9"), encoding="utf-8")
    course.works = "The network could not be reached."
    assert course.main(["lab"]) == 0
    assert course.handed[-1] == ["-P", "-m", "course_lib", "lab"]
    assert "Going on with what is installed" in capsys.readouterr().err
    assert course.plan()[0] == "install"                             # and tries again the next time
    assert course.main(["setup"]) == 2                               # set-up itself says that it did not work
    assert course.main(["test"]) == 2                                # the tests' packages were never there


def test_cpu_torch_comes_first_from_one_index_only(course, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    assert course.main(["setup", "--cpu-torch"]) == 0
    (_, first, env), (_, second, _) = [call for call in course.calls if call[0] == "pip"]
    assert first == [d for d in PYPROJECT["project"]["dependencies"] if d.startswith("torch")]
    assert env["PIP_INDEX_URL"] == env["PIP_EXTRA_INDEX_URL"] == "https://download.pytorch.org/whl/cpu"
    assert env["HTTPS_PROXY"] == "http://proxy.example:3128"
    assert second == ["--editable", "."]
    course.calls.clear()
    for words in ([], ["--cpu-torch"], ["lab", "--cpu-torch"]):      # said again or not: it stays as it is
        assert course.main(words) == 0
        assert "--cpu-torch" not in course.handed[-1]
    assert course.calls == []


def test_another_index_of_torch_remakes_the_environment(course, monkeypatch):
    course.main(["setup"])
    monkeypatch.setenv("COURSE_TORCH_INDEX", "https://download.pytorch.org/whl/cu126")
    assert course.plan(index="https://download.pytorch.org/whl/cu126")[0] == "make"
    course.main(["setup"])
    assert course.read_stamp()["index"].endswith("cu126")
    monkeypatch.delenv("COURSE_TORCH_INDEX")
    assert course.plan()[0] == "ready"


def test_fresh_makes_it_anew(course):
    course.main(["setup"])
    course.calls.clear()
    assert course.main(["setup", "--fresh"]) == 0
    assert [call[0] for call in course.calls] == ["venv", "pip"]


def test_the_doctor_installs_nothing(course):
    assert course.main(["doctor"]) == 0
    assert course.calls == [] and course.handed == [["-P", "-m", "course_lib", "doctor"]]


def test_words_after_two_dashes_are_not_ours(course):
    course.main(["setup"])
    course.calls.clear()
    course.main(["lab", "--", "--fresh"])
    assert course.calls == [] and course.handed[-1] == ["-P", "-m", "course_lib", "lab", "--", "--fresh"]


def test_help_installs_nothing(course, capsys):
    assert course.main(["--help"]) == 0
    assert "course.py test" in capsys.readouterr().out and course.calls == []


@pytest.mark.parametrize("said, advice", [
    ("ERROR: Could not install packages: [Errno 28] No space left on device", "disk is full"),
    ("Failed to establish a new connection: [Errno -3] Temporary failure in name resolution", "network"),
    ("SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED]", "certificate"),
    ("ERROR: No matching distribution found for torch>=2.6", "no PyTorch for this Python"),
    ("ERROR: Could not install packages: [WinError 5] Access is denied", "Close JupyterLab"),
    ("something nobody has seen", "--fresh"),
])
def test_what_pip_says_becomes_advice(course, monkeypatch, capsys, said, advice):
    real = subprocess.Popen
    script = f"import sys; print('progress'); sys.stderr.write({said!r}); sys.exit(1)"
    monkeypatch.setattr(course.subprocess, "Popen",
                        lambda command, **options: real([sys.executable, "-c", script], **options))
    with pytest.raises(course.SetupError, match=re.escape(advice)):
        course.real_pip(["--editable", "."])
    assert said in capsys.readouterr().err                           # pip's own words are shown as well


def test_a_full_disk_is_said_before_the_download(course, monkeypatch, capsys):
    monkeypatch.setattr(course.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1e9})())
    course.announce(None)
    assert "only 1.0 GB are free" in capsys.readouterr().out


def test_a_machine_without_nvidia_is_told_of_the_small_build(course, monkeypatch, capsys):
    monkeypatch.setattr(course, "build_kind", lambda index: "cpu" if index else "cuda")
    monkeypatch.setattr(course, "has_nvidia", lambda: False)
    course.announce(None)
    assert "--cpu-torch" in capsys.readouterr().out
    course.announce(course.CPU_INDEX)
    assert "--cpu-torch" not in capsys.readouterr().out


def test_a_real_environment_is_made_and_its_loss_noticed(course, monkeypatch):
    import subprocess as real
    monkeypatch.setattr(course, "subprocess", real)
    monkeypatch.setattr(course.subprocess, "run", REAL_RUN)
    monkeypatch.setattr(course, "venv_version", course.real_venv_version)
    assert course.main(["setup"]) == 0
    assert course.venv_version() == f"{sys.version_info[0]}.{sys.version_info[1]}"
    assert course.plan()[0] == "ready"
    course.venv_python().unlink()
    todo, why = course.plan()
    assert todo == "make" and "broken" in why


def test_an_old_python_reads_the_file_and_gets_a_sentence():
    source = (ROOT / "course.py").read_text(encoding="ascii")
    tree = ast.parse(source)
    new = (ast.JoinedStr, ast.AnnAssign, ast.NamedExpr, ast.Match, ast.AsyncFunctionDef)
    assert not [node for node in ast.walk(tree) if isinstance(node, new)]
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    assert not [f.name for f in functions if f.returns or f.args.posonlyargs or f.args.kwonlyargs
                or any(a.annotation for a in f.args.args)]
    for old in ((2, 7), (3, 4), (3, 10)):
        start = f"import sys; sys.version_info = {old + (0, 'final', 0)}\n"
        body = f"exec(compile(open({str(ROOT / 'course.py')!r}).read(), 'course.py', 'exec'))"
        run = subprocess.run([sys.executable, "-c", start + body], capture_output=True, text=True)
        assert run.returncode == 1 and "Traceback" not in run.stderr
        assert f"needs Python 3.11 or newer, and this is Python {old[0]}.{old[1]}" in run.stderr


# ------------------------------------------------------------ the two lists of packages

def floors(lines: list[str]) -> dict[str, str]:
    found = {}
    for line in lines:
        match = re.fullmatch(r"([a-z][a-z0-9_-]*)>=(\d+(?:\.\d+)*)", line.replace(" ", ""))
        assert match, f"{line!r} is not of the form package>=floor"
        found[match[1].replace("_", "-")] = match[2]  # conda and pip may spell a name differently
    return found


def conda_lists() -> tuple[list[str], list[str], list[str]]:
    """(channels, conda packages, pip's lines) of environment.yml, which keeps to `- item` lines."""
    sections: dict[str, list[str]] = {}
    name = ""
    for raw in (ROOT / "environment.yml").read_text(encoding="utf-8").splitlines():
        line = raw.split("#")[0].rstrip()
        if re.fullmatch(r"\w+:.*", line):
            name = line.split(":")[0]
        elif line.strip() == "- pip:":
            name = "pip"
        elif line.strip():
            assert line.strip().startswith("- "), f"this simple reader cannot read {raw!r}"
            sections.setdefault(name, []).append(line.strip()[2:].strip().strip("\"'"))
    return sections["channels"], sections["dependencies"], sections["pip"]


def test_conda_and_pip_ask_for_the_same_packages_and_floors():
    channels, conda, pip = conda_lists()
    assert channels == ["conda-forge"] and pip == ["-e ."]
    wanted = floors(PYPROJECT["project"]["dependencies"])
    wanted["python"] = PYPROJECT["project"]["requires-python"].removeprefix(">=")
    tests = floors(PYPROJECT["project"]["optional-dependencies"]["test"])
    for package in ("playwright", "ruff", "basedpyright", "setuptools"):
        del tests[package]             # the few tests that need them skip without them
    listed = floors([line for line in conda if line != "pip"])
    listed["torch"], listed["matplotlib"] = listed.pop("pytorch"), listed.pop("matplotlib-base")
    assert "pip" in conda and listed == wanted | tests


def test_everything_that_the_library_imports_is_declared():
    from importlib.metadata import packages_distributions

    from course_lib.cli.doctor import requirements

    names = {node.module if isinstance(node, ast.ImportFrom) else alias.name
             for path in (ROOT / "course_lib").rglob("*.py") for node in ast.walk(ast.parse(path.read_text("utf-8")))
             if isinstance(node, (ast.Import, ast.ImportFrom)) for alias in node.names}
    foreign = {name.partition(".")[0] for name in names} - set(sys.stdlib_module_names) - {"course_lib"}
    known, extras = packages_distributions(), PYPROJECT["project"]["optional-dependencies"]
    declared = set(requirements()) | {name for extra in ("safetensors", "onnx") for name in floors(extras[extra])}
    bring = {name: {found.lower().replace("_", "-") for found in known.get(name, [name])} for name in foreign}
    missing = {name for name in foreign if not bring[name] & declared}
    assert "torch" in foreign and not missing, f"pyproject.toml does not declare what brings {', '.join(missing)}"


def test_every_dependency_says_what_it_is_for():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    extras = PYPROJECT["project"]["optional-dependencies"]["test"]
    for line in PYPROJECT["project"]["dependencies"] + extras:
        assert re.search(rf'"{re.escape(line)}",\s+# \S+', text), f"{line} has no reason beside it"


def test_the_bootstrap_and_the_package_agree_on_pythons_floor():
    assert PYPROJECT["project"]["requires-python"] == ">=3.11"
    assert "sys.version_info < (3, 11)" in (ROOT / "course.py").read_text(encoding="ascii")


def test_ci_runs_the_pythons_that_are_promised_and_the_oldest_torch():
    classifiers = PYPROJECT["project"]["classifiers"]
    promised = {c.rsplit(" ", 1)[1] for c in classifiers if re.search(r":: 3\.\d+$", c)}
    workflow = (ROOT / ".github/workflows/test.yml").read_text(encoding="utf-8")
    assert promised and promised == set(re.findall(r'python: "([\d.]+)"', workflow))
    lowest = floors(PYPROJECT["project"]["dependencies"])
    pins = (ROOT / ".ci/oldest.txt").read_text(encoding="utf-8").split()
    assert sorted(pins) == [f"{name}=={lowest[name]}.0" for name in ("torch", "torchvision")]
    assert ".ci/oldest.txt" in workflow


def test_the_citation_is_of_this_version():
    import course_lib
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {course_lib.__version__}\n" in text
    assert f"\nlicense: {PYPROJECT['project']['license']}\n" in text
    assert re.search(r'\ndate-released: "\d{4}-\d\d-\d\d"\n', text) and re.search(r"\n +url: \"https://", text)


# ------------------------------------------------------------ what is packed

STRAYS = ("course_lib/__pycache__/files.cpython-311.pyc", "lessons/.ipynb_checkpoints/01_x-checkpoint.ipynb",
          "lessons/01_orientation.html", ".venv/pyvenv.cfg", "my_lessons/01_orientation.ipynb", "runs/try/last.pt",
          "tests/.DS_Store", "artefacts/seen.png")


@pytest.fixture(scope="module")
def packed(tmp_path_factory) -> tuple[set[str], Path, Path]:
    """(the repository's files, the unpacked source distribution, the wheel), packed from a copy full of strays."""
    if not (ROOT / ".git").exists() or not shutil.which("git"):
        pytest.skip("only git knows the repository's files; an unpacked distribution is not packed again")
    pytest.importorskip("setuptools", minversion="77", reason="setuptools 77 or newer packs the distribution")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.decode()
    files = {name for name in listed.split("\0") if (ROOT / name).is_file()}
    copy, out = tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("out")
    for name in files | set(STRAYS):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, copy / name) if name in files else (copy / name).write_text("stray")
    code = f"from setuptools import build_meta as b; b.build_sdist({str(out)!r}); b.build_wheel({str(out)!r})"
    done = subprocess.run([sys.executable, "-c", code], cwd=copy, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    with tarfile.open(next(out.glob("*.tar.gz"))) as archive:
        archive.extractall(out)
    return files, next(path for path in out.iterdir() if path.is_dir()), next(out.glob("*.whl"))


def test_the_source_distribution_is_the_repository(packed):
    files, tree, _ = packed
    inside = {path.relative_to(tree).as_posix() for path in tree.rglob("*") if path.is_file()}
    made = {name for name in inside if re.match(r"PKG-INFO$|setup\.cfg$|ssl_image_course\.egg-info/", name)}
    assert not files - inside, "MANIFEST.in leaves these out"
    assert not inside - made - files, "MANIFEST.in lets these in"


def test_the_wheel_is_the_library_with_its_data(packed):
    files, _, wheel = packed
    with zipfile.ZipFile(wheel) as archive:
        inside = {name for name in archive.namelist() if ".dist-info/" not in name}
        licence = [name for name in archive.namelist() if name.endswith("/LICENSE")]
        metadata = archive.read(next(n for n in archive.namelist() if n.endswith("/METADATA"))).decode()
    assert inside == {name for name in files if name.startswith("course_lib/")}
    assert licence and "\nLicense-Expression: MIT\n" in metadata and "\nProject-URL: " in metadata


@pytest.mark.slow
def test_a_source_distribution_is_enough_to_work_with(packed):
    """Without git: some tests of each kind (golden arrays, fixtures, lessons, data), the bootstrap, the doctor."""
    _, tree, _ = packed
    env = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTEST_ADDOPTS")}
    some = ["tests/test_papers.py", "tests/test_setup.py", "tests/test_golden.py", "tests/lessons/test_lessons.py",
            "tests/train/test_before_the_move.py"]
    only = "test_papers or first_start or documents or vicreg.npz or registered[03 or exported_backbone_loads[vicreg"
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *some,
                           "-k", only], cwd=tree, env=env, capture_output=True, text=True)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) > 10, done.stdout
    for words, says in (["--help"], "course.py test"), (["doctor"], str(tree)):
        done = subprocess.run([sys.executable, "course.py", *words], cwd=tree, env=env, capture_output=True, text=True,
                              encoding="utf-8")
        assert says in done.stdout and "Traceback" not in done.stderr, done.stdout + done.stderr


# ------------------------------------------------------------ the documents' paths

DOCUMENTS = sorted([*ROOT.glob("*.md"), *(path for room in ("benchmarks", "docs", "lessons", "tests")
                                          for path in (ROOT / room).rglob("*.md"))])
PLACEHOLDER = re.compile(r"(FAMILY|METHOD|NAME)(\.py)?$")     # the reader's to fill in


def exists(path: Path) -> bool:
    """Is there such a file or folder? From a placeholder on, and where a pattern stands, the folder has to be."""
    known = Path(*[part for part in path.parts[:next((i for i, part in enumerate(path.parts)
                                                      if PLACEHOLDER.match(part)), None)]])
    return any(known.parent.glob(known.name)) if "*" in known.name else known.exists()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_the_paths_of_the_documents_exist(document):
    text = document.read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#\s]+)", text) if "://" not in link]
    missing = [link for link in links if not exists(document.parent / link)]
    paths = re.findall(r"(?<![\w/.-])((?:course_lib|lessons|tests|benchmarks|docs)/[\w./*-]*)", text)
    missing += [path for path in paths if not exists(ROOT / path.rstrip(".-"))]
    names = [] if "golden" in document.parts else re.findall(r"`([a-z_]\w*\.py)`", text)   # there, of other code
    rooms = [ROOT / room for room in ("benchmarks", "course_lib", "lessons", "tests")]
    missing += [name for name in names if not (ROOT / name).exists() and not any(
        next(room.rglob(name), None) for room in rooms)]
    assert not missing, f"{document.name} names what is not there"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_the_dotted_names_of_the_documents_exist(document):
    for name in re.findall(r"course_lib(?:\.\w+)+", document.read_text(encoding="utf-8")):
        if not (ROOT / name.replace(".", "/")).exists():              # else a file such as course_lib.md
            module, _, attribute = name.rpartition(".")
            found = importlib.util.find_spec(module)
            assert found, f"{document.name}: {name}"
            assert (importlib.util.find_spec(name) if found.submodule_search_locations else None) or hasattr(
                importlib.import_module(module), attribute), f"{document.name}: {name}"


def test_the_readme_documents_every_room_of_the_library():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    rooms = {path.parent.name for path in (ROOT / "course_lib").glob("*/__init__.py")}
    assert rooms and not [room for room in sorted(rooms) if f"`course_lib/{room}/`" not in text]


# ------------------------------------------------------------ the command line

def run_python(code: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)


@pytest.mark.parametrize("code", [
    "import course_lib",
    "import course_lib.cli.workspace, course_lib.cli.doctor",
    "from course_lib.cli.main import main; main(['nonsense'])",
    "from course_lib.cli.main import main; main([])",
    "from course_lib.cli.main import main; main(['guide', '99'])",
])
def test_nothing_heavy_is_imported_before_it_is_needed(code):
    heavy = ("torch", "numpy", "matplotlib", "jupyterlab", "nbconvert", "sklearn", "PIL", "tomllib")
    run = run_python(code + f"; import sys; print('heavy:', [m for m in {heavy} if m in sys.modules])")
    assert "heavy: []" in run.stdout, run.stdout + run.stderr


def command_names() -> list[str]:
    from course_lib.cli.main import COMMANDS
    return [command.name for command in COMMANDS]


@pytest.mark.parametrize("name", command_names())
def test_every_command_explains_itself(name, capsys):
    from course_lib.cli.main import COMMANDS, main
    with pytest.raises(SystemExit) as stop:
        main([name, "--help"])
    text = capsys.readouterr().out
    assert stop.value.code == 0 and text.startswith(f"usage: course {name}") and "--traceback" in text
    assert callable(next(c for c in COMMANDS if c.name == name).load().run)


def test_the_commands_of_the_readme_exist():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    names = set(command_names()) | {"test", "setup"}
    used = set(re.findall(r"course\.py ([a-z]+)", text)) | set(re.findall(r"-m course_lib ([a-z]+)", text))
    assert used and used <= names, f"README.md names commands that are not there: {used - names}"


@pytest.mark.parametrize("error, says", [
    (ValueError("The folder is empty. Give another."), "The folder is empty."),
    (FileNotFoundError(2, "No such file or directory", "a.pt"), "There is no file or folder a.pt"),
    (PermissionError(13, "Permission denied", "b.pt"), "Permission denied: b.pt"),
    (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), "--batch-size"),
    (MemoryError(), "--batch-size"),
    (ModuleNotFoundError("No module named 'torch'", name="torch"), "course.py setup"),
])
def test_errors_are_sentences(monkeypatch, capsys, error, says):
    from course_lib.cli import main as cli

    class Broken:
        add_arguments = staticmethod(lambda parser: None)

        @staticmethod
        def run(args):
            raise error

    monkeypatch.setattr(cli.Command, "load", lambda self: Broken)
    assert cli.main(["train"]) == 2
    said = capsys.readouterr().err
    assert says in said and "Traceback" not in said and "--traceback" in said
    with pytest.raises(type(error)):
        cli.main(["train", "--traceback"])


def test_mistakes_of_the_course_keep_their_traceback_and_a_stop_is_quiet(monkeypatch, capsys):
    from course_lib.cli import main as cli

    def load(self):
        raise cause

    monkeypatch.setattr(cli.Command, "load", load)
    cause = AttributeError("a bug")
    with pytest.raises(AttributeError):
        cli.main(["doctor"])
    cause = KeyboardInterrupt()
    assert cli.main(["doctor"]) == 130 and "Stopped" in capsys.readouterr().err


def test_a_warning_of_the_course_is_a_sentence_without_its_place_in_the_code(monkeypatch):
    from course_lib.cli import main as cli
    said, before = [], warnings.formatwarning

    class Warns:
        add_arguments = staticmethod(lambda parser: None)
        run = staticmethod(lambda args: said.extend(
            warnings.formatwarning("few labels", UserWarning, file, 3) for file in (cli.__file__, os.__file__)))

    monkeypatch.setattr(cli.Command, "load", lambda self: Warns)
    assert cli.main(["doctor"]) == 0 and warnings.formatwarning is before
    assert said[0] == "few labels\n" and said[1].startswith(f"{os.__file__}:3: UserWarning: few labels")


def test_a_mistyped_command_is_answered_with_the_near_one(capsys):
    from course_lib.cli.main import main
    assert main(["trian"]) == 2
    said = capsys.readouterr().err
    assert "Did you mean 'train'?" in said and "Traceback" not in said


def test_output_that_a_console_cannot_show_is_no_error(monkeypatch):
    from course_lib.cli import main as cli
    narrow = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", narrow)

    class Says:
        add_arguments = staticmethod(lambda parser: None)
        run = staticmethod(lambda args: print("\u03b1 \u2265 1"))

    monkeypatch.setattr(cli.Command, "load", lambda self: Says)
    assert cli.main(["doctor"]) == 0
    narrow.flush()
    assert narrow.buffer.getvalue().split() == [b"?", b"?", b"1"]
