"""What the golden table computes for DINO and iBOT."""

from __future__ import annotations

import random
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from course_lib.augment.masks import hide_blocks, random_ratio, scattered
from course_lib.methods.masked.dino import clip_each, dino_loss, moved_center, warm_temperature
from course_lib.methods.masked.ibot import IBOTHead, patch_loss
from course_lib.models.vit import ViT
from course_lib.optim import cosine, ema_momentum, warmup_cosine
from golden.contrastive import cases, leaf

Arrays = Mapping[str, Tensor]
WEIGHTS = (1.0, 0.8)


def warm_schedule(epochs: int, warm: int, wait: int = 0) -> list[float]:
    """The teacher's temperature by epoch: `wait` epochs at .04, then up to .07, which the last of `warm` epochs has."""
    return [warm_temperature(max(0, epoch - wait), 0.04, 0.07, warm - 1) for epoch in range(epochs)]


# ---------------------------------------------------------------- DINO
def dino(z: Arrays) -> dict:
    student, teacher = leaf(z["step0_student"]), z["step0_teacher"]
    temperature = warm_schedule(10, 3)[int(z["step0_epoch"])]
    loss = dino_loss(list(student.chunk(4)), list(teacher.chunk(2)), z["center0"], 0.1, temperature)
    loss.backward()
    return {"teacher_temp_schedule": warm_schedule(10, 3), "step0_loss": loss, "step0_grad_student": student.grad,
            "step0_center_after": moved_center(z["center0"], teacher, 0.9)}


def dino_steps(z: Arrays) -> dict:
    """Consecutive steps: each uses the centre that the step before has left."""
    out = {}
    for case, hyper in cases(z).items():
        center = torch.zeros(hyper["K"], dtype=torch.float64)
        found = {name: [] for name in ("loss", "grad_student", "center")}
        steps = zip(z[f"{case}__student"], z[f"{case}__teacher"], z[f"{case}__teacher_temp"])
        for student, teacher, temperature in steps:
            student = leaf(student)
            loss = dino_loss(list(student.chunk(hyper["crops"])), list(teacher.chunk(2)), center, hyper["student_temp"],
                             float(temperature))
            loss.backward()
            center = moved_center(center, teacher, hyper["center_momentum"])
            for name, value in (("loss", loss), ("grad_student", student.grad), ("center", center)):
                found[name].append(value.detach().clone())
        out |= {f"{case}__{name}": torch.stack(values) for name, values in found.items()}
    return out


def dino_rate(z: Arrays) -> dict:
    """utils.cosine_scheduler warms up so that the *last* warm-up step has the peak already; warmup_cosine one later."""
    steps = z["dino_lr__step"].tolist()
    return {"dino_lr__value": [_rate(step, len(steps), 21, 1e-3, 1e-6) for step in steps]}


def _rate(step: int, total: int, warm: int, peak: float, final: float) -> float:
    if step < warm:
        return peak * warmup_cosine(step, total, warm - 1, final / peak)
    return peak * warmup_cosine(step, total, warm, final / peak)


# ---------------------------------------------------------------- iBOT
def ibot_step(z: Arrays) -> dict:
    cls, patches = leaf(z["step0_student_cls"]), leaf(z["step0_student_patch"])
    temperature = warm_schedule(10, 3)[int(z["step0_epoch"])]
    crops = [*cls.chunk(2), *z["step0_student_local_cls"].chunk(2)]
    loss_cls = dino_loss(crops, list(z["step0_teacher_cls"].chunk(2)), z["center0"], 0.1, temperature)
    loss_patch = patch_loss(patches, z["step0_teacher_patch"], ~z["masks"].flatten(0, 1), z["center2_0"], 0.1,
                            temperature)
    loss_cls, loss_patch = WEIGHTS[0] * loss_cls, WEIGHTS[1] * loss_patch
    (loss_cls + loss_patch).backward()
    return {"step0_loss_cls": loss_cls, "step0_loss_patch": loss_patch, "step0_loss_loss": loss_cls + loss_patch,
            "step0_grad_student_cls": cls.grad, "step0_grad_student_patch": patches.grad,
            "step0_center_after": moved_center(z["center0"], z["step0_teacher_cls"]),
            "step0_center2_after": moved_center(z["center2_0"], z["step0_teacher_patch"])}


def ibot_schedules(z: Arrays) -> dict:
    return {"teacher_temp_schedule": warm_schedule(10, 3), "teacher_temp2_schedule": warm_schedule(10, 3),
            "teacher_temp2_schedule_mimstart2": warm_schedule(10, 3, wait=2),
            "cos_0.996_1_ep4_it3": [ema_momentum(0.996, step / 12) for step in range(12)],
            "cos_wd_0.04_0.4_ep4_it3": [cosine(0.04, 0.4, step / 12) for step in range(12)],
            "cos_lr_5e-4_1e-6_ep5_it3_warm2": [_rate(step, 15, 6, 5e-4, 1e-6) for step in range(15)]}


def ibot_head(z: Arrays) -> dict:
    out = {}
    for kind in ("shared", "split"):
        def stored(name: str, kind: str = kind) -> Tensor:
            return z[f"head_{kind}_sd.{name}"]

        head = IBOTHead(12, 13, 20, 6, None if kind == "shared" else 11).double()
        names = {f"mlp.{i}.{part}": f"mlp.{i}.{part}" for i in (0, 2, 4) for part in ("weight", "bias")}
        names["last.weight"] = "last_layer.weight_v"
        assert (stored("last_layer.weight_g") == 1).all() and (stored("last_layer2.weight_g") == 1).all()
        assert not z[f"head_{kind}_weight_g_requires_grad"]
        if kind == "split":
            names["last_patch.weight"] = "last_layer2.weight_v"
        else:
            assert torch.equal(stored("last_layer2.weight_v"), stored("last_layer.weight_v"))
        head.load_state_dict({ours: stored(theirs) for ours, theirs in names.items()})
        cls, patches = head(z[f"head_{kind}_x"])
        out |= {f"head_{kind}_cls": cls, f"head_{kind}_patch": patches,
                f"head_{kind}_2d": head(z[f"head_{kind}_x"][:, 0])}
    return out


def ibot_vit(z: Arrays) -> dict:
    vit = ViT(16, 4, 12, 1, 2, mlp_ratio=2.0, positions="learned").double()
    vit.load_state_dict({name: z[f"vit_sd.{theirs}"].view(like.shape)
                         for name, like, theirs in ((n, p, _theirs(n)) for n, p in vit.state_dict().items())})
    token = z["vit_sd.masked_embed"].view(1, 1, -1)
    return {"vit_tokens_masked": vit.tokens(z["vit_x"], ~z["vit_mask"], mask_token=token),
            "vit_tokens_unmasked": vit.tokens(z["vit_x"]), "masked_embed_init": torch.zeros(1, 12)}


def _theirs(name: str) -> str:
    for ours, official in (("class_token", "cls_token"), ("positions", "pos_embed"), ("patch_embed.",
        "patch_embed.proj."),
                           ("mlp.0.", "mlp.fc1."), ("mlp.2.", "mlp.fc2.")):
        name = name.replace(ours, official)
    return name


def ibot_masks(z: Arrays) -> dict:
    """ImageFolderMask draws the share and the blocks from Python's generator, scattered patches from NumPy's.

    Stored: 1 = hidden.
    """
    out, parts = {}, (("g0", 14), ("g1", 14), ("local", 6))
    for seed in range(4):
        draw = random.Random(seed)
        for part, grid in parts:
            target = random_ratio(draw) * grid**2
            out[f"sampler_block_seed{seed}_{part}"] = torch.as_tensor(~hide_blocks(grid, target, (grid // 3) ** 2,
                                                                                   draw))
        draw, shuffle = random.Random(seed), np.random.RandomState(seed)
        for part, grid in parts:
            count = torch.tensor([int(random_ratio(draw) * grid**2)])
            order = torch.from_numpy(shuffle.permutation(grid**2))[None]
            out[f"sampler_rand_seed{seed}_{part}"] = ~scattered(order, count).view(grid, grid)
    draw = random.Random(4)
    return out | {"pred_ratio_draws_seed4": [random_ratio(draw) for _ in range(10)]}


def ibot_clip(z: Arrays) -> dict:
    module = nn.Linear(3, 2).double()
    module.weight.grad, module.bias.grad = z["clip_grad_w_before"].clone(), z["clip_grad_b_before"].clone()
    norms = clip_each(module.parameters(), 3.0)
    return {"clip_norms": norms, "clip_grad_w_after": module.weight.grad, "clip_grad_b_after": module.bias.grad}
