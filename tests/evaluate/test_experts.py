"""What MiCE's gate and experts say, against its own forward pass and loops."""

from __future__ import annotations

import math

import pytest
import torch

from course_lib.evaluate import experts as asked
from course_lib.evaluate.clusters import same_cluster
from course_lib.methods import build_method
from course_lib.methods.clustering.mice import gate_log_probabilities, max_mahalanobis_centers
from lessons.exercises.week18 import experts


def mice(**options):
    torch.manual_seed(0)
    return build_method("mice", "convnet", 32, clusters=4, queue=16, **options).eval()


def test_asked_experts_answer_as_the_method_does():
    method = mice()
    pictures = torch.randint(0, 256, (6, 3, 32, 32), dtype=torch.uint8)
    said = asked.AskedExperts(method, pictures, experts)
    log_pi, log_phi = said.say(method.tau, method.kappa)
    assert log_pi.shape == log_phi.shape == (6, 4) and said.say(method.tau, method.kappa)[0] is log_pi, "remembered"
    torch.testing.assert_close(log_pi, gate_log_probabilities(said.gate, method.centers, method.kappa))
    assert said.say(method.tau, 0.1)[0].max() > log_pi.max(), "a lower temperature is surer"
    with pytest.raises(ValueError, match="no gate"):
        asked.AskedExperts(mice(gate="uniform"), pictures, experts)


def test_sure_and_in_doubt_are_the_ends_of_the_entropies():
    q = torch.rand(80, 3, generator=torch.Generator().manual_seed(0)).softmax(1)
    q[7], q[9] = torch.tensor([1.0, 0, 0]), torch.full((3,), 1 / 3)
    found = asked.sure_and_in_doubt(q)
    assert list(found) == ["sure 1", "sure 2", "sure 3", "in doubt 1", "in doubt 2", "in doubt 3"]
    assert found["sure 1"] == 7 and found["in doubt 1"] == 9
    assert asked.sureness(q, torch.zeros(80, dtype=torch.long))["sure"] == pytest.approx(
        sum(max(row) for row in q.tolist()) / 80)


def test_experts_left_in_use():
    sizes = {"even": [[[9, 0], [5, 5]], [[1, 9], [6, 4]]], "one": [[[5, 5], [10, 0]]]}
    found = asked.left_in_use(sizes, few=5)
    entropy = -(0.6 * math.log(0.6) + 0.4 * math.log(0.4))
    assert found["even"]["used"] == pytest.approx((2 + math.exp(entropy)) / 2)
    assert found["one"] == {"used": pytest.approx(1), "least": 0, "dead": 1}
    assert (found["even"]["least"], found["even"]["dead"]) == (4, 1)


def test_the_surest_gate_points_at_a_centre():
    centres = max_mahalanobis_centers(8, 8)
    others = -1 / 7  # the cosine of two centres
    assert asked.surest_gate(centres, 0.5) == pytest.approx(
        math.exp(2) / (math.exp(2) + 7 * math.exp(2 * others)), rel=1e-5)


def test_same_cluster_counts():
    a, b = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]]), torch.tensor([[0.6, 0.4], [0.7, 0.3], [0.9, 0.1]])
    assert same_cluster(a, b) == pytest.approx(2 / 3)
