"""Generated images with known causes: an object on a background in colour, drawn in batches from a seed.

Each picture is a function of ten causes (`FACTOR_KINDS`), so a probe can measure which of them a representation keeps.
`relation` sets the causal link between class and background: independent, correlated or confounded.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from course_lib.data.images import ImageSet

CLASSES = ("disc", "square", "triangle", "star", "cross", "ring", "bar", "crescent")
FACTOR_KINDS = {
    "class": "category", "hue": "circular", "size": "number", "pos_x": "number", "pos_y": "number",
    "rotation_sin": "number", "rotation_cos": "number", "background": "category", "texture": "category",
    "lighting": "number",
}
RELATIONS = ("independent", "correlated", "confounded")
STYLES = ("calm", "striped")
# n rotations leave the shape unchanged, so its angle is known up to 1/n of a circle; 0: it has no angle
_SYMMETRY = torch.tensor([0, 4, 3, 5, 4, 0, 2, 1])
TEXTURES = ("plain", "stripes", "dots")
# what shapes have in common -> the shapes: the upper level of `hierarchy`
FAMILIES = {"round": ("disc", "ring", "crescent"), "pointed": ("square", "triangle", "star"), "long": ("cross", "bar")}


def make_shapes(n: int = 20000, seed: int = 0, relation: str = "independent", style: str = "calm",
                size: int = 32, split: str = "train", upright: bool = False) -> ImageSet:
    """n generated images as an ImageSet with labels, factors and their kinds; the same on every machine.

    relation: between class and background (one of 8 colours): "independent"; "correlated": the class's own colour in
    7 of 10 images; "confounded": always, so the background gives the class away. style: "calm" backgrounds are a soft
    gradient of one colour, "striped" ones have strong stripes that drown the object. upright: no object is turned, so
    pictures have an upper side.

    factors, float32 (n,): class 0..7; hue of the object in [0, 1), circular; size, its radius over half the picture's
    width; pos_x, pos_y of its centre in [-1, 1]; rotation_sin, rotation_cos of s times the angle, for a shape that
    rotating by 1/s of a circle leaves unchanged, NaN for disc and ring; background 0..7; texture 0..2 (plain, stripes,
    dots); lighting, the strength of the light from above in [-1, 1].
    """
    if relation not in RELATIONS:
        raise ValueError(f"relation must be one of {', '.join(RELATIONS)}, got {relation!r}")
    if style not in STYLES:
        raise ValueError(f"style must be one of {', '.join(STYLES)}, got {style!r}")
    if n < 1 or size < 8:
        raise ValueError(f"expected n >= 1 images of size >= 8, got n={n}, size={size}")
    generator = torch.Generator().manual_seed(seed)
    causes = draw_causes(n, generator, relation)
    if upright:
        causes["angle"] = torch.zeros(n)
    noise_seed = int(torch.randint(2**62, (1,), generator=generator))
    images = torch.empty(n, 3, size, size, dtype=torch.uint8)
    noise = torch.Generator().manual_seed(noise_seed)
    for start in range(0, n, 1000):
        part = slice(start, start + 1000)
        images[part] = render({name: value[part] for name, value in causes.items()}, size, style, noise)
    angle = causes.pop("angle")
    turns = _SYMMETRY[causes["class"].long()]
    none = torch.where(turns == 0, torch.nan, 1.0)
    causes["rotation_sin"], causes["rotation_cos"] = (turns * angle).sin() * none, (turns * angle).cos() * none
    causes.pop("phase")
    return ImageSet(images, causes["class"].long(), CLASSES, {k: causes[k] for k in FACTOR_KINDS}, dict(FACTOR_KINDS),
                    name=f"shapes ({relation}, {style}{', upright' * upright})", split=split)


def hierarchy(images: ImageSet) -> Tensor:
    """The tree that images of `make_shapes` sit in: int64 (N, 3), family 0..2, shape 0..7, variant 0..23.

    A variant is a shape with a texture, 3 * shape + texture; families are those of FAMILIES. ValueError for others.
    """
    _check_drawn(images)
    family = [list(FAMILIES).index(next(f for f, names in FAMILIES.items() if c in names)) for c in CLASSES]
    shape, texture = images.factors["class"].long(), images.factors["texture"].long()
    return torch.stack([torch.tensor(family)[shape], shape, len(TEXTURES) * shape + texture], 1)


def draw_causes(n: int, generator: torch.Generator, relation: str = "independent") -> dict[str, Tensor]:
    """Draw the causes of n images: float32 (n,) each, `angle` and `phase` (of textures) in radians."""

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(n, generator=generator)

    label = torch.randint(len(CLASSES), (n,), generator=generator)
    background = torch.randint(8, (n,), generator=generator)
    same = torch.rand(n, generator=generator) < {"independent": 0.0, "correlated": 0.7, "confounded": 1.0}[relation]
    causes = {"class": label, "hue": uniform(0, 1), "size": uniform(0.38, 0.62),
              "pos_x": uniform(-0.4, 0.4), "pos_y": uniform(-0.4, 0.4), "angle": uniform(0, 2 * math.pi),
              "background": torch.where(same, label, background),
              "texture": torch.randint(len(TEXTURES), (n,), generator=generator),
              "lighting": uniform(-1, 1), "phase": uniform(0, 2 * math.pi)}
    return {name: value.float() for name, value in causes.items()}


def render(causes: dict[str, Tensor], size: int = 32, style: str = "calm",
           generator: torch.Generator | None = None) -> Tensor:
    """Draw the images of given causes (as `draw_causes` gives them): uint8 (n, 3, size, size).

    Change one cause to vary a single factor. generator: adds sensor noise.
    """
    c = {name: value[:, None, None] for name, value in causes.items()}
    x, y, u, v, distance = _placed(c, size)
    inside = (0.5 - distance * size / 2).clamp(0, 1)  # antialiased over one pixel

    texture = torch.where(c["texture"] == 1, (8 * u + c["phase"]).sin().sign(),
                          torch.where(c["texture"] == 2, ((9 * u).sin() * (9 * v).sin() - 0.25).sign(), 0.0))
    value = (0.82 + 0.12 * texture).unsqueeze(1)
    body = _colour(causes["hue"], 0.75)[:, :, None, None] * value
    slope = 0.06 * (x * c["phase"].cos() + y * c["phase"].sin())
    if style == "striped":
        slope = 0.35 * (10 * (x * c["phase"].cos() + y * c["phase"].sin())).sin()
    ground = _colour((causes["background"] + 0.5) / 8, 0.30)[:, :, None, None] * 0.42 + slope.unsqueeze(1)
    inside = inside.unsqueeze(1)
    image = (body * inside + ground * (1 - inside)) * (1 - 0.25 * (c["lighting"] * y)).unsqueeze(1)
    if generator is not None:
        image = image + 0.02 * torch.randn(image.shape, generator=generator)
    return image.clamp_(0, 1).mul_(255).round_().to(torch.uint8)


def _check_drawn(images: ImageSet) -> None:
    """ValueError unless `make_shapes` has drawn the images, and so knows what is where."""
    if missing := set(FACTOR_KINDS) - set(images.factors):
        raise ValueError(f"of {images.describe()}, nobody knows {', '.join(sorted(missing))}; expected images of "
                         "make_shapes")


def object_masks(causes: dict[str, Tensor] | ImageSet, size: int | None = None) -> Tensor:
    """Which pixels are the object's, bool (n, size, size): those of which it covers at least half.

    causes: an ImageSet of `make_shapes` (ValueError for others), its factors, or causes as `draw_causes` gives them.
    size: by default that of the ImageSet's pictures, else 32.
    """
    if isinstance(causes, ImageSet):
        _check_drawn(causes)
        causes, size = causes.factors, size or causes.size
    causes, size = dict(causes), size or 32
    if "angle" not in causes:  # known up to the shape's symmetry, which is enough
        turns = _SYMMETRY[causes["class"].long()].clamp_min(1)
        causes["angle"] = (torch.atan2(causes["rotation_sin"], causes["rotation_cos"]) / turns).nan_to_num(0.0)
    return _placed({name: value[:, None, None] for name, value in causes.items()}, size)[-1] <= 0


def _placed(c: dict[str, Tensor], size: int) -> tuple[Tensor, ...]:
    """Pixels x, y in the picture's units, u, v in the object's, and their signed distance to it; c: (n, 1, 1) each."""
    axis = (torch.arange(size) + 0.5) / size * 2 - 1
    y, x = axis[None, :, None], axis[None, None, :]
    u, v = x - c["pos_x"], y - c["pos_y"]
    cos, sin = c["angle"].cos(), c["angle"].sin()
    u, v = (cos * u + sin * v) / c["size"], (-sin * u + cos * v) / c["size"]
    return x, y, u, v, _distance(u, v, c["class"][:, 0, 0].long()) * c["size"]


def _colour(hue: Tensor, saturation: float) -> Tensor:
    """Hue in [0, 1) -> (n, 3) RGB of value 1."""
    k = (torch.tensor([5.0, 3.0, 1.0]) + 6 * hue[:, None]) % 6
    return 1 - saturation * torch.minimum(k, 4 - k).clamp(0, 1)


def _distance(u: Tensor, v: Tensor, label: Tensor) -> Tensor:
    """Signed distance (negative inside, in units of the object's radius) of each pixel to its image's shape."""
    radius = torch.hypot(u, v)
    out = torch.empty_like(radius)

    def polygon(u: Tensor, v: Tensor, sides: int, inner: float) -> Tensor:
        """A regular polygon (inner = cos(pi / sides)) or a star: the edge between a corner and a notch."""
        step = math.pi / sides
        angle = torch.remainder(torch.atan2(u, -v) + step, 2 * step) - step
        r = torch.hypot(u, v)
        px, py = r * angle.abs().sin(), r * angle.cos()
        nx, ny = inner * math.sin(step), inner * math.cos(step)  # the notch; the corner is (0, 1)
        length = math.hypot(nx, 1 - ny)
        return (px * (1 - ny) + (py - 1) * nx) / length

    def box(u: Tensor, v: Tensor, a: float, b: float) -> Tensor:
        return torch.maximum(u.abs() - a, v.abs() - b)

    shapes = {
        "disc": lambda u, v, r: r - 0.85,
        "square": lambda u, v, r: box(u, v, 0.75, 0.75),
        "triangle": lambda u, v, r: polygon(u, v, 3, math.cos(math.pi / 3)),
        "star": lambda u, v, r: polygon(u, v, 5, 0.42),
        "cross": lambda u, v, r: torch.minimum(box(u, v, 1.0, 0.28), box(u, v, 0.28, 1.0)),
        "ring": lambda u, v, r: (r - 0.75).abs() - 0.2,
        "bar": lambda u, v, r: box(u, v, 1.0, 0.33),
        "crescent": lambda u, v, r: torch.maximum(r - 0.95, 0.75 - torch.hypot(u - 0.45, v)),
    }
    for index, name in enumerate(CLASSES):
        rows = label == index
        if rows.any():
            out[rows] = shapes[name](u[rows], v[rows], radius[rows])
    return out
