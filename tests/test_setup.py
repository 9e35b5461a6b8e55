"""The bootstrap course.py, the two lists of packages, and the command line."""
from __future__ import annotations

import ast
import importlib.util
import io
import json
import re
import subprocess
import sys
import tomllib
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
    assert course.venv_version() == "%d.%d" % sys.version_info[:2]
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
        match = re.fullmatch(r"([a-z][a-z0-9-]*)>=(\d+(?:\.\d+)*)", line.replace(" ", ""))
        assert match, f"{line!r} is not of the form package>=floor"
        found[match[1]] = match[2]
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
    del tests["playwright"]            # only the browser test needs it, and skips without it
    listed = floors([line for line in conda if line != "pip"])
    listed["torch"], listed["matplotlib"] = listed.pop("pytorch"), listed.pop("matplotlib-base")
    assert "pip" in conda and listed == wanted | tests


def test_every_dependency_says_what_it_is_for():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    extras = PYPROJECT["project"]["optional-dependencies"]["test"]
    for line in PYPROJECT["project"]["dependencies"] + extras:
        assert re.search(rf'"{re.escape(line)}",\s+# \S+', text), f"{line} has no reason beside it"


def test_the_bootstrap_and_the_package_agree_on_pythons_floor():
    assert PYPROJECT["project"]["requires-python"] == ">=3.11"
    assert "sys.version_info < (3, 11)" in (ROOT / "course.py").read_text(encoding="ascii")


# ------------------------------------------------------------ the command line

def run_python(code: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)


@pytest.mark.parametrize("code", [
    "import course_lib",
    "import course_lib.workspace, course_lib.doctor",
    "from course_lib.__main__ import main; main(['nonsense'])",
    "from course_lib.__main__ import main; main([])",
    "from course_lib.__main__ import main; main(['guide', '99'])",
])
def test_nothing_heavy_is_imported_before_it_is_needed(code):
    heavy = ("torch", "numpy", "matplotlib", "jupyterlab", "nbconvert", "sklearn", "PIL", "tomllib")
    run = run_python(code + f"; import sys; print('heavy:', [m for m in {heavy} if m in sys.modules])")
    assert "heavy: []" in run.stdout, run.stdout + run.stderr


def command_names() -> list[str]:
    from course_lib.__main__ import COMMANDS
    return [command.name for command in COMMANDS]


@pytest.mark.parametrize("name", command_names())
def test_every_command_explains_itself(name, capsys):
    from course_lib.__main__ import COMMANDS, main
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
    from course_lib import __main__ as cli

    class Broken:
        add_arguments = staticmethod(lambda parser: None)

        @staticmethod
        def run(args):
            raise error

    monkeypatch.setattr(cli.Command, "load", lambda self: Broken)
    assert cli.main(["doctor"]) == 2
    said = capsys.readouterr().err
    assert says in said and "Traceback" not in said and "--traceback" in said
    with pytest.raises(type(error)):
        cli.main(["doctor", "--traceback"])


def test_mistakes_of_the_course_keep_their_traceback_and_a_stop_is_quiet(monkeypatch, capsys):
    from course_lib import __main__ as cli

    def load(self):
        raise cause

    monkeypatch.setattr(cli.Command, "load", load)
    cause = AttributeError("a bug")
    with pytest.raises(AttributeError):
        cli.main(["doctor"])
    cause = KeyboardInterrupt()
    assert cli.main(["doctor"]) == 130 and "Stopped" in capsys.readouterr().err


def test_a_mistyped_command_is_answered_with_the_near_one(capsys):
    from course_lib.__main__ import main
    assert main(["trian"]) == 2
    said = capsys.readouterr().err
    assert "Did you mean 'train'?" in said and "Traceback" not in said


def test_output_that_a_console_cannot_show_is_no_error(monkeypatch):
    from course_lib import __main__ as cli
    narrow = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", narrow)

    class Says:
        add_arguments = staticmethod(lambda parser: None)
        run = staticmethod(lambda args: print("\u03b1 \u2265 1"))

    monkeypatch.setattr(cli.Command, "load", lambda self: Says)
    assert cli.main(["doctor"]) == 0
    narrow.flush()
    assert narrow.buffer.getvalue().split() == [b"?", b"?", b"1"]
