"""Augmentations of a whole batch at once: views, colours, geometry, masks."""

from course_lib.augment.colour import (
    adjust_brightness, adjust_contrast, adjust_hue, adjust_saturation, gaussian_blur, grayscale, solarize,
)
from course_lib.augment.geometry import affine, resized_crop, sample_boxes
from course_lib.augment.masks import (
    RATIOS, add_block, block_mask, coarse_mask, enlarge, hidden_count, hide_blocks, ibot_masks, kept_count,
    mask_from_noise, patch_mask, random_masking, random_ratio, scattered, visible_count, visible_indices,
)
from course_lib.augment.mixing import mix_reversed, random_mix, region
from course_lib.augment.pixels import MEAN, STD, standardize, to_float
from course_lib.augment.textures import patch_negatives, texture_negatives
from course_lib.augment.views import (
    CROPPED_VIEWS, SHAPES_VIEWS, TURNED_VIEWS, Augment, byol_views, many_views, moco_v1_view, moco_view, two_views,
)

__all__ = [
    "Augment", "CROPPED_VIEWS", "MEAN", "RATIOS", "SHAPES_VIEWS", "STD", "TURNED_VIEWS", "add_block",
    "adjust_brightness",
    "adjust_contrast", "adjust_hue", "adjust_saturation", "affine", "block_mask", "byol_views", "coarse_mask",
    "enlarge", "gaussian_blur", "grayscale", "hidden_count", "hide_blocks", "ibot_masks", "kept_count", "many_views",
    "mask_from_noise", "mix_reversed", "moco_v1_view", "moco_view", "patch_mask", "patch_negatives", "random_masking",
    "random_mix", "random_ratio", "region", "resized_crop", "sample_boxes", "scattered", "solarize", "standardize",
    "texture_negatives", "to_float", "two_views", "visible_count", "visible_indices",
]
