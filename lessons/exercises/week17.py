"""Exercises of week 17, SCAN and RUC: the clustering loss, a fair score, which labels to trust, a step that mends."""
from __future__ import annotations

import copy

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.evaluate.measures import classes_of_clusters
from course_lib.exercises.questions import quiz
from course_lib.exercises.spec import Exercise
from course_lib.methods.clustering.ruc import agreeing, mixed_losses, refined_targets, sharpen, smoothed_loss
from lessons.exercises.shared import (
    BASIC,
    blank,
    descend,
    has_gradient,
    rand,
    randn,
    seeded,
    steps,
    unit,
    update_mistakes,
    weights_of,
)


# ------------------------------------------------------------------------------------------------ 17.scan_loss
def scan_loss(anchors: Tensor, neighbours: Tensor, weight: float = 5.0) -> Tensor:
    """Logits (N, K) of images, and of a neighbour of each -> scalar: they agree, and the mean prediction is even."""
    p, q = F.log_softmax(anchors, dim=1), F.log_softmax(neighbours, dim=1)
    agreement = -torch.logsumexp(p + q, dim=1).mean()
    mean = p.exp().mean(0)
    return agreement + weight * (mean * mean.log()).sum()


def _scan_probes(generator, dtype):
    def draw(*shape):
        return 1.5 * randn(generator, dtype, *shape)

    return [(draw(7, 4), draw(7, 4)), (draw(5, 6), draw(5, 6), 2.0), dict(anchors=draw(8, 3), neighbours=draw(8, 3),
                                                                          weight=0.7)]


def _entropy(p):
    return -(p * p.log()).sum(-1)


def _agreement(p, q):
    return -(p * q).sum(1).log().mean()


def _scan(first=_agreement, second=lambda p, q: _entropy(p.mean(0)), soft=lambda z: z.softmax(1), sign=-1,
          total=lambda a, h, weight, sign: a + sign * weight * h):
    """The right one, or with one thing changed."""
    def answer(anchors, neighbours, weight=5.0):
        p, q = soft(anchors), soft(neighbours)
        return total(first(p, q), second(p, q), weight, sign)

    return answer


def _in_logarithms(anchors, neighbours, weight=5.0):
    """A right answer: sums as log-sum-exp, the entropy by torch's own."""
    p, q = anchors.log_softmax(1), neighbours.log_softmax(1)
    mean = torch.special.entr(p.exp().mean(0)).sum()
    return -torch.logsumexp(p + q, dim=1).sum() / len(p) - weight * mean


first = Exercise(
    key="17.scan_loss", title="Agree with a neighbour, use all clusters", minutes=7, difficulty=2,
    reference=scan_loss, probes=_scan_probes, gradients=True, tolerance=1e-3,  # a small number in a logarithm is right
    wrong={
        "the mean of the entropies": (
            _scan(second=lambda p, q: _entropy(p).mean()),
            "You average the entropies of the single images. That asks each image to be *undecided*. Average the "
            "predictions first: the entropy of their mean asks for all clusters over the batch."),
        "entropy with a plus": (
            _scan(sign=1),
            "A loss is made small. With + your loss rewards a mean prediction of low entropy: one cluster for all. "
            "The entropy is subtracted."),
        "the mean of both": (
            _scan(second=lambda p, q: _entropy(torch.cat([p, q]).mean(0))),
            "Your mean prediction is over images and neighbours together. In SCAN it is that of the images (the "
            "anchors) alone."),
        "the mean of the neighbours": (
            _scan(second=lambda p, q: _entropy(q.mean(0))),
            "You took the mean prediction of the neighbours. It is that of the images themselves: anchors."),
        "the logarithm of the mean": (
            _scan(first=lambda p, q: -(p * q).sum(1).mean().log()),
            "You took the mean of the products and then one logarithm. Each pair has its own logarithm: the mean comes "
            "last, or a few pairs that disagree hardly cost anything."),
        "no logarithm": (
            _scan(first=lambda p, q: -(p * q).sum(1).mean()),
            "The agreement of a pair enters by its negative logarithm: -log of the inner product."),
        "cross-entropy of the pair": (
            _scan(first=lambda p, q: -(p * q.log()).sum(1).mean()),
            "That is the cross-entropy, the sum of p log q. SCAN has the logarithm of the *sum* of p q: one logarithm, "
            "outside."),
        "cosine in place of the product": (
            _scan(first=lambda p, q: -F.cosine_similarity(p, q).log().mean()),
            "You scaled the predictions to length 1. Then two equal, undecided predictions agree perfectly. With the "
            "plain inner product only a *sure* agreement costs nothing."),
        "logits in place of probabilities": (
            _scan(soft=lambda z: z.exp()),
            "Your rows do not sum to 1: softmax over the clusters first."),
        "softmax over the images": (
            _scan(soft=lambda z: z.softmax(0)),
            "dim 0 are the images. Each image's probabilities over the clusters sum to 1: dim 1."),
        "the sum over the batch": (
            _scan(first=lambda p, q: -(p * q).sum(1).log().sum()),
            "The first term is a mean over the batch, not a sum, or its weight beside the entropy depends on N."),
        "the weight at the other term": (
            _scan(total=lambda a, h, weight, sign: weight * a - h),
            "`weight` belongs to the entropy."),
        "the neighbour detached": (
            _scan(first=lambda p, q: _agreement(p, q.detach())),
            "The value is right, but no gradient reaches the neighbour. Both predictions move."),
    },
    right={"in logarithms": _in_logarithms,
           "one matrix product": _scan(first=lambda p, q: -torch.diagonal(p @ q.T).log().mean())},
    hints=("Agreement is asked of each pair: a logarithm for each, then their mean. That all clusters are used is "
           "asked of the batch: its mean prediction first, then the logarithm.",
           "p, q: softmax over dim 1. Agreement: -(p * q).sum(1).log().mean(). Entropy: of p.mean(0), K numbers.",
           "p, q = anchors.softmax(dim=1), neighbours.softmax(dim=1)\n"
           "agreement = -(p * q).sum(dim=1).log().mean()\n"
           "mean = p.mean(dim=0)\n"
           "entropy = -(mean * mean.log()).sum()\n"
           "return agreement - weight * entropy"),
)


# ------------------------------------------------------------------------------------------------ 17.accuracy
def accuracy(clusters: Tensor, labels: Tensor, test_clusters: Tensor, test_labels: Tensor, k: int) -> float:
    """Share of test images whose cluster stands for their class; matched one to one on the first pair, int64 (N,)."""
    classes = classes_of_clusters(clusters, labels, k)
    return float((classes[test_clusters] == test_labels).float().mean())


def _accuracy_probes(generator, dtype):
    return [_partition(generator, 5, 300, 60), _partition(generator, 4, 160, 490),
            dict(zip(("clusters", "labels", "test_clusters", "test_labels", "k"), _partition(generator, 6, 420, 50)))]


def _partition(generator, k: int, train: int, test: int):
    """Clusters that are a cycle of the classes but for noise; more than half of class 1 is in the cluster of class 0,
    which is small, so that a majority takes it. Of the test images two clusters are exchanged."""
    names = torch.roll(torch.arange(k), 1)
    weights = torch.ones(k)
    weights[0], weights[1] = 0.4, 1.8

    def part(n, names, noise):
        labels = torch.cat([torch.arange(k), torch.multinomial(weights, n - k, True, generator=generator)])
        clusters = names[labels]
        moved = (labels == 1) & (torch.rand(n, generator=generator) < 0.57)
        clusters = torch.where(moved, names[0], clusters)
        lost = torch.rand(n, generator=generator) < noise
        lost[:k] = False
        return torch.where(lost, torch.randint(k, (n,), generator=generator), clusters), labels

    exchanged = names.clone()
    exchanged[2], exchanged[3] = names[3], names[2]
    return *part(train, names, 0.05), *part(test, exchanged, 0.2), k


def _counted(clusters, labels, k):
    table = torch.zeros(k, k, dtype=torch.long)
    table.index_put_((clusters, labels), torch.ones_like(labels), accumulate=True)
    return table


def _named(names):
    """names: (clusters, labels, test clusters, test labels, k) -> class of each cluster."""
    def answer(clusters, labels, test_clusters, test_labels, k):
        classes = names(clusters, labels, test_clusters, test_labels, k)
        return (classes[test_clusters] == test_labels).float().mean().item()

    return answer


def _paired(table, maximize=True, turned=False):
    rows, columns = linear_sum_assignment(table, maximize=maximize)
    names = torch.zeros(len(table), dtype=torch.long)
    names[torch.as_tensor(columns if turned else rows)] = torch.as_tensor(rows if turned else columns)
    return names


def _greedy(table):
    """The largest entry first, then the largest of what is left."""
    table, names = table.clone(), torch.zeros(len(table), dtype=torch.long)
    for _ in range(len(table)):
        row, column = divmod(int(table.argmax()), len(table))
        names[row] = column
        table[row], table[:, column] = -1, -1
    return names


def _all_orders(clusters, labels, test_clusters, test_labels, k):
    """A right answer: every one-to-one naming tried."""
    import itertools

    table = _counted(clusters, labels, k)
    best = max(itertools.permutations(range(k)), key=lambda names: sum(int(table[c, t]) for c, t in enumerate(names)))
    return sum(best[c] == t for c, t in zip(test_clusters.tolist(), test_labels.tolist())) / len(test_labels)


second = Exercise(
    key="17.accuracy", title="A score that does not peek", minutes=7, difficulty=2,
    reference=accuracy, probes=_accuracy_probes, plain=True,
    wrong={
        "matched on the test images": (
            _named(lambda c, t, test_c, test_t, k: _paired(_counted(test_c, test_t, k))),
            "You matched clusters and classes on the images that are scored. The matching is *fitted* to labels; count "
            "the pairs of the first two arguments, and score the others."),
        "matched on all images": (
            _named(lambda c, t, test_c, test_t, k: _paired(_counted(torch.cat([c, test_c]), torch.cat([t, test_t]),
                                                                    k))),
            "Your matching has seen the test labels, too. Only the first pair may be counted."),
        "scored on the training images": (
            lambda clusters, labels, test_clusters, test_labels, k: (
                _paired(_counted(clusters, labels, k))[clusters] == labels).float().mean().item(),
            "The matching is right, but you score the images that it was fitted to. Score the test images."),
        "the majority of each cluster": (
            _named(lambda c, t, test_c, test_t, k: _counted(c, t, k).argmax(1)),
            "Each of your clusters has the class of its majority, so two clusters may stand for one class, and one "
            "class has none. One to one: linear_sum_assignment."),
        "the best cluster of each class": (
            lambda clusters, labels, test_clusters, test_labels, k: (
                _counted(clusters, labels, k).argmax(0)[test_labels] == test_clusters).float().mean().item(),
            "You gave each class its most frequent cluster; two classes may share one. One to one: "
            "linear_sum_assignment."),
        "the largest first": (
            _named(lambda c, t, test_c, test_t, k: _greedy(_counted(c, t, k))),
            "You paired greedily, the largest number first. What is left over may be a bad pair: the Hungarian method "
            "finds the pairing whose *sum* is largest."),
        "the smallest sum": (
            _named(lambda c, t, test_c, test_t, k: _paired(_counted(c, t, k), maximize=False)),
            "linear_sum_assignment makes the sum as *small* as it can by itself: maximize=True, or minus the table."),
        "the pairing turned round": (
            _named(lambda c, t, test_c, test_t, k: _paired(_counted(c, t, k), turned=True)),
            "You look up the cluster of a class where the class of a cluster is asked. With table[cluster, class] the "
            "rows are clusters: names[rows] = columns."),
        "numbers compared as they are": (
            lambda clusters, labels, test_clusters, test_labels, k: (test_clusters == test_labels).float().mean(
                ).item(),
            "Cluster 3 need not be class 3: numbers of clusters mean nothing. Match them first."),
        "the mean of the classes' accuracies": (
            lambda clusters, labels, test_clusters, test_labels, k: torch.stack([
                (_paired(_counted(clusters, labels, k))[test_clusters] == test_labels)[test_labels == c].float().mean()
                for c in test_labels.unique()]).mean().item(),
            "You average over classes, so that a rare class counts as much as a frequent one. Asked is the share of "
            "all test images."),
        "the number of hits": (
            lambda clusters, labels, test_clusters, test_labels, k: float((_paired(_counted(clusters, labels, k))[
                test_clusters] == test_labels).sum()),
            "That is how many are right. Asked is the share of the test images."),
    },
    right={"all orders tried": _all_orders,
           "a table of minus ones": _named(lambda c, t, test_c, test_t, k: _paired(-_counted(c, t, k),
                                                                                   maximize=False))},
    hints=("Count how often each cluster meets each class. On which of the two sets?",
           "table[c, t] counts; linear_sum_assignment(table, maximize=True) returns rows and columns; names[rows] = "
           "columns; then compare names[test_clusters] with test_labels.",
           "table = torch.zeros(k, k)\n"
           "for c, t in zip(clusters.tolist(), labels.tolist()):\n"
           "    table[c, t] += 1\n"
           "rows, columns = linear_sum_assignment(table, maximize=True)\n"
           "names = torch.tensor(columns)[torch.tensor(rows).argsort()]\n"
           "return (names[test_clusters] == test_labels).float().mean().item()"),
)


# ------------------------------------------------------------------------------------------------ 17.clean
def clean(p: Tensor, z: Tensor, k: int = 20, threshold: float = 0.99) -> Tensor:
    """Probabilities (N, K), embeddings (N, D) of length 1 -> bool (N,): whose cluster both criteria trust."""
    labels = p.argmax(1)
    return (p.amax(1) >= threshold) & agreeing(z, labels, k, p.shape[1])


def _clean_probes(generator, dtype):
    return [_crowd(generator, dtype, 40, 3, 5, 0.6), _crowd(generator, dtype, 42, 3, 20, 0.99, sure=8.0)[:2],
            _crowd(generator, dtype, 44, 4, 8, 0.7),
            dict(zip(("p", "z", "k", "threshold"), _crowd(generator, dtype, 36, 3, 9, 0.5)))]


def _crowd(generator, dtype, n: int, clusters: int, k: int, threshold: float, sure: float = 3.0):
    """Images around centres, some with another cluster's label, in which one voter more or less tells."""
    while True:
        true = torch.randint(clusters, (n,), generator=generator)
        centres = unit(randn(generator, dtype, clusters, 5))
        z = unit(centres[true] + 0.4 * randn(generator, dtype, n, 5))
        told = torch.where(rand(generator, dtype, n) < 0.4, torch.randint(clusters, (n,), generator=generator), true)
        p = (sure * F.one_hot(told, clusters).to(dtype) * rand(generator, dtype, n, 1)
             + 0.5 * randn(generator, dtype, n, clusters)).softmax(1)
        labels = p.argmax(1)
        near = (z @ z.T).topk(k, dim=1).indices
        votes = F.one_hot(labels[near], clusters).sum(1).topk(2, dim=1).values
        tied = (votes[:, 0] == votes[:, 1]) & (p.amax(1) >= threshold)  # which of them wins is not said
        kept = clean(p, z, k, threshold)
        if not tied.any() and not any(clean(p, z, k + more, threshold).equal(kept) for more in (-1, 1)):
            return p, z, k, threshold


def _cleaned(join=torch.logical_and, sure=lambda p, threshold: p.amax(1) >= threshold, itself=True, largest=True,
             vote=None, similar=lambda z: z @ z.T, more=0):
    """The right one, or with one thing changed."""
    def answer(p, z, k=20, threshold=0.99):
        labels, similarity = p.argmax(1), similar(z)
        if not itself:
            similarity = similarity.masked_fill(torch.eye(len(z), dtype=torch.bool), -torch.inf)
        near = similarity.topk(k + more, dim=1, largest=largest).indices
        if vote is None:
            agrees = F.one_hot(labels[near], p.shape[1]).sum(1).argmax(1) == labels
        else:
            agrees = vote(p, labels, near)
        return join(sure(p, threshold), agrees)

    return answer


def _counted_by_hand(p, z, k=20, threshold=0.99):
    """A right answer: neighbours by distance, votes one by one."""
    labels, out = p.max(1).indices.tolist(), []
    for i, row in enumerate(torch.cdist(z, z)):
        near = row.argsort()[:k].tolist()
        votes = [labels[j] for j in near]
        out.append(float(p[i].max()) >= threshold and max(set(votes), key=votes.count) == labels[i])
    return torch.tensor(out)


third = Exercise(
    key="17.clean", title="Whom do you trust?", minutes=8, difficulty=3,
    reference=clean, probes=_clean_probes,
    wrong={
        "confidence alone": (
            _cleaned(join=lambda sure, agrees: sure),
            "You trust whoever is sure of itself. The second criterion is missing: the neighbours' vote."),
        "neighbours alone": (
            _cleaned(join=lambda sure, agrees: agrees),
            "You ask the neighbours only. An image must also be sure: its largest probability reaches the threshold."),
        "either will do": (
            _cleaned(join=torch.logical_or),
            "You trust an image that passes *one* of the criteria. Both must hold: &."),
        "the image does not vote": (
            _cleaned(itself=False),
            "You left the image out of its own neighbourhood. In RUC it is the first of its k nearest, and votes."),
        "k others and the image": (
            _cleaned(more=1),
            "You ask k + 1 images. The image itself is one of the k."),
        "the farthest": (
            _cleaned(largest=False),
            "You ask the k *least* similar images: topk of the similarity, largest first."),
        "more than half": (
            _cleaned(vote=lambda p, labels, near: (labels[near] == labels[:, None]).float().mean(1) > 0.5),
            "You ask for more than half of the votes. The most frequent label wins, also with less than half."),
        "probabilities vote": (
            _cleaned(vote=lambda p, labels, near: p[near].mean(1).argmax(1) == labels),
            "You averaged the neighbours' probabilities. Each neighbour has one vote: its label."),
        "all must agree": (
            _cleaned(vote=lambda p, labels, near: (labels[near] == labels[:, None]).all(1)),
            "You ask that *all* neighbours have the image's label. The most frequent label decides."),
        "unsure ones": (
            _cleaned(sure=lambda p, threshold: p.amax(1) < threshold),
            "Your first criterion keeps the images that are *not* sure."),
        "the labels of the clean ones": (
            lambda p, z, k=20, threshold=0.99: p.argmax(1)[clean(p, z, k, threshold)],
            "You return labels. Asked is a mask: True where an image is clean."),
        "their numbers": (
            lambda p, z, k=20, threshold=0.99: clean(p, z, k, threshold).nonzero()[:, 0],
            "You return which images are clean, as numbers. Asked is a mask of N entries, True where clean."),
    },
    right={"by hand": _counted_by_hand,
           "the mode of the labels": _cleaned(
               vote=lambda p, labels, near: torch.mode(labels[near], dim=1).values == labels)},
    hints=("How sure: the largest probability of a row of p. Who is near: the k largest cosines of a row of z with all "
           "rows, itself among them. Each of them has a label; count.",
           "labels = p.argmax(1); near = (z @ z.T).topk(k, dim=1).indices; labels[near] is (N, k): which label is the "
           "most frequent in each row?",
           "labels = p.argmax(dim=1)\n"
           "sure = p.amax(dim=1) >= threshold\n"
           "near = (z @ z.T).topk(k, dim=1).indices\n"
           "votes = F.one_hot(labels[near], p.shape[1]).sum(dim=1)\n"
           "return sure & (votes.argmax(dim=1) == labels)"),
)


# ------------------------------------------------------------------------------------------------ 17.ruc_step
def ruc_step(network: nn.Module, peer: nn.Module, optimizer: torch.optim.Optimizer, plain: Tensor, weak: Tensor,
             strong: Tensor, labels: Tensor, clean: Tensor, weight: Tensor, unclean: float = 25.0) -> float:
    """One step of one of RUC's two networks, without MixUp -> the loss as a number.

    plain, strong (B, ...), weak (2, B, ...): views of the same images; labels int64 and clean bool (B,); weight (B,):
    the peer's confidence. A term without images is 0.
    """
    with torch.no_grad():
        guess = torch.stack([one(view).softmax(1) for one in (network, peer) for view in weak]).mean(0)
        trusted = refined_targets(labels, peer(plain).softmax(1), weight)
        targets = torch.where(clean[:, None], trusted, sharpen(guess))
    entropy, error = mixed_losses(network(weak.flatten(0, 1)), targets.repeat(2, 1), clean.repeat(2))
    loss = entropy + unclean * error + smoothed_loss(network(strong), labels, clean, 0.5)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def _network(seed: int, dtype: torch.dtype, *widths: int) -> nn.Module:
    """Without batch norm, so that views may go through together or one by one."""
    return seeded(seed, dtype, lambda: nn.Sequential(
        nn.Linear(widths[0], widths[1]), nn.Tanh(), nn.Linear(widths[1], widths[2])))


def _ruc_probes(generator, dtype):
    seeds = torch.randint(2**30, (4,), generator=generator).tolist()

    def probe(seed, peer, n, d, k, share, **settings):
        labels = torch.randint(k, (n,), generator=generator)
        trusted = torch.arange(n) < share
        return dict(network=_network(seed, dtype, d, 6, k), peer=_network(peer, dtype, d, 6, k),
                    views=randn(generator, dtype, 3, 4, n, d), labels=labels, clean=trusted,
                    weight=0.2 + 0.6 * rand(generator, dtype, n), settings=settings)

    return [probe(seeds[0], seeds[1], 9, 5, 4, 5), probe(seeds[2], seeds[3], 8, 4, 3, 3, unclean=4.0),
            probe(seeds[1], seeds[2], 6, 5, 3, 6)]


def _three_steps(step, network, peer, views, labels, clean, weight, settings):
    """The harness: three steps of gradient descent; what came of them."""
    network, peer = copy.deepcopy(network), copy.deepcopy(peer)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.2)
    found = steps(step, [(network, peer, optimizer, view[0], view[1:3], view[3], labels, clean, weight)
                         for view in views], **settings)
    if blank(found):
        return found
    return {"gradient in the peer": has_gradient(peer), **found,  # the gradient is told first
            "network": weights_of(network), "peer": weights_of(peer)}


def _mean_of(values, which):
    return values[which].sum() / max(1, int(which.sum()))


def _guessed(network, peer, weak):
    return sum(one(view).softmax(1) for one in (network, peer) for view in weak) / 4


def _mistaken(*, guess=_guessed, refine=lambda y, peer, w: (1 - w) * y + w * peer, by="peer", seen="plain",
              sharp=sharpen, sharp_guess=None, gradient=False, swap=False, fit=None, average=_mean_of, smooth=True,
              error=lambda p, t: (p - t).square().mean(1), on_strong=True, smooth_all=False, unclean_weight=True,
              both=True, order="clear backward step", back=Tensor.item):
    """A step with one thing changed."""
    def step(network, peer, optimizer, plain, weak, strong, labels, clean, weight, unclean=25.0):
        clusters = network(plain).shape[1]
        with torch.set_grad_enabled(gradient):
            other = network if by == "own" else peer
            y = F.one_hot(labels, clusters).to(plain)
            trusted = refine(y, other(weak[0] if seen == "weak" else plain).softmax(1), weight[:, None])
            t = torch.where((~clean if swap else clean)[:, None], sharp(trusted),
                            (sharp_guess or sharp)(guess(network, peer, weak)))
        entropies, errors = [], []
        for view in weak if both else weak[:1]:
            logits = network(view)
            entropies.append(average(-(t * logits.log_softmax(1)).sum(1), clean))
            errors.append(average((fit or error)(logits.softmax(1), t), ~clean))
        loss = sum(entropies) / len(entropies) + (unclean if unclean_weight else 1) * sum(errors) / len(errors)
        log_p = network(strong if on_strong else weak[0]).log_softmax(1)
        right = log_p.gather(1, labels[:, None])[:, 0]
        wrong = (log_p.sum(1) - right) / (clusters - 1)
        if smooth:
            loss = loss + average(-(right + wrong) / 2, torch.ones_like(clean) if smooth_all else clean)
        return descend(loss, optimizer, order, back)

    return step


def _by_rows(network, peer, optimizer, plain, weak, strong, labels, clean, weight, unclean=25.0):
    """A right answer: image by image."""
    with torch.no_grad():
        seen = [one(view).softmax(1) for view in weak for one in (peer, network)]
        told = peer(plain).softmax(1)
    entropy = error = smooth = 0.0
    number, others = max(1, int(clean.sum())), max(1, int((~clean).sum()))
    p, s = [network(view).softmax(1) for view in weak], network(strong).log_softmax(1)
    for i in range(len(labels)):
        if clean[i]:
            t = weight[i] * told[i]
            t = t + (1 - weight[i]) * F.one_hot(labels[i], len(t)).to(t)
            t = t ** 2 / (t ** 2).sum()
            entropy = entropy - sum((t * q[i].log()).sum() for q in p) / 2 / number
            rest = torch.full_like(t, 0.5 / (len(t) - 1))
            rest[labels[i]] = 0.5
            smooth = smooth - (rest * s[i]).sum() / number
        else:
            t = sum(q[i] for q in seen)
            t = t ** 2 / (t ** 2).sum()
            error = error + sum(((t - q[i]) ** 2).mean() for q in p) / 2 / others
    loss = entropy + unclean * error + smooth
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


step = Exercise(
    key="17.ruc_step", title="One step that mends", minutes=14, difficulty=4,
    reference=ruc_step, probes=_ruc_probes, call=_three_steps, tolerance=1e-3,
    words={"['losses']": "the losses of three steps", "['keeps its graph']": "whether the loss keeps its graph",
           "['network']": "the network's weights after three steps", "['peer']": "the peer's weights",
           "['gradient in the peer']": "whether the peer got a gradient"},
    wrong={
        "its own opinion": (
            _mistaken(by="own"),
            "You refine a label by the network's *own* prediction, which agrees with its own mistakes. The peer's is "
            "asked: peer(plain)."),
        "the peer sees a view": (
            _mistaken(seen="weak"),
            "For clean images the peer predicts from the plain image, not from a view."),
        "weight and label exchanged": (
            _mistaken(refine=lambda y, peer, w: w * y + (1 - w) * peer),
            "`weight` says how sure the *peer* is: t = (1 - weight) * label + weight * peer. You have it the other way "
            "round."),
        "the label as it is": (
            _mistaken(refine=lambda y, peer, w: y),
            "Your clean images keep their label whatever the peer says. Co-refinement: (1 - weight) * label + weight * "
            "the peer's prediction."),
        "nothing is sharpened": (
            _mistaken(sharp=lambda p: p),
            "Targets are sharpened: sharpen(t), of clean and of unclean images."),
        "guesses are not sharpened": (
            _mistaken(sharp_guess=lambda p: p),
            "You sharpen the clean images' targets only. The guesses for the others are sharpened as well."),
        "clean targets are not sharpened": (
            _mistaken(sharp=lambda p: p, sharp_guess=sharpen),
            "You sharpen the guesses only. The refined labels are sharpened as well."),
        "one network guesses": (
            _mistaken(guess=lambda network, peer, weak: sum(network(view).softmax(1) for view in weak) / 2),
            "Only this network guesses the unclean images' targets. The mean is over both networks and both weak "
            "views."),
        "the peer guesses": (
            _mistaken(guess=lambda network, peer, weak: sum(peer(view).softmax(1) for view in weak) / 2),
            "Only the peer guesses the unclean images' targets. The mean is over both networks and both weak views."),
        "one view is guessed": (
            _mistaken(guess=lambda network, peer, weak: (network(weak[0]).softmax(1) + peer(weak[0]).softmax(1)) / 2),
            "Your guess comes from the first weak view alone. The mean is over both views and both networks."),
        "the mean of logits": (
            _mistaken(guess=lambda network, peer, weak: (sum(one(view) for one in (network, peer) for view in weak) / 4
                                                         ).softmax(1)),
            "You averaged logits and took one softmax: the loudest network decides. Average the four softmaxes."),
        "a gradient into the targets": (
            _mistaken(gradient=True),
            "The loss sends a gradient into the targets, which then move towards the predictions. They are constants: "
            "torch.no_grad()."),
        "clean and unclean exchanged": (
            _mistaken(swap=True),
            "The refined label went to the unclean images and the guess to the clean ones: torch.where(clean[:, None], "
            "refined, guess)."),
        "the squared error summed over the clusters": (
            _mistaken(error=lambda p, t: (p - t).square().sum(1)),
            "Your squared error is K times too large: a mean over images *and* clusters."),
        "cross-entropy for all": (
            _mistaken(fit=lambda p, t: -(t * p.log()).sum(1)),
            "The unclean images have the squared error, which is bounded, so a wrong guess cannot cost much. You gave "
            "them the cross-entropy."),
        "unclean is not used": (
            _mistaken(unclean_weight=False),
            "The unclean images' error is multiplied by `unclean`."),
        "one weak view is fitted": (
            _mistaken(both=False),
            "You fit the first weak view alone; both have the same targets."),
        "no smoothed term": (
            _mistaken(smooth=False),
            "The third term is missing: smoothed_loss(network(strong), labels, clean)."),
        "smoothed on a weak view": (
            _mistaken(on_strong=False),
            "The smoothed term is that of the strong view."),
        "smoothed for all images": (
            _mistaken(smooth_all=True),
            "The smoothed term trusts the labels, so it is for the clean images alone."),
        "NaN without unclean images": (
            _mistaken(average=lambda values, which: values[which].mean()),
            "In one batch all images are clean, and the mean over none is NaN. Such a term is 0: mixed_losses and "
            "smoothed_loss take care of it."),
        **update_mistakes(_mistaken, BASIC),
    },
    right={"image by image": _by_rows, "view by view": _mistaken()},
    hints=("Targets first, without gradient: what does the peer say of a clean image, what do both say of an unclean "
           "one? Then three terms.",
           "guess: the mean of four softmaxes. refined: (1 - weight) * one-hot label + weight * softmax of "
           "peer(plain). sharpen both, torch.where by clean. mixed_losses(network(both weak views), targets, clean), "
           "smoothed_loss(network(strong), labels, clean).",
           "with torch.no_grad():\n"
           "    guess = sum(one(view).softmax(1) for one in (network, peer) for view in weak) / 4\n"
           "    told = peer(plain).softmax(1)\n"
           "    y, w = F.one_hot(labels, told.shape[1]).to(told), weight[:, None]\n"
           "    refined = (1 - w) * y + w * told\n"
           "    targets = sharpen(torch.where(clean[:, None], refined, guess))\n"
           "entropy, error = mixed_losses(network(torch.cat([*weak])), targets.repeat(2, 1), clean.repeat(2))\n"
           "loss = entropy + unclean * error + smoothed_loss(network(strong), labels, clean)\n"
           "optimizer.zero_grad()\n"
           "loss.backward()\n"
           "optimizer.step()\n"
           "return loss.item()"),
)

EXERCISES = [first, second, third, step]


# ------------------------------------------------------------------------------------------------ questions
QUIZZES = [
    quiz("Your SCAN ends with six of eight clusters in use, right after its self-label step began. What is the "
         "likeliest cause?", {
        "Too large an entropy weight": "A large weight asks for equal sizes: it keeps clusters alive.",
        "No image of two clusters was above the threshold": "The self-label step has no entropy term. A cluster "
            "without a confident image gets no label, and its images drift to others.",
        "Too many neighbours": "That would blur clusters from the start, not at this moment.",
    }, "No image of two clusters was above the threshold"),
    quiz("All labels of class A whose images have a dark background are wrong, in the same way. Who finds them?", {
        "Confidence": "Only if the clusterer was unsure there. A systematic mistake is often made with confidence.",
        "The neighbours": "Their nearest images have a dark background, too, and the same wrong label.",
        "Neither, for sure": "What is wrong together is confirmed by neighbours, and confidence need not know. It "
            "takes another view of the data, or a person.",
    }, "Neither, for sure"),
    quiz("Why is a label corrected by the *peer*, and not by the network itself?", {
        "It saves memory": "Two networks take twice as much.",
        "A network has learned its own mistakes": "What it memorised it predicts with confidence. The peer saw other "
            "batches' order and mixtures and started from another head: its mistakes differ a little.",
        "The peer is better": "They are alike: each is the other's peer.",
    }, "A network has learned its own mistakes"),
    quiz("Transfer: 10 % of a hospital's X-rays carry a wrong diagnosis, mostly of one ward with an old machine. You "
         "keep the half in which a network trained on the labels is surest. What do you check first?", {
        "The accuracy on what is kept": "Measured with the same wrong labels, it says little.",
        "Which classes and wards are left": "Cleaning prefers what is easy. A rare disease, or a whole ward, may "
            "hardly be left.",
        "The learning rate": "Later.",
    }, "Which classes and wards are left"),
]
