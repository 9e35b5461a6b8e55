"""The learner's copy of the lessons: who changed what, nothing of theirs is lost; lab; lesson; guide."""
from __future__ import annotations

import json
import os
import sysconfig
from pathlib import Path

import pytest

from course_lib import files as ground
from course_lib.cli import lessons as lessons_module
from course_lib.cli import workspace as ws
from course_lib.cli.main import main
from course_lib.cli.rewriting import with_answers


def notebook(*cells: str | tuple[str, dict], outputs=()) -> str:
    """A notebook as text; a cell that starts with `#` and a blank is Markdown."""
    made = []
    for number, cell in enumerate(cells):
        source, metadata = cell if isinstance(cell, tuple) else (cell, {})
        made.append({"id": f"cell-{number}", "metadata": metadata, "source": source.splitlines(keepends=True),
                     "cell_type": "markdown"} if source.startswith(("# ", "<")) else
                    {"id": f"cell-{number}", "metadata": metadata, "source": source.splitlines(keepends=True),
                     "cell_type": "code", "execution_count": None, "outputs": list(outputs)})
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    return json.dumps({"cells": made, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5})


@pytest.fixture
def course(tmp_path, monkeypatch):
    """A course with two lessons in a folder of its own; returns (its lessons, the learner's folder)."""
    lessons = tmp_path / "course" / "lessons"
    (lessons / "runs").mkdir(parents=True)
    (lessons / ".ipynb_checkpoints").mkdir()
    (lessons / "01_start.ipynb").write_text(notebook("# Start", "x = 1"), encoding="utf-8")
    (lessons / "03_vicreg.ipynb").write_text(notebook("# VICReg", "y = 2"), encoding="utf-8")
    (lessons / "README.md").write_text("the schedule", encoding="utf-8")
    (lessons / "picture.svg").write_text("<svg/>", encoding="utf-8")
    (lessons / "build.py").write_text("pass", encoding="utf-8")
    (lessons / "runs/one.json").write_text("{}", encoding="utf-8")
    (lessons / ".ipynb_checkpoints/x.ipynb").write_text("{}", encoding="utf-8")
    monkeypatch.delenv("COURSE_WORKSPACE", raising=False)
    monkeypatch.setattr(ground, "CHECKOUT", lessons.parent)
    monkeypatch.chdir(tmp_path)
    return lessons, tmp_path / "mine"


def files(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()} - {ws.MANIFEST}


def test_first_copy_and_second_start(course):
    lessons, mine = course
    report = ws.sync_lessons(lessons, mine)
    expected = {"01_start.ipynb", "03_vicreg.ipynb", "README.md", "picture.svg"}
    assert files(mine) == expected == set(report.copied)
    before = {name: (mine / name).stat().st_mtime_ns for name in expected}
    report = ws.sync_lessons(lessons, mine)
    assert report == ws.SyncReport() and report.lines() == []
    assert {name: (mine / name).stat().st_mtime_ns for name in expected} == before


def test_only_the_course_changed(course):
    lessons, mine = course
    ws.sync_lessons(lessons, mine)
    (lessons / "03_vicreg.ipynb").write_text(notebook("# VICReg", "y = 3"), encoding="utf-8")
    report = ws.sync_lessons(lessons, mine)
    assert report.updated == ["03_vicreg.ipynb"] and "y = 3" in (mine / "03_vicreg.ipynb").read_text()
    assert ws.sync_lessons(lessons, mine) == ws.SyncReport()


def test_only_the_learner_changed(course):
    lessons, mine = course
    ws.sync_lessons(lessons, mine)
    edited = notebook("# VICReg", "y = 'my answer'")
    (mine / "03_vicreg.ipynb").write_text(edited, encoding="utf-8")
    for _ in range(2):
        report = ws.sync_lessons(lessons, mine)
        assert report.kept == ["03_vicreg.ipynb"] and report.lines() == []
        assert (mine / "03_vicreg.ipynb").read_text() == edited
    assert "03_vicreg.new.ipynb" not in files(mine)


def test_both_changed_puts_the_new_one_beside(course):
    lessons, mine = course
    ws.sync_lessons(lessons, mine)
    edited = notebook("# VICReg", "y = 'my answer'")
    (mine / "03_vicreg.ipynb").write_text(edited, encoding="utf-8")
    (lessons / "03_vicreg.ipynb").write_text(notebook("# VICReg", "y = 3"), encoding="utf-8")
    report = ws.sync_lessons(lessons, mine)
    assert report.beside == [("03_vicreg.ipynb", "03_vicreg.new.ipynb")]
    assert (mine / "03_vicreg.ipynb").read_text() == edited
    assert "y = 3" in (mine / "03_vicreg.new.ipynb").read_text()
    assert len(report.lines()) == 1 and "yours stays" in report.lines()[0]
    # said once: until the course changes again there is nothing new
    assert ws.sync_lessons(lessons, mine).beside == []
    # the copy beside is no lesson of its own
    assert [p.name for p in ws.list_lessons(mine)] == ["01_start.ipynb", "03_vicreg.ipynb"]
    # a learner who takes the new version is back on the course's track
    os.replace(mine / "03_vicreg.new.ipynb", mine / "03_vicreg.ipynb")
    (lessons / "03_vicreg.ipynb").write_text(notebook("# VICReg", "y = 4"), encoding="utf-8")
    assert ws.sync_lessons(lessons, mine).updated == ["03_vicreg.ipynb"]


def test_work_in_the_copy_beside_is_kept_when_the_course_changes_again(course):
    lessons, mine = course
    ws.sync_lessons(lessons, mine)
    (mine / "03_vicreg.ipynb").write_text(notebook("# VICReg", "y = 'my answer'"), encoding="utf-8")
    (lessons / "03_vicreg.ipynb").write_text(notebook("# VICReg", "y = 3"), encoding="utf-8")
    ws.sync_lessons(lessons, mine)
    worked = notebook("# VICReg", "y = 'work in the new one'")
    (mine / "03_vicreg.new.ipynb").write_text(worked, encoding="utf-8")
    (lessons / "03_vicreg.ipynb").write_text(notebook("# VICReg", "y = 4"), encoding="utf-8")
    ws.sync_lessons(lessons, mine)
    assert "y = 4" in (mine / "03_vicreg.new.ipynb").read_text()
    assert (mine / ws.REPLACED / "03_vicreg.new.ipynb").read_text() == worked


def test_right_answers_are_carried_into_the_new_one_and_a_page_tells(course, monkeypatch):
    """Bug: told once, in the terminal above 20 lines of log, and every exercise was a stub again."""
    lessons, mine = course
    stub = 'def loss(z):\n    """(N, D) -> scalar"""\n    ...\n\nloss = check("03.loss", loss).use'
    lesson = [(stub, {"exercise": "03.loss"}), (stub.replace("loss", "other"), {"exercise": "03.other"})]
    (lessons / "03_vicreg.ipynb").write_text(notebook("# VICReg", *lesson), encoding="utf-8")
    ws.sync_lessons(lessons, mine)
    assert not (mine / ws.NEWS).exists()
    (mine / "03_vicreg.ipynb").write_text(notebook("# VICReg", "edited = 1", *lesson), encoding="utf-8")
    (mine / "progress.json").write_text(json.dumps({"exercises": {
        "03.loss": {"solved": True, "answer": "def loss(z):\n    return z.mean()\n"},
        "03.other": {"solved": False, "answer": ""}}}))
    (lessons / "03_vicreg.ipynb").write_text(notebook("# VICReg, better", *lesson), encoding="utf-8")
    report = ws.sync_lessons(lessons, mine)
    cells = ["".join(cell["source"]) for cell in json.loads((mine / "03_vicreg.new.ipynb").read_text())["cells"]]
    assert cells == ["# VICReg, better", 'def loss(z):\n    return z.mean()\n\nloss = check("03.loss", loss).use',
                     lesson[1][0]]
    page = (mine / ws.NEWS).read_text()
    assert "[03_vicreg.new.ipynb](03_vicreg.new.ipynb)" in page and "yours stays" in page and report.page() == page
    opened = []
    monkeypatch.setattr("jupyterlab.labapp.LabApp.launch_instance", lambda arguments: opened.append(arguments))
    for lesson_asked, start in ((None, "UPDATES.md"), ("03", "UPDATES.md"), ("01", "01_start.ipynb")):
        monkeypatch.setattr(ws, "sync_lessons", lambda **_: report)
        ws.open_lab(mine, lesson=lesson_asked)
        assert f"--LabApp.default_url=/lab/tree/{start}" in opened[-1]


@pytest.mark.parametrize("broken", ["{", "[]", '{"cells": 3}', '{"cells": [{"metadata": 3}]}'])
def test_answers_leave_what_is_no_notebook(broken):
    assert with_answers(broken.encode(), {"03.loss": "def loss(): pass"}) == broken.encode()


def test_running_a_lesson_is_no_change_and_the_run_is_kept_all_the_same(course):
    lessons, mine = course
    ws.sync_lessons(lessons, mine)
    stream = {"output_type": "stream", "name": "stdout", "text": ["an hour of training\n"]}
    (mine / "03_vicreg.ipynb").write_text(notebook("# VICReg", "y = 2", outputs=[stream]), encoding="utf-8")
    assert ws.sync_lessons(lessons, mine) .kept == []
    (lessons / "03_vicreg.ipynb").write_text(notebook("# VICReg", "y = 3"), encoding="utf-8")
    assert ws.sync_lessons(lessons, mine).updated == ["03_vicreg.ipynb"]
    assert "an hour of training" in (mine / ws.REPLACED / "03_vicreg.ipynb").read_text()


def test_other_files_are_compared_by_their_bytes(course):
    lessons, mine = course
    ws.sync_lessons(lessons, mine)
    (mine / "README.md").write_text("my notes", encoding="utf-8")
    (lessons / "README.md").write_text("the new schedule", encoding="utf-8")
    assert ws.sync_lessons(lessons, mine).beside == [("README.md", "README.new.md")]
    assert (mine / "README.md").read_text() == "my notes"


def test_gone_from_the_course_and_deleted_by_the_learner(course):
    lessons, mine = course
    ws.sync_lessons(lessons, mine)
    (lessons / "01_start.ipynb").unlink()
    (mine / "README.md").unlink()
    report = ws.sync_lessons(lessons, mine)
    assert report.gone == ["01_start.ipynb"] and report.copied == ["README.md"]
    assert (mine / "01_start.ipynb").exists()
    assert ws.sync_lessons(lessons, mine).gone == []


@pytest.mark.parametrize("manifest", [None, "", "[]", "{", '{"files": 3}'])
def test_without_a_readable_manifest_nothing_is_overwritten(course, manifest):
    lessons, mine = course
    ws.sync_lessons(lessons, mine)
    edited = notebook("# VICReg", "y = 'my answer'")
    (mine / "03_vicreg.ipynb").write_text(edited, encoding="utf-8")
    (mine / ws.MANIFEST).unlink() if manifest is None else (mine / ws.MANIFEST).write_text(manifest)
    report = ws.sync_lessons(lessons, mine)
    assert (mine / "03_vicreg.ipynb").read_text() == edited
    assert report.beside == [("03_vicreg.ipynb", "03_vicreg.new.ipynb")] and not report.updated


def test_a_notebook_that_is_no_json_counts_by_its_bytes(course):
    lessons, mine = course
    ws.sync_lessons(lessons, mine)
    (mine / "03_vicreg.ipynb").write_text("{ half a file", encoding="utf-8")
    (lessons / "03_vicreg.ipynb").write_text(notebook("# VICReg", "y = 3"), encoding="utf-8")
    assert ws.sync_lessons(lessons, mine).beside
    assert (mine / "03_vicreg.ipynb").read_text() == "{ half a file"


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    target = tmp_path / "a.txt"
    target.write_bytes(b"old")
    monkeypatch.setattr(ground.os, "replace", lambda *_: (_ for _ in ()).throw(OSError("no")))
    with pytest.raises(OSError):
        ground.write_bytes(target, b"new")
    assert target.read_bytes() == b"old" and list(tmp_path.iterdir()) == [target]


def test_a_workspace_that_cannot_be_written_is_a_sentence(course, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="cannot be written into .*Not a directory.*--workspace"):
        ws.sync_lessons(course[0], tmp_path / "file" / "mine")


def test_without_a_home_to_write_to_jupyter_keeps_its_files_in_the_workspace(monkeypatch, tmp_path):
    """Bug: 60 lines of traceback, since Jupyter could not make its runtime folder."""
    folders = ("JUPYTER_RUNTIME_DIR", "JUPYTER_DATA_DIR", "JUPYTER_CONFIG_DIR")
    for name in folders:
        monkeypatch.setenv(name, str(tmp_path / name))
    assert ws.kernel_environment(tmp_path / "mine")["JUPYTER_RUNTIME_DIR"] == str(tmp_path / "JUPYTER_RUNTIME_DIR")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "file" / "runtime"))
    found = ws.kernel_environment(tmp_path / "mine")
    assert all(found[name].startswith(str(tmp_path / "mine")) for name in (*folders, "IPYTHONDIR", "MPLCONFIGDIR"))


def test_a_cell_or_a_terminal_of_the_lab_finds_the_command(monkeypatch, tmp_path):
    commands = sysconfig.get_path("scripts")
    for before in ("/usr/bin", os.pathsep.join(["/usr/bin", commands]), ""):
        monkeypatch.setenv("PATH", before)
        found = ws.kernel_environment(tmp_path)["PATH"].split(os.pathsep)
        assert found[0] == commands and found.count(commands) == 1 and ("/usr/bin" in found) == bool(before)


def test_the_workspace_is_not_the_course(course):
    lessons, _ = course
    with pytest.raises(ValueError, match="own lessons folder"):
        ws.sync_lessons(lessons, lessons)


def test_where_the_workspace_is(course, monkeypatch, tmp_path):
    lessons, _ = course
    assert ws.workspace_folder() == lessons.parent / "my_lessons"
    monkeypatch.setenv("COURSE_WORKSPACE", str(tmp_path / "elsewhere"))
    assert ws.workspace_folder() == tmp_path / "elsewhere"
    assert ws.workspace_folder(tmp_path / "given") == tmp_path / "given"


def test_a_package_without_lessons_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(ground, "CHECKOUT", tmp_path / "site-packages")
    with pytest.raises(FileNotFoundError, match="Clone the course's repository"):
        ws.lessons_folder()


def test_an_appendix_comes_last_and_is_found_by_its_letter(course):
    lessons, _ = course
    (lessons / "A1_speed.ipynb").write_text(notebook("# Speed", "z = 1"), encoding="utf-8")
    assert [path.stem for path in ws.list_lessons()] == ["01_start", "03_vicreg", "A1_speed"]
    assert {ws.find_lesson(wanted).name for wanted in ("A1", "a1", "speed", "A1_speed")} == {"A1_speed.ipynb"}
    with pytest.raises(FileNotFoundError, match="A1_speed"):
        ws.find_lesson("A2")


@pytest.mark.parametrize("wanted", [3, "3", "03", "vicreg", "VICReg", "03_vicreg", "03_vicreg.ipynb"])
def test_lessons_are_found_by_number_and_name(course, wanted):
    assert ws.find_lesson(wanted).name == "03_vicreg.ipynb"


def test_a_lesson_that_is_not_there(course, capsys):
    assert main(["lesson", "7"]) == 2
    said = capsys.readouterr().err
    assert "There is no lesson '7'" in said and "01_start, 03_vicreg" in said and "Traceback" not in said


# ------------------------------------------------------------ JupyterLab

def test_lab_opens_the_copy_on_loopback(course, monkeypatch, capsys):
    lessons, mine = course
    labapp = pytest.importorskip("jupyterlab.labapp", reason="JupyterLab is not installed")
    started = []
    monkeypatch.setattr(labapp.LabApp, "launch_instance",
                        lambda argv: started.append((argv, dict(os.environ))))
    monkeypatch.setattr(ws.os, "environ", dict(os.environ))
    assert main(["lab", "--workspace", str(mine), "--no-browser", "--port", "9999", "--", "--debug"]) == 0
    arguments, environment = started[0]
    assert f"--ServerApp.root_dir={mine}" in arguments and "--ServerApp.ip=127.0.0.1" in arguments
    assert "--no-browser" in arguments and "--ServerApp.port=9999" in arguments and arguments[-1] == "--debug"
    assert "--LabApp.default_url=/lab/tree/01_start.ipynb" in arguments     # the first time: the first lesson
    assert (mine / "03_vicreg.ipynb").exists() and str(mine) in capsys.readouterr().out
    assert main(["lab", "--workspace", str(mine)]) == 0
    assert not [a for a in started[1][0] if "default_url" in a]   # later: where the learner was
    assert main(["lab", "vicreg", "--workspace", str(mine)]) == 0
    assert "--LabApp.default_url=/lab/tree/03_vicreg.ipynb" in started[2][0]


def test_kernels_find_the_progress_and_this_library(course, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "already" + os.pathsep + "there")
    environment = ws.kernel_environment(course[1])
    assert environment["COURSE_WORKSPACE"] == str(course[1])
    paths = environment["PYTHONPATH"].split(os.pathsep)
    assert (Path(paths[0]) / "course_lib/cli/workspace.py").exists() and paths[1:] == ["already", "there"]
    config = Path(environment["JUPYTER_CONFIG_PATH"].split(os.pathsep)[0])
    assert json.loads((config / "labconfig/page_config.json").read_text())["disabledExtensions"]


# ------------------------------------------------------------ a lesson without a screen

def test_a_lesson_becomes_html_and_leaves_progress_alone(course, capsys):
    lessons, mine = course
    mine.mkdir()
    (lessons / "03_vicreg.ipynb").write_text(notebook(
        "# VICReg", "import os\nprint('answer', 6 * 7)\nprint('solved', os.environ.get('COURSE_SOLVED'))",
        "import course_lib, pathlib\nfolder = pathlib.Path(os.environ['COURSE_WORKSPACE'])\n"
        "(folder / 'progress.json').write_text('x')"),
        encoding="utf-8")
    assert main(["lesson", "03"]) == 0
    html = Path("03_vicreg.html").read_text(encoding="utf-8")
    assert "answer 42" in html and "solved None" in html
    said = capsys.readouterr().out
    assert "Written: 03_vicreg.html" in said and "cell 1 of 2: import os" in said and "cell 2 of 2: import" in said
    assert "answer" not in (lessons / "03_vicreg.ipynb").read_text().replace("'answer'", "")
    assert not list(mine.iterdir()) and not list(lessons.parent.rglob("progress.json"))
    assert lessons_module.render_lesson("3", "solved.html", solved=True) == Path("solved.html")
    assert "solved 1" in Path("solved.html").read_text(encoding="utf-8")


def test_a_failing_cell_is_named_and_the_html_still_written(course, capsys):
    lessons, _ = course
    (lessons / "03_vicreg.ipynb").write_text(
        notebook("# VICReg", "print('got here')", "scale = 1\nscale / 0", "print('never')"), encoding="utf-8")
    assert main(["lesson", "03", "--out", "out.html"]) == 1
    said = capsys.readouterr().err
    assert "03_vicreg.ipynb, cell 3 (`scale = 1`): ZeroDivisionError: division by zero" in said
    assert "out.html" in said and "Traceback" not in said
    html = Path("out.html").read_text(encoding="utf-8")
    assert "got here" in html and "ZeroDivisionError" in html and ">never<" not in html


def test_a_cell_that_takes_too_long_is_named(course, capsys):
    lessons, _ = course
    (lessons / "03_vicreg.ipynb").write_text(
        notebook("# VICReg", "print('x')", "import time\ntime.sleep(60)", "print('no')"), encoding="utf-8")
    assert main(["lesson", "03", "--timeout", "2"]) == 1
    assert "cell 3 (`import time`): it took longer than 2 s" in capsys.readouterr().err


def test_the_folder_of_the_html_must_be_there(course, capsys):
    assert main(["lesson", "03", "--out", "nowhere/out.html"]) == 2
    assert "nowhere" in capsys.readouterr().err


# ------------------------------------------------------------ the facilitator's guide

def test_the_guide_is_the_tagged_cells_unfolded(course, capsys):
    lessons, _ = course
    tagged = {"tags": ["facilitator"]}
    (lessons / "03_vicreg.ipynb").write_text(notebook(
        "# 03 VICReg\nA question.",
        ("<details><summary>For the facilitator</summary>\n\n10 min: hook\n</details>", tagged),
        "y = 2", ("# Cards\nDo you agree?", tagged)), encoding="utf-8")
    assert main(["guide", "03"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("# Facilitator's guide: 03 VICReg\n")
    assert "10 min: hook" in text and "Do you agree?" in text
    assert "<details>" not in text and "A question" not in text and "y = 2" not in text
    assert main(["guide", "vicreg", "--out", "guide.md"]) == 0
    assert Path("guide.md").read_text(encoding="utf-8").strip() == text.strip()


def test_a_lesson_without_notes_says_so(course, capsys):
    assert main(["guide", "1"]) == 2
    assert "no facilitator notes" in capsys.readouterr().err


def test_outcomes_of_guesses_are_left_out_of_the_copy_and_stay_in_the_course(course):
    lessons, mine = course
    shown = {"output_type": "display_data", "data": {"text/html": "20 %"}, "metadata": {}}
    text = notebook("# Guess", "guess.reveal(20)", "draw()", outputs=[shown])
    (lessons / "03_vicreg.ipynb").write_text(text, encoding="utf-8")
    ws.sync_lessons(lessons, mine)
    _, reveal, draw = json.loads((mine / "03_vicreg.ipynb").read_text(encoding="utf-8"))["cells"]
    assert reveal["outputs"] == [] and draw["outputs"] == [shown]
    assert (lessons / "03_vicreg.ipynb").read_text(encoding="utf-8") == text
    assert ws.sync_lessons(lessons, mine) == ws.SyncReport()  # and that is no change of theirs
    (mine / "03_vicreg.ipynb").write_text(text, encoding="utf-8")  # run by the learner: theirs to see
    ws.sync_lessons(lessons, mine)
    assert (mine / "03_vicreg.ipynb").read_text(encoding="utf-8") == text
