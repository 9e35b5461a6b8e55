"""Exercises of week 21, a single image: where crops lie, a round of k-means, DeepCluster's step, layers of one size."""
from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.data.one_photo import crop_places
from course_lib.exercises.questions import quiz
from course_lib.exercises.spec import Exercise
from lessons.exercises.shared import blank, descend, rand, randn, seeded, small_network, steps, weights_of


# ------------------------------------------------------------------------------------------------ 21.crops
def _crops_probes(generator, dtype):
    def probe(n, height, width, low, high):
        return (rand(generator, dtype, 3, n), height, width, (low, high))

    return [probe(5, 427, 640, 0.004, 0.25), probe(4, 300, 200, 0.05, 0.9), probe(6, 90, 90, 0.1, 0.1),
            dict(draws=rand(generator, dtype, 3, 7), height=50, width=120, scale=(0.2, 0.95))]


def _crops(*, side=lambda share, h, w: (h * w * share).sqrt(), most=min,
           share=lambda a, low, high: low + (high - low) * a,
           place=lambda u, side, length: side / 2 + u * (length - side), axes=(1, 0), rows=(0, 1, 2)):
    """The right one, or with one thing changed."""
    def answer(draws, height, width, scale):
        a, across, down = (draws[i] for i in rows)
        s = side(share(a, *scale), height, width)
        s = s.clamp(max=most(height, width)) if most else s
        length = (height, width)
        return torch.stack([place(across, s, length[axes[0]]), place(down, s, length[axes[1]])], 1), s

    return answer


crops = Exercise(
    key="21.crops", title="Ten thousand images out of one", minutes=8, difficulty=2,
    reference=crop_places, probes=_crops_probes,
    words={"[0]": "the centres", "[1]": "the sides"},
    wrong={
        "a share of the side": (
            _crops(side=lambda share, h, w: share * min(h, w)),
            "You took `scale` for a share of the *side*. It is a share of the area: side * side = share * height * "
            "width."),
        "the area instead of its root": (
            _crops(side=lambda share, h, w: h * w * share),
            "That is the crop's area. A square's side is its root."),
        "a share of the shorter side's square": (
            _crops(side=lambda share, h, w: min(h, w) * share.sqrt()),
            "The share is of the whole picture, height * width, not of its largest square."),
        "the side drawn evenly": (
            _crops(side=lambda share, h, w: (h * w) ** 0.5 * share,
                   share=lambda a, low, high: low**0.5 + (high**0.5 - low**0.5) * a),
            "You drew the *side* evenly between its ends. The paper draws the area evenly, then takes the root."),
        "evenly in the logarithm": (
            _crops(share=lambda a, low, high: low * (high / low) ** a),
            "You drew the share evenly in its *logarithm*, which makes small crops more frequent. Draw the share "
            "itself evenly: scale[0] + (scale[1] - scale[0]) * draw."),
        "larger than the picture": (
            _crops(most=None),
            "Some of your squares are larger than the picture. No side is longer than the picture's shorter side."),
        "corners, not centres": (
            _crops(place=lambda u, side, length: u * (length - side)),
            "Those are the upper left corners. The centre is half a side further on."),
        "centres anywhere": (
            _crops(place=lambda u, side, length: u * length),
            "Your centres lie anywhere in the picture, so that squares reach beyond it. A centre keeps half a side "
            "away from each edge."),
        "half a side from one edge only": (
            _crops(place=lambda u, side, length: side / 2 + u * (length - side / 2)),
            "At the far edge, too, half a side is needed: there is length - side to choose from."),
        "x and y exchanged": (
            _crops(axes=(0, 1)),
            "You took the height for x. x runs across the width, y down the height."),
        "across and down exchanged": (
            _crops(rows=(0, 2, 1)),
            "draws[1] is for across (x), draws[2] for down (y)."),
        "always the smallest": (
            _crops(share=lambda a, low, high: low + 0 * a),
            "All your crops have the smallest share. draws[0] says where between the two ends of `scale`."),
        "the upper end as the width": (
            _crops(share=lambda a, low, high: low + high * a),
            "Your share goes up to scale[0] + scale[1]. From scale[0] to scale[1] it is scale[0] + (scale[1] - "
            "scale[0]) * draw."),
    },
    right={
        "by lerp": lambda draws, height, width, scale: (lambda s: (torch.stack(
            [torch.lerp(s / 2, width - s / 2, draws[1]), torch.lerp(s / 2, height - s / 2, draws[2])], -1), s))(
                (draws[0] * (scale[1] - scale[0]) + scale[0]).mul(height * width).sqrt().clamp(
                    max=min(height, width))),
    },
    hints=("A share of the *area* is drawn evenly. What is the side of such a square, and how far may its centre be "
           "from the edges?",
           "side = root of height * width * share, at most min(height, width). x runs from side / 2 to width - "
           "side / 2.",
           "share = scale[0] + (scale[1] - scale[0]) * draws[0]\n"
           "side = (height * width * share).sqrt().clamp(max=min(height, width))\n"
           "x = side / 2 + draws[1] * (width - side)\n"
           "y = side / 2 + draws[2] * (height - side)\n"
           "return torch.stack([x, y], dim=1), side"),
)


# ------------------------------------------------------------------------------------------------ 21.round
def kmeans_round(z: Tensor, centres: Tensor) -> tuple[Tensor, Tensor]:
    """Points (N, D), centres (K, D) -> each point's nearest centre, int64 (N,), and the centres moved (K, D).

    A centre moves to the mean of its points. One without points takes the point that is farthest from its own
    (old) centre; if there are several, the second takes the second farthest, and so on.
    """
    distances = torch.cdist(z, centres)
    nearest, labels = distances.min(1)
    farthest = iter(nearest.argsort(descending=True))
    moved = [z[labels == k].mean(0) if (labels == k).any() else z[next(farthest)] for k in range(len(centres))]
    return labels, torch.stack(moved)


def _round_probes(generator, dtype):
    def probe(n, k, d, *far):
        z, centres = randn(generator, dtype, n, d), randn(generator, dtype, k, d)
        for row in far:
            centres[row] += 30
        return (z, centres)

    z, centres = probe(18, 4, 3, 2)
    z[0] += 20
    centres[0] = z[0] + 0.1  # a cluster of one is not empty
    return [(z, centres), probe(20, 3, 2, 1), probe(30, 5, 4, 0, 3), probe(25, 4, 3), probe(12, 6, 5, 2, 4, 5)]


def _round(*, assign=lambda z, c: torch.cdist(z, c).min(1), centre=lambda rows: rows.mean(0),
           empty=lambda z, near, centres, k, number: z[near.argsort(descending=True)[number]],
           out=lambda labels, moved: (labels, moved), refill=None):
    """The right one, or with one thing changed."""
    def answer(z, centres):
        near, labels = assign(z, centres)
        moved, number = [], 0
        for k in range(len(centres)):
            rows = z[labels == k]
            if len(rows):
                moved.append(centre(rows))
            else:
                moved.append(empty(z, near, centres, k, number))
                number += 1
        moved = torch.stack(moved)
        return out(refill(z, moved) if refill else labels, moved)

    return answer


def _squared(z, c):
    return ((z[:, None] - c) ** 2).sum(2).min(1)


def _by_matrix(z, centres):
    """A right answer: means by a matrix of memberships, empty rows filled afterwards."""
    near, labels = _squared(z, centres)
    member = F.one_hot(labels, len(centres)).to(z.dtype)
    count = member.sum(0)
    moved = member.T @ z / count.clamp(min=1)[:, None]
    empty = (count == 0).nonzero().flatten()
    moved[empty] = z[near.topk(len(empty)).indices]
    return labels, moved


round_ = Exercise(
    key="21.round", title="A round of k-means, and nobody left empty", minutes=10, difficulty=3,
    reference=kmeans_round, probes=_round_probes, tolerance=1e-4,
    words={"[0]": "the labels", "[1]": "the moved centres"},
    wrong={
        "nan for an empty cluster": (
            _round(empty=lambda z, near, centres, k, number: z[:0].mean(0)),
            "The mean of no points is nan, and from the next round on nothing is near a nan. An empty cluster takes "
            "the farthest point."),
        "an empty cluster stays": (
            _round(empty=lambda z, near, centres, k, number: centres[k]),
            "Your empty centre stays where it is, where nobody goes. It takes the point farthest from its own centre."),
        "zeros for an empty cluster": (
            _round(empty=lambda z, near, centres, k, number: torch.zeros_like(z[0])),
            "You put the empty centre at zero. It takes the point farthest from its own centre."),
        "all take the same point": (
            _round(empty=lambda z, near, centres, k, number: z[near.argmax()]),
            "Several empty clusters take the *same* point in yours, so that one of them is empty again. The second "
            "takes the second farthest."),
        "the nearest point": (
            _round(empty=lambda z, near, centres, k, number: z[near.argsort()[number]]),
            "You took the point nearest to its own centre: it is well served already. The farthest one."),
        "farthest from the empty centre": (
            _round(empty=lambda z, near, centres, k, number: z[(z - centres[k]).norm(dim=1).argsort(
                descending=True)[number]]),
            "You took the point that is farthest from the *empty* centre. Asked for is the one farthest from its "
            "*own*."),
        "a copy of the largest cluster's centre": (
            lambda z, centres: _round(empty=lambda z, near, c, k, number: z[
                torch.cdist(z, c).argmin(1) == torch.cdist(z, c).argmin(1).mode().values].mean(0))(z, centres),
            "Two centres at the same place: all points still go to one of them. (The official code splits the largest "
            "cluster with a small shift; here the farthest point is asked for.)"),
        "farthest centre": (
            _round(assign=lambda z, c: torch.cdist(z, c).max(1)),
            "Your points go to the *farthest* centre."),
        "by inner product": (
            _round(assign=lambda z, c: (lambda best: (torch.cdist(z, c).gather(1, best[:, None])[:, 0], best))(
                (z @ c.T).argmax(1))),
            "You chose by inner product, which favours long centres. k-means goes by the distance."),
        "labels of the moved centres": (
            _round(refill=lambda z, moved: torch.cdist(z, moved).argmin(1)),
            "Your labels are those of the *moved* centres: that is the next round's beginning."),
        "a sum, not a mean": (
            _round(centre=lambda rows: rows.sum(0)),
            "A centre moves to the *mean* of its points, not to their sum."),
        "the median": (
            _round(centre=lambda rows: rows.median(0).values),
            "That is the median in each dimension (k-medians). k-means takes the mean."),
        "the other way round": (
            _round(out=lambda labels, moved: (moved, labels)),
            "Labels first, then centres."),
    },
    right={"squared distances": _round(assign=_squared), "by a matrix": _by_matrix},
    hints=("Two steps: each point to its nearest centre; each centre to the mean of its points. What is the mean of "
           "nobody?",
           "nearest, labels = torch.cdist(z, centres).min(1). For an empty k take z[i] with i the next of "
           "nearest.argsort(descending=True).",
           "nearest, labels = torch.cdist(z, centres).min(dim=1)\n"
           "far = nearest.argsort(descending=True).tolist()\n"
           "moved = []\n"
           "for k in range(len(centres)):\n"
           "    rows = z[labels == k]\n"
           "    moved.append(rows.mean(0) if len(rows) > 0 else z[far.pop(0)])\n"
           "return labels, torch.stack(moved)"),
)


# ------------------------------------------------------------------------------------------------ 21.step
def deepcluster_step(backbone: nn.Module, head: nn.Linear, optimizer: torch.optim.Optimizer, views: Tensor,
                     labels: Tensor, drawn: Tensor | None = None) -> float:
    """One step of DeepCluster -> the loss as a number.

    views (B, ...), and their labels, int64 (B,). drawn (K, D): weights of a new head, given where labels are new: then
    the head begins afresh, its bias at zero. None: labels and head are as in the step before.
    """
    if drawn is not None:
        with torch.no_grad():
            head.weight.copy_(drawn)
            head.bias.zero_()
    loss = F.cross_entropy(head(backbone(views)), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def _step_probes(generator, dtype):
    def probe(seed, b, width, out, classes, fresh):
        batches = [(randn(generator, dtype, b, width), torch.randint(classes, (b,), generator=generator),
                    randn(generator, dtype, classes, out) if new else None) for new in fresh]
        return dict(backbone=small_network(seed, dtype, width, 7, out), batches=batches,
                    head=seeded(seed + 1, dtype, lambda: nn.Linear(out, classes)))

    seeds = torch.randint(2**30, (2,), generator=generator).tolist()
    return [probe(seeds[0], 8, 4, 3, 5, (True, False, False, True)), probe(seeds[1], 9, 5, 6, 4, (False, True, False))]


def _steps(step, backbone, head, batches):
    backbone, head = copy.deepcopy(backbone).train(), copy.deepcopy(head)
    optimizer = torch.optim.SGD([*backbone.parameters(), *head.parameters()], lr=0.3)
    found = steps(step, [(backbone, head, optimizer, *batch) for batch in batches])
    if blank(found):
        return found
    weight, bias = weights_of(head)
    return {**found, "backbone": weights_of(backbone), "weight": weight, "bias": bias}


def _keep(head, drawn):
    return None


def _afresh(head, drawn):
    head.weight.data.copy_(drawn)
    head.bias.data.zero_()


def _mistaken(*, fresh=_afresh, late=False, features=lambda z: z, loss=F.cross_entropy, order="clear backward step",
              back=Tensor.item, always=False):
    """A step with one thing changed."""
    def step(backbone, head, optimizer, views, labels, drawn=None):
        def renew():
            if drawn is not None:
                fresh(head, drawn)
        if always:
            head.bias.data.zero_()
        if not late:
            renew()
        value = loss(head(features(backbone(views))), labels)
        told = descend(value, optimizer, order, back)
        if late:
            renew()
        return told

    return step


def _weight_only(head, drawn):
    head.weight.data.copy_(drawn)


def _added(head, drawn):
    head.weight.data.add_(drawn)
    head.bias.data.zero_()


step = Exercise(
    key="21.step", title="One step of DeepCluster", minutes=10, difficulty=3,
    reference=deepcluster_step, probes=_step_probes, call=_steps, tolerance=1e-4,
    words={"['losses']": "the losses of the steps", "['keeps its graph']": "whether the loss keeps its graph",
           "['backbone']": "the backbone's weights afterwards", "['weight']": "the head's weight afterwards",
           "['bias']": "the head's bias afterwards"},
    wrong={
        "the old head stays": (
            _mistaken(fresh=_keep),
            "Your head stays when labels are new. Cluster 5 of today has nothing to do with cluster 5 of yesterday: "
            "copy `drawn` into the head's weight, and set its bias to zero."),
        "the old bias stays": (
            _mistaken(fresh=_weight_only),
            "A new head has a bias of zero, too: the old one says how large the *old* clusters were."),
        "drawn is added": (
            _mistaken(fresh=_added),
            "You added `drawn` to the old weight. The new head forgets the old one."),
        "the head is renewed after the step": (
            _mistaken(late=True),
            "You renewed the head after the update: this step has learned new labels with the old head."),
        "the bias is zeroed in every step": (
            _mistaken(always=True),
            "You set the bias to zero in every step. Only where labels are new (`drawn` is not None)."),
        "features detached": (
            _mistaken(features=lambda z: z.detach()),
            "No gradient reaches the backbone: only the head learns. That would be a probe. Do not detach the "
            "features."),
        "softmax before cross-entropy": (
            _mistaken(loss=lambda logits, labels: F.cross_entropy(logits.softmax(1), labels)),
            "F.cross_entropy takes logits; it has the softmax inside."),
        "a sum over the batch": (
            _mistaken(loss=lambda logits, labels: F.cross_entropy(logits, labels, reduction="sum")),
            "The mean over the batch, not the sum."),
        "squared error": (
            _mistaken(loss=lambda logits, labels: F.mse_loss(logits, F.one_hot(labels, logits.shape[1]).to(logits))),
            "That is a squared error. Labels are learned with cross-entropy."),
        "gradients never cleared": (
            _mistaken(order="backward step"),
            "backward *adds* to .grad: optimizer.zero_grad() before it."),
        "nobody learns": (
            _mistaken(order="clear backward"),
            "The weights are those of the start: zero_grad, backward, step."),
        "the loss keeps its graph": (
            _mistaken(back=lambda loss: loss),
            "You return the tensor with its whole computation. Return loss.item()."),
        "features of length 1": (
            _mistaken(features=lambda z: F.normalize(z, dim=1)),
            "You scaled the features to length 1. That is done for k-means; the head gets them as they are."),
    },
    right={"one thing after another": _mistaken()},
    hints=("New labels, new head: what of the old head must not stay? The rest is supervised learning.",
           "Under torch.no_grad(): head.weight.copy_(drawn), head.bias.zero_(), only if drawn is not None. Then "
           "F.cross_entropy(head(backbone(views)), labels).",
           "if drawn is not None:\n"
           "    with torch.no_grad():\n"
           "        head.weight.copy_(drawn)\n"
           "        head.bias.zero_()\n"
           "loss = F.cross_entropy(head(backbone(views)), labels)\n"
           "optimizer.zero_grad()\n"
           "loss.backward()\n"
           "optimizer.step()\n"
           "return loss.item()"),
)


# ------------------------------------------------------------------------------------------------ 21.same_size
def _size_probes(generator, dtype):
    return [(randn(generator, dtype, 3, 8, 16, 16), 128), (randn(generator, dtype, 2, 12, 10, 10), 100),
            (randn(generator, dtype, 4, 3, 4, 4), 1000), (randn(generator, dtype, 2, 20, 6, 6), 5),
            dict(maps=randn(generator, dtype, 5, 5, 9, 9), features=31)]


def _same(*, side=lambda f, c: round(math.sqrt(f / c)), least=1, most=True, pool=F.adaptive_max_pool2d,
          out=lambda pooled: pooled.flatten(1)):
    """The right one, or with one thing changed."""
    def answer(maps, features):
        s = max(least, side(features, maps.shape[1]))
        return out(pool(maps, min(s, maps.shape[2]) if most else s))

    return answer


size = Exercise(
    key="21.same_size", title="Read every layer from equally many numbers", minutes=8, difficulty=2,
    reference="course_lib.evaluate.layers:same_size", probes=_size_probes,
    wrong={
        "mean-pooled": (
            _same(pool=F.adaptive_avg_pool2d),
            "You pooled by the mean. The paper pools by the maximum: is the feature anywhere in this part?"),
        "windows that leave a rest": (
            _same(pool=lambda maps, s: F.max_pool2d(maps, maps.shape[2] // s)),
            "Your windows are all equally large, and leave out a rest at the edge where the map's side is no multiple "
            "of yours. F.adaptive_max_pool2d covers the whole map."),
        "one place of each part": (
            _same(pool=lambda maps, s: F.interpolate(maps, (s, s))),
            "You kept one place of each part, and never looked at the others. Take the part's largest number."),
        "one number for each map": (
            _same(side=lambda f, c: 1),
            "Each map became a single number, so that a layer of 32 maps is read from 32 numbers, one of 128 from 128. "
            "Pool to a side at which C * side * side is about `features`."),
        "no pooling": (
            lambda maps, features: maps.flatten(1),
            "Nothing is pooled: a first layer then has many more numbers than a last one."),
        "the first numbers": (
            lambda maps, features: maps.flatten(1)[:, :features],
            "You kept the first `features` numbers, which are a few maps whole and the others not at all. Pool them "
            "all."),
        "the root left out": (
            _same(side=lambda f, c: round(f / c)),
            "features / C is the number of places of a map, side * side. The side is its root."),
        "root of all features": (
            _same(side=lambda f, c: round(math.sqrt(f))),
            "C maps share the features: side * side = features / C."),
        "rounded down": (
            _same(side=lambda f, c: int(math.sqrt(f / c))),
            "You rounded the side down. Round it: the count comes nearer to `features`."),
        "rounded up": (
            _same(side=lambda f, c: math.ceil(math.sqrt(f / c))),
            "You rounded the side up. Round it: the count comes nearer to `features`."),
        "larger than the map": (
            _same(most=False),
            "Where the map is small already, you enlarge it by repeating its numbers. The side is at most the map's."),
        "not flattened": (
            _same(out=lambda pooled: pooled),
            "A probe wants a row for each image: (B, C * side * side)."),
        "the batch flattened, too": (
            _same(out=lambda pooled: pooled.flatten()),
            "You flattened the images together. A row for each image: flatten(1)."),
        "the mean over the maps": (
            _same(out=lambda pooled: pooled.mean(1).flatten(1)),
            "You averaged over the maps: what tells filters apart is gone."),
        "places first": (
            _same(out=lambda pooled: pooled.permute(0, 2, 3, 1).flatten(1)),
            "Right numbers, in another order: map after map (channels first), as flatten(1) gives them."),
    },
    right={"with AdaptiveMaxPool2d": lambda maps, features: torch.nn.AdaptiveMaxPool2d(
        min(maps.shape[-1], max(1, round((features / maps.shape[1]) ** 0.5))))(maps).reshape(len(maps), -1)},
    hints=("C maps, each pooled to side x side, give C * side * side numbers. Which side makes that about `features`?",
           "side = round(sqrt(features / C)), at least 1 and at most the map's own side; F.adaptive_max_pool2d(maps, "
           "side).",
           "side = round(math.sqrt(features / maps.shape[1]))\n"
           "side = min(maps.shape[2], max(1, side))\n"
           "return F.adaptive_max_pool2d(maps, side).flatten(1)"),
)


EXERCISES = [crops, round_, step, size]


# ------------------------------------------------------------------------------------------------ questions
QUIZZES = [
    quiz("A network trained on crops of one photograph names their turn correctly nine times out of ten. What "
         "does that show?", {
        "It knows how things usually stand": "On another photograph it does not. Figure 2.",
        "It knows this picture": "Crops of one picture overlap, and so do fresh ones.",
        "Resampling gives the turn away": "On white noise, resampled just the same, it is close to chance.",
    }, "It knows this picture"),
    quiz("You compare layers without pooling: layer 1 has 8192 numbers, layer 6 has 2048. Layer 1 wins. What "
         "follows?", {
        "Layer 1 knows more": "Its probe had four times the numbers. Equal counts first.",
        "Nothing yet": "The probe's size changed together with the layer.",
        "Pooling destroys information": "It does, in all layers; that is why all get about the same count.",
    }, "Nothing yet"),
    quiz("In DeepCluster somebody keeps the head when labels are found anew. What happens at first?", {
        "It saves time: the head has learned already": "It has learned numbers that now mean other groups.",
        "The loss jumps above that of guessing": "A confident head with wrong numbers costs more than an even guess.",
        "Nothing": "Labels are numbered by chance.",
    }, "The loss jumps above that of guessing"),
    quiz("Transfer: you have one long recording of a street, and want a network for sounds. What does this "
         "lesson suggest?", {
        "It is useless: one recording has one content": "So has one photograph, and in layer 4 RotNet gained as much "
            "from it as from 10,000.",
        "Cut it up, augment, train, read the layers against random ones": "And against noise with the recording's "
            "spectrum: here that did as well.",
        "White noise would do": "Here it left layer 6 no better than untrained. Noise with the right spectrum did "
            "better.",
    }, "Cut it up, augment, train, read the layers against random ones"),
]
