r"""SSKD: knowledge distillation meets self-supervision. Xu, Liu, Li and Loy, ECCV 2020, arXiv 2006.07114; official:
xuguodong03/SSKD.

A small network, the student, learns from a large one that knows the labels. Beside what the teacher says of a picture
it takes over how the teacher's *self-supervised* head compares pictures: which picture is a turned one a copy of? B
images, each in four turns (0, 90, 180, 270 degrees; the first is upright), logits l, projections z:

    L = 0.1 CE(upright l, labels) + 0.9 KD_4(upright l) + 2.7 KD_4(turned l) + 10 KD_{1/2}(A)

    KD_T(s, t) = T^2 * mean over rows of KL( softmax(t / T) || softmax(s / T) )
    A_{ij} = cos(z_i', z_j),   z' of turned pictures, z of upright ones

A is (3B, B): each turned picture against all upright ones. A teacher errs on turned pictures, and its errors are worth
less: of the rows it gets wrong only those are kept in which the truth has the best rank, 3 in 4 for A, all for turned
l. T is below 1 for A as cosines span only 2; logits span far more.

What other implementations get wrong: KL the other way round, or without T^2; the mean over all entries instead of rows,
or over rows that were not kept; a gradient into the teacher; the turned ones of one picture not beside each other.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from course_lib.collectives import gather
from course_lib.models.layers import normalize
from course_lib.precision import check_positive, in_float32

TURNS = 4
WEIGHTS = {"labels": 0.1, "upright": 0.9, "turned": 2.7, "similarity": 10.0}


@in_float32
def distilled(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """KD_T of logits (R, K), (R, K): a scalar; 0 without rows. The teacher is a constant."""
    check_positive("temperature", temperature)
    if not len(student):
        return student.sum()
    target = (teacher.detach() / temperature).softmax(1)
    return temperature**2 * F.kl_div((student / temperature).log_softmax(1), target, reduction="batchmean")


@torch.no_grad()
def kept_rows(scores: Tensor, truth: Tensor, share: float) -> Tensor:
    """Rows of scores (R, K) in which the truth, int64 (R,), is first, and `share` of the others: int64, ascending.

    Of the others those in which the truth has the best rank. ValueError for a share outside [0, 1].
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share is {share}; expected a number from 0 to 1: of the rows that the teacher gets wrong")
    rank = (scores > scores.gather(1, truth[:, None])).sum(1)  # (R,), 0: the truth is first
    right = (rank == 0).nonzero().flatten()
    wrong = (rank > 0).nonzero().flatten()
    best = wrong[rank[wrong].argsort(stable=True)[: int(share * len(wrong))]]
    return torch.cat([right, best]).sort().values


@in_float32
def similarities(z: Tensor) -> Tensor:
    """Projections (4B, E), the four turns of an image beside each other -> A (3B, B)."""
    z = normalize(z).unflatten(0, (-1, TURNS))  # (B, 4, E)
    return z[:, 1:].flatten(0, 1) @ z[:, 0].T


def pretext_loss(z: Tensor, temperature: float = 0.5) -> Tensor:
    """What the teacher's head learns before: of which image is each turned one a copy? (4B, E) -> scalar."""
    scores = similarities(z)
    return F.cross_entropy(scores / temperature, torch.arange(len(scores), device=z.device) // (TURNS - 1))


@in_float32
def sskd_loss(student: Tensor, student_z: Tensor, teacher: Tensor, teacher_z: Tensor, labels: Tensor,
              weights: dict[str, float] | None = None, share_similarity: float = 0.75, share_turned: float = 1.0,
              temperatures: tuple[float, float, float] = (4.0, 4.0, 0.5)) -> dict[str, Tensor]:
    """Logits (4B, K) and projections (4B, E) of both networks, labels int64 (B,) -> "loss" and its four parts.

    The four turns of an image stand beside each other, the upright one first. weights: of the parts, 0 leaves one out.
    The batch is that of all ranks. ValueError where the rows are not four for each label.
    """
    if not len(student) == len(teacher) == len(student_z) == len(teacher_z) == TURNS * len(labels):
        raise ValueError(f"{len(student)} and {len(teacher)} rows of logits, {len(student_z)} and {len(teacher_z)} of "
                         f"projections for {len(labels)} labels; expected {TURNS} for each label, its four turns")
    student, student_z, teacher, teacher_z, labels = (
        gather(x.contiguous()) for x in (student, student_z, teacher, teacher_z, labels))
    (s, s_turned), (t, t_turned) = (_apart(x) for x in (student, teacher))
    own, told = similarities(student_z), similarities(teacher_z)
    rows = kept_rows(t_turned, labels.repeat_interleave(TURNS - 1), share_turned)
    copies = torch.arange(len(labels), device=labels.device).repeat_interleave(TURNS - 1)
    alike = kept_rows(told, copies, share_similarity)
    parts = {"labels": F.cross_entropy(s, labels), "upright": distilled(s, t, temperatures[0]),
             "turned": distilled(s_turned[rows], t_turned[rows], temperatures[1]),
             "similarity": distilled(own[alike], told[alike], temperatures[2])}
    by = WEIGHTS if weights is None else weights
    return {"loss": torch.stack([by[name] * part for name, part in parts.items()]).sum(), **parts}


def _apart(logits: Tensor) -> tuple[Tensor, Tensor]:
    """(4B, K) -> upright (B, K) and turned (3B, K)."""
    each = logits.unflatten(0, (-1, TURNS))
    return each[:, 0], each[:, 1:].flatten(0, 1)
