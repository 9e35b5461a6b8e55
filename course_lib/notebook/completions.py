"""Explorer: what a masked method paints in hidden patches, beside what needs no learning."""

from __future__ import annotations

import torch
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from course_lib.augment.masks import enlarge, patch_mask
from course_lib.evaluate.reconstruction import fill_mean, fill_nearest, hidden_error
from course_lib.methods.base import ReconstructionMethod
from course_lib.notebook.controls import Slider, Toggle
from course_lib.notebook.explorers import Images, Model, View, as_images, asked, blanked, explorer, loaded, panels
from course_lib.notebook.knobs import Knob, Tasks
from course_lib.plots.drawing import BLUE, ORANGE, as_pixels

# of a method that does not predict a patch's mean and contrast, without the leak and with it
NOTES = ("the mean and contrast of hidden patches, which the network does not predict, are those of the visible ones",
         "* drawn with the true mean and contrast of each hidden patch, which the network does not know: its error is "
         "not comparable")


def reconstruction_view(method: ReconstructionMethod, images: Images) -> View:
    """view(state): an image with hidden patches filled in by a method and without learning.

    state: image, mask_ratio, draw, and true_statistics where targets are normalised per patch: the picture is then
    drawn with the true mean and contrast of hidden patches (a star says so), or with those of the visible ones. Masks
    are of the method's own kind (SimMIM's are coarser than its patches). data: "mask_ratio"; errors on hidden pixels
    over their variance of "method", "nearest visible pixel" and "visible mean" (1 is the mean of the hidden pixels
    themselves).
    """
    pictures = as_images(images, method.patch, method.grid * method.patch)
    grid = pictures.shape[-1] // method.patch
    coarse = grid * (method.mask_grid or method.grid) // method.grid

    def view(state: dict) -> tuple[dict, Figure]:
        image = pictures[state["image"] : state["image"] + 1]
        leaks = bool(method.normalized and state["true_statistics"])
        mask = patch_mask(1, coarse, state["mask_ratio"], torch.Generator().manual_seed(state["draw"]))
        visible = enlarge(mask.unsqueeze(1), grid).squeeze(1)
        painted = asked(method, method.reconstruct, image, visible, true_statistics=leaks)
        filled = {"nearest visible pixel": fill_nearest(image, visible), "method": painted,
                  "visible mean": fill_mean(image, visible)}
        errors = {name: hidden_error(picture, image, visible) for name, picture in filled.items()}
        titles = ["image", "visible", *(f"{name}: {error:.2f}" for name, error in errors.items())]
        titles[3] = f"{method.title or 'method'}: {errors['method']:.2f}{'*' * leaks}"
        figure, cells = panels(titles, 5, note=NOTES[leaks] if method.normalized else "")
        shown = torch.cat([image, blanked(image, visible), *filled.values()])
        for axes, pixels in zip(cells, as_pixels(shown)):
            axes.imshow(pixels, interpolation="nearest")
        for axes, colour in zip(cells[2:], (ORANGE, BLUE, ORANGE)):  # blue: has learned, orange: has not
            axes.add_patch(Rectangle((0, 0), 1, 1, transform=axes.transAxes, fill=False, ec=colour, lw=2))
        return {"mask_ratio": 1 - float(visible.float().mean()), **errors}, figure

    return view


def explore_reconstruction(method: Model, images: Images, title: str = "What can be filled in?",
                           size: int | None = None, tasks: Tasks | None = None) -> Knob:
    """A knob over `reconstruction_view`: choose an image, the share of hidden patches and another draw of them.

    method: a `ReconstructionMethod` (SparK, MAE, DMAE, SimMIM, BEiT), a learned one, or the path of its checkpoint.
    images, size, errors: as for `explore_attention`; a relative position bias (SimMIM, BEiT) has the size of training
    only. Where targets are normalised per patch, a switch puts in the true mean and contrast of hidden patches.
    """
    model = loaded(method)
    if not isinstance(model, ReconstructionMethod):
        raise ValueError(f"{type(model).__name__} does not draw pictures: use SparK, MAE, DMAE, SimMIM or BEiT")
    pictures = as_images(images, model.patch, size or model.grid * model.patch)
    switch = {"true_statistics": Toggle(False)} if model.normalized else {}
    return explorer(reconstruction_view(model, pictures), title, tasks, image=(0, len(pictures) - 1, 0),
                    mask_ratio=Slider(0.1, 0.9, 0.6, 0.1), draw=(0, 9, 0), **switch)
