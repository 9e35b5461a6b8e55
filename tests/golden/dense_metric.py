"""What the golden table computes for the methods of places and of distances, of weeks 27 and 28."""

from __future__ import annotations

import re

import torch
from torch import Tensor
from torch.nn import functional as F

from course_lib.evaluate.trees import hyperbolicity
from course_lib.methods.dense.pixpro import pixpro_loss, propagate, relative_distances
from course_lib.methods.metric.hyperbolic import level_negatives, log_ratio_loss
from course_lib.models import poincare as ball
from golden.contrastive import Arrays, leaf


def pixpro(z: Arrays) -> dict:
    """Powers and thresholds are in the names of the stored losses; `prop` is stored at length 1."""
    out: dict[str, Tensor] = {}
    for name in [key for key in z if key.startswith("loss_p")]:
        power, ratio = map(float, re.findall(r"[\d.]+", name))
        maps = [leaf(z["proj1"]), z["proj2"]]
        y1, y2 = (propagate(x, F.conv2d(x, z["conv_w"], z["conv_b"]), power) for x in maps)
        parts = pixpro_loss(y1, y2, z["key1"], z["key2"], z["coord1"], z["coord2"], ratio)
        parts["loss"].backward()
        short = f"p{power:g}"
        out |= {name: parts["loss"], f"prop1_{short}": F.normalize(y1, dim=1), f"prop2_{short}": F.normalize(y2, dim=1)}
        if (gradient := f"grad_proj1_{short}_r{ratio:g}".replace(".", "p")) in z:
            out[gradient] = maps[0].grad
        apart = relative_distances(z["coord1"], z["coord2"], y1.shape[-1])
        out |= {"norm_dist_12": apart, f"pos_count_12_r{ratio:g}".replace(".", "p"): (apart < ratio).sum((1, 2))}
    return out


def hyperbolic(z: Arrays, by: tuple[str, ...]) -> dict:
    """Of one release. `x` and `y` are exp0 of u and v; matvec is that of x, distances are those of x and y."""
    out: dict[str, Tensor] = {}
    for c in z["curvatures"].tolist():
        x, y = leaf(ball.exp0(z["u"], c)), ball.exp0(z["v"], c)
        apart = ball.distance(x, y, c)
        (slope,) = torch.autograd.grad(apart.sum(), x)
        found = {"expmap0_u": x, "expmap0_v": y, "expmap0": x, "dist": apart, "grad_dist_x": slope,
                 "dist0": ball.distance(x, torch.zeros_like(x), c), "dist_matrix": ball.distance(x[:, None], y, c),
                 "mobius_add": ball.mobius_add(x, y, c), "logmap0": ball.log0(x, c), "logmap": ball.log(x, y, c),
                 "expmap": ball.exp(x, z["v"], c), "matvec": ball.mobius_matvec(z["matvec_m"], x, c),
                 "project_big": ball.project(z["big"], c), "lambda": ball.conformal_factor(x, c)[:, 0]}
        tag = str(c).replace(".", "p")
        out |= {key: found[name] for name in found for release in by if (key := f"{name}{release}_c{tag}") in z}
    return out


def tree_likeness(z: Arrays) -> dict:
    delta, relative = hyperbolicity(torch.cdist(z["delta_points"], z["delta_points"]))
    return {"delta_hyp": delta, "delta_rel": relative}


def log_ratio(z: Arrays) -> dict:
    """Inner products of points of the ball. The release compares every level with the first level's labels."""
    x, labels = z["x_unit"], z["labels"]
    points = ball.project(ball.exp0(x))
    positives = (labels[:, None, 0] == labels[:, 0]) & ~torch.eye(len(x), dtype=torch.bool)
    found = {"x_ball": points, "radius": points.norm(dim=1)}
    crossed = (labels[:, 0][:, None, None] != labels[None]).movedim(2, 0).flip(0)  # (M, N, N), the coarsest first
    crossed[1:] &= ~crossed[:-1].clone()
    for name, negatives in (("level_with_itself", level_negatives(labels)), ("official_indexing", crossed)):
        found[f"loss_{name}"] = log_ratio_loss(points @ points.T, positives, negatives, float(z["omega"]))[0]
    return found
