"""Each rule of the clues, on an exercise made here: what is said, and that nothing false is."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from course_lib.exercises import Exercise, grade
from helpers.exercise_checks import typed_in


def hidden_error(x: Tensor, y: Tensor, visible: Tensor, power: float = 2.0) -> Tensor:
    """(B, L), (B, L), bool (B, L) -> scalar."""
    return ((x - y).abs() ** power * ~visible).sum() / (~visible).sum()


def scaled(x: Tensor, weight: Tensor) -> dict:
    """(N, D), (D,) -> dict."""
    y = x * weight
    return {"loss": y.square().mean(), "scaled": y}


def error_probes(generator, dtype):
    def draw(b, n):
        x, y = torch.randn(2, b, n, generator=generator, dtype=dtype)
        return x, y, torch.rand(b, n, generator=generator) < torch.linspace(0.2, 0.6, b)[:, None]

    return [draw(3, 8), (*draw(5, 7), 1.0), dict(zip(("x", "y", "visible"), draw(4, 10)), power=3.0)]


def scaled_probes(generator, dtype):
    return [(torch.randn(n, d, generator=generator, dtype=dtype), torch.rand(d, generator=generator, dtype=dtype))
            for n, d in ((5, 3), (7, 4), (2, 6))]


def exercise(reference=hidden_error, probes=error_probes) -> Exercise:
    return Exercise("00.clues", "Clues", 5, 1, reference, probes, {}, {}, unit="patches")


def hidden(x, visible):
    return (x * ~visible).sum() / (~visible).sum()


SAID = {
    "power": lambda x, y, visible, power=2.0: hidden((x - y).abs() ** 2, visible),
    "the number of hidden patches": lambda x, y, visible, power=2.0: ((x - y).abs() ** power * ~visible).sum(),
    "the complement of visible": lambda x, y, visible, power=2.0: hidden((x - y).abs() ** power, ~visible),
    "square root of the expected": lambda x, y, visible, power=2.0: hidden((x - y).abs() ** power, visible).sqrt(),
    "twice the expected value on every probe": lambda x, y, visible, power=2.0: 2 * hidden_error(x, y, visible, power),
    "off by the same amount everywhere, +3": lambda x, y, visible, power=2.0: 3 + hidden_error(x, y, visible, power),
    "0.5 times the expected value - 1": lambda x, y, visible, power=2.0: hidden_error(x, y, visible, power) / 2 - 1,
    "power squared": lambda x, y, visible, power=2.0: hidden_error(x, y, visible, power**2),
    "minus x": lambda x, y, visible, power=2.0: hidden((x + y).abs() ** power, visible),
    "is 7 on every probe": lambda x, y, visible, power=2.0: torch.tensor(7, dtype=x.dtype),
    "random numbers of its own": lambda x, y, visible, power=2.0: hidden_error(torch.randn_like(x), y, visible, power),
}


@pytest.mark.parametrize("said", list(SAID))
def test_what_is_said_of_a_number(said):
    check = grade(exercise(), SAID[said])
    assert check.state == "wrong" and said in check.message, check


def test_no_changed_argument_explains_a_nan():
    check = grade(exercise(), lambda x, y, visible, power=2.0: hidden_error(x, y, visible, power) * float("nan"))
    assert check.state == "wrong" and "NaN" in check.message and "what is expected with" not in check.message, check


def test_the_line_of_one_wrong_step():
    def mine(x, y, visible, power=2.0):
        weight = ~visible
        return ((x - y) ** power * weight).sum() / weight.sum()

    said = grade(exercise(), mine).message
    assert "line 3" in said and "(abs) is missing" in said


def test_parts_are_named():
    def doubled(x, weight):
        return scaled(x, weight) | {"loss": scaled(x, weight)["loss"] * 2}

    def turned(x, weight):
        return scaled(x, weight) | {"scaled": (x * weight).flip(0)}

    twice, order = (grade(exercise(scaled, scaled_probes), f) for f in (doubled, turned))
    assert 'Right: "scaled". Wrong: "loss".' in twice.message and "twice" in twice.message
    assert "in reverse order along axis 0" in order.message


def test_two_parts_that_are_exchanged():
    def mine(x, weight):
        right = scaled(x, weight)
        return {"loss": right["scaled"], "scaled": right["loss"]}

    assert '"loss" and "scaled" are exchanged' in grade(exercise(scaled, scaled_probes), mine).message


def test_places_are_named():
    def mine(x, weight):
        y = x * weight
        return {"loss": y.square().mean(), "scaled": torch.cat([y[:, :1] ** 3 + 0.5, y[:, 1:]], 1)}

    assert "the values in the first column" in grade(exercise(scaled, scaled_probes), mine).message


def test_arguments_may_have_other_names():
    check = grade(exercise(), lambda a, b, seen, exponent=2.0: hidden_error(a, b, seen, exponent))
    assert check.state == "right"


def test_parts_for_the_log_may_be_detached():
    check = grade(Exercise("00.parts", "Parts", 5, 1, scaled, scaled_probes, {}, {}, gradients=True),
                  lambda x, weight: scaled(x, weight) | {"scaled": (x * weight).detach()})
    assert check.state == "right"


# ------------------------------------------------------------------------------------------------ nothing false is said
def counted(x: Tensor, limit: int) -> Tensor:
    """(N,), int -> scalar: how many are above 0; 0 if that is more than the limit."""
    n = (x > 0).sum()
    return n if n <= limit else 0 * n


def limits(generator, dtype):
    return [(torch.linspace(-1, 1, n, dtype=dtype), limit) for n, limit in ((8, 4), (10, 3), (12, 9))]


def test_a_limit_that_is_met_is_used():
    def few(x, limit):  # stays below every limit, and below somewhat larger ones
        n = (x > 0.7).sum()
        return n if n <= limit else 0 * n

    def many(x, limit):  # above every limit, and above somewhat larger ones
        n = (x > -2).sum() + 9
        return n if n <= limit else 0 * n

    for mine in (few, many):
        check = grade(exercise(counted, limits), mine)
        assert check.state == "wrong" and "does not depend" not in check.message, check
    check = grade(exercise(counted, limits), lambda x, limit: (x > 0).sum())
    assert "does not depend on limit" in check.message


def average(x: Tensor) -> Tensor:
    """(N, D) -> scalar"""
    return (x.abs() + x.exp()).mean()


def largest(x):
    y = x.abs() + x.exp()
    return y.max()


def middle(x):
    y = x.abs() + x.exp()
    return torch.median(y)


def root_mean_square(x):
    y = x.abs() + x.exp()
    return y.square().mean().sqrt()


@pytest.mark.parametrize("mine, call", [(largest, "max"), (middle, "median"), (root_mean_square, "square.mean.sqrt")])
def test_what_stands_in_the_place_of_a_mean(mine, call):
    check = grade(exercise(average, lambda g, d: [(x,) for x, _ in scaled_probes(g, d)]), mine)
    assert f"in place of `{call}` a mean over all is needed" in check.message, check
    assert "missing" not in check.message


def two_terms(x: Tensor) -> Tensor:
    """(N, D) -> scalar"""
    return x.mean() + x.exp().mean()


def test_another_number_than_the_references():
    def soft(x: Tensor) -> Tensor:
        return (x.square() + 1e-3).sqrt()

    def mine(x):
        return (x * x + 0.04) ** 0.5

    check = grade(exercise(soft, lambda g, d: [(x,) for x, _ in scaled_probes(g, d)]), mine)
    assert "line 2, `x * x + 0.04`: look at `0.04`" in check.message, check


def test_a_line_is_quoted_as_it_was_written():
    def mine(x):
        part = -x.mean()
        return part + x.exp().mean()

    check = grade(exercise(two_terms, lambda g, d: [(x,) for x, _ in scaled_probes(g, d)]), mine)
    assert "line 2, `part = -x.mean()`: `-` does not belong there" in check.message, check


def test_indices_are_not_summed():
    def grouped(x, y, visible, power=2.0):
        loss = (x - y).abs()[~visible] ** power
        group = torch.arange(len(loss)) % 3
        return torch.stack([loss[group == k].mean() for k in group.unique()]).mean()

    assert "sum over all" not in grade(exercise(), grouped).message


def test_rows_of_images_are_not_called_rows():
    def kept(noise: Tensor, share: float) -> Tensor:
        """(B, m, m), float -> (B, m, m) bool"""
        ranks = noise.flatten(1).argsort(1).argsort(1)
        return (ranks >= int(share * ranks.shape[1])).view(noise.shape)

    def mine(noise, share):
        ranks = noise.flatten(1).argsort(1).argsort(1)
        return (ranks > int(share * ranks.shape[1])).view(noise.shape)

    def probes(generator, dtype):
        return [(torch.rand(b, m, m, generator=generator, dtype=dtype), s) for b, m, s in ((3, 4, 0.5), (5, 3, 0.3))]

    assert "in each image" in grade(exercise(kept, probes), mine).message


def power_of(x: Tensor, power: float = 2.0, scale: float = 1.0) -> Tensor:
    """(N, D) -> (N, D)."""
    return scale * x.abs() ** power


def test_of_two_defaults_both_are_named():
    """A probe without settings has them all: to blame the first one alone may be false."""
    def probes(generator, dtype):
        def draw(n, d):
            return torch.rand(n, d, generator=generator, dtype=dtype) + 0.5

        return [(draw(3, 4),), (draw(4, 5), 1.3, 0.7), dict(x=draw(2, 6), power=0.6, scale=1.9)]

    check = grade(exercise(power_of, probes), lambda x, power=2.0, scale=1.0: (
        x.square() + (power - 2) * x.sin() + (scale - 1) * x.tanh()))
    assert "power has its default 2.0 and scale has its default 1.0 (1 of 3 probes)" in check.message


def test_two_numbers_of_different_kinds_are_not_compared():
    """That the exponent was larger than the scale, wherever it was right, was chance."""
    def probes(generator, dtype):
        def draw(n, d):
            return torch.rand(n, d, generator=generator, dtype=dtype) + 0.5

        return [(draw(3, 4), 2.0, 1.1), (draw(4, 5), 2.5, 0.7), dict(x=draw(2, 6) / 4, power=1.6, scale=1.9)]

    check = grade(exercise(power_of, probes), lambda x, power=2.0, scale=1.0: (
        scale * torch.where(x < 0.4, x.sin(), x.abs() ** power)))
    assert check.state == "wrong" and "power is" not in check.message and "scale is" not in check.message


def test_a_mask_is_changed_along_both_axes():
    """A mask whose columns alone are moved looks the same to what sees its rows only."""
    def count(visible: Tensor) -> Tensor:
        return (visible * (torch.arange(visible.numel()) + 1.0).view(visible.shape)).sum()

    def probes(generator, dtype):
        return [(torch.rand(n, n + 2, generator=generator) < 0.5,) for n in (4, 5)]

    check = grade(exercise(count, probes), lambda visible: (visible.sum(1) * (torch.arange(len(visible)) + 1.0)).sum())
    assert check.state == "wrong" and "does not depend" not in check.message


def test_a_training_step_is_told_where_to_look():
    """Before the update, if the first loss is wrong."""
    def step(w: Tensor, x: Tensor) -> tuple[Tensor, float]:
        return w - 0.1 * x.sin() * w.cos(), (w * x).sum().item()

    def three(fn, w, x):
        losses = []
        for row in x:
            w, loss = fn(w, row)
            losses.append(loss)
        return {"losses": losses, "w": w}

    def probes(generator, dtype):
        return [(torch.randn(d, generator=generator, dtype=dtype), torch.randn(3, d, generator=generator, dtype=dtype))
                for d in (3, 4)]

    asked = Exercise("00.steps", "Steps", 5, 1, step, probes, {}, {}, call=three)
    check = grade(asked, lambda w, x: (step(w, x)[0].tanh() / 1.3, step(w, x)[1]))
    assert "first step" not in check.message and "losses" in check.message
    check = grade(asked, lambda w, x: (w.tanh() - x / 20, (w.exp() * (x + 0.3).cos() - w / 7 + x / 5).sum().item()))
    assert "first step is wrong already" in check.message


# ---------------------------------------------------------------- another reduction, comparison, index, divisor
def heads(scores: Tensor, temperature: float = 0.5) -> Tensor:
    """(H, N, N) -> scalar: for each head, the mean of the rows' logsumexp less the trace."""
    total = scores.new_zeros(())
    for i in range(len(scores)):
        rows = scores[i] / temperature
        total = total + rows.logsumexp(1).mean() - scores[i].diagonal().sum() / temperature
    return total


def heads_probes(generator, dtype):
    return [(torch.randn(h, n, n, generator=generator, dtype=dtype), t) for h, n, t in ((2, 4, 0.5), (3, 5, 0.3))]


RIGHT = "total = total + rows.logsumexp(1).mean() - scores[i].diagonal().sum() / temperature"


@pytest.mark.parametrize("old, new, said", [
    ("rows.logsumexp(1)", "rows.amax(1)", "`rows.amax(1)`: in place of `amax` `logsumexp` is needed"),
    ("scores[i]", "scores[0]", "`scores[0]`: look at `0`"),
    ("sum() / temperature", "sum()", "a division by temperature is missing around "),
])
def test_one_step_from_right(old, new, said):
    lines = ["total = scores.new_zeros(())", "for i in range(len(scores)):", "    rows = scores[i] / temperature",
             f"    {RIGHT}", "return total"]
    body = "\n".join(lines)
    assert old in body
    function, _ = typed_in(body.replace(old, new, 1), "def heads(scores, temperature=0.5):\n    ...\n",
                           {"torch": torch}, "<one step>")
    assert said in grade(exercise(heads, heads_probes), function).message


def test_a_comparison_that_should_ask_for_equality():
    def same(a: Tensor, b: Tensor) -> Tensor:
        return (a == b).double().mean()

    def probes(generator, dtype):
        return [tuple(torch.randint(3, (2, n), generator=generator)) for n in (9, 12, 20)]

    def mine(a, b):
        return (a <= b).double().mean()

    assert "look at `a <= b`" in grade(exercise(same, probes), mine).message


def test_another_number_is_said_of_a_kind_of_number():
    """Bug: who had clamped to 255 read that theirs was what comes out with clamp(0, 2)."""
    def inside(x: Tensor) -> Tensor:
        return x.clamp(0, 1)

    def probes(generator, dtype):
        return [(torch.randn(n, generator=generator, dtype=dtype).clamp(-3, 1.9),) for n in (40, 50, 60)]

    def mine(x):
        return torch.minimum(torch.maximum(x, torch.zeros_like(x)), torch.full_like(x, 255.0))

    text = grade(exercise(inside, probes), mine).message
    assert "comes out where `1` in `x.clamp(0, 1)` is another number, such as 2" in text


def test_nothing_is_said_of_rows_that_a_number_has_not():
    from course_lib.exercises.insertions import OPERATIONS

    for said, operation in OPERATIONS.items():
        if "axis" in said and "length 1" in said or "softmax" in said:
            with pytest.raises(TypeError):
                operation(torch.tensor(3.0))
