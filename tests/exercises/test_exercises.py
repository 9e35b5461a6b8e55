"""Every exercise of every week: stubs are to do, mistakes get their own names and hints, right answers pass,
mutants die."""

from __future__ import annotations

import re

import pytest
import torch

from course_lib.exercises import all_exercises, grade, solution
from course_lib.exercises.difference import difference
from course_lib.exercises.evidence import called, leaves_of
from course_lib.exercises.mutants import mutants
from course_lib.exercises.running import run
from helpers.exercise_checks import stubs, survivors
from helpers.misconceptions import EQUIVALENT, SECOND

EXERCISES = {e.key: e for e in all_exercises()}
SEEDS = tuple((dtype, seed) for seed in range(4) for dtype in (torch.float32, torch.float64))
every = pytest.mark.parametrize("key", sorted(EXERCISES))


@every
def test_is_complete(key):
    e = EXERCISES[key]
    week, _, name = key.partition(".")
    assert re.fullmatch(r"\d\d|[AP]\d", week) and name, "a key looks like 03.variance, A1.compare or P1.few_labels"
    assert e.title and e.minutes > 0 and 1 <= e.difficulty <= 5
    assert len(e.hints) == 3 and len(set(e.hints)) == 3, "three different hints"
    assert len(e.wrong) >= 4, "at least four named misconceptions"
    own = [hint for _, hint in e.wrong.values()]
    assert all(own) and len(set(own)) == len(own), "every misconception has a hint of its own"
    assert e.right, "at least one unusual right answer"
    assert solution(key).source.lstrip().startswith(("def ", "class ", "@"))


@every
def test_probes_repeat_and_reach_both_dtypes(key):
    e = EXERCISES[key]
    for dtype, seed in SEEDS[:4]:
        twice = [e.probes(torch.Generator().manual_seed(seed), dtype) for _ in range(2)]
        assert twice[0] and len(twice[0]) == len(twice[1])
        assert all(isinstance(p, (tuple, dict)) for p in twice[0]), (
            "a probe is a tuple or a dict of arguments"
        )
        for a, b in zip(*twice):
            values = [list(p.values()) if isinstance(p, dict) else list(p) for p in (a, b)]
            tensors = [[v for v in side if isinstance(v, torch.Tensor)] for side in values]
            assert difference(*tensors) is None, "the same generator gives the same probes"


@every
def test_parts_of_the_result_have_names(key):
    """A card says "the pointer", never [1]."""
    e = EXERCISES[key]
    found = run(e, e.resolve(), e.probes(torch.Generator().manual_seed(0), torch.float32)[0])
    assert not [path for path in leaves_of(found.value) if called(e, path).startswith("entry")]


@every
def test_stub_is_to_do(key):
    for stub in stubs():
        check = grade(EXERCISES[key], stub)
        assert check.state == "todo", check


@every
def test_planted_mistakes_get_their_own_hint(key):
    e = EXERCISES[key]
    for cases in (SEEDS[:2], SEEDS[4:6]):
        for name, (planted, hint) in e.wrong.items():
            check = grade(e, planted, cases)
            assert (check.state, check.name, check.hint) == ("wrong", name, hint), check


@every
def test_second_spelling_is_recognised(key):
    e, spelt = EXERCISES[key], SECOND.get(key, {})
    assert set(spelt) == set(e.wrong), (
        f"tests/misconceptions needs a second spelling of each: {set(e.wrong) - set(spelt)}"
    )
    for name, other in spelt.items():
        assert other is not e.wrong[name][0]
        check = grade(e, other)
        assert (check.state, check.name) == ("wrong", name), check


@every
def test_right_answers_pass(key):
    e = EXERCISES[key]
    for name, variant in {"the reference, called by another name": _wrapped(e.resolve()), **e.right}.items():
        check = grade(e, variant, SEEDS)
        assert check.state == "right", f"{name}: {check}"


def _wrapped(function):
    if isinstance(function, type):
        return type(function.__name__, (function,), {})
    return lambda *a, **k: function(*a, **k)


@every
def test_mutants_are_killed(key, record_property):
    alive, count = survivors(EXERCISES[key], EQUIVALENT.get(key, {}))
    killed = 1 - len(alive) / max(count, 1)
    print(f"\n{key}: {count - len(alive)} of {count} mutants killed ({killed:.1%})")
    print("\n".join(f"  survives  {name}" for name in alive) or "  no survivors")
    record_property("mutants", f"{count - len(alive)}/{count}")
    assert count >= 3, "the reference offers hardly anything to mutate: is it the function itself?"
    assert killed >= 0.95, f"survivors of {key}: {alive}"


@every
def test_equivalents_are_still_there(key):
    names = {m.name for m in mutants(EXERCISES[key].resolve())}
    listed = EQUIVALENT.get(key, {})
    assert set(listed) <= names, f"listed as equivalent but never made: {set(listed) - names}"
    assert all(reason.strip() for reason in listed.values())


def test_keys_are_unique_and_second_spellings_belong_to_exercises():
    keys = [e.key for e in all_exercises()]
    assert len(keys) == len(set(keys))
    assert set(SECOND) <= set(keys) and set(EQUIVALENT) <= set(keys)
