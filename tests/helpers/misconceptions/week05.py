"""Second spellings of the misconceptions of week 5, and mutants of its references that compute the same."""
from __future__ import annotations

import torch


# ---------------------------------------------------------------- 05.enqueue
def _loop(rows, pointer, new, start=None, move=None, wrap=True):
    """Key by key; `start` the first place, `move` how far the pointer goes."""
    out = [row for row in rows]
    first = int(pointer) if start is None else start
    for number, key in enumerate(new):
        place = first + number
        if place < len(rows) or wrap:
            out[place % len(rows)] = key
    return torch.stack(out), (pointer + (len(new) if move is None else move)) % len(rows)


def _detached(**options):
    return lambda rows, pointer, new: _loop(rows, pointer, new.detach(), **options)


def _overwrite(rows, pointer, new):
    for number in range(len(new)):
        rows[(int(pointer) + number) % len(rows)] = new[number].detach()
    return rows, (pointer + len(new)) % len(rows)


def _runs_off(rows, pointer, new):
    return _loop(rows, pointer, new.detach())[0], len(new) + pointer


def _line(rows, pointer, new):
    return torch.vstack([rows, new.detach()])[-len(rows):], (pointer + len(new)) % len(rows)


# ---------------------------------------------------------------- 05.ages
def _count(age):
    return lambda length, pointer: torch.tensor([age(row, int(pointer), length) for row in range(length)])


# ---------------------------------------------------------------- 05.logits
def _blocks(own, others, temperature, last=False):
    blocks = [others, own] if last else [own, others]
    return torch.hstack(blocks).div(temperature)


def _own(q, k):
    return torch.einsum("nd,nd->n", q, k).unsqueeze(1)


def _others(q, negatives):
    return torch.einsum("nd,kd->nk", q, negatives)


# ---------------------------------------------------------------- 05.shuffle
def _length_one(z, dim=-1):
    return z / z.norm(dim=dim, keepdim=True).clamp_min(1e-12)


def _backwards(encoder, images, order):
    mixed = torch.empty_like(images)
    mixed[order] = images
    return _length_one(encoder(mixed).index_select(0, order))


def _sorted_back(encoder, images, order):
    return encoder(images.index_select(0, order)).index_select(0, order.sort().indices)


SECOND = {
    "05.enqueue": {
        "the queue is written in place": _overwrite,
        "no way around the end": _detached(wrap=False),
        "moved back to fit": lambda rows, pointer, new: (
            _loop(rows, min(int(pointer), len(rows) - len(new)), new.detach())[0], (pointer + len(new)) % len(rows)),
        "the pointer stays": _detached(move=0),
        "the pointer runs off": _runs_off,
        "the pointer moves by one": _detached(move=1),
        "always at the front": _detached(start=0),
        "shifted instead of overwritten": _line,
        "a gradient stays in the queue": _loop,
    },
    "05.ages": {
        "the pointer is taken for the newest": _count(lambda row, pointer, length: (pointer - row) % length),
        "counted from the oldest": _count(lambda row, pointer, length: (row + length - pointer) % length),
        "off by one the other way": _count(lambda row, pointer, length: (pointer + length - 2 - row) % length),
        "negative ages": _count(lambda row, pointer, length: pointer - row - 1),
        "absolute differences": _count(lambda row, pointer, length: abs(row + 1 - pointer)),
        "the pointer is forgotten": lambda length, pointer: torch.arange(length).flip(0),
    },
    "05.logits": {
        "the positive in the last column": lambda q, k, negatives, temperature=0.07: _blocks(
            _own(q, k.data), _others(q, negatives.data), temperature, last=True),
        "the temperature multiplies": lambda q, k, negatives, temperature=0.07: _blocks(
            _own(q, k.data), _others(q, negatives.data), 1 / temperature),
        "the positive without its temperature": lambda q, k, negatives, temperature=0.07: _blocks(
            _own(q, k.data) * temperature, _others(q, negatives.data), temperature),
        "a gradient into the keys": lambda q, k, negatives, temperature=0.07: _blocks(
            _own(q, k), _others(q, negatives.data), temperature),
        "a gradient into the queue": lambda q, k, negatives, temperature=0.07: _blocks(
            _own(q, k.data), _others(q, negatives), temperature),
        "the query detached": lambda q, k, negatives, temperature=0.07: _blocks(
            _own(q.data, k), _others(q.data, negatives), temperature),
        "every key of the batch as a positive": lambda q, k, negatives, temperature=0.07: q @ torch.cat(
            [k, negatives]).detach().T / temperature,
        "the keys in another order": lambda q, k, negatives, temperature=0.07: _blocks(
            _own(q, torch.cat([k[-1:], k[:-1]]).data), _others(q, negatives.data), temperature),
        "euclidean distances": lambda q, k, negatives, temperature=0.07: _blocks(
            ((q - k.data) ** 2).sum(1)[:, None], ((q[:, None] - negatives.data) ** 2).sum(2), temperature),
    },
    "05.shuffle": {
        "never put back": lambda encoder, images, order: _length_one(encoder(images.index_select(0, order))),
        "permuted once more instead of undone": lambda encoder, images, order: _length_one(
            encoder(images.index_select(0, order)).index_select(0, order)),
        "not shuffled at all": lambda encoder, images, order: _length_one(
            encoder(images).index_select(0, order).index_select(0, order.sort().indices)),
        "the inverse on the way in": _backwards,
        "one image at a time": lambda encoder, images, order: _length_one(torch.stack(
            [encoder(torch.stack([image, image]))[0] for image in images])),
        "not of length 1": _sorted_back,
        "length 1 along the batch": lambda encoder, images, order: _length_one(_sorted_back(encoder, images, order), 0),
    },
}
EQUIVALENT = {
    "05.logits": {
        "line 7: check_positive('temperature', temperature) -> nothing":
            "a check of the arguments; good ones pass it",
    },
    "05.enqueue": {"line 8: torch.arange(len(new), device=new.device) -> torch.arange(len(new))":
                   "the check runs on the CPU"},
}
