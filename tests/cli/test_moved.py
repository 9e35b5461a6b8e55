"""Imports from where something was in an earlier version: an error names the new place, a notebook is rewritten beside.

tests/fixtures/before_the_move/public_names.json lists what each module had before the library was moved into packages.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys

import pytest

from course_lib import moved
from course_lib.cli import workspace as ws
from course_lib.cli.rewriting import rewritten, write_updated_copies
from helpers.environment import ROOT, TESTS

BEFORE = json.loads((TESTS / "fixtures/before_the_move/public_names.json").read_text())
# no longer needed by anybody, or by one exercise only, in whose week file it is now
GONE = {(module, name) for module, names in {
    "attention": "attention_entropy keep_mass", "data": "found_sets", "doctor": "main",
    "driving": "drive drive_all same",
    "exercises.cards": "draw in_notebook", "exercises.quiz": "WIDGET", "layers": "ages", "lock": "NAME",
    "measures": "unit", "methods.contrastive.barlow_twins": "disguise",
    "methods.contrastive.simclr": "similarity_gradient", "methods.contrastive.swav": "prototype_step",
    "optim": "DEFAULTS", "papers": "add_arguments run", "pictures": "attention_maps reconstructions view_pairs",
    "plots": "attention_maps correlation_matrix reconstructions spectrum view_pairs", "predictions": "WIDGET",
    "smoothing": "samples_needed", "sparse_ops": "masked_batch_norm sparse_conv visible_share",
    "speed": "Figures NOT_MEASURED figures_file read_figures run_hours",
    "speed_plots": "HOW LIBRARIES METHODS STAGES growth_lines memory_lines operations ratios shares work_name",
    "toys": "training_step", "workspace": "LEFT_OUT"}.items() for name in names.split()}
COPY = "03_mine.moved.ipynb"


def notebook(*cells: str) -> dict:
    """A notebook whose cells have been run."""
    out = [{"output_type": "stream", "name": "stdout", "text": ["an hour of training \u2265 1\n"]}]
    made = [{"cell_type": "code", "id": f"c{i}", "metadata": {"tags": ["mine"]}, "execution_count": i, "outputs": out,
             "source": source.splitlines(keepends=True)} for i, source in enumerate(cells)]
    made.append({"cell_type": "markdown", "id": "note", "metadata": {}, "source": ["import course_lib.knobs"]})
    return {"cells": made, "metadata": {"mine": 1}, "nbformat": 4, "nbformat_minor": 5}


# ---------------------------------------------------------------- the table


@pytest.mark.parametrize("module", BEFORE)
def test_every_public_name_of_before_is_where_the_table_says(module):
    for name in BEFORE[module].split():
        if (module, name) in GONE:
            continue
        at, now = moved.place(module, name)
        found = importlib.import_module(f"course_lib.{at}".rstrip("."))
        if not hasattr(found, now):                         # a module of a package that nobody has imported yet
            found = importlib.import_module(f"{found.__name__}.{now}")
        assert found is not None


@pytest.mark.parametrize("old, new", moved.MODULES.items())
def test_every_module_of_the_table_has_moved(old, new):
    importlib.import_module(f"course_lib.{new}")
    with pytest.raises(ImportError, match="has moved: write `from course_lib"):
        importlib.import_module(f"course_lib.{old}")


@pytest.mark.parametrize("old", moved.NAMES)
def test_every_name_of_the_table_has_moved(old):
    for new, names in moved.NAMES[old].items():
        for name in names.split():
            now = moved.RENAMED.get((new, name), name)
            assert hasattr(importlib.import_module(f"course_lib.{new}"), now), (new, now)
            at, now = moved.place(old, name)
            try:                                            # a file that still needs a name has it as well
                exec(f"from course_lib.{old} import {name}", {})
            except ImportError as error:
                assert f"from course_lib.{at} import " in str(error) and now in str(error)


def test_renamed_names_of_the_table_are_gone_and_the_new_ones_there():
    for (module, old), new in moved.RENAMED.items():
        found = importlib.import_module(f"course_lib.{module}")
        assert hasattr(found, new) and old not in vars(found)


@pytest.mark.parametrize("old, new", {
    ("knobs", "knob"): ("notebook", "knob"),
    ("knobs", "Slider"): ("notebook", "Slider"),            # the module handed it on
    ("knobs", "LIVE"): ("notebook.knobs", "LIVE"),          # the package does not hand it on
    ("toys", "generator"): ("seeds", "generator"),
    ("layers", "in_float32"): ("precision", "in_float32"),
    ("shapes", "FACTOR_KINDS"): ("data.shapes", "FACTOR_KINDS"),    # not the package's
    ("exercises.quiz", "quiz"): ("exercises", "quiz"),
    ("exercises", "quiz"): ("exercises", "quiz"),           # the function, not the module of before
    ("exercises", "cards"): ("exercises", "result"),
    ("", "sketch"): ("plots", "sketch"),
    ("", "plots"): ("", "plots"),
    ("evaluate", "knn"): ("evaluate", "knn"),
    ("train.checkpoint", "load"): ("train.checkpoint", "load"),     # of today, so it stays as it is written
    ("workspace", "write_atomic"): ("files", "write_bytes"),
}.items())
def test_places(old, new):
    assert moved.place(*old) == new


def test_a_name_that_is_renamed_later(monkeypatch):
    monkeypatch.setitem(moved.RENAMED, ("augment.masks", "old_mask"), "patch_mask")
    for module in ("augment", "augment.masks"):
        assert moved.place(module, "old_mask") == ("augment", "patch_mask")
    with pytest.raises(ImportError, match="write `from course_lib.augment import patch_mask`"):
        from course_lib.augment import old_mask  # noqa: F401
    assert rewritten("from course_lib.augment import grayscale, old_mask") == (
        "from course_lib.augment import grayscale, patch_mask as old_mask")


# ---------------------------------------------------------------- imports that fail


@pytest.mark.parametrize("line, write", {
    "import course_lib.knobs": "from course_lib.notebook import ...",
    "from course_lib import knobs": "from course_lib.notebook import ...",
    "from course_lib.knobs import knob": "from course_lib.notebook import ...",
    "import course_lib.toys as toys": "from course_lib.seeds import generator",
    "from course_lib.layers import in_float32": "from course_lib.precision import at_least_float32, in_float32",
    "from course_lib.exercises import cards": "from course_lib.exercises.result import ...",
    "from course_lib.evaluate import fine_tune": "from course_lib.train import fine_tune",
    "from course_lib.train import pick_device": "from course_lib.device import pick_device",
    "from course_lib.methods.masked.spark import unpatchify": "from course_lib.models.patches import unpatchify",
}.items())
def test_an_import_of_an_old_place_names_the_new_one(line, write):
    with pytest.raises(ImportError) as error:
        exec(line, {})
    assert f"`{write}`" in str(error.value) and "course.py lab" in str(error.value)


@pytest.mark.parametrize("line", ["import course_lib.nothing", "from course_lib import nothing",
                                  "from course_lib.evaluate import nothing", "import course_lib.knobs_of_mine",
                                  "from course_lib.methods.masked.spark import nothing", "import knobs_of_mine.knobs"])
def test_what_never_was_fails_as_always(line):
    with pytest.raises(ImportError, match="No module named|cannot import name"):
        exec(line, {})
    assert importlib.util.find_spec("course_lib.nothing") is None
    assert sys.meta_path.count(moved.Signpost) == 1


# ---------------------------------------------------------------- cells


@pytest.mark.parametrize("old, new", [
    ("from course_lib.knobs import (Choice,  # mine\n    knob as k,\n)\nx = 1  # é\n",
     "from course_lib.notebook import (Choice,  # mine\n    knob as k,\n)\nx = 1  # é\n"),
    ("é = 1; import course_lib.measures as m; y = 2", "é = 1; import course_lib.evaluate.measures as m; y = 2"),
    ("import os, course_lib.knobs as k", "import os, course_lib.notebook.knobs as k"),
    ("import course_lib.knobs\ncourse_lib.knobs.LIVE.clear()",
     "import course_lib.notebook.knobs\ncourse_lib.notebook.knobs.LIVE.clear()"),
    ("from course_lib import plots, sketch as s  # both",
     "from course_lib import plots\nfrom course_lib.plots import sketch as s  # both"),
    ("from course_lib import speed_plots", "from course_lib.plots import speed as speed_plots"),
    ("from course_lib import \\\n    claims", "from course_lib.notebook import \\\n    claims"),
    ("if True:\n    from course_lib.layers import (EMA,  # a note\n        in_float32)\n    x = 1",
     "if True:\n    # a note\n    from course_lib.models.teacher import EMA\n"
     "    from course_lib.precision import in_float32\n    x = 1"),
    ("try: from course_lib.toys import generator, circle_descent\nexcept ImportError: pass",
     "try: from course_lib.seeds import generator; from course_lib.notebook import circle_descent\n"
     "except ImportError: pass"),
    ("%matplotlib inline\n!ls\nfrom course_lib.toys import generator\n    \n",
     "%matplotlib inline\n!ls\nfrom course_lib.seeds import generator\n    \n"),
    ("%%time\nif 1:\n    %pip list\n    from course_lib.live import LiveCurves",
     "%%time\nif 1:\n    %pip list\n    from course_lib.notebook import LiveCurves"),
    ("from course_lib.knobs import *", "from course_lib.notebook import *"),
    ("x = 1\r\nfrom course_lib.live import LiveCurves\r\n", "x = 1\r\nfrom course_lib.notebook import LiveCurves\r\n"),
    ("text = '''\n%d from course_lib.knobs import knob\n'''\nfrom course_lib.vit import ViT",
     "text = '''\n%d from course_lib.knobs import knob\n'''\nfrom course_lib.models.vit import ViT"),
])
def test_imports_of_a_cell_are_rewritten(old, new):
    assert rewritten(old) == new
    assert rewritten(new) == new


@pytest.mark.parametrize("cell", [
    "", "x = 1", "import os\nfrom course_lib.data import load\nimport course_lib",
    "from course_lib.knobs import (knob", "%%bash\nls from course_lib.knobs", "from . import knobs",
    "print('from course_lib.knobs import knob')  # from course_lib.knobs import knob", "import knobs", "\0",
    "from course_lib import plots\nplots.knobs", "(" * 5000,
    "from course_lib.exercises import check, hints, progress, quiz, solution", "print('\\d')",
])
def test_other_cells_stay_as_they_are(cell, recwarn):
    assert rewritten(cell) == cell and not recwarn


@pytest.mark.parametrize("lesson", sorted((ROOT / "lessons").glob("*.ipynb")), ids=lambda path: path.stem)
def test_the_lessons_of_today_import_from_places_of_today(lesson):
    for cell in json.loads(lesson.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        assert cell["cell_type"] != "code" or rewritten(source) == source


# ---------------------------------------------------------------- notebooks


def test_the_copy_differs_in_its_imports_only_and_the_learners_own_not_at_all(tmp_path):
    before = notebook("from course_lib.knobs import knob\nx = 'my answer'", "y = (  # half", "z = 1\n")
    mine = tmp_path / "03_mine.ipynb"
    mine.write_text(json.dumps(before, indent=2), encoding="utf-8")
    raw = mine.read_bytes()
    assert write_updated_copies(tmp_path) == [("03_mine.ipynb", COPY)]
    after = json.loads((tmp_path / COPY).read_text(encoding="utf-8"))
    assert after["cells"][0].pop("source") == ["from course_lib.notebook import knob\n", "x = 'my answer'"]
    before["cells"][0].pop("source")
    assert after == before and mine.read_bytes() == raw
    assert {path.name for path in tmp_path.iterdir()} == {"03_mine.ipynb", COPY}


def test_a_copy_is_offered_once(tmp_path):
    (tmp_path / "03_mine.ipynb").write_text(json.dumps(notebook("import course_lib.knobs as k")), encoding="utf-8")
    assert write_updated_copies(tmp_path)
    (tmp_path / COPY).write_text(json.dumps(notebook("import course_lib.knobs as k  # the work goes on")))
    work = (tmp_path / COPY).read_bytes()
    assert write_updated_copies(tmp_path) == [] and (tmp_path / COPY).read_bytes() == work
    (tmp_path / COPY).replace(tmp_path / "03_mine.ipynb")   # a learner who takes the copy
    (tmp_path / "03_mine.ipynb").write_text(json.dumps(notebook("import course_lib.notebook.knobs as k")))
    assert write_updated_copies(tmp_path) == []


@pytest.mark.parametrize("text", ["", "{ half a file", "[]", '{"cells": 3}', '{"cells": [{"cell_type": "code"}]}',
                                  '{"cells": [{"cell_type": "code", "source": "import course_lib.knobs"}, 3]}',
                                  '{"cells": [{"cell_type": "code", "source": "import course_lib.knobs # \\ud800"}]}',
                                  json.dumps(notebook("x = 1"))])
def test_no_copy_of_what_is_no_notebook_or_needs_none(tmp_path, text):
    (tmp_path / "03_mine.ipynb").write_text(text, encoding="utf-8")
    assert write_updated_copies(tmp_path) == [] and [path.name for path in tmp_path.iterdir()] == ["03_mine.ipynb"]


def test_notebooks_in_folders_too_but_not_in_hidden_ones(tmp_path):
    old = json.dumps(notebook("import course_lib.knobs as k"))
    for folder in ("own", ".replaced", "own/.ipynb_checkpoints"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.ipynb").write_text(old)
    assert write_updated_copies(tmp_path) == [("own/a.ipynb", "own/a.moved.ipynb")]


def test_a_start_says_so_once_and_the_two_kinds_of_copies_do_not_meet(tmp_path):
    lessons, mine = tmp_path / "lessons", tmp_path / "mine"
    lessons.mkdir()
    (lessons / "03_mine.ipynb").write_text(json.dumps(notebook("from course_lib.knobs import knob")))
    (lessons / "04_other.ipynb").write_text(json.dumps(notebook("from course_lib.knobs import knob")))
    ws.sync_lessons(lessons, mine)
    for path in mine.glob("*.moved.ipynb"):
        path.unlink()
    (mine / "03_mine.ipynb").write_text(json.dumps(notebook("from course_lib.knobs import knob\nmy_answer = 1")))
    for name in ("03_mine", "04_other"):                    # the course moves on
        (lessons / f"{name}.ipynb").write_text(json.dumps(notebook("from course_lib.notebook import knob")))
    report = ws.sync_lessons(lessons, mine)
    assert report.updated == ["04_other.ipynb"] and report.beside == [("03_mine.ipynb", "03_mine.new.ipynb")]
    assert report.moved == [("03_mine.ipynb", COPY)]
    said = [line for line in report.lines() if COPY in line]
    assert len(said) == 1 and "yours stays" in said[0] and "03_mine.new" not in said[0]
    assert "my_answer" in (mine / COPY).read_text() and "my_answer" not in (mine / "03_mine.new.ipynb").read_text()
    assert [path.name for path in ws.list_lessons(mine)] == ["03_mine.ipynb", "04_other.ipynb"]
    assert ws.sync_lessons(lessons, mine).lines() == []
