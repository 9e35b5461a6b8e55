"""One photograph file as a small square of pixels.

The picture is rotated as its EXIF tag says and converted to RGB: 16 bits are scaled to 8 (of colour, Pillow reads the
upper 8 only), transparency becomes white, an animation gives its first frame. The short side is resized to `size`
pixels (bilinear with antialiasing, like torchvision's Resize), and the centre is cropped. Large JPEGs are decoded at a
reduced scale, at least twice the final size, which is several times faster.
"""
from __future__ import annotations

import os

import numpy as np
from PIL import Image, UnidentifiedImageError

ENDINGS = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp")
FORMATS = ("JPEG", "PNG", "WEBP")
MAX_PIXELS = 178_956_970            # Pillow's limit for a decompression bomb
PASSING = "cannot be read now"      # starts the reasons that may not recur


def decode_photo(path: str | os.PathLike, size: int, depth: int = 16) -> np.ndarray:
    """One file as uint8 (size, size, 3), as described above. Raises whatever Pillow does if it cannot read it.

    depth: how many bits a 16-bit PNG uses, 8 to 16; with 12, as of many cameras, 4095 is white.
    """
    with Image.open(path, formats=FORMATS) as image:
        if image.width * image.height > MAX_PIXELS:
            raise Image.DecompressionBombError
        deep = image.format == "PNG" and "16" in str(image.tile[0][3])
        image.draft(image.mode, (2 * size, 2 * size))
        image.load()
        turned = 1
        if not _ORIENTATION_IN.isdisjoint(image.info):
            try:
                turned = image.getexif().get(0x0112, 1)
            except Exception:           # a damaged tag says nothing about the pixels
                pass
        if deep and depth < 16:
            image = _stretched(image, depth)
        image = _rgb(image)
        if image.size != (size, size):
            side = min(image.size)
            left, top = (image.width - side) / 2, (image.height - side) / 2
            square = (left, top, left + side, top + side)
            image = image.resize((size, size), Image.Resampling.BILINEAR, box=square)
        if turned in _TURNS:            # a centred square may as well be rotated last, when it is small
            image = image.transpose(_TURNS[turned])
        return np.asarray(image)


_ORIENTATION_IN = {"exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp"}
_TURNS = {2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180,
          4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270,
          7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_90}


def _stretched(image: Image.Image, depth: int) -> Image.Image:
    """A picture of 16 bits of which only the lower `depth` are used, as one of 8 bits."""
    white = 2 ** depth - 1
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.int64).clip(0, white)
        return Image.fromarray(((values * 255 + white // 2) // white).astype(np.uint8))
    table = [min(255, round(upper * 256 * 255 / white)) for upper in range(256)]
    return image.point(table * len(image.getbands()))


def bits_used(path: str | os.PathLike, pixels: np.ndarray) -> int:
    """How many bits the highest value of a 16-bit PNG needs (16 if `pixels`, decoded from it, are bright); or 0."""
    with open(path, "rb") as file:
        head = file.read(25)
    if head[:8] != b"\x89PNG\r\n\x1a\n" or head[24:] != b"\x10":
        return 0
    if pixels.max() >= 128:
        return 16
    with Image.open(path, formats=("PNG",)) as image:
        grey = image.mode.startswith("I")
        ranges = [image.getextrema()] if grey else image.getextrema()[:3]
    highest = int(max(high for _, high in ranges))      # type: ignore[misc]
    return (highest if grey else 256 * highest).bit_length()


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode == "I" or image.mode.startswith("I;16"):
        image = _stretched(image, 16)       # Pillow's convert("L") would clip at 255, to an all-white picture
    elif image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def failure_reason(error: Exception) -> str:
    """Why a file could not be decoded, in a few words."""
    if isinstance(error, Image.DecompressionBombError):
        return f"larger than {MAX_PIXELS // 10 ** 6} megapixels"
    if isinstance(error, UnidentifiedImageError):
        return "the content is not JPEG, PNG or WebP"
    if isinstance(error, PermissionError):
        return "no permission to read it"
    if isinstance(error, MemoryError):
        return f"{PASSING} (too little memory to decode it)"
    if isinstance(error, OSError) and error.errno:      # the disk's; Pillow's own have no number
        return f"{PASSING} ({error.strerror})"
    return "truncated or damaged"
