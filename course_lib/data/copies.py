"""The same picture more than once: exact copies, and near copies (saved again, resized, brighter or darker).

Of each picture a line of three numbers is kept: a digest of its pixels, a perceptual hash (DCT, 64 bits; Zauner,
"Implementation and benchmarking of perceptual image hash functions", 2010) and its bits (see `photo.bits_used`). So
memory grows with the number of pictures, not with that of pairs. Pictures of one colour are compared with nothing.
"""
from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Sequence

import numpy as np

from course_lib.data.splits import FolderReport, shown
from course_lib.text import counted

HASH_BITS = 6           # near copies differ in at most so many of the 64 bits of their hashes ...
CORRELATION = 0.994     # ... and correlate so much when reduced to 8 x 8 pixels (generated shapes do not) ...
IN_FULL = 0.9           # ... and so much in full
WINDOW = 64             # in each of its sorted orders a picture is compared with so many that follow it
_ONES = np.array([bin(i).count("1") for i in range(256)], dtype=np.uint8)


def fingerprints(images: np.ndarray) -> np.ndarray:
    """uint8 (n, 3, S, S) -> int64 (n, 3): digest of the pixels (0: of one colour), perceptual hash, 0 for the bits."""
    found = np.zeros((len(images), 3), dtype=np.int64)
    if not len(images):
        return found
    angle = np.arange(8)[:, None] * (np.arange(images.shape[-1]) + 0.5)[None] * np.pi / images.shape[-1]
    cosines = np.cos(angle).astype(np.float32)
    grey = images.mean(1, dtype=np.float32)
    waves = np.einsum("ks,nst,lt->nkl", cosines, grey, cosines, optimize=["einsum_path", (0, 1), (0, 1)])
    waves = waves.reshape(len(images), 64)[:, 1:]           # without the mean brightness
    bits = np.pad(waves > np.median(waves, axis=1, keepdims=True), ((0, 0), (0, 1)))
    found[:, 1] = np.packbits(bits, axis=1).view(np.int64)[:, 0]
    for i, image in enumerate(images):
        if (image != image[:, :1, :1]).any():
            digest = hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=8).digest()
            found[i, 0] = int.from_bytes(digest, "little", signed=True)
    return found


def copies(digests: np.ndarray) -> dict[int, int]:
    """Position of each exact copy -> that of the first picture with the same pixels."""
    order = np.argsort(digests, kind="stable")
    same = (digests[order][1:] == digests[order][:-1]) & (digests[order][1:] != 0)
    found: dict[int, int] = {}
    for first, second in zip(map(int, order[:-1][same]), map(int, order[1:][same])):
        found[second] = found.get(first, first)
    return found


def near_copies(images: np.ndarray, prints: np.ndarray) -> list[tuple[int, int]]:
    """Pairs of positions, ascending, of pictures that are nearly but not exactly the same, by the thresholds above.

    Hashes that differ in six bits agree in two of their eight bytes, so they are sorted by any two.
    """
    rows = np.flatnonzero(prints[:, 0])
    digests, hashes = prints[rows, 0], np.ascontiguousarray(prints[rows, 1])
    octets = hashes.view(np.uint8).reshape(-1, 8)
    found: list[tuple[int, int]] = []
    for one, other in itertools.combinations(range(8), 2):
        key = octets[:, one].astype(np.uint16) << 8 | octets[:, other]
        order = np.lexsort((hashes, key))
        for shift in range(1, min(WINDOW, len(order))):
            a, b = order[:-shift], order[shift:]
            same = key[a] == key[b]
            if not same.any():
                break
            a, b = a[same], b[same]
            first = (octets[a, :other] == octets[b, :other]).sum(1) == 1    # no earlier two bytes: met once only
            close = _ONES[octets[a] ^ octets[b]].sum(1) <= HASH_BITS
            pairs = np.sort(rows[np.stack([a, b], 1)[first & close & (digests[a] != digests[b])]], axis=1)
            for part in (pairs[i:i + 256] for i in range(0, len(pairs), 256)):
                found += map(tuple, part[_alike(images[part[:, 0]], images[part[:, 1]])].tolist())
    return sorted(found)


def _alike(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Whether pairs of pictures correlate enough: uint8 (n, 3, S, S) twice -> bool (n,)."""
    a, b = a.astype(np.float32), b.astype(np.float32)
    return (_correlation(_reduced(a), _reduced(b)) >= CORRELATION) & (_correlation(a, b) >= IN_FULL)


def _reduced(images: np.ndarray) -> np.ndarray:
    """Sums over 8 x 8 blocks; smaller pictures stay as they are."""
    if images.shape[-1] < 8:
        return images
    starts = np.arange(8) * images.shape[-1] // 8
    return np.add.reduceat(np.add.reduceat(images, starts, 2), starts, 3)


def _correlation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Pearson's, of all values of each pair."""
    x, y = (part.reshape(len(part), -1) - part.mean((1, 2, 3))[:, None] for part in (a, b))
    return (x * y).sum(1) / np.sqrt((x * x).sum(1) * (y * y).sum(1)).clip(1e-9)


def leave_out_copies(images: np.ndarray, prints: np.ndarray, names: Sequence[str],
                     placed: Sequence[tuple[str, str]], report: FolderReport) -> set[int]:
    """Positions of the pictures of validation and test that are copies of earlier ones; all copies are reported.

    placed: (split, class or "") of each. All are in one order, train first, then validation, test and unlabelled.
    """
    splits = [split for split, _ in placed]
    same, out = copies(prints[:, 0]), set()
    for copy, first in same.items():
        if splits[copy] in ("validation", "test"):
            where = f"twice in {splits[copy]}" if splits[copy] == splits[first] else f"in {splits[first]} too"
            report.skipped.append((names[copy], f"the same picture is {where}"))
            out.add(copy)
    if same:
        classes = [(placed[copy][1], placed[first][1]) for copy, first in same.items()]
        other = sum(bool(a and b and a != b) for a, b in classes)
        report.notes.append(
            f"Exact copies of other pictures: {len(same):,} ({_examples(same.items(), names, '=')}). {len(out):,} of "
            "them would fall to validation or test and are left out."
            + (f" {other:,} have another class than their original." if other else ""))
    near = [pair for pair in near_copies(images, prints) if not out & set(pair)]
    if near:
        over = sum(splits[a] != splits[b] for a, b in near)
        report.notes.append(
            f"Near copies: {counted(len(near), 'pair')} ({_examples(near, names, '~')}), all kept; in two splits, "
            f"which flatters the scores: {over:,}. (At most {HASH_BITS} of 64 bits of a perceptual hash differ, "
            f"correlation at least {CORRELATION}.)")
    return out


def _examples(pairs: Iterable[tuple[int, int]], names: Sequence[str], sign: str) -> str:
    """The first three pairs, for a note."""
    pairs = list(pairs)
    first = [f"{shown(names[a])} {sign} {shown(names[b])}" for a, b in pairs[:3]]
    return ", ".join(first + ["..."] * (len(pairs) > 3))
