"""What the golden table computes for MiCE and GATCluster."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from course_lib.methods.clustering.gatcluster import (
    ClusterHeads,
    attention_loss,
    balanced_target,
    entropy_loss,
    gaussian_map,
    invariance_loss,
    relation_loss,
    sharpened_target,
    usable_clusters,
)
from course_lib.methods.clustering.mice import (
    assigned_sums,
    elbo,
    expert_log_probabilities,
    gate_log_probabilities,
    max_mahalanobis_centers,
    mice_loss,
    new_prototypes,
)
from course_lib.models.layers import enqueue

Arrays = Mapping[str, Tensor]


# ---------------------------------------------------------------- MiCE
def mice(z: Arrays) -> dict:
    """Loss (in both forms), posterior and gradients; which of the queue's rows are overwritten."""
    f, g, mu = (z[name].clone().requires_grad_() for name in ("f", "g", "expert_prototype"))
    log_pi = gate_log_probabilities(g, z["gating_prototype"], 1.0)
    log_phi = expert_log_probabilities(f, z["v"], mu, z["queue0"], 1.0)
    parts = mice_loss(log_pi, log_phi)
    parts["loss"].backward()
    rows, after = enqueue(z["queue0"].flatten(1), z["tau1.0_queue_index_before"], z["v"].flatten(1))
    changed = (rows != z["queue0"].flatten(1)).any(1).nonzero().flatten()
    return {f"tau1.0_{name}": value for name, value in {
        "loss": parts["loss"], "posterior": parts["posterior"], "log_pi": log_pi, "grad_f": f.grad, "grad_g": g.grad,
        "grad_expert_prototype": mu.grad, "queue_index_after": after, "queue_rows_changed": changed,
        "minus_mean_log_evidence_selfcheck": -elbo(log_pi, log_phi, parts["posterior"])}.items()}


def mice_prototypes(z: Arrays) -> dict:
    """The M-step. From zeros the official zeros of empty clusters come out: they keep what they had."""
    posterior = F.one_hot(z["update_hard_labels"], 10).double()
    sums = assigned_sums(z["v"], posterior)
    centers = max_mahalanobis_centers(10, 128).double()
    return {"update_new_center_sum": sums, "update_hard_labels": posterior.argmax(1),
            "update_expert_prototype_after": new_prototypes(z["expert_prototype"], z["update_in"]),
            "update_expert_prototype_after_with_empty_clusters": new_prototypes(torch.zeros_like(sums), sums),
            "gating_gram": centers @ centers.T}


# ---------------------------------------------------------------- GATCluster
def gat_maps(z: Arrays) -> dict:
    side = torch.linspace(0, 1, 4, dtype=torch.float64)
    return {"att_official": gaussian_map(z["theta"], 4, 4, official=True),
            "att_paper_param_not_official": gaussian_map(z["theta"], 4, 4),
            "fea_coords": torch.cartesian_prod(side, side)}


def gat_targets(z: Arrays) -> dict:
    """The clusters that can be used stay as they are; with one missing, each image is its own."""
    kept = usable_clusters(z["kmeans_labels"], 5)
    alone = usable_clusters(z["kmeans_labels_degenerate"], 5)
    assert torch.equal(kept, z["kmeans_labels"]) and torch.equal(alone, torch.arange(40))
    return {"target_att_sharpened": sharpened_target(z["q"]), "target_balance": balanced_target(z["q"])}


NAMES = {"features": "feature_conv.encoder.{}1_1", "classifier": "classifier_ori.lin{}",
         "attend": "att_conv.encoder.{}1_1", "attention_classifier": "classifier_att.lin{}"}


def gat_heads(z: Arrays) -> ClusterHeads:
    """The heads with the stored weights, and the official code's attention."""
    heads = ClusterHeads(6, 4, 5, 6, official=True).double()
    state = {}
    for key in heads.state_dict():
        part, _, rest = key.partition(".")
        number, _, name = rest.partition(".")
        layer = {"0": "1", "2": "2"}[number] if "classifier" in part else "conv" if number == "0" else "bn"
        official = f"theta_mlp_0.lin1.{rest}" if part == "theta" else f"{NAMES[part].format(layer)}.{name}"
        state[key] = z[f"sd.{official}"].clone()
    for norm in ("features", "attend"):  # stored after the call: momentum 0.1 from mean 0 and variance 1
        state |= {f"{norm}.1.running_mean": torch.zeros_like(state[f"{norm}.1.running_mean"]),
                  f"{norm}.1.running_var": torch.ones_like(state[f"{norm}.1.running_var"])}
    heads.load_state_dict(state)
    return heads.train()


def gat_forward(z: Arrays) -> dict:
    heads = gat_heads(z)
    features = heads.features(z["fea"])
    p, attended, attention = heads(z["fea"])
    return {"fwd_prob_ori": p, "fwd_prob_att": attended, "fwd_att_map": attention,
            "fwd_feature_ori": features.mean((2, 3)), "fwd_feature_att": (features * attention).sum((2, 3))}


def gat_losses(z: Arrays) -> dict:
    """The four tasks with the targets of the first eight images, and their weighted sum."""
    p, attended, _ = gat_heads(z)(z["fea"])
    similarity, entropy, relation, attention = z["loss_weights_sim_ent_rel_att"]
    labels = usable_clusters(z["kmeans_labels"], 5)[:8]
    total = (similarity * invariance_loss(p, z["target_balance"][:8]) + relation * relation_loss(p, labels)
             + entropy * (entropy_loss(p) + entropy_loss(attended))
             + attention * attention_loss(attended, z["target_att_sharpened"][:8]))
    return {"total": total, "num_pos_gt": (labels[:, None] == labels).tril().sum()}
