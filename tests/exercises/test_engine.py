"""The exercise engine itself, on an exercise made here: every state, every diagnosis, and what is kept."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch
from torch import Tensor

from course_lib import exercises
from course_lib.exercises import Exercise, grade, running, store
from course_lib.exercises import engine as engine_module
from course_lib.exercises.difference import clone
from course_lib.exercises.mutants import mutants
from course_lib.exercises.running import known
from helpers.environment import ROOT, offline_environment
from helpers.exercise_checks import stubs, survivors
from helpers.misconceptions import SECOND

relu = torch.relu


def reference(z: Tensor, gamma: float = 1.0, eps: float = 1e-4) -> Tensor:
    """(N, D) -> scalar."""
    std = torch.sqrt(z.var(dim=0) + eps)
    return relu(gamma - std).mean()


def probes(generator, dtype):
    z = torch.randn(12, 5, generator=generator, dtype=dtype)
    spread = torch.linspace(0.2, 2.5, 5, dtype=dtype)
    return [(0.3 * z,), (z[:7] * spread,), dict(z=z * spread, gamma=2.0), dict(z=0.02 * z[:, :2], eps=0.1)]


def demo(**changes) -> Exercise:
    settings = dict(
        key="00.spread",
        title="Spread",
        minutes=5,
        difficulty=2,
        reference=reference,
        probes=probes,
        gradients=True,
        wrong={
            "no root": (lambda z, gamma=1.0, eps=1e-4: relu(gamma - z.var(0) - eps).mean(), "hint: root"),
            "other axis": (
                lambda z, gamma=1.0, eps=1e-4: relu(gamma - (z.var(1) + eps).sqrt()).mean(),
                "hint: axis",
            ),
            "sum": (lambda z, gamma=1.0, eps=1e-4: relu(gamma - (z.var(0) + eps).sqrt()).sum(), "hint: mean"),
            "detached": (lambda z, gamma=1.0, eps=1e-4: reference(z, gamma, eps).detach(), "hint: detach"),
        },
        right={"clamp": lambda z, gamma=1.0, eps=1e-4: (gamma - (z.var(0) + eps) ** 0.5).clamp(min=0).mean()},
        hints=("one", "two", "three"),
    )
    return Exercise(**(settings | changes))


@pytest.fixture
def registered(monkeypatch):
    monkeypatch.setattr(engine_module, "_EXERCISES", {})
    monkeypatch.setattr(engine_module, "_LOADED", {"00", "01", "02", "03"})
    monkeypatch.setattr(store, "_MEMORY", {})
    exercises.register(demo())


# ---------------------------------------------------------------- states


def test_stubs_are_to_do():
    for stub in stubs():
        assert grade(demo(), stub).state == "todo"


def test_reference_spelt_otherwise_is_right():
    check = grade(demo(), demo().right["clamp"])
    assert check.state == "right" and check.use is check.mine


@pytest.mark.parametrize("name", list(demo().wrong))
def test_misconceptions(name):
    check = grade(demo(), demo().wrong[name][0])
    assert (check.state, check.name, check.hint) == ("wrong", name, demo().wrong[name][1])
    assert check.use is reference


def test_second_spellings_are_recognised():
    def no_root(z, gamma=1.0, eps=1e-4):
        centred = z - z.mean(0)
        return (gamma - (centred**2).sum(0) / (len(z) - 1) - eps).clamp(min=0).mean()

    def number(z, gamma=1.0, eps=1e-4):
        return reference(z, gamma, eps).item()

    assert grade(demo(), no_root).name == "no root"
    assert grade(demo(), number).name == "detached"


def test_mutants_of_the_demo_are_killed():
    alive, count = survivors(demo(), {})
    assert count >= 10
    assert not alive


def halved(n):
    left, _ = n, "kept"
    while left > 1:
        left = left // 2
    return left, _


def test_mutants_of_a_loop_end():
    answers = []
    for mutant in mutants(halved):
        try:
            answers.append(mutant.function(9))
        except Exception as error:
            answers.append(str(error))
    assert "endless" in answers and (0, "kept") in answers


def test_mutants_reach_every_kind():
    names = "\n".join(m.name for m in mutants(reference))
    for expected in ("-> z.var(dim=1)", "correction=0", "-> z.var()", "+ eps", "nothing", "sum()", "0.0002"):
        assert expected in names, names


DIAGNOSES = {
    "shape (5,), expected ()": lambda z, gamma=1.0, eps=1e-4: relu(gamma - (z.var(0) + eps).sqrt()),
    "NaN": lambda z, gamma=1.0, eps=1e-4: reference(z, gamma, eps) * float("nan"),
    "infinite": lambda z, gamma=1.0, eps=1e-4: reference(z, gamma, eps) / 0,
    "got a Python list of 2": lambda z, gamma=1.0, eps=1e-4: [1, 2],
    "got a NumPy array": lambda z, gamma=1.0, eps=1e-4: z.numpy(),
    "got None": lambda z, gamma=1.0, eps=1e-4: reference(z, gamma, eps) if gamma > 1 else None,
    "twice the expected": lambda z, gamma=1.0, eps=1e-4: 2 * reference(z, gamma, eps),
    "opposite sign": lambda z, gamma=1.0, eps=1e-4: -reference(z, gamma, eps),
    "12 is the size of axis 0 of z": lambda z, gamma=1.0, eps=1e-4: len(z) * reference(z, gamma, eps),
    "float32, expected float64": lambda z, gamma=1.0, eps=1e-4: reference(z.float(), gamma, eps),
    "the gradient with respect to z is not": lambda z, gamma=1.0, eps=1e-4: (
        lambda r: r.detach() + 2 * (r - r.detach())
    )(reference(z, gamma, eps)),
    "expects the function itself": 3,
}


@pytest.mark.parametrize("said", list(DIAGNOSES))
def test_diagnoses(said):
    check = grade(demo(), DIAGNOSES[said])
    assert check.state == "wrong" and not check.name
    assert said in repr(check) and said in check.message
    assert "<script" not in check._repr_html_()


def test_in_place_changes_are_seen_and_spoil_nothing():
    def spoiler(z, gamma=1.0, eps=1e-4):
        z -= z.mean(0)
        return reference(z, gamma, eps)

    check = grade(demo(), spoiler)
    assert check.state == "wrong" and "z is changed in place" in check.message
    assert grade(demo(), demo().right["clamp"]).state == "right"


def test_gradients_tell_a_missing_detach():
    def one_sided(p: Tensor, target: Tensor) -> Tensor:
        return (p - target.detach()).square().mean()

    exercise = demo(
        reference=one_sided,
        wrong={},
        probes=lambda g, dtype: [tuple(torch.randn(2, 4, 3, generator=g, dtype=dtype))],
    )
    check = grade(exercise, lambda p, target: (p - target).square().mean())
    assert "flows into target that should not" in check.message
    check = grade(exercise, lambda p, target: (p.detach() - target.detach()).square().mean())
    assert "carries no gradient" in check.message
    assert (
        grade(
            demo(reference=one_sided, wrong={}, gradients=False, probes=exercise.probes),
            lambda p, target: (p - target).square().mean(),
        ).state
        == "right"
    )


# ---------------------------------------------------------------- crashes


def test_crash_names_the_line():
    def crash(z, gamma=1.0, eps=1e-4):
        std = z + 1
        return std.var(dim=7)

    check = grade(demo(), crash)
    assert check.state == "crashed"
    assert check.where == "line 3 of crash: return std.var(dim=7)"
    assert "IndexError" in check.message and "IndexError" in repr(check)


def test_crash_deep_inside_torch_still_names_the_learners_line():
    def deep(z, gamma=1.0, eps=1e-4):
        return torch.nn.functional.cosine_similarity(z, z[:, :1].repeat(1, 3))

    assert "line 2 of deep" in grade(demo(), deep).where


@pytest.mark.parametrize(
    "error", [SystemExit(3), KeyboardInterrupt(), RecursionError("deep"), MemoryError(), StopIteration()]
)
def test_nothing_gets_out(error):
    def breaks(z, gamma=1.0, eps=1e-4):
        raise error

    assert grade(demo(), breaks).state == "crashed"


def test_wrong_signature_and_wrong_dtype():
    assert "arguments" in grade(demo(), lambda: 1).where

    def only32(z, gamma=1.0, eps=1e-4):
        ones = torch.ones(1, len(z))
        mean = ones @ z / len(z)
        return reference(z - mean, gamma, eps)

    check = grade(demo(), only32)
    assert check.state == "crashed" and "float64" in check.hint and "zeros_like" in check.hint


def test_half_filled_and_forgotten_return():
    def half(z, gamma=1.0, eps=1e-4):
        std = ...
        return relu(gamma - std).mean()

    def forgotten(z, gamma=1.0, eps=1e-4):
        reference(z, gamma, eps)
        std = z.std(0)  # noqa: F841

    def index(z, gamma=1.0, eps=1e-4):  # this `...` is an index, not a hole
        return z[..., 9]

    assert "line 2" in grade(demo(), half).message and grade(demo(), half).state == "todo"
    assert "return" in grade(demo(), forgotten).message
    assert grade(demo(), index).state == "crashed"


# ---------------------------------------------------------------- other kinds of answers


def test_seeded_functions_and_judge():
    def draw(n: int, generator=None) -> Tensor:
        return torch.rand(n, generator=generator)

    def drawn(g, dtype):
        return [(5,), (9,)]

    exercise = demo(reference=draw, probes=drawn, seeded=True, wrong={}, gradients=False)
    assert grade(exercise, lambda n, generator: torch.rand(n, generator=generator)).state == "right"
    assert grade(exercise, lambda n, generator: torch.randn(n, generator=generator)).state == "wrong"

    def judge(got, expected, arguments):
        if got.shape != (arguments["n"],):
            return "the length is not n"
        return None if (got >= 0).all() else "negative"

    judged = demo(
        reference=draw,
        probes=drawn,
        seeded=True,
        gradients=False,
        judge=judge,
        wrong={"negative": (lambda n, generator: -torch.ones(n), "hint: sign")},
    )
    assert grade(judged, lambda n, generator: torch.linspace(0, 1, n)).state == "right"
    assert grade(judged, lambda n, generator: -torch.rand(n)).name == "negative"
    assert "the length is not n" in grade(judged, lambda n, generator: torch.ones(n + 1)).message


def test_classes_with_a_harness():
    class Head(torch.nn.Module):
        def __init__(self, width):
            super().__init__()
            self.linear = torch.nn.Linear(width, 2)

        def forward(self, x):
            return self.linear(x)

    def call(make, x):
        torch.manual_seed(0)
        return make(x.shape[1]).to(x.dtype)(x)

    exercise = demo(
        reference=Head, call=call, wrong={}, probes=lambda g, dtype: [(torch.ones(3, 4, dtype=dtype),)]
    )
    assert grade(exercise, type("Mine", (Head,), {})).state == "right"
    assert grade(exercise, lambda width: torch.nn.Linear(width, 3)).state == "wrong"


def test_a_card_names_what_the_harness_was_given():
    """The learner's function has other arguments than the probe, which would be said of the wrong ones."""
    def step(weight: Tensor, rate: float, view: Tensor) -> Tensor:
        return weight - rate * view.mean()

    def twice(fn, weight, views):
        return fn(fn(weight, 0.5, views[0]), 0.5, views[1])

    exercise = demo(reference=step, call=twice, wrong={},
                    probes=lambda g, d: [(torch.ones(2, dtype=d), torch.rand(2, 3, generator=g).to(d))])
    check = grade(exercise, lambda weight, rate, view: weight - rate)
    assert check.state == "wrong" and list(check.inputs) == ["weight", "views"]


def test_dictionaries_and_errors_are_compared():
    def parts(z: Tensor) -> dict:
        if z.ndim != 2:
            raise ValueError("z must be (N, D)")
        return {"loss": z.mean(), "parts": (z.sum(), len(z))}

    exercise = demo(
        reference=parts,
        wrong={},
        probes=lambda g, d: [(torch.ones(3, 2, dtype=d),), (torch.ones(3, dtype=d),)],
    )

    def mine(z):
        assert z.ndim == 2
        return parts(z)

    assert "ValueError is expected" in repr(
        grade(exercise, lambda z: {"loss": z.mean(), "parts": [z.sum(), len(z)]})
    )
    assert grade(exercise, lambda z: parts(z)).state == "right"
    assert "missing ['loss']" in grade(exercise, lambda z: {"parts": (z.sum(), 3)}).message


# ---------------------------------------------------------------- what is kept and drawn


def test_progress_is_kept_and_a_solved_one_stays_solved(registered, workspace):
    right = demo().right["clamp"]
    assert exercises.check("00.spread", None).state == "todo"
    assert exercises.progress().done == 0
    exercises.check("00.spread", demo().wrong["sum"][0])
    exercises.check("00.spread", right)
    assert exercises.progress().done == 1
    check = exercises.check("00.spread", None)
    assert check.solved and "solved this one before" in repr(check)
    kept = json.loads((workspace / "progress.json").read_text())["exercises"]["00.spread"]
    assert kept["solved"] and kept["state"] == "todo" and kept["checks"] == 2
    assert "clamp" in exercises.answer("00.spread")
    assert [p.name for p in workspace.iterdir()] == ["progress.json"]
    assert exercises.states()["00.spread"] == "todo"


def test_kernels_that_check_at_once_lose_nothing(workspace):
    """Bug: 139 of 200 results kept, since each kernel wrote the file that it had read before."""
    code = ("import sys\nfrom course_lib.exercises import store\nsys.stdin.readline()\n"
            "for i in range(25): store.record(f'{sys.argv[1]}.{i}', 'right', 'x')")
    kernels = [subprocess.Popen([sys.executable, "-c", code, str(i)], stdin=subprocess.PIPE,
                                env=offline_environment(COURSE_WORKSPACE=str(workspace))) for i in range(3)]
    for kernel in kernels:
        kernel.stdin.write(b"\n")
        kernel.stdin.flush()
    assert all(kernel.wait(60) == 0 for kernel in kernels)
    assert len(json.loads((workspace / "progress.json").read_text())["exercises"]) == 75
    assert [p.name for p in workspace.iterdir()] == ["progress.json"]


def test_the_librarys_own_function_does_not_count(registered, workspace):
    check = exercises.check("00.spread", reference)
    assert check.state == "right" and "library's own" in repr(check)
    assert exercises.progress().done == 0


@pytest.mark.parametrize("text", ["", "{", "[]", '{"exercises": 3}', '{"exercises": {"a": 1}}'])
def test_an_unreadable_progress_file_is_put_aside(registered, workspace, text):
    (workspace / "progress.json").write_text(text)
    assert exercises.check("00.spread", demo().right["clamp"]).state == "right"
    assert exercises.progress().done == 1
    assert (workspace / "progress.json.unreadable").read_text() == text


def test_without_a_workspace_only_memory_remembers(registered, monkeypatch, tmp_path):
    monkeypatch.delenv("COURSE_WORKSPACE", raising=False)
    monkeypatch.chdir(tmp_path)
    exercises.check("00.spread", demo().right["clamp"])
    assert exercises.progress().done == 1
    assert not list(tmp_path.iterdir())


def test_a_workspace_that_cannot_be_written_stops_nothing(registered, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("COURSE_WORKSPACE", str(tmp_path / "file" / "inside"))
    assert exercises.check("00.spread", demo().right["clamp"]).state == "right"


def test_solved_by_the_library_counts_for_nobody(registered, workspace, monkeypatch):
    """Bug: `course lesson --solved` changed nothing."""
    monkeypatch.setenv("COURSE_SOLVED", "1")
    check = exercises.check("00.spread", lambda z, gamma=1.0, eps=1e-4: ...)
    assert check.state == "right" and check.use is reference and "library's own" in repr(check)
    assert exercises.check("00.spread", demo().right["clamp"]).own  # an own right answer stays the learner's
    assert exercises.progress().done == 1


def test_solution_hints_and_unknown_keys(registered):
    assert "std = torch.sqrt" in exercises.solution("00.spread").source
    assert "sqrt" in exercises.solution("00.spread")._repr_html_()
    assert exercises.hints("00.spread", 2).shown == ("one", "two")
    assert exercises.hints("00.spread", 9).shown == ("one", "two", "three")
    assert exercises.hints("00.spread")._repr_html_().count("<details") == 1
    with pytest.raises(KeyError, match="there is no exercise '00.spred'; the exercises are: 00.spread"):
        exercises.check("00.spred", None)


def test_random_state_is_left_alone():
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    grade(demo(), lambda z, gamma=1.0, eps=1e-4: torch.rand(()).to(z.dtype))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_what_the_function_prints_is_folded(capsys):
    def talks(z, gamma=1.0, eps=1e-4):
        print("std is", z.shape)
        return z

    check = grade(demo(), talks)
    assert capsys.readouterr().out == ""
    assert "std is torch.Size" in check._repr_html_()


def test_quiz_explains_every_choice():
    quiz = exercises.quiz("Why?", {"because": "Yes: so.", "it isn't": "No: look again."}, "because")
    assert quiz.pick("because") == "✓ Right. Yes: so."
    assert quiz.pick("it isn't").startswith("✗ Not quite")
    html = quiz._repr_html_()
    assert html.count("<details") == 2 and "<script" not in html
    box = quiz._widget()
    box.children[1].value = "it isn't"
    assert "look again" in box.children[2].value
    with pytest.raises(ValueError, match="not one of the choices"):
        exercises.quiz("Why?", {"a": "x", "b": "y"}, "c")
    with pytest.raises(ValueError, match="explanation"):
        exercises.quiz("Why?", {"a": "x", "b": " "}, "a")


def test_weeks_that_do_not_exist_are_no_trouble():
    assert isinstance(SECOND, dict)
    with pytest.raises(KeyError):
        exercises.exercise("99.nothing")


def test_progress_shows_this_lesson_first(registered, workspace, monkeypatch):
    exercises.register(demo(key="03.spread", title="Another"))
    monkeypatch.setattr(engine_module, "_LAST", {})
    everything = exercises.progress()
    assert "Spread" in repr(everything) and "Another" in repr(everything) and "<details" not in everything._repr_html_()
    for tell in ("its name", "its checks"):
        if tell == "its name":
            monkeypatch.setenv("JPY_SESSION_NAME", "03_vicreg.ipynb")
        else:
            monkeypatch.delenv("JPY_SESSION_NAME")
            exercises.check("03.spread", demo().right["clamp"])
        here = exercises.progress()
        assert "this lesson: " in repr(here) and "Spread" not in repr(here) and "other lessons: 0 of " in repr(here)
        first, folded = here._repr_html_().split("<details")
        assert "Another" in first and "Spread" not in first and "Spread" in folded
    assert here.done == 1 and "this lesson: 1 of 1 exercises done" in repr(here)


def test_the_questions_of_a_lesson_stand_in_its_file_and_are_asked_once():
    seen = []
    for week in sorted(p.stem.removeprefix("week") for p in (ROOT / "lessons" / "exercises").glob("week*.py")):
        notebook = next((ROOT / "lessons").glob(f"{week}_*.ipynb")).read_text(encoding="utf-8")
        asked = f'quizzes(\\"{week}\\")' in notebook
        try:
            seen += [q.question for q in exercises.quizzes(week)]
        except KeyError:
            assert not asked, week
        else:
            assert asked, week
    assert len(seen) == len(set(seen)) > 60
    one, again = (exercises.quizzes("19")[0] for _ in range(2))
    assert one.question == again.question and one is not again, "each with controls of its own"
    with pytest.raises(KeyError, match="no questions of week '99'"):
        exercises.quizzes("99")


def test_our_own_functions_run_once_on_equal_arguments():
    """Bugs: a key that forgets an attribute, a dtype, a weight or the seed; one that a state can change."""
    calls = []

    def ours(x, weight=1.0):
        calls.append(1)
        return torch.tensor(2.0)

    class Counting(torch.nn.Linear):
        count = 0

    def runs(probe, seed=0, **changes) -> int:
        before = len(calls)
        assert known(demo(reference=ours, **changes), ours, probe, seed).value == 2
        return len(calls) - before

    layer = Counting(2, 1)
    probes = [(torch.ones(2),), (torch.ones(2, dtype=torch.float64),), (torch.ones(2, 1),), (torch.zeros(2),), (1,),
              (1.0,), (True,), {"x": 1}, ([1],), (layer,)]
    once = [runs(p) for p in probes]
    assert all(once) and not any(runs(p) for p in probes)
    assert runs(probes[0], seed=1) and runs(probes[0], gradients=not demo().gradients)
    twin = clone(layer)
    assert not runs((twin,)), "its weights and attributes are equal"
    twin.count = 1
    assert runs((twin,))
    with torch.no_grad():
        layer.weight[0, 0] += 1
    assert runs((layer,))
    generator = (torch.Generator(),)
    assert runs(generator) and runs(generator), "an object that may have a state"
    assert len(running._KEPT) <= running.MOST_KEPT
