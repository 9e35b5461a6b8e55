"""Exercises of week 24, the contrastive framework: a loss with masks, a cell among maps, CPC's labels, YADIM's step."""
from __future__ import annotations

import copy
import math
from functools import partial

import torch
from torch import Tensor, nn

from course_lib.exercises.questions import quiz
from course_lib.exercises.spec import Exercise
from lessons.exercises.shared import blank, descend, randn, seeded, steps, weights_of


# ------------------------------------------------------------------------------------------------ 24.nce
def nce(scores: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
    """Scores (A, C) -> scalar: the mean over all positives of how little each stands out of its row's negatives."""
    rest = scores.masked_fill(~negative, -torch.inf).logsumexp(1, keepdim=True)
    each = torch.logaddexp(scores, rest) - scores
    return torch.where(positive, each, 0.0).sum() / positive.sum()


def _nce_probes(generator, dtype):
    def draw(anchors, candidates, left_out, others=0):
        """Each anchor has one positive, or 1 + others of them; `left_out` more of its candidates are neither."""
        scores = 2 * randn(generator, dtype, anchors, candidates)
        order = torch.rand(anchors, candidates, generator=generator).argsort(1)
        positive = order <= others
        return scores, positive, ~positive & (order > others + left_out)

    one, neither, several, uneven = draw(4, 7, 0), draw(3, 8, 2), draw(5, 9, 0, 2), draw(6, 10, 3, 3)
    uneven[1][0] = uneven[1][0] & (torch.arange(10) == uneven[1][0].long().argmax())  # one positive in the first row
    high = draw(3, 6, 1, 1)
    return [one, neither, several, dict(zip(("scores", "positive", "negative"), uneven)),
            (high[0] + 130.0, *high[1:])]  # exponentials of 130 are infinite in float32


def _nce(scores, positive, negative, *, rivals=None, own=True, among=None, mean=None, sign=1.0):
    """The right one, or with one thing changed."""
    sums = (scores if among is None else among(scores)).masked_fill(~negative, -torch.inf) if rivals is None \
        else rivals(scores, positive, negative)
    below = sums.logsumexp(1, keepdim=True).expand_as(scores)
    below = torch.logaddexp(scores, below) if own else below
    each = sign * (below - scores)
    return each[positive].mean() if mean is None else mean(each, positive)


def _mean_of_rows(each, positive):
    return (torch.where(positive, each, 0.0).sum(1) / positive.sum(1)).mean()


def _row_sum(each, positive):
    return torch.where(positive, each, 0.0).sum() / len(each)


def _nce_over_all(each, positive):
    return torch.where(positive, each, 0.0).mean()


def _all_rows(scores, positive, negative):
    return scores.masked_fill(~negative, -torch.inf).flatten()[None].expand(len(scores), -1)


def _zero_for_minus_infinity(scores, positive, negative):
    return torch.where(negative, scores, 0.0)


def _plain_exponentials(scores, positive, negative):
    rivals = (scores.exp() * negative).sum(1, keepdim=True)
    return -(scores.exp() / (scores.exp() + rivals)).log()[positive].mean()


def _one_for_all_positives(scores, positive, negative):
    low = torch.finfo(scores.dtype).min
    together = scores.masked_fill(~positive, low).logsumexp(1)
    return (torch.logaddexp(together, scores.masked_fill(~negative, low).logsumexp(1)) - together).mean()


def _loop(scores, positive, negative):
    """A right answer: cross-entropy, positive by positive."""
    found = []
    for a, c in positive.nonzero().tolist():
        row = torch.cat([scores[a, c][None], scores[a][negative[a]]])
        found.append(-row.log_softmax(0)[0])
    return torch.stack(found).mean()


first = Exercise(
    key="24.nce", title="One loss, two masks", minutes=8, difficulty=2,
    reference=nce, probes=_nce_probes, gradients=True,
    wrong={
        "the other positives in the sum": (
            partial(_nce, rivals=lambda s, p, n: s.masked_fill(~(n | p), -torch.inf), own=False),
            "Your sum runs over all positives of the row. Each positive stands against itself and the *negatives*; the "
            "row's other positives are not its rivals."),
        "everything in the sum": (
            partial(_nce, rivals=lambda s, p, n: s, own=False),
            "Your sum runs over the whole row, also over what is neither positive nor negative. Only entries where "
            "`negative` is True are rivals."),
        "the positive not in the sum": (
            partial(_nce, own=False),
            "The denominator is exp(s) of the positive itself plus the sum over the negatives: you left the positive "
            "out, so that the loss can fall below 0."),
        "the mean of the rows' means": (
            partial(_nce, mean=_mean_of_rows),
            "You average within each row first. Where rows have different numbers of positives, that weighs positives "
            "differently: one mean over *all* of them."),
        "divided by the number of anchors": (
            partial(_nce, mean=_row_sum),
            "You divide by the number of anchors. Divide by the number of positives, positive.sum()."),
        "a mean over the whole table": (
            partial(_nce, mean=_nce_over_all),
            "You divide by all A * C entries. Only the positives count: divide by positive.sum()."),
        "added up": (
            partial(_nce, mean=lambda each, positive: each[positive].sum()),
            "You added the positives' losses. Wanted is their mean."),
        "negatives of all anchors": (
            partial(_nce, rivals=_all_rows),
            "Each anchor's rivals are those of its own row; you sum over the whole table."),
        "masked by 0": (
            partial(_nce, rivals=_zero_for_minus_infinity),
            "A score of 0 is not nothing: exp(0) = 1 for each masked entry. Mask with -infinity, before the "
            "exponential."),
        "exponentials as they are": (
            _plain_exponentials,
            "Right for small scores. exp(130) is infinite in float32, and then the loss is not a number: stay in "
            "logarithms, with torch.logsumexp and torch.logaddexp."),
        "all positives as one": (
            _one_for_all_positives,
            "You put the positives of a row together, so that one good one suffices. Each positive has a loss of its "
            "own; then comes the mean."),
        "the sign": (
            partial(_nce, sign=-1.0),
            "That is the logarithm of the share, which training would make smaller. The loss is its negative."),
        "negatives by their number": (
            partial(_nce, rivals=lambda s, p, n: s.masked_fill(~n, -torch.inf)
                    - n.sum(1, keepdim=True).to(s.dtype).log()),
            "You take the *mean* over the negatives. In InfoNCE it is their sum: more negatives, a harder task."),
    },
    right={"cross-entropy, positive by positive": _loop,
           "the lowest number for infinity": lambda scores, positive, negative: torch.where(
               positive, torch.logaddexp(scores, scores.masked_fill(~negative, torch.finfo(scores.dtype).min)
                                         .logsumexp(1, keepdim=True)) - scores, 0.0).sum() / positive.sum(),
           "softplus": lambda scores, positive, negative: nn.functional.softplus(
               scores.masked_fill(~negative, -torch.inf).logsumexp(1, keepdim=True) - scores)[positive].mean()},
    hints=("For one positive with the score s: -log(exp(s) / (exp(s) + rest)). What is the rest of its row, and how do "
           "you leave entries out of a logsumexp?",
           "rest = scores.masked_fill(~negative, -torch.inf).logsumexp(1, keepdim=True), (A, 1). Then "
           "torch.logaddexp(scores, rest) - scores, and its mean over the positives.",
           "rest = scores.masked_fill(~negative, -torch.inf).logsumexp(dim=1, keepdim=True)\n"
           "each = torch.logaddexp(scores, rest) - scores\n"
           "return each[positive].mean()"),
)


# ------------------------------------------------------------------------------------------------ 24.map_loss
def map_loss(sources: Tensor, targets: Tensor, clip: float = 20.0, weight: float = 0.05) -> Tensor:
    """Vectors (N, d) find their image's among maps (N, d, h, w) -> scalar: NCE of clipped scores, and a regulariser."""
    n, d = sources.shape
    scores = sources @ targets.flatten(2).transpose(1, 2).flatten(0, 1).T / math.sqrt(d)  # (N, N * L), image by image
    own = torch.eye(n, dtype=torch.bool, device=scores.device).repeat_interleave(scores.shape[1] // n, 1)
    return nce(clip * torch.tanh(scores / clip), own, ~own) + weight * scores.square().mean()


def _map_probes(generator, dtype):
    def draw(n, d, h, w, size=1.0):
        return size * randn(generator, dtype, n, d), size * randn(generator, dtype, n, d, h, w)

    # with large vectors, and a low clip, the clip bends; with a large weight the regulariser counts
    return [draw(4, 6, 2, 3), (*draw(3, 5, 3, 2, 3.0), 2.0, 0.3), (*draw(2, 7, 4, 2, 1.5), 8.0, 0.0),
            dict(zip(("sources", "targets"), draw(5, 8, 1, 1, 2.0)), clip=5.0)]


def _maps(sources, targets, clip=20.0, weight=0.05, *, flat=None, scale=None, bend=True, punished="before",
          own_too=False, summed=False, square=True, first=None):
    """The right one, or with one thing changed."""
    n, d = sources.shape
    cells = targets.flatten(2).transpose(1, 2).flatten(0, 1) if flat is None else flat(targets)
    scores = sources @ cells.T / (math.sqrt(d) if scale is None else scale(sources, targets))
    clipped = clip * torch.tanh(scores / clip) if bend is True else bend(scores, clip) if bend else scores
    places = len(cells) // n
    own = torch.eye(n, dtype=torch.bool).repeat_interleave(places, 1)
    if first is not None:
        own = first(own, places)
    other = ~torch.eye(n, dtype=torch.bool).repeat_interleave(places, 1)
    if own_too:
        below = clipped.logsumexp(1, keepdim=True)
        loss = (below - clipped)[own].mean()
    else:
        loss = nce(clipped, own, other)
    seen = {"before": scores, "after": clipped, "own": scores[own]}[punished]
    size = seen.square() if square else seen.abs()
    return (loss * (places if summed else 1)) + weight * size.mean()


def _one_cell(own, places):
    """Only the first place of the own map is a positive."""
    return own & (torch.arange(own.shape[1]) % places == 0)


def _pooled(sources, targets, clip=20.0, weight=0.05):
    return _maps(sources, targets.mean((2, 3), keepdim=True), clip, weight)


def _no_regulariser(sources, targets, clip=20.0, weight=0.05):
    return _maps(sources, targets, clip, 0.0)


def _cosines(sources, targets, clip=20.0, weight=0.05):
    return _maps(nn.functional.normalize(sources), nn.functional.normalize(targets), clip, weight, scale=lambda s, t: 1)


def _by_einsum(sources, targets, clip=20.0, weight=0.05):
    """A right answer: the scores as a table of images by images by places."""
    n, d = sources.shape
    scores = torch.einsum("id,jdhw->ijhw", sources, targets).flatten(2) / d**0.5  # (N, N, L)
    clipped = clip * torch.tanh(scores / clip)
    own = clipped.diagonal().T  # (N, L)
    off = clipped.masked_fill(torch.eye(n, dtype=torch.bool)[:, :, None], -torch.inf).flatten(1)
    loss = (torch.logaddexp(own, off.logsumexp(1, keepdim=True)) - own).mean()
    return loss + weight * (scores**2).mean()


second = Exercise(
    key="24.map_loss", title="A place finds its image among the maps", minutes=12, difficulty=3,
    reference=map_loss, probes=_map_probes, gradients=True,
    wrong={
        "the width in place of its root": (
            partial(_maps, scale=lambda s, t: s.shape[1]),
            "You divide by d. The inner product of two random vectors of width d is about sqrt(d) large: divide by "
            "that."),
        "not scaled": (
            partial(_maps, scale=lambda s, t: 1),
            "The inner products are divided by sqrt(d), d being the width of the vectors."),
        "the root of another size": (
            partial(_maps, scale=lambda s, t: math.sqrt(len(s))),
            "You divide by the root of the number of images. It is that of the width: math.sqrt(sources.shape[1])."),
        "the clip before the regulariser": (
            partial(_maps, punished="after"),
            "The regulariser sees the clipped scores. Those cannot grow beyond the clip, so a runaway score would cost "
            "nothing more: square the scores *before*."),
        "a hard clip": (
            partial(_maps, bend=lambda s, clip: s.clamp(-clip, clip)),
            "clamp cuts, and beyond it there is no gradient. The clip is soft: clip * tanh(scores / clip)."),
        "tanh without its unit": (
            partial(_maps, bend=lambda s, clip: clip * torch.tanh(s)),
            "tanh bends at 1 whatever the clip is. Divide inside, multiply outside: clip * tanh(scores / clip)."),
        "not clipped": (
            partial(_maps, bend=False),
            "The scores go into the softmax as they are. First clip * tanh(scores / clip)."),
        "the own image's other places as rivals": (
            partial(_maps, own_too=True),
            "Your sum holds the own image's other places. A place is no rival of its neighbour: both are positives. "
            "Rivals are the places of *other* images."),
        "one positive for each image": (
            partial(_maps, first=_one_cell),
            "You take one place of the own map as the positive. All of its places are: each has a term, then the "
            "mean."),
        "added over the places": (
            partial(_maps, summed=True),
            "You add the losses of the own places. The mean runs over images *and* places, or a larger map would weigh "
            "more."),
        "the maps pooled": (
            _pooled,
            "You average each map to one vector first. Then it is SimCLR without a head: each *place* is to be found."),
        "flattened the wrong way": (
            partial(_maps, flat=lambda t: t.permute(2, 3, 0, 1).flatten(0, 2)),
            "Your candidates go place by place, so that the masks name the wrong images. Image by image: "
            "targets.flatten(2).transpose(1, 2).flatten(0, 1)."),
        "reshaped in place of transposed": (
            partial(_maps, flat=lambda t: t.reshape(-1, t.shape[1])),
            "view and reshape cut the numbers anew: a row is no longer one place's vector. First move the width to "
            "the end."),
        "no regulariser": (
            _no_regulariser,
            "weight * mean(scores ** 2) is missing."),
        "the regulariser of the positives": (
            partial(_maps, punished="own"),
            "You punish the positives' scores alone. It is the mean over the whole table."),
        "absolute scores": (
            partial(_maps, square=False),
            "The regulariser squares the scores."),
        "cosines": (
            _cosines,
            "You scaled the vectors to length 1. AMDIM compares inner products; what keeps them small is the "
            "regulariser and the clip."),
    },
    right={"a table of images by images by places": _by_einsum},
    hints=("Put all places of all images in a row, image by image: (N * L, d). Who of them is a positive for source i, "
           "who a negative?",
           "cells = targets.flatten(2).transpose(1, 2).flatten(0, 1); scores = sources @ cells.T / sqrt(d); own = "
           "torch.eye(N, dtype=torch.bool).repeat_interleave(L, 1). Then nce(clip * tanh(scores / clip), own, ~own) "
           "and the regulariser of the scores before.",
           "n, d = sources.shape\n"
           "cells = targets.flatten(2).transpose(1, 2).flatten(0, 1)\n"
           "scores = sources @ cells.T / math.sqrt(d)\n"
           "own = torch.eye(n, dtype=torch.bool, device=scores.device).repeat_interleave(len(cells) // n, dim=1)\n"
           "return nce(clip * torch.tanh(scores / clip), own, ~own) + weight * scores.square().mean()"),
)


# ------------------------------------------------------------------------------------------------ 24.labels
def labels(images: int, height: int, width: int, rows: int) -> Tensor:
    """The number of the patch `rows` rows below each patch that has one: int64 (images * (height - rows) * width,)."""
    b, r, c = (torch.arange(n) for n in (images, height - rows, width))
    return (b[:, None, None] * height * width + (r[:, None] + rows) * width + c).flatten()


def _label_probes(generator, dtype):
    sizes = [(2, 3, 4, 1), (3, 5, 2, 2), (1, 7, 6, 3), (4, 4, 3, 3)]
    return [*sizes[:3], dict(zip(("images", "height", "width", "rows"), sizes[3]))]


def _labels(images, height, width, rows, *, jump=None, line=None, step=None, tall=None, across=None, start=0):
    """The right one, or with one thing changed."""
    b = torch.arange(images)[:, None, None] * (height * width if jump is None else jump(height, width, rows))
    r = torch.arange(height - rows if tall is None else tall(height, rows))[:, None]
    down = (r + (rows if step is None else step(rows))) * (width if line is None else line(height, width))
    c = torch.arange(width if across is None else across(width, rows))
    return (b + down + c + start).flatten()


def _columns_first(images, height, width, rows):
    return torch.arange(images * height * width).view(images, height, width)[:, rows:].transpose(1, 2).flatten()


def _to_the_right(images, height, width, rows):
    return torch.arange(images * height * width).view(images, height, width)[:, :, min(rows, width - 1):].flatten()


def _places_first(images, height, width, rows):
    return torch.arange(images * height * width).view(images, height, width)[:, rows:].permute(1, 2, 0).flatten()


def _listed(images, height, width, rows):
    """A right answer: the formula, in a list."""
    return torch.tensor([b * height * width + (r + rows) * width + c
                         for b in range(images) for r in range(height - rows) for c in range(width)])


third = Exercise(
    key="24.labels", title="CPC: which patch is the right one?", minutes=8, difficulty=2,
    reference=labels, probes=_label_probes, plain=True, unit="patches",
    wrong={
        "height and width exchanged": (
            partial(_labels, line=lambda height, width: height),
            "A step down a row skips one row of patches, and a row has `width` of them, not `height`. What this fault "
            "does to CPC's loss stands below."),
        "the patch itself": (
            partial(_labels, step=lambda rows: 0),
            "These are the numbers of the patches that predict. The right ones are `rows` rows further down."),
        "one row too far": (
            partial(_labels, step=lambda rows: rows + 1),
            "One row too far: count from 0, so that `rows` rows below row r is row r + rows."),
        "always the next row": (
            partial(_labels, step=lambda rows: 1),
            "That is the row right below, whatever `rows` is."),
        "the image's own count": (
            partial(_labels, jump=lambda height, width, rows: 0),
            "The patches of all images are numbered on: image b begins at b * height * width."),
        "images of fewer patches": (
            partial(_labels, jump=lambda height, width, rows: (height - rows) * width),
            "Targets are *all* patches of an image, height * width of them; only predictions end `rows` rows earlier."),
        "all rows predict": (
            partial(_labels, tall=lambda height, rows: height),
            "The last `rows` rows have no patch so far below: they predict nothing. (height - rows) * width labels for "
            "each image."),
        "rows and columns of the grid exchanged": (
            lambda images, height, width, rows: torch.arange(
                images * height * width).view(images, width, height)[:, :, rows:].flatten(),
            "You lay the grid on its side: images x width x height. Rows come before columns, (images, height, width), "
            "and it is rows of patches that are skipped."),
        "the column alone": (
            partial(_labels, jump=lambda *_: 0, line=lambda *_: 0),
            "These are columns, 0 to width - 1. A patch's number counts all patches before it: also those of earlier "
            "rows and images."),
        "the row alone": (
            lambda images, height, width, rows: torch.arange(rows, height).repeat_interleave(width).repeat(images),
            "These are numbers of rows. A patch's number counts all patches before it: r * width for the rows above, "
            "and those of earlier images."),
        "rows from below": (
            lambda images, height, width, rows: torch.arange(
                images * height * width).view(images, height, width)[:, :height - rows].flip(1).flatten(),
            "You count rows upwards. The right patch is `rows` rows *below* the one that predicts: r + rows."),
        "column by column": (
            _columns_first,
            "Right numbers in another order: predictions go row by row, the column changes fastest."),
        "to the right": (
            _to_the_right,
            "You look `rows` columns to the right. Here the context looks down."),
        "place by place": (
            _places_first,
            "Right numbers in another order: image by image, and row by row inside."),
        "counted from 1": (
            partial(_labels, start=1),
            "The first patch of all has the number 0, as everywhere in PyTorch."),
    },
    right={"a list": _listed,
           "a count, cut": lambda images, height, width, rows: torch.arange(
               images * height * width).reshape(images, -1)[:, rows * width:].reshape(-1)},
    hints=("Number all patches: image by image, row by row. What is the number of the patch in image b, row r, column "
           "c?",
           "b * height * width + r * width + c. The one `rows` rows below has r + rows for r. Rows from 0 to height - "
           "rows - 1 predict.",
           "number = torch.arange(images * height * width).view(images, height, width)\n"
           "return number[:, rows:].flatten()"),
)


# ------------------------------------------------------------------------------------------------ 24.yadim_step
def yadim_step(network: nn.Module, optimizer: torch.optim.Optimizer, view1: Tensor, view2: Tensor, cell1: Tensor,
               cell2: Tensor, clip: float = 10.0) -> float:
    """One training step of YADIM -> the loss as a number.

    network: views -> maps (N, d, h, w). cell1, cell2: int64 (N,), which place of each map is its source.
    """
    maps = network(view1), network(view2)
    sources = [m.flatten(2)[torch.arange(len(m)), :, cell] for m, cell in zip(maps, (cell1, cell2))]
    loss = (map_loss(sources[0], maps[1], clip) + map_loss(sources[1], maps[0], clip)) / 2
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def _network(seed: int, dtype: torch.dtype, *widths: int) -> nn.Module:
    return seeded(seed, dtype, lambda: nn.Sequential(
        nn.Conv2d(widths[0], widths[1], 2), nn.Tanh(), nn.Conv2d(widths[1], widths[2], 1)))


def _step_probes(generator, dtype):
    seeds = torch.randint(2**30, (2,), generator=generator).tolist()

    def cells(n, places):
        return torch.randint(places, (3, 2, n), generator=generator)

    return [dict(network=_network(seeds[0], dtype, 2, 5, 4), views=3 * randn(generator, dtype, 3, 2, 6, 2, 3, 4),
                 cells=cells(6, 6), clip=3.0),
            dict(network=_network(seeds[1], dtype, 3, 6, 7), views=3 * randn(generator, dtype, 3, 2, 5, 3, 4, 3),
                 cells=cells(5, 6))]


def _three_steps(step, network, views, cells, **settings):
    """The harness: three updates by SGD; the losses, and the weights after them."""
    network = copy.deepcopy(network).train()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.5)
    found = steps(step, [(network, optimizer, *pair, *where) for pair, where in zip(views, cells)], **settings)
    return found if blank(found) else {**found, "weights": weights_of(network)}


def _mistaken(*, loss=map_loss, ways=((0, 1), (1, 0)), cells=(0, 1), share=0.5, take=None, whole=lambda m: m,
              still=False, order="clear backward step", clipped=True, back=Tensor.item, quiet=False):
    """A step with one thing changed. ways: (source's view, map's view); cells: which draw each view's source takes."""
    def step(network, optimizer, view1, view2, cell1, cell2, clip=10.0):
        maps, draws = [network(view1), network(view2)], (cell1, cell2)
        total = 0.0
        for source, target in ways:
            own = maps[source]
            cell = draws[cells[source]]
            s = (own.flatten(2)[torch.arange(len(own)), :, cell] if take is None else take(own, cell))
            goal = whole(maps[target])
            total = total + share * loss(s.detach() if quiet else s, goal.detach() if still else goal,
                                         **({"clip": clip} if clipped else {"clip": 10.0}))
        return descend(total, optimizer, order, back)

    return step


def _gathered(network, optimizer, view1, view2, cell1, cell2, clip=10.0):
    """A right answer: both views at once, cells by gather; the loss written out."""
    first, second = network(torch.cat([view1, view2])).flatten(2).chunk(2)
    loss = 0.0
    for here, there, cell in ((first, second, cell1), (second, first, cell2)):
        source = here.gather(2, cell[:, None, None].expand(-1, here.shape[1], 1))[..., 0]
        scores = torch.einsum("id,jdl->ijl", source, there) / math.sqrt(source.shape[1])
        soft = clip * torch.tanh(scores / clip)
        own = torch.stack([soft[i, i] for i in range(len(soft))])
        rest = torch.stack([torch.cat([soft[i, :i].flatten(), soft[i, i + 1:].flatten()]).logsumexp(0)
                            for i in range(len(soft))])
        loss = loss + (torch.logaddexp(own, rest[:, None]) - own).mean() / 2 + 0.05 * (scores**2).mean() / 2
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


step = Exercise(
    key="24.yadim_step", title="One step of YADIM", minutes=12, difficulty=3,
    reference=yadim_step, probes=_step_probes, call=_three_steps, tolerance=1e-3,
    words={"['losses']": "the losses of three steps", "['keeps its graph']": "whether the loss keeps its graph",
           "['weights']": "the network's weights after three steps"},
    wrong={
        "one direction": (
            _mistaken(ways=((0, 1),), share=1.0),
            "Only view 1 looks for its images in view 2. Both directions count, each by half."),
        "the other direction": (
            _mistaken(ways=((1, 0),), share=1.0),
            "Only view 2 looks for its images in view 1. Both directions count, each by half."),
        "both directions added": (
            _mistaken(share=1.0),
            "You added the two directions. Wanted is their mean, so that the loss does not depend on how many there "
            "are."),
        "a view looks in itself": (
            _mistaken(ways=((0, 0), (1, 1))),
            "Source and map come from the same view: the source *is* one of the targets. Each view looks in the "
            "other."),
        "the other view's cell": (
            _mistaken(cells=(1, 0)),
            "The cells are exchanged: cell1 says where in view 1's map the source is, cell2 where in view 2's."),
        "one cell for both": (
            _mistaken(cells=(0, 0)),
            "You take cell1 in both views; view 2 has cell2."),
        "always the first cell": (
            _mistaken(take=lambda m, cell: m.flatten(2)[:, :, 0]),
            "You take the first place of every map. cell1 and cell2 say which, a different one for each image."),
        "the mean for a source": (
            _mistaken(take=lambda m, cell: m.mean((2, 3))),
            "Your source is the mean of the map. In YADIM it is *one* cell, drawn at random."),
        "the mean for a target": (
            _mistaken(whole=lambda m: m.mean((2, 3), keepdim=True)),
            "You pool the map that is searched. Pooled against pooled is SimCLR without a head: hand over the whole "
            "map."),
        "targets without gradient": (
            _mistaken(still=True),
            "Your targets are constants. YADIM has one encoder and stops no gradient: sources and targets learn."),
        "sources without gradient": (
            _mistaken(quiet=True),
            "Your sources are constants: nothing is detached in YADIM."),
        "the clip is not handed on": (
            _mistaken(clipped=False),
            "The step has an argument `clip`: map_loss needs it."),
        "AMDIM's clip": (
            _mistaken(loss=lambda s, t, clip: map_loss(s, t)),
            "You left the clip at map_loss's 20. YADIM's default is 10; hand `clip` on."),
        "gradients never cleared": (
            _mistaken(order="backward step"),
            "backward *adds* to .grad: optimizer.zero_grad() before it."),
        "no step": (
            _mistaken(order="clear backward"),
            "The weights are those of the start: optimizer.step() is missing."),
        "the loss keeps its graph": (
            _mistaken(back=lambda loss: loss),
            "You return the tensor with its whole computation; a list of such losses keeps every batch in memory. "
            "Return loss.item()."),
    },
    right={"both views at once, the loss written out": _gathered},
    hints=("Two maps, a source from each. Which map does the source of view 1 look in?",
           "maps: network(view1), network(view2). source = map.flatten(2)[torch.arange(N), :, cell]. The mean of "
           "map_loss(source1, map2, clip) and map_loss(source2, map1, clip); then zero_grad, backward, step.",
           "map1, map2 = network(view1), network(view2)\n"
           "image = torch.arange(len(map1))\n"
           "source1, source2 = map1.flatten(2)[image, :, cell1], map2.flatten(2)[image, :, cell2]\n"
           "loss = (map_loss(source1, map2, clip) + map_loss(source2, map1, clip)) / 2\n"
           "optimizer.zero_grad()\n"
           "loss.backward()\n"
           "optimizer.step()\n"
           "return loss.item()"),
)

EXERCISES = [first, second, third, step]


# ------------------------------------------------------------------------------------------------ questions
QUIZZES = [
    quiz("Somebody proposes 'a new method': MoCo v2 with AMDIM's augmentation. What does the framework let you "
         "say?", {
        "That it is new": "It has no name in the table, but it is one switch away from a known row. New is what one "
            "switch changes in the result.",
        "Which one run is its control": "Exactly one switch differs from MoCo v2, so MoCo v2 with equal images, "
            "steps, batch and seeds is the control.",
        "That it will work": "The framework describes; figure 10 shows how a detail beside the switches can ruin a "
            "method.",
    }, "Which one run is its control"),
    quiz("Why are the own image's other places not among the negatives of AMDIM?", {
        "They are all positives": "Each place of the own map has a term as a positive. As negatives they would pull "
            "in both directions at once.",
        "To save memory": "The scores are computed anyway; it is a mask.",
        "They are too easy": "They are the hardest of all: neighbours see nearly the same pixels.",
    }, "They are all positives"),
    quiz("CPC's encoder has layer norm. What could go wrong with batch norm?", {
        "Nothing, it is faster": "Speed is not the point.",
        "Patches of one picture share statistics": "The normalisation mixes patches of the batch, so a vector "
            "carries something of its neighbours: the right patch can be told without being understood.",
        "It needs two views": "Batch norm works with any batch.",
    }, "Patches of one picture share statistics"),
    quiz("Transfer: X-ray images, all taken upright, heart on the left. Would you flip both views together?", {
        "Yes: the side of the heart matters": "It keeps left and right apart, which may be wanted; but then place is "
            "a cue that tells patients apart, and figure 10 shows a price.",
        "No, never": "If the side carries a diagnosis, independent flips throw it away.",
        "It depends on which cue may tell images apart": "Whatever two views share may be used, and be used instead "
            "of the anatomy. Decide what they may share, then measure what was kept.",
    }, "It depends on which cue may tell images apart"),
]
