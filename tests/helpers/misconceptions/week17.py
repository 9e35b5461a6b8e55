"""Second spellings of the misconceptions of week 17, and mutants of its references that compute the same."""
from __future__ import annotations

import torch
from scipy.optimize import linear_sum_assignment
from torch.nn import functional as F

from course_lib.methods.clustering.ruc import sharpen


# ---------------------------------------------------------------- 17.scan_loss
def _loss(agree=lambda p, q: torch.einsum("nk,nk->n", p, q).log().neg().mean(), over=lambda p, q: p, single=False,
          plus=False, at="entropy", soft=lambda z: torch.exp(z) / torch.exp(z).sum(1, keepdim=True), cut=False):
    def answer(anchors, neighbours, weight=5.0):
        p, q = soft(anchors), soft(neighbours)
        q = q.data if cut else q
        rows = over(p, q)
        rows = rows if single else rows.sum(0, keepdim=True) / len(rows)
        entropy = torch.special.entr(rows).sum(1).mean()
        first = agree(p, q)
        if at == "agreement":
            return weight * first - entropy
        return first + weight * entropy if plus else first - weight * entropy

    return answer


# ---------------------------------------------------------------- 17.accuracy
def _pairs(count, k, largest=True):
    rows, columns = linear_sum_assignment(count.double().numpy() * (-1 if largest else 1))
    return dict(zip(rows.tolist(), columns.tolist()))


def _table(clusters, labels, k):
    return F.one_hot(clusters, k).T @ F.one_hot(labels, k)


def _score(names, on="test", share=True):
    def answer(clusters, labels, test_clusters, test_labels, k):
        found = names(clusters, labels, test_clusters, test_labels, k)
        where = (test_clusters, test_labels) if on == "test" else (clusters, labels)
        hits = [found[int(c)] == int(t) for c, t in zip(*where)]
        return sum(hits) / len(hits) if share else float(sum(hits))

    return answer


def _one_by_one(c, t, test_c, test_t, k):
    table, found = _table(c, t, k).double(), {}
    for place in table.flatten().argsort(descending=True, stable=True).tolist():
        cluster, label = place // k, place % k
        if cluster not in found and label not in found.values():
            found[cluster] = label
    return found


def _cluster_of_class(clusters, labels, test_clusters, test_labels, k):
    best = [int(clusters[labels == t].bincount(minlength=k).argmax()) for t in range(k)]
    return float(torch.tensor([best[int(t)] == int(c) for c, t in zip(test_clusters, test_labels)]).double().mean())


def _by_class(clusters, labels, test_clusters, test_labels, k):
    names = torch.as_tensor(linear_sum_assignment(-_table(clusters, labels, k))[1])
    hits = torch.zeros(k).index_add_(0, test_labels, (names[test_clusters] == test_labels).float())
    count = test_labels.bincount(minlength=k)
    return float((hits / count.clamp(min=1)).sum() / (count > 0).sum())


# ---------------------------------------------------------------- 17.clean
def _trusted(both=lambda a, b: a * b, sure=lambda top, threshold: ~(top < threshold), own="yes", sign=1, how="votes",
             out=lambda mask, labels: mask):
    def answer(p, z, k=20, threshold=0.99):
        top, labels = p.max(1)
        order = (-sign * (z @ z.T)).argsort(1)
        if own == "no":
            order = torch.stack([row[row != i] for i, row in enumerate(order)])
        order = order[:, :k + (own == "more")]
        told = labels[order]
        if how == "votes":
            agree = told.mode(1).values == labels
        elif how == "half":
            agree = (told == labels[:, None]).sum(1) * 2 > told.shape[1]
        elif how == "all":
            agree = (told != labels[:, None]).sum(1) == 0
        else:
            agree = p[order].sum(1).max(1).indices == labels
        return out(both(sure(top, threshold), agree), labels)

    return answer


# ---------------------------------------------------------------- 17.ruc_step
def _guess(networks, views, late=False):
    outs = torch.stack([network(view) for network in networks for view in views])
    return outs.mean(0).softmax(-1) if late else outs.softmax(-1).mean(0)


def _stepped(*, who=lambda network, peer: (network, peer), guessed=2, late=False, opinion="peer", view="plain",
             turned=False, label_only=False, sharp="both", graph=False, exchanged=False, error="mean", factor=True,
             fitted=2, third="strong", third_for="clean", safe=True, clear=True, train=True, number=True):
    """A step with one thing changed; the losses by masks."""
    def step(network, peer, optimizer, plain, weak, strong, labels, clean, weight, unclean=25.0):
        with torch.set_grad_enabled(graph):
            guess = _guess(who(network, peer), weak[:guessed], late)
            told = (peer if opinion == "peer" else network)(plain if view == "plain" else weak[0]).softmax(-1)
            y = torch.eye(told.shape[1], dtype=told.dtype)[labels]
            w = 1 - weight if turned else weight
            own = y if label_only else torch.lerp(y, told, w[:, None])
            own = sharpen(own) if sharp in ("both", "own") else own
            guess = sharpen(guess) if sharp in ("both", "guess") else guess
            t = torch.where((clean != exchanged)[:, None], own, guess)
        on, off = clean.to(t), (~clean).to(t)

        def over(values, mask):
            number = mask.sum()
            return values.masked_select(mask > 0).sum() / (number.clamp(min=1) if safe else number)

        loss = 0.0
        for x in weak[:fitted]:
            p = network(x).softmax(-1)
            square = ((p - t) ** 2).mean(-1) if error == "mean" else ((p - t) ** 2).sum(-1)
            square = square if error != "cross" else -(t * p.log()).sum(-1)
            loss = loss + (over(-(t * p.log()).sum(-1), on) + (unclean if factor else 1) * over(square, off)) / fitted
        if third:
            logits = network(strong if third == "strong" else weak[0])
            rest = (1 - y) / (y.shape[1] - 1)
            smooth = -((0.5 * y + 0.5 * rest) * logits.log_softmax(-1)).sum(-1)
            loss = loss + (over(smooth, on) if third_for == "clean" else smooth.mean())
        if clear:
            optimizer.zero_grad()
        loss.backward()
        if train:
            optimizer.step()
        return loss.item() if number else loss

    return step


SECOND = {
    "17.scan_loss": {
        "the mean of the entropies": _loss(single=True),
        "entropy with a plus": _loss(plus=True),
        "the mean of both": _loss(over=lambda p, q: torch.vstack([q, p])),
        "the mean of the neighbours": _loss(over=lambda p, q: q),
        "the logarithm of the mean": _loss(lambda p, q: -torch.log(torch.diagonal(p @ q.T).mean())),
        "no logarithm": _loss(lambda p, q: -torch.diagonal(p @ q.T).mean()),
        "cross-entropy of the pair": _loss(lambda p, q: -torch.einsum("nk,nk->n", p, q.log()).mean()),
        "cosine in place of the product": _loss(
            lambda p, q: -((p * q).sum(1) / p.norm(dim=1) / q.norm(dim=1)).log().mean()),
        "logits in place of probabilities": _loss(soft=torch.exp),
        "softmax over the images": _loss(soft=lambda z: torch.exp(z) / torch.exp(z).sum(0)),
        "the sum over the batch": _loss(lambda p, q: -torch.diagonal(p @ q.T).log().sum()),
        "the weight at the other term": _loss(at="agreement"),
        "the neighbour detached": _loss(cut=True),
    },
    "17.accuracy": {
        "matched on the test images": _score(lambda c, t, x, y, k: _pairs(_table(x, y, k), k)),
        "matched on all images": _score(lambda c, t, x, y, k: _pairs(_table(c, t, k) + _table(x, y, k), k)),
        "scored on the training images": _score(lambda c, t, x, y, k: _pairs(_table(c, t, k), k), on="train"),
        "the majority of each cluster": _score(
            lambda c, t, x, y, k: {i: int(t[c == i].bincount().argmax()) for i in range(k)}),
        "the best cluster of each class": _cluster_of_class,
        "the largest first": _score(_one_by_one),
        "the smallest sum": _score(lambda c, t, x, y, k: _pairs(_table(c, t, k), k, largest=False)),
        "the pairing turned round": _score(
            lambda c, t, x, y, k: {b: a for a, b in _pairs(_table(c, t, k), k).items()}),
        "numbers compared as they are": _score(lambda c, t, x, y, k: {i: i for i in range(k)}),
        "the mean of the classes' accuracies": _by_class,
        "the number of hits": _score(lambda c, t, x, y, k: _pairs(_table(c, t, k), k), share=False),
    },
    "17.clean": {
        "confidence alone": _trusted(both=lambda a, b: a),
        "neighbours alone": _trusted(both=lambda a, b: b),
        "either will do": _trusted(both=lambda a, b: (a.int() + b.int()) > 0),
        "the image does not vote": _trusted(own="no"),
        "k others and the image": _trusted(own="more"),
        "the farthest": _trusted(sign=-1),
        "more than half": _trusted(how="half"),
        "probabilities vote": _trusted(how="soft"),
        "all must agree": _trusted(how="all"),
        "unsure ones": _trusted(sure=lambda top, threshold: top < threshold),
        "the labels of the clean ones": _trusted(out=lambda mask, labels: labels[mask]),
        "their numbers": _trusted(out=lambda mask, labels: torch.arange(len(mask))[mask]),
    },
    "17.ruc_step": {
        "its own opinion": _stepped(opinion="own"),
        "the peer sees a view": _stepped(view="weak"),
        "weight and label exchanged": _stepped(turned=True),
        "the label as it is": _stepped(label_only=True),
        "nothing is sharpened": _stepped(sharp="none"),
        "guesses are not sharpened": _stepped(sharp="own"),
        "clean targets are not sharpened": _stepped(sharp="guess"),
        "one network guesses": _stepped(who=lambda network, peer: (network,)),
        "the peer guesses": _stepped(who=lambda network, peer: (peer,)),
        "one view is guessed": _stepped(guessed=1),
        "the mean of logits": _stepped(late=True),
        "a gradient into the targets": _stepped(graph=True),
        "clean and unclean exchanged": _stepped(exchanged=True),
        "the squared error summed over the clusters": _stepped(error="sum"),
        "cross-entropy for all": _stepped(error="cross"),
        "unclean is not used": _stepped(factor=False),
        "one weak view is fitted": _stepped(fitted=1),
        "no smoothed term": _stepped(third=""),
        "smoothed on a weak view": _stepped(third="weak"),
        "smoothed for all images": _stepped(third_for="all"),
        "NaN without unclean images": _stepped(safe=False),
        "gradients never cleared": _stepped(clear=False),
        "the weights never move": _stepped(train=False),
        "the loss keeps its graph": _stepped(number=False),
    },
}
EQUIVALENT = {
    "17.scan_loss": {
        "line 3: F.log_softmax(anchors, dim=1) -> F.log_softmax(anchors)": "of matrices dim 1 is its default",
        "line 3: F.log_softmax(neighbours, dim=1) -> F.log_softmax(neighbours)": "of matrices dim 1 is its default"},
    "17.clean": {
        "line 4: p.amax(1) >= threshold -> p.amax(1) > threshold": "no probability is the threshold itself",
        "line 4: p.shape[1] -> p.shape[0]": "further columns get no vote"},
}
