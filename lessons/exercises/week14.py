"""Exercises of week 14, BEiT: words in use, the loss, hiding a block, one training step; the index of offsets."""
from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from course_lib.augment.masks import enlarge
from course_lib.exercises.questions import quiz
from course_lib.exercises.spec import Exercise
from course_lib.methods.masked.beit import beit_loss as library_loss
from course_lib.models.patches import patchify
from lessons.exercises.shared import STEP_WORDS, descend, noted_steps, randn, update_mistakes


# ------------------------------------------------------------------------------------------------ 14.perplexity
def _perplexity_probes(generator, dtype):
    counts = torch.randint(0, 40, (9,), generator=generator).to(dtype)
    return [(counts,), (torch.full((5,), 7.0, dtype=dtype),),
            dict(counts=torch.tensor([0.0, 3.0, 0.0, 1.0], dtype=dtype)),
            (torch.tensor([0.0, 12.0, 0.0], dtype=dtype),)]


def _share(counts: Tensor) -> Tensor:
    return counts / counts.sum()


def _entropy(share: Tensor) -> Tensor:
    return -(share * share.clamp(min=1e-30).log()).sum()


def _as_a_tensor(fn, counts: Tensor):
    """The harness: no gradient is asked for, so a Python number will do."""
    found = fn(counts)
    number = isinstance(found, (int, float)) and not isinstance(found, bool)
    return torch.tensor(found, dtype=counts.dtype) if number else found


perplexity = Exercise(
    key="14.perplexity", title="How many words are really used?", minutes=6, difficulty=2,
    reference="course_lib.methods.masked.tokenizers:perplexity", probes=_perplexity_probes, call=_as_a_tensor,
    wrong={
        "the entropy itself": (
            lambda counts: _entropy(_share(counts)),
            "That is the entropy, in nats. Its exponential is a *number of words*: 0 nats are 1 word, "
            "log(K) nats are K."),
        "bits with the wrong base": (
            lambda counts: torch.exp(_entropy(_share(counts)) / torch.log(torch.tensor(2.0))),
            "You measure the entropy in bits and then take exp. Bits go with 2 ** H, nats with exp(H)."),
        "nats with the wrong base": (
            lambda counts: 2 ** _entropy(_share(counts)),
            "You measure the entropy in nats and then take 2 ** H. Nats go with exp(H)."),
        "how many words occur": (
            lambda counts: (counts > 0).sum().to(counts),
            "That counts the words that occur at all: a word used once in a million counts as much as the "
            "most frequent."),
        "0 log 0": (
            lambda counts: torch.exp(-(_share(counts) * _share(counts).log()).sum()),
            "A word that never occurs gives 0 * log(0) = NaN. Its part of the entropy is 0: "
            "torch.special.entr knows, or "
            "clamp inside the logarithm."),
        "counts in place of shares": (
            lambda counts: torch.exp(-(counts * counts.clamp(min=1e-30).log()).sum() / counts.sum()),
            "Entropy is of *shares*: divide the counts by their sum, inside the logarithm as well."),
        "one over the sum of squares": (
            lambda counts: 1 / _share(counts).square().sum(),
            "1 / sum(p^2) is another 'effective number', with the same ends. Perplexity is exp of the entropy."),
        "a share of the codebook": (
            lambda counts: torch.exp(_entropy(_share(counts))) / len(counts),
            "Do not divide by K: the perplexity is a number of words between 1 and K, not a share of the codebook."),
        "the mean over words": (
            lambda counts: torch.exp(_entropy(_share(counts)) / len(counts)),
            "The entropy is a *sum* over words: .sum(), not .mean()."),
        "the entropy over its maximum": (
            lambda counts: _entropy(_share(counts)) / math.log(len(counts)),
            "That is the entropy as a share of log(K), its largest value. The perplexity is a *number of words*, "
            "exp(H)."),
        "one over the largest share": (
            lambda counts: 1 / _share(counts).max(),
            "1 / max(p) is another 'effective number', which looks at one word only. Perplexity is exp of the "
            "entropy."),
    },
    right={
        "torch's own entropy": lambda counts: torch.distributions.Categorical(probs=_share(counts)).entropy().exp(),
        "a Python number": lambda counts: math.exp(-sum(p * math.log(p) for p in _share(counts).tolist() if p > 0)),
        "used words only": lambda counts: torch.exp(-sum(p * torch.log(p) for p in _share(counts) if p > 0)),
        "a product": lambda counts: 1 / (_share(counts) ** _share(counts)).prod(),
    },
    hints=("First the share of each word, then the entropy of the shares. Which number of equally frequent "
           "words has that "
           "entropy?",
           "Entropy: -sum p log p. A word with p = 0 adds nothing (torch.special.entr(p) is -p log p, and 0 at 0).",
           "shares = counts / counts.sum()\n"
           "return torch.exp(torch.special.entr(shares).sum())"),
)


# ------------------------------------------------------------------------------------------------ 14.add_block
def _block_probes(generator, dtype):
    def mask(grid: int, share: float) -> Tensor:
        return torch.rand(grid, grid, generator=generator) >= share

    corner = torch.ones(6, 6, dtype=torch.bool)
    corner[:3, :2] = False
    return [(torch.ones(5, 5, dtype=torch.bool), 1, 2, 3, 2, 6), (corner.clone(), 2, 1, 3, 3, 8),
            (corner.clone(), 2, 1, 3, 3, 7),
            (corner.clone(), 0, 0, 3, 2, 9), dict(visible=corner.clone(), top=1, left=0, height=2, width=4, missing=4),
            (mask(8, 0.3), 1, 3, 4, 5, 20), (mask(8, 0.3), 4, 0, 2, 6, 3), (corner.clone(), 0, 0, 4, 2, 2),
            (corner.clone(), 0, 0, 1, 3, 2)]


def _run_block(fn, visible: Tensor, *rest, **named):
    """The harness: what the function returns, and the mask after it."""
    new = fn(visible, *rest, **named)
    if isinstance(new, Tensor) and new.numel() != 1:  # told by its kind
        return {"newly hidden": new, "mask": visible.clone()}
    return None if new is None else {"newly hidden": int(new), "mask": visible.clone()}


def _window(visible: Tensor, top: int, left: int, height: int, width: int) -> Tensor:
    return visible[top:top + height, left:left + width]


def _blocks(accept, grow: int = 0, swap: bool = False, write_first: bool = False, returned=None):
    """A spelling of the answer with one decision exchanged; accept(new, area, missing)."""
    def add(visible: Tensor, top: int, left: int, height: int, width: int, missing: int) -> int:
        if swap:
            height, width = width, height
        window = _window(visible, top, left, height + grow, width + grow)
        new, area = int(window.sum()), height * width
        if write_first:
            window[:] = False
        if not accept(new, area, missing):
            return 0
        window[:] = False
        return new if returned is None else returned(visible, area)
    return add


def _trimmed(visible: Tensor, top: int, left: int, height: int, width: int, missing: int) -> int:
    done = 0
    for row in range(top, top + height):
        for column in range(left, left + width):
            if visible[row, column] and done < missing:
                visible[row, column] = False
                done += 1
    return done


def _toggled(visible: Tensor, top: int, left: int, height: int, width: int, missing: int) -> int:
    window = _window(visible, top, left, height, width)
    new = int(window.sum())
    if not 0 < new <= missing:
        return 0
    window[:] = ~window
    return new


def _renamed(visible: Tensor, top: int, left: int, height: int, width: int, missing: int) -> int:
    window = _window(visible, top, left, height, width)
    new = int(window.sum())
    if not 0 < new <= missing:
        return 0
    window = torch.zeros_like(window)
    return new


def _union(visible: Tensor, top: int, left: int, height: int, width: int, missing: int) -> int:
    after = visible.clone()
    after[top:top + height, left:left + width] = False
    new = int(visible.sum()) - int(after.sum())
    if new < 1 or new > missing:
        return 0
    visible.copy_(after)
    return new


def _elsewhere(rows, columns):
    """The answer on another window: rows(top, height) and columns(left, width) are slices."""
    def add(visible: Tensor, top: int, left: int, height: int, width: int, missing: int) -> int:
        window = visible[rows(top, height), columns(left, width)]
        new = int(window.sum())
        if not 0 < new <= missing:
            return 0
        window[:] = False
        return new
    return add


def _to_the_size(start: int, size: int) -> slice:
    return slice(start, size)


def _from_one(start: int, size: int) -> slice:
    return slice(start - 1, start - 1 + size)


def _fits(new: int, area: int, missing: int) -> bool:
    return 0 < new <= missing


block = Exercise(
    key="14.add_block", title="Hide a block", minutes=8, difficulty=3,
    reference="course_lib.augment.masks:add_block", probes=_block_probes, call=_run_block,
    unit="patches",
    wrong={
        "the whole block is counted": (
            _blocks(_fits, returned=lambda visible, area: area),
            "The return value is what the block *newly* hides. Patches that an earlier block had hidden do "
            "not count again: "
            "else the mask ends short of its count."),
        "refused by its area": (
            _blocks(lambda new, area, missing: area <= missing and new > 0),
            "You compare the block's area with what is missing. Overlap is allowed: only the *newly* hidden "
            "patches matter."),
        "it overshoots": (
            _blocks(lambda new, area, missing: new > 0),
            "A block that would hide more patches than are missing must be refused; then the count is never "
            "exceeded."),
        "one too few allowed": (
            _blocks(lambda new, area, missing: 0 < new < missing),
            "A block that hides exactly what is missing is welcome: new <= missing."),
        "trimmed to fit": (
            _trimmed,
            "You hide a part of the block until the count is reached. Then it is no block any more: accept "
            "it whole, or not "
            "at all."),
        "written before it is checked": (
            _blocks(_fits, write_first=True),
            "A refused block must change nothing: check first, then write."),
        "no overlap allowed": (
            _blocks(lambda new, area, missing: new == area and new <= missing),
            "Blocks may overlap: together they form shapes that no single rectangle has. Refuse only if "
            "nothing new is hidden, "
            "or too much."),
        "hidden patches come back": (
            _toggled,
            "You flip the block: what was hidden becomes visible again. Set it to False."),
        "a row and a column too many": (
            _blocks(_fits, grow=1),
            "Rows top, ..., top + height - 1: the slice top : top + height already has height rows."),
        "a row and a column too few": (
            _blocks(_fits, grow=-1),
            "Rows top, ..., top + height - 1: a slice ends *before* its second number, so top : top + height."),
        "a slice that ends at the height": (
            _elsewhere(_to_the_size, _to_the_size),
            "A slice names where it *ends*, not how long it is: top : top + height, left : left + width."),
        "rows and columns counted from 1": (
            _elsewhere(_from_one, _from_one),
            "Rows and columns are counted from 0: the block begins at row top, not top - 1."),
        "True is returned": (
            _blocks(_fits, returned=lambda visible, area: True),
            "Return how many patches the block newly hides, not whether it was accepted: the caller counts them."),
        "counted after writing": (
            _blocks(_fits, returned=lambda visible, area: 0),
            "It returns 0 even when the block is accepted: once you have written False, nothing in the block is "
            "visible. Count first, then write."),
        "height and width exchanged": (
            _blocks(_fits, swap=True),
            "height belongs to rows (the first index), width to columns."),
        "all hidden patches are returned": (
            _blocks(_fits, returned=lambda visible, area: int((~visible).sum())),
            "Return how many patches *this* block newly hides, not how many are hidden now."),
        "the mask is not changed": (
            _renamed,
            "window = ... gives the name to a new tensor. Write into the mask: window[:] = False."),
    },
    right={"compared before and after": _union,
           "cell by cell": lambda *arguments, **named: _cell_by_cell(*arguments, **named)},
    hints=("How many patches of the block are still visible? That number decides.",
           "block = visible[top : top + height, left : left + width] is a view: writing to it changes the "
           "mask. block.sum() "
           "counts what it would newly hide.",
           "block = visible[top : top + height, left : left + width]\n"
           "new = int(block.sum())\n"
           "if not 0 < new <= missing:\n"
           "    return 0\n"
           "block[:] = False\n"
           "return new"),
)


def _cell_by_cell(visible: Tensor, top: int, left: int, height: int, width: int, missing: int) -> int:
    cells = [(row, column) for row in range(top, top + height) for column in range(left, left + width)
             if visible[row, column]]
    if not cells or len(cells) > missing:
        return 0
    for row, column in cells:
        visible[row, column] = False
    return len(cells)


# ------------------------------------------------------------------------------------------------ 14.relative_index
def _index_probes(generator, dtype):
    return [(2, 3), (3, 2), dict(height=2, width=2), (1, 4), (4, 4)]


def _coordinates(height: int, width: int) -> tuple[Tensor, Tensor]:
    cells = torch.cartesian_prod(torch.arange(height), torch.arange(width))
    return cells[:, 0], cells[:, 1]


def _with_class(patches: Tensor, offsets: int, rows: tuple[int, int, int] = (0, 1, 2)) -> Tensor:
    """Patches' index (L, L) with a first row and column for the class token: class->patch, patch->class,
    class->class.
    """
    index = torch.full((len(patches) + 1, len(patches) + 1), offsets + rows[2])
    index[1:, 1:] = patches
    index[0, 1:], index[1:, 0] = offsets + rows[0], offsets + rows[1]
    return index


def _indices(stride=lambda h, w: 2 * w - 1, sign: int = 1, shift: bool = True, absolute: bool = False,
             rows: tuple[int, int, int] = (0, 1, 2), columns_first: bool = False, offsets=None, least=(0, 0)):
    """A spelling of the answer with one decision exchanged."""
    def index(height: int, width: int) -> Tensor:
        y, x = _coordinates(height, width)
        if columns_first:
            cells = torch.cartesian_prod(torch.arange(width), torch.arange(height))
            y, x = cells[:, 1], cells[:, 0]
        dy, dx = sign * (y[:, None] - y), sign * (x[:, None] - x)
        if absolute:
            dy, dx = dy.abs(), dx.abs()
        elif shift:
            dy, dx = dy + height - 1 + least[0], dx + width - 1 + least[1]
        total = (2 * height - 1) * (2 * width - 1) if offsets is None else offsets(height, width)
        return _with_class(dy * stride(height, width) + dx, total, rows)
    return index


def _by_a_dictionary(height: int, width: int) -> Tensor:
    numbers = {(dy, dx): i for i, (dy, dx) in enumerate(
        (dy, dx) for dy in range(1 - height, height) for dx in range(1 - width, width))}
    cells = [(y, x) for y in range(height) for x in range(width)]
    rows = [[numbers[a[0] - b[0], a[1] - b[1]] for b in cells] for a in cells]
    return _with_class(torch.tensor(rows), len(numbers))


index = Exercise(
    key="14.relative_index", title="Where is the other patch?", minutes=10, difficulty=4,
    reference="course_lib.models.positions:relative_index", probes=_index_probes,
    wrong={
        "key minus query": (
            _indices(sign=-1),
            "Your offsets point the other way: row (query) i, column (key) j has the offset place(i) - place(j)."),
        "the stride of a square": (
            _indices(stride=lambda h, w: 2 * h - 1),
            "dy steps over a whole row of dx values: there are 2 * width - 1 of them. With the height, it "
            "works on squares only "
            "and two offsets share a row of the table elsewhere."),
        "the width as stride": (
            _indices(stride=lambda h, w: w),
            "dx runs from -(width - 1) to width - 1: that is 2 * width - 1 values, not width."),
        "not shifted": (
            _indices(shift=False),
            "Offsets can be negative; as row numbers they would count from the table's end. Add height - 1 "
            "and width - 1 first."),
        "shifted by the size": (
            _indices(least=(1, 1)),
            "The least offsets are -(height - 1) and -(width - 1): height - 1 and width - 1 bring them to 0. Yours "
            "start later, and the last offset has no row of the table."),
        "rows shifted by the height": (
            _indices(least=(1, 0)),
            "The least dy is -(height - 1): height - 1 brings it to 0. Yours begins at 1, so the last offsets have no "
            "row of the table."),
        "distances without a sign": (
            _indices(absolute=True),
            "abs() makes left and right the same: the table has a row of its own for each *signed* offset."),
        "patch -> class and class -> patch exchanged": (
            _indices(rows=(1, 0, 2)),
            "Row 0 of the index is the class token as *query*: the first extra row. Column 0 is the class "
            "token as key: the "
            "second."),
        "one row for all that has to do with the class token": (
            _indices(rows=(0, 0, 0)),
            "class -> patch, patch -> class and class -> class have a row of the table each: three in all."),
        "class -> class forgotten": (
            _indices(rows=(0, 1, 1)),
            "The corner (0, 0), the class token with itself, has the last row of the table."),
        "columns first": (
            _indices(columns_first=True),
            "Patches are numbered in reading order: along the row first. Patch n lies at (n // width, n % width)."),
        "the class rows first": (
            lambda height, width: _shifted_rows(height, width),
            "The three rows for the class token come *after* the offsets: N, N + 1, N + 2, with offsets from 0."),
        "dx is the slow one": (
            lambda height, width: _columns_slow(height, width),
            "Offsets are numbered row by row: dy * (2 width - 1) + dx. Yours go column by column."),
        "the corner before the others": (
            _indices(rows=(1, 2, 0)),
            "Row 0 is N, column 0 is N + 1, and their corner, class token with class token, comes last: N + 2."),
        "the class token last": (
            lambda height, width: _indices()(height, width).roll((-1, -1), (0, 1)),
            "The class token is the first of the T tokens: row and column 0, patches after it."),
        "as many offsets as patches": (
            _indices(offsets=lambda h, w: h * w),
            "N is the number of offsets, (2 height - 1) * (2 width - 1), not that of patches: yours shares rows of "
            "the table with offsets."),
        "the extra rows too early": (
            _indices(offsets=lambda h, w: (2 * h - 1) * (2 * w - 1) - 1),
            "There are (2 height - 1) * (2 width - 1) offsets, numbered from 0: the first extra row has "
            "exactly that number. "
            "Yours shares it with an offset."),
    },
    right={"a dictionary of offsets": _by_a_dictionary,
           "padded": lambda height, width: _padded(height, width)},
    hints=("On one axis of n places, offsets run from -(n - 1) to n - 1. How many are there, and what "
           "number has the offset 0?",
           "y, x = places of the patches in reading order; dy = y[:, None] - y + height - 1, and dx alike. "
           "One number out of "
           "two: dy * (2 * width - 1) + dx.",
           'y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")\n'
           "y, x = y.flatten(), x.flatten()\n"
           "dy, dx = y[:, None] - y + height - 1, x[:, None] - x + width - 1\n"
           "N = (2 * height - 1) * (2 * width - 1)\n"
           "index = torch.empty(1 + len(y), 1 + len(y), dtype=torch.long)\n"
           "index[1:, 1:] = dy * (2 * width - 1) + dx\n"
           "index[0, :], index[:, 0], index[0, 0] = N, N + 1, N + 2\n"
           "return index"),
)


def _shifted_rows(height: int, width: int) -> Tensor:
    found = _indices()(height, width) + 3
    found[0], found[:, 0], found[0, 0] = 0, 1, 2
    return found


def _columns_slow(height: int, width: int) -> Tensor:
    y, x = _coordinates(height, width)
    dy, dx = y[:, None] - y + height - 1, x[:, None] - x + width - 1
    return _with_class(dx * (2 * height - 1) + dy, (2 * height - 1) * (2 * width - 1))


def _padded(height: int, width: int) -> Tensor:
    n = torch.arange(height * width)
    dy, dx = n[:, None] // width - n // width, n[:, None] % width - n % width
    patches = (dy + height - 1) * (2 * width - 1) + dx + width - 1
    out = F.pad(patches, (1, 0, 1, 0))
    base = (2 * height - 1) * (2 * width - 1)
    out[0], out[:, 0], out[0, 0] = base, base + 1, base + 2
    return out


# ------------------------------------------------------------------------------------------------ 14.beit_loss
def _loss_probes(generator, dtype):
    def case(b: int, length: int, k: int) -> dict:
        visible = torch.rand(b, length, generator=generator) > torch.linspace(0.3, 0.8, b)[:, None]
        visible[:, 0], visible[:, 1] = False, True  # some of each in every image
        return {"logits": 2 * randn(generator, dtype, b, length, k),
                "words": torch.randint(k, (b, length), generator=generator), "visible": visible}

    return [tuple(case(3, 12, 5).values()), case(2, 20, 4), tuple(case(4, 9, 7).values())]


def _per_patch(logits: Tensor, words: Tensor) -> Tensor:
    return F.cross_entropy(logits.flatten(0, 1), words.flatten(), reduction="none").view(words.shape)


def _gathered(logits: Tensor, words: Tensor, visible: Tensor) -> Tensor:
    own = logits.gather(2, words[..., None])[..., 0]
    error = (logits.logsumexp(2) - own) * (~visible)
    return error.sum() / (~visible).sum()


loss = Exercise(
    key="14.beit_loss", title="Name the hidden words", minutes=6, difficulty=2,
    reference="course_lib.methods.masked.beit:beit_loss", probes=_loss_probes, gradients=True,
    unit="patches",
    wrong={
        "the mean of the images' means": (
            lambda logits, words, visible: torch.stack([F.cross_entropy(z[~v], w[~v]) for z, w, v in
                                                        zip(logits, words, visible)]).mean(),
            "You average each image first. Block masks hide another number of patches in each: one mean "
            "over *all* hidden "
            "patches of the batch, so that every patch weighs the same."),
        "all patches": (
            lambda logits, words, visible: _per_patch(logits, words).mean(),
            "Visible patches count, too: their word can be read off the input. Only hidden ones have "
            "something to teach."),
        "the visible patches": (
            lambda logits, words, visible: F.cross_entropy(logits[visible], words[visible]),
            "`visible` is True where the network *sees* the patch. The loss is on the others: ~visible."),
        "the mean of the words' means": (
            lambda logits, words, visible: (lambda cost, own: torch.stack([
                cost[own == word].mean() for word in own.unique()]).mean())(
                F.cross_entropy(logits[~visible], words[~visible], reduction="none"), words[~visible]),
            "You average over the patches of each word, then over words: rare words weigh as much as frequent ones. "
            "One mean over all hidden patches."),
        "word 0 is ignored": (
            lambda logits, words, visible: F.cross_entropy(logits.mT, words.masked_fill(visible, 0), ignore_index=0),
            "You mark visible patches by the word 0 and ignore it. 0 is a word like any other: hidden patches that "
            "have it are lost. Use a number that is no word, -100."),
        "divided by all patches": (
            lambda logits, words, visible: (_per_patch(logits, words) * ~visible).mean(),
            "The sum is over hidden patches, so divide by *their* number; .mean() divides by all, and the "
            "loss depends on the "
            "mask."),
        "the sum": (
            lambda logits, words, visible: F.cross_entropy(logits[~visible], words[~visible], reduction="sum"),
            "A mean, not a sum: otherwise the step length grows with batch and mask."),
        "softmax twice": (
            lambda logits, words, visible: F.cross_entropy(logits.softmax(-1)[~visible], words[~visible]),
            "F.cross_entropy takes logits and does the softmax itself; yours is done twice, and even a "
            "perfect answer costs "
            "something."),
        "softmax over the patches": (
            lambda logits, words,
            visible: -(logits.log_softmax(1).gather(2, words[..., None])[..., 0][~visible]).mean(),
            "The probabilities of a patch's *words* sum to 1: softmax over the last axis, K, not over the patches."),
        "squared error to the one-hot word": (
            lambda logits, words, visible: (logits.softmax(-1) - F.one_hot(words, logits.shape[-1])).square().sum(-1)[
                ~visible].mean(),
            "That is a squared error on probabilities. BEiT classifies: the cross-entropy, -log of the right word's "
            "probability."),
    },
    right={"by hand": _gathered,
           "ignored labels": lambda logits, words, visible: F.cross_entropy(
               logits.mT, words.masked_fill(visible, -100), ignore_index=-100)},
    hints=("Each hidden patch is a classification with K classes. Whose word is asked for?",
           "logits[~visible] is (M, K) and words[~visible] (M,), over the whole batch.",
           "return F.cross_entropy(logits[~visible], words[~visible])"),
)


# ------------------------------------------------------------------------------------------------ 14.beit_step
def beit_step(tokenizer, embed, transformer, mask_token, optimizer, images, visible):
    """One update of BEiT -> the loss, a number.

    tokenizer(images) -> words (B, L); embed(images) -> tokens (B, L, D); transformer(tokens) -> logits (B, L, K).
    """
    words = tokenizer(images)
    tokens = torch.where(visible[..., None], embed(images), mask_token)
    loss = library_loss(transformer(tokens), words, visible)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def _three_steps(step, images: Tensor, visible: Tensor):
    """Three updates of a very small BEiT by `step`: the losses, and the weights at the end.

    Places are mixed by fixed weights, so that a hidden patch feels what stands at the others.
    """
    draw = partial(randn, torch.Generator().manual_seed(3), images.dtype)
    length, codes, width = visible.shape[-1], 5, 6
    n = 3 * images.shape[-1] ** 2 // length
    patch = math.isqrt(n // 3)
    into, bias, token, places, out = weights = [
        torch.nn.Parameter(0.9 * draw(*shape)) for shape in
        ((n, width), (1, 1, width), (1, 1, width), (1, length, width), (width, codes))]
    between, centres = draw(length, length) / math.sqrt(length), draw(codes, n)

    def tokenizer(pictures):
        return (patchify(pictures, patch) @ centres.T).argmax(-1)

    def embed(pictures):
        return patchify(pictures, patch) @ into + bias

    def transformer(tokens):
        if tokens.shape[1:] != places.shape[1:]:
            raise ValueError(f"the transformer takes {length} tokens for each image, one for each patch, hidden or "
                             f"not; it was given the shape {tuple(tokens.shape)}")
        x = tokens + places
        return torch.tanh(x + between @ x) @ out

    optimizer = torch.optim.SGD(weights, lr=0.2, momentum=0.5)
    fixed = tokenizer, embed, transformer, token, optimizer
    return noted_steps(step, [(*fixed, *pair) for pair in zip(images, visible)], weights)


def _step_probes(generator, dtype):
    def case(batch: int, side: int, length: int) -> dict:
        visible = torch.rand(3, batch, length, generator=generator) > torch.linspace(0.3, 0.7, batch)[:, None]
        visible[:, :, 0], visible[:, :, 1] = False, True
        return {"images": randn(generator, dtype, 3, batch, 3, side, side), "visible": visible}

    return [case(4, 6, 9), case(3, 8, 16)]


def _blackened(images: Tensor, visible: Tensor) -> Tensor:
    side = math.isqrt(visible.shape[-1])
    return images * enlarge(visible.view(-1, 1, side, side), images.shape[-1])


def _replaced(tokens: Tensor, mask_token: Tensor, visible: Tensor) -> Tensor:
    return torch.where(visible[..., None], tokens, mask_token)


def _update(named=lambda images, visible: images, read=lambda images, visible: images, hide=_replaced,
            masked=lambda visible: visible, scored=lambda visible: visible, loss=library_loss,
            token=lambda mask_token: mask_token, own=False, order="clear backward step", back=lambda loss: loss.item()):
    """A spelling of the answer with one decision exchanged."""
    def step(tokenizer, embed, transformer, mask_token, optimizer, images, visible):
        words = tokenizer(named(images, visible))
        tokens = hide(embed(read(images, visible)), token(mask_token), masked(visible))
        logits = transformer(tokens)
        words = logits.argmax(-1) if own else words
        value = loss(logits, words, scored(visible))
        return descend(value, optimizer, order, back)

    return step


def _image_means(logits: Tensor, words: Tensor, visible: Tensor) -> Tensor:
    return torch.stack([F.cross_entropy(z[~v], w[~v]) for z, w, v in zip(logits, words, visible)]).mean()


def _by_hand(tokenizer, embed, transformer, mask_token, optimizer, images, visible):
    weight = visible.to(images.dtype).unsqueeze(2)
    logits = transformer(embed(images) * weight + mask_token * (1 - weight))
    hidden = ~visible
    loss = F.nll_loss(logits.log_softmax(2)[hidden], tokenizer(images)[hidden])
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    return float(loss.detach())


step_exercise = Exercise(
    key="14.beit_step", title="One training step", minutes=8, difficulty=3,
    reference=beit_step, probes=_step_probes, call=_three_steps, tolerance=1e-4,
    words=STEP_WORDS,
    wrong={
        "words of the masked image": (
            _update(named=_blackened), "The tokenizer names the masked image, so every hidden patch has the word of an "
                                       "empty patch. The words are those of the clean image: tokenizer(images)."),
        "nothing is hidden": (
            _update(hide=lambda tokens, mask_token, visible: tokens),
            "The transformer sees the hidden patches: their words can be read off. mask_token goes where visible is "
            "False, in place of their tokens."),
        "black patches without a mask token": (
            _update(read=_blackened, hide=lambda tokens, mask_token, visible: tokens),
            "You blacken the hidden pixels, so their tokens are those of a black patch. BEiT replaces the *tokens* by "
            "mask_token, which is learned."),
        "zeros in hidden places": (
            _update(hide=lambda tokens, mask_token, visible: tokens * visible[..., None]),
            "Hidden tokens are 0. They are to be mask_token, which learns."),
        "the mean token in hidden places": (
            _update(hide=lambda tokens, mask_token, visible: torch.where(visible[..., None], tokens,
                                                                         tokens.mean(1, keepdim=True))),
            "Hidden places get the mean of the image's tokens, and with it something of the hidden patches. mask_token "
            "belongs there."),
        "another image's tokens in hidden places": (
            _update(hide=lambda tokens, mask_token, visible: torch.where(visible[..., None], tokens,
                                                                         tokens.roll(1, 0))),
            "Hidden places hold the tokens of another image. mask_token belongs there, and learns."),
        "a part of the token is left in": (
            _update(hide=lambda tokens, mask_token, visible: torch.where(visible[..., None], tokens,
                                                                         0.9 * mask_token + 0.1 * tokens)),
            "A tenth of the hidden patch's own token is still there, and its word can be read off. Only mask_token "
            "stands in hidden places."),
        "the mask token everywhere": (
            _update(hide=lambda tokens, mask_token, visible: mask_token.expand_as(tokens)),
            "Every token is mask_token: the transformer sees nothing of the image. Replace the hidden ones only."),
        "the mask token is added": (
            _update(hide=lambda tokens, mask_token, visible: tokens + mask_token * ~visible[..., None]),
            "The mask token is *added* to a hidden patch's token, which is still there. It has to take its place."),
        "the mask token in visible places": (
            _update(masked=lambda visible: ~visible),
            "The mask token stands where the patches are *visible*, and the hidden ones are shown. torch.where takes "
            "its second argument where the condition holds."),
        "one mask for all": (
            _update(masked=lambda visible: visible[:1].expand_as(visible)),
            "All images hide the patches of the first one: each has a mask of its own, visible[..., None]."),
        "the mask token does not learn": (
            _update(token=lambda mask_token: mask_token.detach()),
            "The mask token gets no gradient: it is detached. It is learned like all other weights."),
        "the visible patches are scored": (
            _update(scored=lambda visible: ~visible),
            "You score the patches that the transformer sees. beit_loss takes `visible` and scores the others."),
        "all patches are scored": (
            _update(scored=torch.zeros_like),
            "You score visible patches, too, whose words can be read off the input. Hand on `visible`."),
        "the mean of the images' means": (
            _update(loss=_image_means),
            "You average each image first. One mean over all hidden patches of the batch, as in beit_loss."),
        "the network's own words": (
            _update(own=True), "Your targets are the words that the network itself finds likeliest: it can only grow "
                               "surer of itself. They come from the tokenizer."),
        **update_mistakes(_update),
    },
    right={"by hand, cleared at the end": _by_hand},
    hints=("Name, embed, hide, predict, score, update: which of them see the clean image, and which must not?",
           "words = tokenizer(images), of the clean image. Hidden patches' tokens are replaced before the transformer: "
           "torch.where(visible[..., None], tokens, mask_token).",
           "words = tokenizer(images)\n"
           "tokens = torch.where(visible[..., None], embed(images), mask_token)\n"
           "loss = beit_loss(transformer(tokens), words, visible)\n"
           "optimizer.zero_grad()\n"
           "loss.backward()\n"
           "optimizer.step()\n"
           "return loss.item()"),
)

EXERCISES = [perplexity, loss, block, step_exercise, index]


# ------------------------------------------------------------------------------------------------ questions
QUIZZES = [
    quiz("A dictionary of 8192 words has a perplexity of 12 on your photographs. What do you conclude?", {
        "The loss starts at log 8192, so the task is hard": "It starts there, and falls to log 12 as soon as the "
            "frequencies are known.",
        "In effect there are about 12 words": "Most of the 8192 words hardly occur: dead codes, or a tokenizer made "
            "for other pictures.",
        "The tokenizer is well trained": "A well-spread dictionary has a perplexity of the order of its size.",
    }, "In effect there are about 12 words"),
    quiz("Words of the *masked* image are taken as targets, by mistake. What happens?", {
        "Nothing, the tokenizer is frozen": "Frozen or not: it names what it is shown.",
        "All hidden patches have the word of an empty patch; the loss falls to nearly 0":
            "The network learns to say 'empty'. A wonderful loss, and nothing learned.",
        "The loss stays at log K": "On the contrary: a constant is easy to learn.",
    }, "All hidden patches have the word of an empty patch; the loss falls to nearly 0"),
    quiz("You want to *show* what the network believes is behind a block. Which reading looks like a real image?", {
        "The likeliest word everywhere": "It is flat: where an edge could lie in many ways, each of them is less "
            "likely than a plain word.",
        "The average of all words": "It has the smallest error, and blurs.",
        "Sampled words": "They have the contrast of true words, though fewer are right, and neighbours are drawn "
            "independently, so edges do not meet.",
    }, "Sampled words"),
    quiz("The loss is averaged over each image, then over the batch. Which images weigh more than they should?", {
        "Those with few hidden patches": "Each of their patches gets a larger share of the image's mean.",
        "Those with many hidden patches": "In *one* mean over the batch they weigh more, since each patch weighs the "
            "same. That is the paper's way.",
        "None": "Only if all images hide the same number; block masks do not.",
    }, "Those with few hidden patches"),
    quiz("Transfer: you have electrocardiograms and want BEiT's task. What do you build first, and check?", {
        "A transformer with more layers": "Without targets it has nothing to learn.",
        "A tokenizer of short segments: what its words keep, and how many are used":
            "A spike that all words flatten cannot be learned.",
        "Labels by a cardiologist": "They would help, but BEiT's words need none.",
    }, "A tokenizer of short segments: what its words keep, and how many are used"),
]
