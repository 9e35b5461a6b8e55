"""Exercises of week 5, MoCo: a queue of keys, their ages, the logits, and a shuffled batch."""
from __future__ import annotations

from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from course_lib.exercises.spec import Exercise
from lessons.exercises.shared import directions, randn, unit


# ------------------------------------------------------------------------------------------------ 05.enqueue
def _enqueue_probes(generator, dtype):
    draw = partial(directions, generator, dtype)
    return [(draw(12, 3), 0, draw(4, 3)), (draw(12, 3), 8, draw(4, 3)),     # the pointer comes back to the start
            (draw(10, 2), 8, draw(4, 2)),                                   # around the end
            dict(rows=draw(7, 5), pointer=3, new=draw(7, 5)),               # the whole queue at once
            (draw(6, 4), torch.tensor(5), draw(1, 4))]


def _places(start, count: int, length: int) -> Tensor:
    return (start + torch.arange(count)) % length


def _put(rows: Tensor, places: Tensor, new: Tensor) -> Tensor:
    out = rows.clone()
    out[places] = new.detach()
    return out


def _in_place(rows, pointer, new):
    rows[_places(pointer, len(new), len(rows))] = new.detach()
    return rows, (pointer + len(new)) % len(rows)


def _clipped(rows, pointer, new):
    start = int(pointer)
    fit = min(len(rows) - start, len(new))
    return _put(rows, torch.arange(start, start + fit), new[:fit]), (pointer + len(new)) % len(rows)


def _shifted_back(rows, pointer, new):
    start = max(0, min(int(pointer), len(rows) - len(new)))
    return _put(rows, torch.arange(start, start + len(new)), new), (pointer + len(new)) % len(rows)


def _as_buffer(function, rows, pointer, new):
    """The harness: the queue is a buffer, which never has a gradient; whether an answer cuts it does not matter. A
    pointer is a whole number, whether as a tensor or not."""
    out = function(rows.detach(), pointer, new)
    if isinstance(out, tuple) and len(out) == 2 and isinstance(out[1], Tensor) and out[1].numel() == 1:
        return out[0], int(out[1])
    return out


enqueue = Exercise(
    key="05.enqueue", title="First in, first out", minutes=6, difficulty=2,
    reference="course_lib.models.layers:enqueue", probes=_enqueue_probes, gradients=True, call=_as_buffer,
    words={'[0]': 'the queue', '[1]': 'the pointer'},
    wrong={
        "the queue is written in place": (
            _in_place,
            "You write into the tensor that this step's logits were computed from; backward still needs its old values "
            "and will refuse, or worse. Return a new tensor: rows.clone(), or index_copy without the underscore."),
        "no way around the end": (
            _clipped,
            "When fewer rows are left than keys arrive, the rest must go to the start: take all places modulo the "
            "length."),
        "moved back to fit": (
            _shifted_back,
            "Near the end you write earlier than the pointer says, over rows that are not the oldest. Let the places "
            "run "
            "around the end instead."),
        "the pointer stays": (
            lambda rows, pointer, new: (_put(rows, _places(pointer, len(new), len(rows)), new), pointer),
            "The next batch would land on the same rows: most of the queue would never be renewed. Move the pointer by "
            "the number of keys."),
        "the pointer runs off": (
            lambda rows, pointer, new: (_put(rows, _places(pointer, len(new), len(rows)), new), pointer + len(new)),
            "The pointer must come back to the start: modulo the number of rows."),
        "the pointer moves by one": (
            lambda rows, pointer, new: (_put(rows, _places(pointer, len(new), len(rows)), new),
                                        (pointer + 1) % len(rows)),
            "A batch of keys was written, not one: the pointer moves by len(new), or the next batch overwrites most of "
            "it."),
        "always at the front": (
            lambda rows, pointer, new: (torch.cat([new.detach(), rows[len(new):]]), (pointer + len(new)) % len(rows)),
            "The keys go where the pointer is. At the front, the same rows are overwritten in every step, and all "
            "others "
            "keep their first keys for ever."),
        "shifted instead of overwritten": (
            lambda rows, pointer, new: (torch.cat([rows[len(new):], new.detach()]), (pointer + len(new)) % len(rows)),
            "First in, first out it is, but every row moves in every step and then the pointer means nothing. "
            "Overwrite "
            "the rows at the pointer, leave the others where they are."),
        "a gradient stays in the queue": (
            lambda rows, pointer, new: (rows.index_copy(0, _places(pointer, len(new), len(rows)), new),
                                        (pointer + len(new)) % len(rows)),
            "The values are right, but the queue now holds the graph of every step that filled it: memory grows until "
            "training dies. Detach the new keys (or work under torch.no_grad())."),
    },
    right={
        "roll, overwrite the front, roll back": lambda rows, pointer, new: (
            torch.roll(torch.cat([new, torch.roll(rows, -int(pointer), 0)[len(new):]]), int(pointer), 0).detach(),
            (pointer + len(new)) % len(rows)),
        "row by row": lambda rows, pointer, new: (
            torch.stack([new[(i - int(pointer)) % len(rows)] if (i - int(pointer)) % len(rows) < len(new) else rows[i]
                         for i in range(len(rows))]).detach(), (pointer + len(new)) % len(rows)),
    },
    hints=("Which rows are the oldest? Those from the pointer on. What comes after the last row?",
           "places = (pointer + torch.arange(len(new))) % len(rows); never write into `rows` itself.",
           "places = (pointer + torch.arange(len(new))) % len(rows)\n"
           "out = rows.clone()\n"
           "out[places] = new.detach()\n"
           "return out, (pointer + len(new)) % len(rows)"),
)


# ------------------------------------------------------------------------------------------------ 05.ages
def ages(length: int, pointer: int | Tensor) -> Tensor:
    """How many rows were enqueued after each row of a queue, int64 (length,): 0 the newest, length - 1 the oldest."""
    return (pointer - 1 - torch.arange(length)) % length


def _ages_probes(generator, dtype):
    """Lengths and pointers are whole numbers: the dtype plays no part."""
    length = int(torch.randint(20, 40, (), generator=generator))
    return [(12, 0), (12, 5), (length, int(torch.randint(1, length, (), generator=generator))),
            dict(length=9, pointer=torch.tensor(8)), (1, 0)]


def _index(length: int) -> Tensor:
    return torch.arange(length)


ages_exercise = Exercise(
    key="05.ages", title="How old is each key?", minutes=4, difficulty=2,
    reference=ages, probes=_ages_probes,
    wrong={
        "the pointer is taken for the newest": (
            lambda length, pointer: (pointer - _index(length)) % length,
            "The pointer names the row that is overwritten *next*: the oldest. The newest is the one before it."),
        "counted from the oldest": (
            lambda length, pointer: (_index(length) - pointer) % length,
            "These are places in the line: 0 for the row that leaves next. An age is 0 for the row that came last."),
        "off by one the other way": (
            lambda length, pointer: (pointer - 2 - _index(length)) % length,
            "Check one row by hand: with the pointer at 5, row 4 was written last and its age is 0."),
        "negative ages": (
            lambda length, pointer: pointer - 1 - _index(length),
            "Rows behind the pointer get negative ages: they were written one round earlier. Modulo the length."),
        "absolute differences": (
            lambda length, pointer: (pointer - 1 - _index(length)).abs(),
            "Right before the pointer, wrong behind it: the row *at* the pointer is the oldest, not the second newest. "
            "Go "
            "around the end with a modulo."),
        "the pointer is forgotten": (
            lambda length, pointer: length - 1 - _index(length),
            "True only while the pointer stands at 0. The newest row is the one just before the pointer."),
    },
    right={
        "roll": lambda length, pointer: torch.roll(torch.arange(length - 1, -1, -1), int(pointer)),
        "a loop": lambda length,
        pointer: torch.tensor([(int(pointer) - 1 - row + length) % length for row in range(length)]),
        "play it": lambda length, pointer: _played(length, int(pointer)),
    },
    hints=("Which row was written last, and which will be written next?",
           "The newest row is pointer - 1. Going back from it, rows get older; before row 0 comes the last row.",
           "return (pointer - 1 - torch.arange(length)) % length"),
)


def _played(length: int, pointer: int) -> Tensor:
    written = torch.zeros(length, dtype=torch.long)
    for step in range(pointer + length):
        written[step % length] = step
    return written.max() - written


# ------------------------------------------------------------------------------------------------ 05.logits
def _logits_probes(generator, dtype):
    draw = partial(directions, generator, dtype)
    return [(draw(4, 3), draw(4, 3), draw(6, 3)), (draw(5, 8), draw(5, 8), draw(12, 8), 0.2),
            dict(q=draw(3, 4), k=draw(3, 4), negatives=draw(3, 4), temperature=1.0)]


def _dots(q: Tensor, k: Tensor) -> Tensor:
    return (q * k).sum(1, keepdim=True)


logits = Exercise(
    key="05.logits", title="One key of its own, a queue of strangers", minutes=6, difficulty=2,
    reference="course_lib.methods.contrastive.moco:moco_logits", probes=_logits_probes, gradients=True,
    plain=True,
    wrong={
        "the positive in the last column": (
            lambda q, k, negatives, temperature=0.07: torch.cat(
                [q @ negatives.detach().T, _dots(q, k.detach())], 1) / temperature,
            "The labels are all 0: cross-entropy will treat the first stranger of the queue as the positive. Positive "
            "first."),
        "the temperature multiplies": (
            lambda q, k, negatives, temperature=0.07: torch.cat(
                [_dots(q, k.detach()), q @ negatives.detach().T], 1) * temperature,
            "Cosines lie between -1 and 1: divided by a small temperature they become large differences. Multiplied, "
            "the "
            "softmax is almost uniform and says nothing."),
        "the positive without its temperature": (
            lambda q, k, negatives, temperature=0.07: torch.cat(
                [_dots(q, k.detach()), q @ negatives.detach().T / temperature], 1),
            "Both parts are divided by the temperature: put them together first, then divide."),
        "a gradient into the keys": (
            lambda q, k, negatives,
            temperature=0.07: torch.cat([_dots(q, k), q @ negatives.detach().T], 1) / temperature,
            "The values are right. But keys are constants in MoCo: their encoder follows by its moving average, not by "
            "gradients. k.detach()."),
        "a gradient into the queue": (
            lambda q, k, negatives,
            temperature=0.07: torch.cat([_dots(q, k.detach()), q @ negatives.T], 1) / temperature,
            "The values are right. But the queue is a memory, not a parameter: negatives.detach()."),
        "the query detached": (
            lambda q, k, negatives, temperature=0.07: torch.cat(
                [_dots(q.detach(), k), q.detach() @ negatives.T], 1) / temperature,
            "The values are right, the wrong side learns: the *query* carries the gradient, keys and queue are "
            "constants."),
        "every key of the batch as a positive": (
            lambda q, k, negatives,
            temperature=0.07: torch.cat([q @ k.detach().T, q @ negatives.detach().T], 1) / temperature,
            "q @ k.T compares every query with every key: (N, N). Wanted is each query with its own key, one number a "
            "row: "
            "multiply row by row and sum over dimensions."),
        "the keys in another order": (
            lambda q, k, negatives, temperature=0.07: torch.cat(
                [_dots(q, k.detach().roll(1, 0)), q @ negatives.detach().T], 1) / temperature,
            "Query i belongs to key i: here it gets its neighbour's."),
        "euclidean distances": (
            lambda q, k, negatives, temperature=0.07: torch.cat(
                [(q - k.detach()).square().sum(1, keepdim=True), torch.cdist(q, negatives.detach()).square()], 1)
            / temperature,
            "A distance is small where things are alike: cross-entropy wants the largest logit at the positive. Use "
            "inner "
            "products."),
    },
    right={
        "einsum": lambda q, k, negatives, temperature=0.07: torch.cat(
            [torch.einsum("nd,nd->n", q, k.detach())[:, None], torch.einsum("nd,kd->nk", q, negatives.detach())], 1)
        / temperature,
        "the diagonal of all pairs": lambda q, k, negatives, temperature=0.07: torch.hstack(
            [(q @ k.detach().T).diagonal().unsqueeze(1), q @ negatives.detach().T]).div(temperature),
        "a batched product": lambda q, k, negatives, temperature=0.07: (
            torch.cat([k[:, None], negatives.expand(len(q), -1, -1)], 1).detach() @ q[:, :, None])[...,
                                                                                                   0] / temperature,
    },
    hints=("Two blocks: (N, 1) for each query with its own key, (N, K) for each query with each row of the queue.",
           "(q * k).sum(1, keepdim=True) and q @ negatives.T. Who gets gradients?",
           "own = (q * k.detach()).sum(1, keepdim=True)\n"
           "return torch.cat([own, q @ negatives.detach().T], dim=1) / temperature"),
)


# ------------------------------------------------------------------------------------------------ 05.shuffle
class _Parts(torch.nn.Module):
    """An encoder that sees its batch in parts, as several GPUs do: batch norm over each half apart, then a map."""

    def __init__(self, weight: Tensor, parts: int = 2):
        super().__init__()
        self.weight, self.parts = weight, parts

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([(part - part.mean(0)) / (part.var(0,
                                                         correction=0) + 1e-5).sqrt() for part in x.chunk(self.parts)])
        return torch.tanh(x @ self.weight)


def _shuffle_probes(generator, dtype):
    def probe(n: int, d: int, e: int) -> tuple:
        encoder = _Parts(randn(generator, dtype, d, e))
        return encoder, randn(generator, dtype, n, d) + 2, torch.randperm(n, generator=generator)

    cycle = torch.tensor([1, 2, 3, 4, 5, 0])                                # differs from its inverse for certain
    return [probe(8, 5, 3), (*probe(6, 4, 2)[:2], cycle), dict(zip(("encoder", "images", "order"), probe(10, 3, 3)))]


def _written(encoder, images, order):
    keys = unit(encoder(images[order]))
    out = torch.empty_like(keys)
    out[order] = keys
    return out


shuffle = Exercise(
    key="05.shuffle", title="Normalised among strangers", minutes=6, difficulty=3,
    reference="course_lib.methods.contrastive.moco:shuffled_keys", probes=_shuffle_probes,
    plain=True,
    wrong={
        "never put back": (
            lambda encoder, images, order: unit(encoder(images[order])),
            "The keys come out in the shuffled order: query i would be asked to find some other image's key. Undo the "
            "permutation on the way out."),
        "permuted once more instead of undone": (
            lambda encoder, images, order: unit(encoder(images[order])[order]),
            "keys[order] permutes a second time. What undoes it is the inverse: order.argsort(). (For a swap of two "
            "the "
            "two are the same, which is how this bug passes a small test.)"),
        "not shuffled at all": (
            lambda encoder, images, order: unit(encoder(images)),
            "The encoder sees the images in their old order, so each is normalised with the partners of its own query "
            "and "
            "the leak stays. What counts is its *input*, images[order]: shuffling afterwards, or undoing it before, "
            "does nothing."),
        "the inverse on the way in": (
            lambda encoder, images, order: unit(encoder(images[order.argsort()])[order]),
            "Consistent, but the groups are those of the inverse permutation. In go images[order], out come the keys "
            "indexed by order.argsort()."),
        "one image at a time": (
            lambda encoder, images,
            order: unit(torch.cat([encoder(images[i:i + 1].repeat(2, 1))[:1] for i in range(len(images))])),
            "Alone, an image is normalised with itself: nothing but its own statistics, so nothing is left. Encode the "
            "whole "
            "shuffled batch at once."),
        "not of length 1": (
            lambda encoder, images, order: encoder(images[order])[order.argsort()],
            "The order is right, but keys have length 1: their inner products are to be cosines. F.normalize(keys, "
            "dim=1)."),
        "length 1 along the batch": (
            lambda encoder, images, order: F.normalize(encoder(images[order])[order.argsort()], dim=0),
            "You scale every *dimension* over the batch to length 1. Each key, a row, has length 1: dim=1."),
    },
    right={
        "written to their places": _written,
        "the inverse by hand": lambda encoder, images, order: unit(encoder(images[order]))[
            torch.tensor([order.tolist().index(i) for i in range(len(order))])],
        "index_select and sort": lambda encoder, images, order: unit(encoder(
            torch.index_select(images, 0, order)).index_select(0, torch.sort(order).indices)),
    },
    hints=("Permute the images, encode them, put the keys back, scale each to length 1. What is a permutation's "
           "inverse?",
           "order.argsort() is the inverse: images[order][order.argsort()] is images again.",
           "keys = encoder(images[order])\n"
           "return F.normalize(keys[order.argsort()], dim=1)"),
)


EXERCISES = [enqueue, ages_exercise, logits, shuffle]
