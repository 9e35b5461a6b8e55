"""SSKD: its four losses and the rows that are kept against plain Python, the teacher as a constant, and errors."""

from __future__ import annotations

import math

import pytest
import torch

from course_lib.methods.contrastive.sskd import distilled, kept_rows, pretext_loss, similarities, sskd_loss
from helpers.draws import randn
from helpers.naive import softmax

B, K, E = 6, 5, 4
LABELS = torch.arange(B) % K


def inputs():
    return randn(4 * B, K, seed=1), randn(4 * B, E, seed=2), 2 * randn(4 * B, K, seed=3), randn(4 * B, E + 1, seed=4)


def naive_kd(student, teacher, temperature):
    total = 0.0
    for s, t in zip(student, teacher):
        q, p = (softmax([v / temperature for v in row]) for row in (s, t))
        total += sum(a * math.log(a / b) for a, b in zip(p, q))
    return temperature**2 * total / len(student)


def cosine(a, b):
    return sum(x * y for x, y in zip(a, b)) / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


def naive_similarities(z):
    return [[cosine(z[4 * i + k], z[4 * j]) for j in range(B)] for i in range(B) for k in (1, 2, 3)]


def naive_kept(scores, truth, share):
    rank = [sum(v > row[t] for v in row) for row, t in zip(scores, truth)]
    wrong = sorted((r, i) for i, r in enumerate(rank) if r)
    return sorted([i for i, r in enumerate(rank) if not r] + [i for _, i in wrong[: int(share * len(wrong))]])


def test_the_rows_in_plain_python():
    scores, truth = randn(40, 5), torch.arange(40) % 5
    for share in (0.0, 0.3, 0.75, 1.0):
        assert kept_rows(scores, truth, share).tolist() == naive_kept(scores.tolist(), truth.tolist(), share)
    with pytest.raises(ValueError, match="share is 1.5; expected a number from 0 to 1"):
        kept_rows(scores, truth, 1.5)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_distillation_equals_its_definition(temperature):
    s, t = randn(7, 5), randn(7, 5, seed=1)
    assert float(distilled(s, t, temperature)) == pytest.approx(naive_kd(s.tolist(), t.tolist(), temperature))
    assert float(distilled(t, t, temperature)) == pytest.approx(0, abs=1e-12)
    assert float(distilled(s[:0], t[:0], temperature)) == 0, "no rows kept, no loss"
    with pytest.raises(ValueError, match="temperature is 0; expected a number above 0"):
        distilled(s, t, 0)


def test_the_similarities_are_of_turned_ones_with_upright_ones():
    z = randn(4 * B, E)
    wanted = torch.tensor(naive_similarities(z.tolist()), dtype=torch.float64)
    torch.testing.assert_close(similarities(z), wanted)
    rows = [softmax([v / 0.5 for v in row]) for row in wanted.tolist()]
    assert float(pretext_loss(z)) == pytest.approx(-sum(math.log(rows[3 * i + k][i]) for i in range(B)
                                                        for k in range(3)) / (3 * B))


def test_the_four_parts_and_their_sum():
    s, sz, t, tz = inputs()
    parts = {name: float(value) for name, value in sskd_loss(s, sz, t, tz, LABELS).items()}
    sl, tl, truth = s.tolist(), t.tolist(), LABELS.tolist()
    upright = [4 * i for i in range(B)]
    turned = [4 * i + k for i in range(B) for k in (1, 2, 3)]
    labels = -sum(math.log(softmax(sl[4 * i])[truth[i]]) for i in range(B)) / B
    kept = naive_kept([tl[i] for i in turned], [truth[i // 4] for i in turned], 1.0)
    own, told = naive_similarities(sz.tolist()), naive_similarities(tz.tolist())
    alike = naive_kept(told, [i // 3 for i in range(3 * B)], 0.75)
    assert len(alike) < 3 * B == len(kept)
    wanted = {"labels": labels, "upright": naive_kd([sl[i] for i in upright], [tl[i] for i in upright], 4.0),
              "turned": naive_kd([sl[turned[i]] for i in kept], [tl[turned[i]] for i in kept], 4.0),
              "similarity": naive_kd([own[i] for i in alike], [told[i] for i in alike], 0.5)}
    for name, value in wanted.items():
        assert parts[name] == pytest.approx(value, rel=1e-9), name
    assert parts["loss"] == pytest.approx(0.1 * wanted["labels"] + 0.9 * wanted["upright"] + 2.7 * wanted["turned"]
                                          + 10 * wanted["similarity"])
    assert float(sskd_loss(s, sz, t, tz, LABELS, {**dict.fromkeys(wanted, 0.0), "labels": 1.0})["loss"]) == \
        pytest.approx(labels)


def test_gradients_reach_the_student_alone():
    s, sz, t, tz = (x.requires_grad_() for x in inputs())
    assert torch.autograd.gradcheck(lambda a, b: sskd_loss(a, b, t.detach(), tz.detach(), LABELS)["loss"], (s, sz))
    sskd_loss(s, sz, t, tz, LABELS)["loss"].backward()
    assert t.grad is None and tz.grad is None
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = sskd_loss(*(x.detach().bfloat16() for x in (s, sz, t, tz)), LABELS)
        assert all(value.dtype == torch.float32 for value in found.values())


def test_rows_that_do_not_fit_are_a_sentence():
    s, sz, t, tz = inputs()
    with pytest.raises(ValueError, match="24 and 24 rows of logits, 20 and 24 of projections for 6 labels; expected 4"):
        sskd_loss(s, sz[4:], t, tz, LABELS)
