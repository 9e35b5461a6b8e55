"""MiCE: the mixture's loss against loops in plain Python, EM's two steps, gates, and what the module keeps."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from course_lib.data.images import Batch, ImageSet
from course_lib.methods import build_method
from course_lib.methods.clustering.mice import (
    GATES,
    assigned_sums,
    elbo,
    expert_log_probabilities,
    gate_log_probabilities,
    max_mahalanobis_centers,
    mice_loss,
    new_prototypes,
)
from course_lib.models.layers import normalize
from course_lib.train import checkpoint
from course_lib.train.loop import fit
from helpers.draws import randn
from helpers.naive import softmax
from helpers.tiny import SMALL, Stop, images, same, state

N, K, D, M = 4, 3, 5, 6


def embeddings(seed=0, dtype=torch.float64):
    """f, v (N, K, D), g (N, D), the queue (M, K, D), all of length 1, and raw prototypes (K, D)."""
    f, v, g, queue = (normalize(randn(*shape, seed=seed + s, dtype=dtype))
                      for s, shape in enumerate([(N, K, D), (N, K, D), (N, D), (M, K, D)]))
    return f, v, g, queue, 3 * randn(K, D, seed=seed + 9, dtype=dtype)


def both(f, v, g, queue, mu, tau=0.5, kappa=0.5):
    centers = max_mahalanobis_centers(K, D).to(g)
    return gate_log_probabilities(g, centers, kappa), expert_log_probabilities(f, v, mu, queue, tau)


# ---------------------------------------------------------------- the definitions, in plain Python
def dot(a, b):
    return sum(x * y for x, y in zip(a, b))


def naive_mice(f, v, g, queue, mu, centers, tau, kappa) -> tuple[float, list]:
    """Loss and posteriors from nested lists."""
    total, posteriors = 0.0, []
    for i in range(len(f)):
        pi = softmax([dot(center, g[i]) / kappa for center in centers])
        joint = []
        for k in range(len(mu)):
            length = math.sqrt(dot(mu[k], mu[k]))
            wanted = [a + b / length for a, b in zip(f[i][k], mu[k])]
            scores = [dot(v[i][k], wanted) / tau] + [dot(row[k], wanted) / tau for row in queue]
            joint.append(pi[k] * softmax(scores)[0])
        total -= math.log(sum(joint))
        posteriors.append([p / sum(joint) for p in joint])
    return total / len(f), posteriors


@pytest.mark.parametrize("tau, kappa", [(1.0, 1.0), (0.2, 0.7)])
def test_the_loss_equals_its_definition(tau, kappa):
    f, v, g, queue, mu = embeddings()
    parts = mice_loss(*both(f, v, g, queue, mu, tau, kappa))
    centers = max_mahalanobis_centers(K, D).tolist()
    loss, q = naive_mice(*(x.tolist() for x in (f, v, g, queue, mu)), centers, tau, kappa)
    assert float(parts["loss"]) == pytest.approx(loss, rel=1e-7)
    assert torch.allclose(parts["posterior"], torch.tensor(q, dtype=torch.float64), rtol=1e-6)


# ---------------------------------------------------------------- E-step
def test_the_bound_touches_at_the_posterior_and_nowhere_else():
    log_pi, log_phi = both(*embeddings())
    parts = mice_loss(log_pi, log_phi)
    assert float(elbo(log_pi, log_phi, parts["posterior"])) == pytest.approx(-float(parts["loss"]), rel=1e-12)
    for seed in range(5):
        other = randn(N, K, seed=seed).softmax(1)
        assert float(elbo(log_pi, log_phi, other)) < -float(parts["loss"])
    onehot = torch.eye(K, dtype=torch.float64)[[0, 1, 2, 0]]
    assert elbo(log_pi, log_phi, onehot).isfinite()  # bug: 0 log 0


def test_the_gradient_is_the_same_with_the_posterior_detached():
    f, v, g, queue, mu = embeddings()
    found = []
    for bound in (False, True):
        leaves = [x.clone().requires_grad_() for x in (f, g, mu)]
        log_pi, log_phi = both(leaves[0], v, leaves[1], queue, leaves[2])
        parts = mice_loss(log_pi, log_phi)
        loss = -elbo(log_pi, log_phi, parts["posterior"]) if bound else parts["loss"]
        found.append(torch.autograd.grad(loss, leaves))
    for one, other in zip(*found):
        torch.testing.assert_close(one, other)


def test_gradients():
    f, v, g, queue, mu = embeddings()
    leaves = [x.clone().requires_grad_() for x in (f, g, mu)]
    assert torch.autograd.gradcheck(lambda f, g, mu: mice_loss(*both(f, v, g, queue, mu))["loss"], leaves)
    v, queue = v.requires_grad_(), queue.requires_grad_()
    mice_loss(*both(leaves[0], v, leaves[1], queue, leaves[2]))["loss"].backward()
    assert v.grad is None and queue.grad is None, "bug: gradient into the teacher or the queue"


def test_prototypes_count_by_direction_only():
    """Bug: mu used as gradients and weight decay have left it, which is another temperature."""
    f, v, g, queue, mu = embeddings()
    torch.testing.assert_close(both(f, v, g, queue, 7 * mu)[1], both(f, v, g, queue, mu)[1])
    assert not torch.allclose(both(f, v, g, queue, mu.roll(1, 0))[1], both(f, v, g, queue, mu)[1])


def test_each_expert_has_its_own_embeddings():
    """Bug: one embedding and one queue for all experts. Expert 1 must not feel what the others see."""
    f, v, g, queue, mu = embeddings()
    before = expert_log_probabilities(f, v, mu, queue)
    f[:, 0], queue[:, 2] = f[:, 0].flip(-1), queue[:, 2].flip(-1)
    after = expert_log_probabilities(f, v, mu, queue)
    assert torch.equal(before[:, 1], after[:, 1])
    assert not torch.allclose(before[:, 0], after[:, 0]) and not torch.allclose(before[:, 2], after[:, 2])


def test_moco_is_the_mixture_of_one_expert_without_a_prototype():
    from course_lib.methods.contrastive.moco import moco_loss

    f, v, _, queue, _ = embeddings()
    f, v, queue = f[:, :1], v[:, :1], queue[:, :1]
    log_phi = expert_log_probabilities(f, v, torch.zeros(1, D, dtype=torch.float64), queue, 0.3)
    wanted = moco_loss(f[:, 0], v[:, 0], queue[:, 0], 0.3)["loss"]
    torch.testing.assert_close(mice_loss(torch.zeros(N, 1, dtype=torch.float64), log_phi)["loss"], wanted)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_losses_run_in_float32_inside_autocast(dtype):
    f, v, g, queue, mu = embeddings(dtype=torch.float32)
    wanted = mice_loss(*both(f, v, g, queue, mu))["loss"]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(mice_loss(*both(f, v, g, queue, mu))["loss"], wanted)
        halves = mice_loss(*both(*(x.to(dtype) for x in (f, v, g, queue, mu)), tau=0.01, kappa=0.01))
    assert halves["loss"].dtype == torch.float32 and halves["loss"].isfinite()


# ---------------------------------------------------------------- M-step and centres
def test_the_m_step_sums_the_embeddings_of_the_chosen_expert():
    _, v, _, _, mu = embeddings()
    q = torch.tensor([[0.8, 0.1, 0.1], [0.5, 0.2, 0.3], [0.1, 0.1, 0.8], [0.2, 0.3, 0.5]], dtype=torch.float64)
    sums = assigned_sums(v, q)
    torch.testing.assert_close(sums[0], v[0, 0] + v[1, 0])
    torch.testing.assert_close(sums[2], v[2, 2] + v[3, 2])
    after = new_prototypes(mu, sums)
    torch.testing.assert_close(after[0], normalize(sums[0]))
    assert torch.equal(after[1], mu[1]), "an expert that no image chose keeps its prototype"


def test_the_m_step_sums_in_float32_inside_autocast():
    _, v, _, _, _ = embeddings(dtype=torch.float32)
    q = randn(N, K, dtype=torch.float32).softmax(1)
    wanted = assigned_sums(v, q)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(assigned_sums(v, q), wanted)
        assert assigned_sums(v.bfloat16(), q.bfloat16()).dtype == torch.float32


@pytest.mark.parametrize("clusters, dim", [(2, 1), (2, 4), (5, 4), (10, 128), (20, 19)])
def test_centres_are_equally_far_from_each_other(clusters, dim):
    centers = max_mahalanobis_centers(clusters, dim).double()
    gram = centers @ centers.T
    wanted = torch.full_like(gram, -1 / (clusters - 1)).fill_diagonal_(1)
    assert centers.shape == (clusters, dim) and torch.allclose(gram, wanted, atol=1e-6)
    torch.testing.assert_close(centers.sum(0), torch.zeros(dim, dtype=torch.float64), atol=1e-6, rtol=0)


# ---------------------------------------------------------------- the module
def mice(seed=0, **options):
    torch.manual_seed(seed)
    options = {"clusters": 3, "out": 4, "queue": 24, **options}
    return build_method("mice", "convnet", 16, backbone_options={"depth": 2, "widths": (4, 8)}, **options)


def views(method, n=8):
    data = images(n)
    return method.views(Batch(data.images, torch.arange(n)), torch.Generator().manual_seed(0))


@pytest.mark.parametrize("gate", GATES)
def test_each_gate_learns_what_it_should(gate):
    method = mice(gate=gate)
    parts = method.loss(views(method))
    parts["loss"].backward()
    learns = {name for name, p in method.named_parameters() if p.grad is not None}
    assert ("centers" in learns) == (gate == "learned") and ("gate.weight" in learns) == (gate != "uniform")
    assert {"experts.weight", "prototypes"} <= learns and not any(name.startswith("teacher") for name in learns)
    needs = {name for name, p in method.named_parameters() if p.requires_grad}
    assert learns == needs, "DDP waits for every parameter that could have a gradient"
    pi = method.log_pi(torch.rand(6, 3, 16, 16)).exp()
    torch.testing.assert_close(pi.sum(1), torch.ones(6))
    assert torch.allclose(pi, torch.full_like(pi, 1 / 3)) == (gate == "uniform")
    bound = parts["gate"] + parts["experts"] - parts["entropy"]
    torch.testing.assert_close(parts["loss"].detach(), bound)


def test_embeddings_are_enqueued_after_the_loss():
    method = mice(splits=1)
    before, seen = method.queue.rows.clone(), views(method)
    twin = mice(splits=1)
    v = normalize(twin.teach((seen[1] - 0.45) / 0.25))
    method.loss(seen)
    torch.testing.assert_close(method.queue.rows[:8], v.flatten(1))
    assert torch.equal(method.queue.rows[8:], before[8:]) and int(method.queue.pointer) == 8
    lengths = method.queue.rows.view(24, 3, 4).norm(dim=2)
    torch.testing.assert_close(lengths, torch.ones(24, 3))
    kept = state(method.eval())
    method.loss(seen)
    assert same(state(method), kept), "evaluation leaves queue and sums alone"


def test_prototypes_move_once_an_epoch():
    method = mice()
    method.loss(views(method))
    before, sums = method.prototypes.clone(), method.sums.clone()
    assert sums.any()
    method.on_epoch(1)
    torch.testing.assert_close(method.prototypes.detach(), new_prototypes(before, sums))
    assert not method.sums.any()
    moved = method.prototypes.clone()
    method.on_epoch(2)
    assert torch.equal(method.prototypes, moved), "an epoch without images changes nothing"


def test_clusters_of_images():
    method = mice().eval()
    pictures = images(20).images
    p = method.probabilities(pictures)
    torch.testing.assert_close(p.sum(1), torch.ones(20))
    found = method.assign(pictures)
    assert p.shape == (20, 3) and found.dtype == torch.int64 and torch.equal(found, p.argmax(1))
    torch.testing.assert_close(method.probabilities(pictures[4:9]), p[4:9], msg="an image is on its own")
    assert method.embed(pictures).shape == (20, 8)
    with pytest.raises(ValueError, match=r"expected a batch \(B, 3, H, W\)"):
        method.assign(pictures[0])


def test_weight_decay_reaches_every_parameter():
    method = mice(gate="learned")
    groups = method.param_groups(0.1)
    held = {id(p) for group in groups for p in group["params"]}
    assert all(group["weight_decay"] == 0.1 for group in groups)
    assert held == {id(p) for p in method.parameters() if p.requires_grad}


@pytest.mark.parametrize("cut", [1, 5])
def test_resume_is_bit_exact_within_an_epoch_and_over_its_end(tmp_path, cut):
    """Bug: queue, pointer or the sums of the epoch so far are in no checkpoint."""
    settings = {**SMALL, "steps": 9, "log_every": 1, "lr": 0.01}  # 4 steps an epoch
    whole, part = mice(), mice()
    history = fit(whole, images(), out=tmp_path / "whole", **settings)
    fit(part, images(), out=tmp_path / "cut", watch=Stop(cut), **settings)
    stored = checkpoint.load(tmp_path / "cut" / "last.pt")["method"]
    assert torch.equal(stored["sums"], part.sums) and stored["sums"].any()
    again = mice(seed=7)
    resumed = fit(again, images(), out=tmp_path / "cut", resume=True, **settings)
    assert same(state(whole), state(again)) and resumed.curves == history.curves


def test_a_run_that_began_with_a_pretext_goes_on_without_it():
    """Bug: a loaded run that is trained further asks for its pretext again."""
    first, again = mice(pretext="out/moco"), mice(seed=1, pretext="out/moco")
    with pytest.raises(ValueError, match="pretext='out/moco' has only been named"):
        fit(first, images(), steps=1, **SMALL)
    first.begin(mice(seed=2))
    fit(first, images(), steps=1, **SMALL)
    again.load_state_dict(first.state_dict())
    assert fit(again, images(), steps=1, **SMALL).steps == 1


# ---------------------------------------------------------------- sentences
@pytest.mark.parametrize("options, says", [
    ({"clusters": 1}, "clusters is 1; expected a whole number from 2 up"),
    ({"clusters": 9, "out": 4}, "need 8 dimensions or more"),
    ({"gate": "free"}, "gate must be one of fixed, learned, uniform, got 'free'"),
    ({"tau": 0.0}, "tau is 0.0; expected a number above 0"), ({"kappa": -1.0}, "kappa is -1.0; expected"),
])
def test_what_cannot_be_is_a_sentence(options, says):
    with pytest.raises(ValueError, match=says):
        mice(**options)


def test_more_clusters_than_images_is_a_sentence():
    few = ImageSet(images(8).images)
    with pytest.raises(ValueError, match="clusters is 12, but there are only 8 images"):
        fit(mice(clusters=12, out=16), few, steps=1, **SMALL)
    with pytest.raises(ValueError, match="8 new rows do not fit into a queue of 4"):
        method = mice(queue=4)
        method.loss(views(method))


def test_a_queue_longer_than_the_set_is_a_warning():
    """Bug: an image's own earlier embeddings among its negatives, without a word."""
    with pytest.warns(UserWarning, match="queue is 64, but there are 36 images"):
        mice(queue=64).prepare(images().images)


def test_a_dead_expert_stays_where_it_was_and_shows():
    """An empty cluster: its share is missing in `clusters`, and nothing becomes NaN."""
    method = mice(splits=1)
    with torch.no_grad():
        method.gate = nn.Linear(8, 4)
        nn.init.zeros_(method.gate.weight)
        method.gate.bias.copy_(50 * method.centers[1])  # the gate sends every image to expert 1
    method.kappa = 0.01
    parts = method.loss(views(method))
    assert float(parts["clusters"]) == pytest.approx(1.0) and parts["loss"].isfinite()
    before = method.prototypes.clone()
    method.on_epoch(1)
    assert torch.equal(method.prototypes[[0, 2]], before[[0, 2]]) and method.prototypes.isfinite().all()
    assert not torch.equal(method.prototypes[1], before[1])
