r"""Many pictures cut from a single one: as in "A Critical Analysis of Self-Supervision, or What We Can Learn from a
Single Image", Asano, Rupprecht and Vedaldi, ICLR 2020, arXiv 1904.13132.

Each is a random square of the photograph, turned, slanted, mirrored, made small, and changed in colour. Turning and
slanting are done once, before the training, so that even the first-layer filters meet edges at all angles.

The paper turns and slants by up to 30 degrees and changes colours of every second crop by 0.4 (hue 0.1), as here; it
has 1.28 million crops of 224 pixels. Where a square would reach beyond the photograph it is mirrored at the edge.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from course_lib.augment.pixels import to_float
from course_lib.augment.views import Augment
from course_lib.data.images import ImageSet

PHOTOGRAPHS = ("china", "flower")


def sample_photograph(name: str = "china") -> Tensor:
    """One of scikit-learn's two photographs, whole: uint8 (3, 427, 640). ValueError for another name."""
    from sklearn.datasets import load_sample_image

    if name not in PHOTOGRAPHS:
        raise ValueError(f"there is no photograph {name!r}; expected {' or '.join(PHOTOGRAPHS)}, or a tensor of pixels")
    return torch.tensor(load_sample_image(f"{name}.jpg")).permute(2, 0, 1).contiguous()


def noise_picture(height: int = 427, width: int = 640, seed: int = 0) -> Tensor:
    """The control: every colour of every pixel drawn alone, uint8 (3, height, width)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (3, height, width), generator=generator, dtype=torch.uint8)


def same_spectrum(picture: Tensor, seed: int = 0) -> Tensor:
    """The other control: noise with the picture's power spectrum and its relations of colours, uint8 (3, H, W).

    The same random phases are added to all three channels, so each wave stays as strong, and edges fall apart. Values
    beyond 0 to 255 are clipped.
    """
    generator, (height, width) = torch.Generator().manual_seed(seed), picture.shape[-2:]
    waves = torch.fft.rfft2(picture.float())
    phases = torch.fft.rfft2(torch.randn(height, width, generator=generator)).angle()  # those of a real picture
    phases[0, 0] = 0.0  # the mean stays
    return torch.fft.irfft2(waves * torch.polar(torch.ones_like(phases), phases), s=(height, width)).round_().clamp_(
        0, 255).to(torch.uint8)


def crop_places(draws: Tensor, height: int, width: int, scale: tuple[float, float]) -> tuple[Tensor, Tensor]:
    """Where crops lie in a picture: centres (N, 2), x and y, and sides (N,), in pixels; each square is inside.

    draws: (3, N), even in [0, 1): of the share of the area, from scale[0] to scale[1]; across; and down. A square that
    would be larger than the picture gets the picture's shorter side.
    """
    area, across, down = draws
    side = (height * width * (scale[0] + (scale[1] - scale[0]) * area)).sqrt().clamp(max=min(height, width))
    return torch.stack([side / 2 + across * (width - side), side / 2 + down * (height - side)], 1), side


def squares(picture: Tensor, centre: Tensor, side: Tensor, angle: Tensor, slant: Tensor, size: int) -> Tensor:
    """Squares of a picture, float (3, H, W), as images of size x size: (N, 3, size, size).

    centre (N, 2): x and y in pixels; side (N,) in pixels; angle (N,) in degrees, clockwise; slant (N,) in degrees. Of a
    copy of the picture, halved as often as a square is larger than the image, so that nothing flickers.
    """
    offsets = (torch.arange(size) + 0.5) / size - 0.5  # of the square's side
    v, u = torch.meshgrid(offsets, offsets, indexing="ij")
    turn = torch.deg2rad(angle)[:, None, None]
    u = u + torch.deg2rad(slant).tan()[:, None, None] * v  # (N, size, size)
    x = side[:, None, None] * (turn.cos() * u - turn.sin() * v) + centre[:, :1, None]
    y = side[:, None, None] * (turn.sin() * u + turn.cos() * v) + centre[:, 1:, None]
    grid = torch.stack([2 * x / picture.shape[2] - 1, 2 * y / picture.shape[1] - 1], -1)  # -1 to 1 over the picture
    halvings = (side / size).log2().floor().clamp(0, 5).long()
    out, smaller = torch.empty(len(side), 3, size, size), picture[None]
    for level in range(int(halvings.max()) + 1):
        rows = (halvings == level).nonzero().flatten()
        if len(rows):
            out[rows] = F.grid_sample(smaller.expand(len(rows), -1, -1, -1), grid[rows], padding_mode="reflection",
                                      align_corners=False)
        smaller = F.avg_pool2d(smaller, 2) if min(smaller.shape[2:]) > 1 else smaller
    return out


def photo_crops(count: int = 10_000, photo: str | Tensor = "china", *, size: int = 32, seed: int = 0,
                scale: tuple[float, float] = (0.004, 0.25), turn: float = 30.0, slant: float = 30.0,
                augment: Augment | None = None, split: str = "train") -> ImageSet:
    """`count` augmented crops of one photograph, without labels; a function of the seed alone.

    photo: one of PHOTOGRAPHS, or a picture, uint8 (3, H, W), such as `noise_picture()`. scale: a crop's share of the
    area, drawn evenly. turn, slant: degrees, either way. augment: what is done to the colours of each crop, and its
    mirror. ValueError for what cannot be.
    """
    name = photo if isinstance(photo, str) else "a picture"
    picture = sample_photograph(photo) if isinstance(photo, str) else photo
    if picture.dtype != torch.uint8 or picture.ndim != 3 or picture.shape[0] != 3 or min(picture.shape[1:]) < 2:
        raise ValueError(f"the picture is {picture.dtype} of shape {tuple(picture.shape)}; expected uint8 (3, H, W)")
    if count < 1 or size < 1 or not 0 < scale[0] <= scale[1] <= 1 or not 0 <= turn <= 180 or not 0 <= slant < 90:
        raise ValueError(f"count is {count}, size {size}, scale {scale}, turn {turn}, slant {slant}; expected numbers "
                         "from 1 up, rising shares from above 0 to 1, and degrees up to 180 and below 90")
    augment = augment or Augment(size, scale=(1.0, 1.0), ratio=(1.0, 1.0), jitter=(0.4, 0.4, 0.4, 0.1), jitter_p=0.5,
                                 gray_p=0.0)
    generator, whole = torch.Generator().manual_seed(seed), to_float(picture)
    height, width = picture.shape[1:]
    images = torch.empty(count, 3, size, size, dtype=torch.uint8)
    for part in images.split(1000):  # views of the images, which are written into
        *draws, angle, lean = torch.rand(5, len(part), generator=generator)
        centre, side = crop_places(torch.stack(draws), height, width, scale)
        crops = squares(whole, centre, side, turn * (2 * angle - 1), slant * (2 * lean - 1), size)
        part.copy_(augment(crops.clamp(0, 1), generator).mul(255).round_())
    return ImageSet(images, name=f"crops of {name}", split=split)
