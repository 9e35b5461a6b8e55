"""Images: containers, generated shapes, public data sets, folders, and the batches of a run."""

from course_lib.data.batches import Batches, order_of
from course_lib.data.images import FACTOR_KINDS, SPLITS, Batch, DataError, ImageSet, Splits, draw
from course_lib.data.loading import TORCHVISION_SETS, load, sample_photographs, sample_tiles
from course_lib.data.one_photo import crop_places, noise_picture, photo_crops, same_spectrum, sample_photograph
from course_lib.data.shapes import (
    CLASSES, FAMILIES, RELATIONS, STYLES, TEXTURES, draw_causes, hierarchy, make_shapes, object_masks, render,
)

__all__ = [
    "Batch", "Batches", "CLASSES", "DataError", "FACTOR_KINDS", "FAMILIES", "ImageSet", "RELATIONS", "SPLITS",
    "STYLES", "Splits", "TEXTURES", "TORCHVISION_SETS", "crop_places", "draw", "draw_causes", "hierarchy", "load",
    "make_shapes", "noise_picture", "object_masks", "order_of", "photo_crops", "render", "same_spectrum",
    "sample_photograph", "sample_photographs", "sample_tiles",
]
