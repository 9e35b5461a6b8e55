"""One photograph file as a small square of pixels.

The picture is rotated as its EXIF tag says and converted to RGB: 16-bit grey is scaled to 8 bits, transparency becomes
white, an animation gives its first frame. The short side is resized to `size` pixels (bilinear with antialiasing, like
torchvision's Resize), and the centre is cropped. Large JPEGs are decoded at a reduced scale, at least twice the final
size, which is several times faster.
"""
from __future__ import annotations

import os

import numpy as np
from PIL import Image, UnidentifiedImageError

ENDINGS = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp")
FORMATS = ("JPEG", "PNG", "WEBP")
MAX_PIXELS = 178_956_970            # Pillow's limit for a decompression bomb
PASSING = "cannot be read now"      # starts the reasons that may not recur


def decode_photo(path: str | os.PathLike, size: int) -> np.ndarray:
    """One file as uint8 (size, size, 3), as described above. Raises whatever Pillow does if it cannot read it."""
    with Image.open(path, formats=FORMATS) as image:
        if image.width * image.height > MAX_PIXELS:
            raise Image.DecompressionBombError
        image.draft(image.mode, (2 * size, 2 * size))
        image.load()
        turned = 1
        if not _ORIENTATION_IN.isdisjoint(image.info):
            try:
                turned = image.getexif().get(0x0112, 1)
            except Exception:           # a damaged tag says nothing about the pixels
                pass
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


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode == "I" or image.mode.startswith("I;16"):
        # Pillow's convert("L") would clip at 255, to an all-white picture
        values = np.asarray(image).astype(np.int64).clip(0, 65535)
        image = Image.fromarray(((values * 255 + 32767) // 65535).astype(np.uint8))
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
