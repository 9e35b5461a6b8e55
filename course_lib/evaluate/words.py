"""What a dictionary of visual words keeps of images, and what can be said of a hidden word without learning."""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor

from course_lib.augment.pixels import to_float


def words_keep(images: Tensor, words: Tensor) -> dict[str, float]:
    """Shares of variance that lie between words: of patches' mean "colour", and of their "pattern", the rest.

    images (N, 3, H, W), words (N, g, g) int64. 1: patches of one word are equal in this; 0: words say nothing of it.
    """
    patch = images.shape[-1] // words.shape[-1]
    patches = rearrange(to_float(images), "b c (h p) (w q) -> (b h w) c (p q)", p=patch, q=patch)
    colour, flat, found = patches.mean(2), words.flatten(), {}
    for name, values in (("colour", colour), ("pattern", (patches - colour[..., None]).flatten(1))):
        values = values - values.mean(0)
        counts = torch.bincount(flat).clamp(min=1)[:, None]
        means = torch.zeros(len(counts), values.shape[1]).index_add_(0, flat, values) / counts
        found[name] = float(means[flat].square().sum() / values.square().sum().clamp(min=1e-12))
    return found


def to_visible(visible: Tensor) -> tuple[Tensor, Tensor]:
    """visible (B, g, g) -> (B, L) how many patches away the nearest visible one of each patch is, (B, L) which one."""
    side = torch.arange(float(visible.shape[-1]))
    cells = torch.cartesian_prod(side, side)
    away = torch.cdist(cells, cells).masked_fill(~visible.flatten(1)[:, None], torch.inf)  # (B, L, L)
    least = away.min(2)
    return least.values, least.indices


def copy_nearest(words: Tensor, visible: Tensor) -> Tensor:
    """Words (B, g, g) in which each hidden patch has the word of the nearest visible one, the first of equals."""
    return words.flatten(1).gather(1, to_visible(visible)[1]).view_as(words)


def painted_like(reading: Tensor, images: Tensor, visible: Tensor) -> dict[str, float]:
    """Hidden patches as painted, (B, g, g, 3, p, p), against images: root mean squared "error", and mean "contrast".

    Contrast: the standard deviation of a patch's pixels, colour by colour.
    """
    patch = reading.shape[-1]
    truth = rearrange(to_float(images), "b c (h p) (w q) -> b h w c p q", p=patch, q=patch)
    error = (reading - truth).square().mean((-1, -2, -3))[~visible].mean().sqrt()
    spread = (reading - reading.mean((-1, -2), keepdim=True)).square().mean((-1, -2, -3)).sqrt()
    return {"error": float(error), "contrast": float(spread[~visible].mean())}


def rival_readings(images: Tensor, visible: Tensor, pictures: Tensor) -> dict[str, Tensor]:
    """What hidden patches may be painted as without a prediction, each (B, g, g, 3, p, p).

    pictures (K, 3, p, p). "closest": the word that is nearest in pixels; "copy": the nearest visible patch;
    "flat copy": its mean colour.
    """
    patch, places = pictures.shape[-1], torch.arange(len(images))[:, None]
    patches = rearrange(to_float(images), "b c (h p) (w q) -> b h w c p q", p=patch, q=patch)
    apart = torch.stack([(patches - word).square().mean((-1, -2, -3)) for word in pictures], -1)
    copied = patches.flatten(1, 2)[places, to_visible(visible)[1]].view_as(patches)
    return {"closest": pictures[apart.argmin(-1)], "copy": copied,
            "flat copy": copied.mean((-1, -2), keepdim=True).expand_as(copied)}


def trusted(chances: Tensor, words: Tensor, visible: Tensor) -> tuple[float, float, float]:
    """Of hidden patches: the mean probability of the likeliest word, how often it is right, and how often a copy is.

    chances (B, g, g, K), words (B, g, g).
    """
    right, copied = ((w == words)[~visible].float().mean().item()
                     for w in (chances.argmax(-1), copy_nearest(words, visible)))
    return float(chances.amax(-1)[~visible].mean()), right, copied


def structure_known(chances: Tensor, words: Tensor, visible: Tensor, plain: Tensor) -> dict[str, float]:
    """What is known of hidden words with structure; plain (K,) bool marks the words without.

    "mass" and "mass elsewhere": the probability of all words with structure, where the true word has structure and
    where it has none; "copy" and "copy elsewhere": how often a copied word has. Where the true word has structure:
    "right", the likeliest of the words with structure is the true one; "frequent", the most frequent of them is; "five"
    and "ten": the true one is among so many likeliest of all words.
    """
    there, elsewhere = ~plain[words] & ~visible, plain[words] & ~visible
    mass, copied = chances[..., ~plain].sum(-1), (~plain[copy_nearest(words, visible)]).float()
    rank = (chances > chances.gather(-1, words[..., None])).sum(-1)
    most = torch.bincount(words.flatten(), minlength=len(plain)).masked_fill(plain, 0).argmax()
    among = chances.masked_fill(plain, 0).argmax(-1)
    found = {"mass": mass[there], "mass elsewhere": mass[elsewhere], "copy": copied[there],
             "copy elsewhere": copied[elsewhere], "right": (among == words)[there], "frequent": (words == most)[there],
             "five": (rank < 5)[there], "ten": (rank < 10)[there]}
    return {name: float(values.float().mean()) for name, values in found.items()}
