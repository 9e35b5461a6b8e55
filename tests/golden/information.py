"""What the golden table computes for week 24: AMDIM and its task in Lightning-Bolts, CPC, CMC."""

from __future__ import annotations

import re
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.methods.contrastive.simclr import nt_xent
from course_lib.methods.information.amdim import feature_map_loss, nce, pairs_of, scaled_dots, tanh_clip
from course_lib.methods.information.cmc import cmc_loss
from course_lib.methods.information.cpc import ContextNet, cpc_loss, labels_below
from course_lib.methods.pretext.memory import MemoryBank
from golden.contrastive import Arrays, leaf


def numbers(z: Arrays, pattern: str) -> Iterator[tuple[str, ...]]:
    """The groups of a pattern in each name that matches it as a whole, once each, in order."""
    found = [match.groups() for key in z if (match := re.fullmatch(pattern, key))]
    yield from dict.fromkeys(found)


def number(text: str) -> float:
    """0p07 is 0.07."""
    return float(text.replace("p", "."))


def middle(cells: Tensor, count: int) -> Tensor:
    """Draws in [0, 1) that choose these of `count` cells."""
    return (cells + 0.5) / count


# ---------------------------------------------------------------- AMDIM
def amdim(z: Arrays) -> dict:
    """The official names of pairs have the maps' sides, ours their places: 5t5 is "11"."""
    views = [[z[f"r{side}_x{view}"] for side in (1, 5, 7)] for view in (1, 2)]
    cells = torch.stack([middle(z[f"src5_index_x{view}"], 25) for view in (1, 2)])  # (2, B)
    out = {}
    for (clip,) in numbers(z, r"lgt_reg_tclip(\d+)"):
        parts = feature_map_loss(*views, cells.expand(3, 2, -1), pairs_of("01,02,11", 3), float(clip))
        names = {"loss_1t5": "01", "loss_1t7": "02", "loss_5t5": "11", "lgt_reg": "regulariser"}
        out |= {f"{name}_tclip{clip}": parts[ours] for name, ours in names.items()}
        out |= _one_direction(views[0][0].flatten(1), views[1][2], clip)
    return out


def _one_direction(sources: Tensor, target: Tensor, clip: str) -> dict:
    """Score by score: the loss of one positive is minus its logarithm of a probability."""
    n, locations = len(sources), target.shape[2] * target.shape[3]
    raw = scaled_dots(sources, target.flatten(2).transpose(1, 2).flatten(0, 1))
    own = torch.eye(n, dtype=torch.bool).repeat_interleave(locations, 1)
    clipped, each = tanh_clip(raw, float(clip)), torch.empty(n * locations)
    for place, (row, column) in enumerate(own.nonzero().tolist()):
        one = torch.zeros_like(own)
        one[row, column] = True
        each[place] = -nce(clipped, one, ~own)
    return {f"nce_scores_1t7_dir1_tclip{clip}": each.view(n, locations),
            f"pos_scores_1t7_dir1_tclip{clip}": clipped[own].view(n, locations),
            f"lgt_reg_1t7_dir1_tclip{clip}": 0.05 * raw.square().mean()}


def amdim_clip(z: Arrays) -> dict:
    """The clip alone, and the loss of the official classifier, which uses it."""
    logits = z["xent_logits"]
    loss = F.cross_entropy(tanh_clip(logits, 10.0), z["xent_labels"]) + 1e-3 * logits.square().mean()
    return {"xent_loss": loss} | {f"tanh_clip_{clip}": tanh_clip(z["tanh_clip_x"], float(clip))
                                  for (clip,) in numbers(z, r"tanh_clip_(\d+)")}


# ---------------------------------------------------------------- Lightning-Bolts
def bolts(z: Arrays) -> dict:
    """doc_*: of Bolts' documentation, whose maps and then source cells are the first draws after seed 0."""
    maps = [z[f"doc_{name}"] for name in ("a1", "a2", "b1", "b2")]
    generator = torch.Generator().manual_seed(0)
    for stored in maps:
        assert torch.equal(torch.rand(stored.shape, generator=generator), stored)
    count, n = maps[0].shape[2] * maps[0].shape[3], len(maps[0])
    pairs = pairs_of("01, 11", 2)
    cells = torch.stack([torch.stack([torch.randint(0, count, (n,), generator=generator) for _ in range(2)])
                         for _ in pairs])
    parts = feature_map_loss(maps[:2], maps[2:], middle(cells, count), pairs, float(z["doc_tclip"]))
    out = {"doc_losses": torch.stack([parts["01"], parts["11"]]), "doc_reg": parts["regulariser"]}
    for compare, ways in numbers(z, r"loss_(\d\d)_(\w+)"):
        draws = torch.zeros(1, 2, len(z["map1"]))
        parts = feature_map_loss([z["map1"]], [z["map2"]], draws, pairs_of(compare, 1), 10.0, both=ways != "oneway")
        out |= {f"loss_{compare}_{ways}": parts[compare][None], f"reg_{compare}_{ways}": parts["regulariser"]}
    return out


def bolts_nt_xent(z: Arrays) -> dict:
    return {f"ntx_loss_T{t}": nt_xent(z["ntx_z1"], z["ntx_z2"], number(t))["loss"]
            for (t,) in numbers(z, r"ntx_loss_T(\w+)")}


# ---------------------------------------------------------------- CPC
def _filled(z: Arrays, module: nn.Module, prefix: str) -> nn.Module:
    """Its weights from the arrays, whose names have underscores for dots."""
    module.load_state_dict({key: z[f"{prefix}_{key.replace('.', '_')}"] for key in module.state_dict()})
    return module


def cpc(z: Arrays) -> dict:
    """Bolts' context network and its sum, in which a distance of k rows counts k - 1 times."""
    maps = leaf(z["z"])
    n, width, rows, columns = maps.shape
    blocks = len(set(numbers(z, r"w_context_cnn_blocks_(\d+)_0_weight")))
    hidden, out = len(z["w_context_cnn_blocks_0_0_weight"]), len(z["w_target_cnn_weight"])
    context_net = _filled(z, ContextNet(width, hidden, blocks, bolts=True), "w_context_cnn")
    target, predict = (_filled(z, nn.Conv2d(width, out, 1), f"w_{name}_cnn") for name in ("target", "pred"))
    context = context_net(maps)
    targets, predictions = target(maps), predict(context)
    losses = [cpc_loss(predictions, targets, k, float(z["embed_scale"]))["loss"] for k in range(1, rows)]
    total = sum(offset * loss for offset, loss in enumerate(losses))
    total.backward()
    found = {"context": context, "targets": targets, "preds": predictions, "total_bolts": total,
             "grad_z_total": maps.grad, "row_dependence": _dependence(context_net, maps, 2),
             "col_dependence": _dependence(context_net, maps, 3)}
    for offset, loss in enumerate(losses):
        found |= {f"loss_offset{offset}": loss, f"labels_offset{offset}": labels_below(n, rows, columns, offset + 1)}
    return found


def _dependence(net: nn.Module, maps: Tensor, dim: int) -> Tensor:
    """(S, S) bool: does row or column r of the contexts depend on row or column s of the map?"""
    found = []
    for place in range(maps.shape[dim]):
        given = leaf(maps.detach())
        net(given).select(dim, place).sum().backward()
        found.append(given.grad.abs().sum([d for d in range(4) if d != dim]) > 0)
    return torch.stack(found)


# ---------------------------------------------------------------- CMC
def _bank(rows: Tensor, momentum: float) -> MemoryBank:
    bank = MemoryBank(rows.shape[1], momentum)
    bank.fill(rows=rows.clone(), written=torch.zeros(len(rows), dtype=torch.int64))
    return bank


def cmc(z: Arrays) -> dict:
    """l is scored with the rows of ab, and ab with those of l; official scores of the softmax are s itself."""
    out, names = {}, ("l", "ab")
    n = len(z["memory_l"])
    for (kind,) in numbers(z, r"out_l_(\w+)"):
        banks = [_bank(z[f"memory_{name}"], float(z["momentum"])) for name in names]
        scores = [bank.scores(z[f"feat_{name}"], z["idx"], float(z["T"])) for name, bank in zip(names, banks[::-1])]
        log_z = [bank.log_partition(each) for each, bank in zip(scores, banks[::-1])] if kind == "nce" else None
        parts = cmc_loss(scores, log_z, n)
        for place, (name, part) in enumerate(zip(names, ("first", "second"))):
            shown = scores[place] if log_z is None else (scores[place] - log_z[place]).exp()
            banks[place].update(z["y"], z[f"feat_{name}"])
            out |= {f"out_{name}_{kind}": shown[..., None], f"memory_{name}_after_{kind}": banks[place].rows,
                    f"loss_{name}_{kind}": parts[part].view(z[f"loss_{name}_{kind}"].shape)}
        out[f"loss_{kind}"] = parts["loss"].view(z[f"loss_{kind}"].shape)
    return out
