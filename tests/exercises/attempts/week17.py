"""Attempts at lesson 17."""

from . import Tries

ATTEMPTS = {
    "17.scan_loss": Tries([
        """
p = F.softmax(anchors, dim=-1)
q = F.softmax(neighbours, dim=-1)
together = torch.einsum("nk,nk->n", p, q)
share = torch.mean(p, dim=0)
return -torch.log(together).mean() + weight * torch.sum(share * torch.log(share))
""", """
log_p, log_q = anchors.log_softmax(-1), neighbours.log_softmax(-1)
consistency = -torch.logsumexp(log_p + log_q, -1).mean()
marginal = torch.logsumexp(log_p, 0) - math.log(len(anchors))
return consistency + weight * (marginal.exp() * marginal).sum()
""", """
p, q = nn.Softmax(dim=1)(anchors), nn.Softmax(dim=1)(neighbours)
dots = torch.bmm(p[:, None, :], q[:, :, None]).flatten()
first = F.binary_cross_entropy(dots.clamp(0, 1), torch.ones_like(dots))
shares = p.mean(0).clamp(min=1e-8)
return first - weight * -(shares * shares.log()).sum()
""", """
e, f = anchors.exp(), neighbours.exp()
p, q = e / e.sum(1, keepdim=True), f / f.sum(1, keepdim=True)
loss = 0
for a, b in zip(p, q):
    loss = loss - torch.dot(a, b).log() / len(p)
m = sum(p) / len(p)
return loss + weight * sum(x * x.log() for x in m)
""", """
p, q = anchors.softmax(1), neighbours.softmax(1)
return -(p @ q.mT).diagonal().log().mean() - weight * torch.distributions.Categorical(p.mean(0)).entropy()
""", """
p, q = anchors.softmax(-1), neighbours.softmax(-1)
share = p.mean(0)
entropy = torch.special.entr(share).sum()
return ((p * q).sum(-1) + 1e-9).log().neg().mean() - weight * entropy
"""], [
        ("weight fixed", 0, "weight * torch.sum", "5.0 * torch.sum"),
        ("mean over clusters", 0, "torch.sum(share", "torch.mean(share"),
        ("one softmax", 0, "q = F.softmax(neighbours, dim=-1)", "q = neighbours"),
        ("square in place of the product", 0, '"nk,nk->n", p, q', '"nk,nk->n", p, p'),
        ("distance", 0, "-torch.log(together).mean()", "((p - q) ** 2).sum(1).mean()"),
        ("logarithm of base two", 0, "torch.log(together)", "torch.log2(together)"),
        ("a constant for zeros", 0, "torch.log(together)", "torch.log(together + 0.1)"),
        ("agreement with a plus", 0, "return -torch.log", "return torch.log"),
        ("one per image", 0, "-torch.log(together).mean()", "-torch.log(together)"),
        ("mean over the clusters", 0, "torch.mean(p, dim=0)", "torch.mean(p, dim=1)"),
        ("sum for the mean", 0, "torch.mean(p, dim=0)", "torch.sum(p, dim=0)"),
        ("all pairs", 0, 'torch.einsum("nk,nk->n", p, q)', "(p @ q.T)"),
        ("square of the shares", 0, "share * torch.log(share)", "share * share"),
        ("the entropy of the product", 0, "share = torch.mean(p, dim=0)", "share = torch.mean(p * q, dim=0)"),
        ("a temperature of a tenth", 0, "F.softmax(anchors, dim=-1)", "F.softmax(anchors / 0.1, dim=-1)"),
        ("arguments swapped", 0, "anchors, dim", "neighbours, dim", "F.softmax(neighbours, dim=-1)\nt",
         "F.softmax(anchors, dim=-1)\nt"),
        ("the anchor detached", 0, "nk->n\", p, q", "nk->n\", p.detach(), q"),
        ("the entropy without gradient", 0, "share = torch.mean(p, dim=0)", "share = torch.mean(p, dim=0).detach()"),
        ("shares by the winner", 0, "torch.mean(p, dim=0)",
         "(F.one_hot(p.argmax(1), p.shape[1]).to(p).mean(0) + 1e-6)"),
        ("divided by the logarithm of K", 0, "weight * torch.sum(", "weight / math.log(p.shape[1]) * torch.sum("),
        ("the next image's neighbour", 0, "nk->n\", p, q", "nk->n\", p, q.roll(1, 0)"),
        ("the entropy term subtracted twice", 0, "+ weight * torch.sum", "+ 2 * weight * torch.sum"),
        ("the median of the agreements", 0, "-torch.log(together).mean()", "-torch.log(together).median()"),
    ]),
    "17.accuracy": Tries([
        """
table = torch.zeros(k, k, dtype=torch.long)
for c in range(k):
    for t in range(k):
        table[c, t] = ((clusters == c) & (labels == t)).sum()
row, column = linear_sum_assignment(-table.numpy())
name = dict(zip(row.tolist(), column.tolist()))
hits = [name[int(c)] == int(t) for c, t in zip(test_clusters, test_labels)]
return sum(hits) / len(hits)
""", """
counts = torch.bincount(clusters * k + labels, minlength=k * k).reshape(k, k)
row, column = linear_sum_assignment(counts.numpy(), maximize=True)
classes = torch.empty(k, dtype=torch.long)
classes[torch.from_numpy(row)] = torch.from_numpy(column)
return (classes[test_clusters] == test_labels).double().mean().item()
""", """
table = torch.stack([((labels == t)[:, None] & (clusters[:, None] == torch.arange(k))).sum(0) for t in range(k)])
classes, names = linear_sum_assignment(table, maximize=True)
right = 0
for t, c in zip(classes, names):
    right += int(((test_labels == int(t)) & (test_clusters == int(c))).sum())
return right / test_labels.numel()
""", """
table = F.one_hot(clusters, k).T @ F.one_hot(labels, k)
_, columns = linear_sum_assignment(table.max() - table)
return float((torch.as_tensor(columns)[test_clusters] == test_labels).float().mean())
""", """
table = (F.one_hot(clusters, k).float().T @ F.one_hot(labels, k).float()) / len(labels)
rows, columns = linear_sum_assignment(1 - table)
test_table = F.one_hot(test_clusters, k).T @ F.one_hot(test_labels, k)
return float(test_table[rows, columns].sum()) / len(test_labels)
""", """
confusion = torch.zeros((k, k)).index_put_((labels, clusters), torch.ones(len(labels)), accumulate=True)
by_class = torch.tensor(linear_sum_assignment(confusion, True)[1])
return (by_class.argsort()[test_clusters] == test_labels).float().mean()
"""], [
        ("least agreement", 0, "-table.numpy()", "table.numpy()"),
        ("matched on test", 0, "(clusters == c) & (labels == t)", "(test_clusters == c) & (test_labels == t)"),
        ("scored on training", 0, "zip(test_clusters, test_labels)", "zip(clusters, labels)"),
        ("the other way", 0, "zip(row.tolist(), column.tolist())", "zip(column.tolist(), row.tolist())"),
        ("count", 0, "sum(hits) / len(hits)", "float(sum(hits))"),
        ("share of errors", 0, "sum(hits) / len(hits)", "1 - sum(hits) / len(hits)"),
        ("share of training images", 0, "/ len(hits)", "/ len(labels)"),
        ("majority", 0, "row, column = linear_sum_assignment(-table.numpy())",
         "row, column = torch.arange(k), table.argmax(1)"),
        ("shares of each cluster", 0, "row, column =", "table = table / table.sum(1, keepdim=True)\nrow, column ="),
        ("share of the training pairs", 0, "return sum(hits) / len(hits)",
         "return int(table[row, column].sum()) / len(labels)"),
        ("the column of each cluster's rank", 0, "name = dict(zip(row.tolist(), column.tolist()))",
         "name = dict(zip(row.tolist(), column.argsort().tolist()))"),
        ("the first k images are counted", 0, "(clusters == c) & (labels == t)",
         "(clusters[:k] == c) & (labels[:k] == t)"),
        ("percent", 0, "sum(hits) / len(hits)", "100 * sum(hits) / len(hits)"),
        ("the last image missing", 0, "zip(test_clusters, test_labels)", "zip(test_clusters[:-1], test_labels[:-1])"),
        ("divided by k", 0, "sum(hits) / len(hits)", "sum(hits) / k"),
        ("shares of each class", 0, "row, column =", "table = table / table.sum(0, keepdim=True)\nrow, column ="),
        ("labels and clusters of test swapped", 0, "zip(test_clusters, test_labels)",
         "zip(test_labels, test_clusters)"),
        ("present or not in place of counts", 0, "(labels == t)).sum()", "(labels == t)).any()"),
        ("mean of the classes' accuracies", 0, "return sum(hits) / len(hits)",
         "hits = torch.tensor(hits, dtype=torch.float)\n"
         "return float(torch.stack([hits[test_labels == t].mean() for t in test_labels.unique()]).mean())"),
    ]),
    "17.clean": Tries([
        """
value, label = p.max(dim=1)
order = torch.argsort(z @ z.T, dim=1, descending=True)[:, :k]
counts = torch.zeros_like(p).scatter_add_(1, label[order], torch.ones(order.shape, dtype=p.dtype))
return (value >= threshold) * (counts.argmax(1) == label)
""", """
label = p.argmax(-1)
near = torch.topk(z @ z.T, k, dim=0).indices.T
return torch.logical_and(p.max(-1).values >= threshold, torch.mode(label[near], dim=-1).values.eq(label))
""", """
N, K = p.shape
label = p.argmax(1)
similarity = z @ z.T
cut = similarity.sort(dim=1, descending=True).values[:, k - 1:k]
near = (similarity >= cut).to(p.dtype)
votes = near @ F.one_hot(label, K).to(p.dtype)
return (p.max(1).values >= threshold).logical_and(votes.argmax(1) == label)
""", """
label = p.argmax(1)
keep = torch.zeros(len(p), dtype=torch.bool)
for i in range(len(p)):
    near = torch.topk(z @ z[i], k).indices
    keep[i] = p[i].max() >= threshold and label[near].bincount(minlength=p.shape[1]).argmax() == label[i]
return keep
""", """
label = p.argmax(1)
near = torch.cdist(z, z).argsort(1)[:, :k]
votes = torch.stack([(label[near] == c).sum(1) for c in range(p.shape[1])], 1)
agree = votes.gather(1, label[:, None])[:, 0] == votes.amax(1)
return agree & (p.amax(1) >= threshold)
""", """
confidence, label = p.max(-1)
near = (z @ z.T).topk(k, -1)[1]
counts = (label[near].unsqueeze(-1) == torch.arange(p.shape[1])).float().mean(1)
return ~((confidence < threshold) | (counts.argmax(-1) != label))
""", """
label = torch.max(p, 1).indices
z = F.normalize(z, dim=1)
near = torch.einsum("nd,md->nm", z, z).argsort(dim=1, descending=True)[:, :k]
votes, _ = torch.mode(label[near], 1)
mask = votes == label
mask[p.amax(1) < threshold] = False
return mask
"""], [
        ("threshold fixed", 0, ">= threshold", ">= 0.99"),
        ("k fixed", 0, "[:, :k]", "[:, :20]"),
        ("below", 0, ">= threshold", "< threshold"),
        ("ascending", 0, "descending=True", "descending=False"),
        ("without the first", 0, "[:, :k]", "[:, 1:k]"),
        ("without itself", 0, "[:, :k]", "[:, 1:k + 1]"),
        ("unlike the neighbours", 0, "== label)", "!= label)"),
        ("sum of both", 0, ") * (", ") | ("),
        ("only the nearest", 0, "[:, :k]", "[:, 1:2]"),
        ("numbers", 0, "return (value >= threshold) * (counts.argmax(1) == label)",
         "return ((value >= threshold) * (counts.argmax(1) == label)).float()"),
        ("weighed by confidence", 0, "torch.ones(order.shape, dtype=p.dtype)", "value[order]"),
        ("the second nearest in place of all", 0, "[:, :k]", "[:, :2]"),
        ("one neighbour fewer", 0, "[:, :k]", "[:, :k - 1]"),
        ("the margin to the second", 0, "value >= threshold",
         "p.topk(2, 1).values.diff(dim=1)[:, 0].neg() >= threshold"),
        ("the probability of the neighbours' vote", 0, "value >= threshold",
         "p.gather(1, counts.argmax(1, keepdim=True))[:, 0] >= 1 - threshold"),
        ("the neighbours' confidence", 0, "value >= threshold", "value[order].mean(1) >= threshold"),
        ("neighbours in probability", 0, "z @ z.T", "p @ p.T"),
        ("distances sorted downwards", 0, "z @ z.T", "torch.cdist(z, z)"),
        ("neighbours across the wrong axis", 0, "order = torch.argsort(z @ z.T, dim=1, descending=True)[:, :k]",
         "order = torch.argsort(z @ z.T, dim=0, descending=True)[:, :k]"),
        ("the neighbour must be sure, too", 0, "torch.ones(order.shape, dtype=p.dtype)",
         "(value[order] >= threshold).to(p.dtype)"),
        ("two opinions or more", 0, "counts.argmax(1) == label", "counts.gather(1, label[:, None])[:, 0] >= 2"),
    ]),
    "17.ruc_step": Tries([
        """
with torch.no_grad():
    together = torch.cat([weak[0], weak[1]])
    both = F.softmax(network(together), dim=1) + F.softmax(peer(together), dim=1)
    guess = (both[:len(labels)] + both[len(labels):]) / 4
    told = F.softmax(peer(plain), dim=1)
    onehot = torch.zeros_like(told)
    onehot[range(len(labels)), labels] = 1
    better = torch.lerp(onehot, told, weight.unsqueeze(1))
    target = guess.clone()
    target[clean] = better[clean]
    target = target ** 2
    target = target / target.sum(dim=1, keepdim=True)
out = network(together)
lx, lu = mixed_losses(out, torch.cat([target, target]), torch.cat([clean, clean]))
ls = smoothed_loss(network(strong), labels, clean, 0.5)
optimizer.zero_grad()
(lx + unclean * lu + ls).backward()
optimizer.step()
return float(lx + unclean * lu + ls)
""", """
K = network(plain).shape[1]
with torch.no_grad():
    probabilities = torch.stack([f(v).softmax(-1) for f in (network, peer) for v in weak])
    y, w = F.one_hot(labels, K).to(plain.dtype), weight.view(-1, 1)
    refined = w * peer(plain).softmax(-1) + (1 - w) * y
    t = torch.where(clean.view(-1, 1), sharpen(refined), sharpen(probabilities.mean(0)))
a, b = mixed_losses(torch.cat([network(v) for v in weak]), torch.cat([t] * 2), torch.cat([clean] * 2))
c = smoothed_loss(network(strong), labels, clean)
loss = a + unclean * b + c
network.zero_grad()
loss.backward()
optimizer.step()
return float(loss.detach())
""", """
optimizer.zero_grad()
with torch.inference_mode():
    said = peer(plain).softmax(1)
    guess = 0.25 * (network(weak[0]).softmax(1) + network(weak[1]).softmax(1)
                    + peer(weak[0]).softmax(1) + peer(weak[1]).softmax(1))
said, guess = said.clone(), guess.clone()
target = guess
for i in range(len(labels)):
    if clean[i]:
        target[i] = weight[i] * said[i]
        target[i, labels[i]] += 1 - weight[i]
target = sharpen(target)
parts = [mixed_losses(network(view), target, clean) for view in weak]
loss = sum(p[0] + unclean * p[1] for p in parts) / 2 + smoothed_loss(network(strong), labels, clean)
loss.backward()
optimizer.step()
return loss.item()
""", """
told = peer(plain).softmax(1).detach()
views = weak.flatten(0, 1)
both = (network(views).softmax(1) + peer(views).softmax(1)).detach() / 2
guess = both.view(2, len(labels), -1).mean(0)
w = weight.unsqueeze(-1)
y = torch.eye(told.shape[1], dtype=told.dtype)[labels]
target = sharpen(torch.where(clean.unsqueeze(-1), y + w * (told - y), guess))
cross, square = mixed_losses(network(views), target.repeat(2, 1), clean.repeat(2))
total = cross + square * unclean + smoothed_loss(network(strong), labels, clean, smoothing=0.5)
optimizer.zero_grad(set_to_none=True)
total.backward()
optimizer.step()
return total.detach().item()
""", """
with torch.no_grad():
    told = peer(plain).softmax(1)
    guess = torch.zeros_like(told)
    for view in weak:
        guess += (network(view).softmax(1) + peer(view).softmax(1)) / 4
    y = F.one_hot(labels, told.shape[1]).to(told.dtype)
    mixed = weight[:, None] * told + (1 - weight[:, None]) * y
    m = clean[:, None].to(told.dtype)
    target = sharpen(m * mixed + (1 - m) * guess)
n = len(labels)
out = network(torch.cat([weak[0], weak[1], strong]))
cross, square = mixed_losses(out[:2 * n], torch.cat([target, target]), torch.cat([clean, clean]))
loss = cross + unclean * square + smoothed_loss(out[2 * n:], labels, clean)
optimizer.zero_grad(); loss.backward(); optimizer.step()
return loss.item()
""", """
with torch.no_grad():  # the sum of the guesses will do: sharpen divides by the row's sum
    told = peer(plain).softmax(1)
    guess = sum(one(view).softmax(1) for view in weak for one in (peer, network))
    mixed = weight.view(-1, 1) * told
    mixed[range(len(labels)), labels] += 1 - weight
    target = torch.where(clean.view(-1, 1), sharpen(mixed), sharpen(guess))
lx, lu = mixed_losses(network(torch.cat(tuple(weak))), target.repeat(2, 1), clean.repeat(2))
loss = lx + lu * unclean + smoothed_loss(network(strong), labels, clean)
optimizer.zero_grad()
loss.backward()
optimizer.step()
return float(loss)
"""], [
        ("unclean fixed", 0, "unclean * lu", "25.0 * lu"),
        ("clean term left out", 0, "lx + unclean * lu + ls", "unclean * lu + ls"),
        ("unclean term left out", 0, "lx + unclean * lu + ls", "lx + ls"),
        ("weight of the clean term", 0, "lx + unclean * lu + ls", "unclean * lx + lu + ls"),
        ("temperature two", 0, "target = target ** 2\n", "target = target ** 0.5\n"),
        ("smoothing of a tenth", 0, "labels, clean, 0.5)", "labels, clean, 0.1)"),
        ("smoothed by the unclean", 0, "labels, clean, 0.5)", "labels, ~clean, 0.5)"),
        ("guess not divided by views, only the first", 0, "(both[:len(labels)] + both[len(labels):]) / 4",
         "both[:len(labels)] / 2"),
        ("peer in place of the network", 0, "out = network(together)", "out = peer(together)"),
        ("own opinion", 0, "told = F.softmax(peer(plain), dim=1)", "told = F.softmax(network(plain), dim=1)"),
        ("logits as opinion", 0, "told = F.softmax(peer(plain), dim=1)", "told = peer(plain)"),
        ("step before backward", 0, "(lx + unclean * lu + ls).backward()\noptimizer.step()",
         "optimizer.step()\n(lx + unclean * lu + ls).backward()"),
        ("cleared after backward", 0, "optimizer.zero_grad()\n(lx + unclean * lu + ls).backward()",
         "(lx + unclean * lu + ls).backward()\noptimizer.zero_grad()"),
        ("strong view fitted", 0, "out = network(together)", "out = network(torch.cat([strong, strong]))"),
        ("halves", 0, "return float(lx + unclean * lu + ls)", "return float(lx + unclean * lu + ls) / 2"),
        ("the peer is trained, too", 0, "out = network(together)", "out = (network(together) + peer(together)) / 2"),
        ("the mean of logits before the softmax", 0,
         "both = F.softmax(network(together), dim=1) + F.softmax(peer(together), dim=1)",
         "both = 2 * F.softmax((network(together) + peer(together)) / 2, dim=1)"),
        ("smoothing on a weak view", 0, "smoothed_loss(network(strong)", "smoothed_loss(network(weak[0])"),
        ("the smoothed term twice", 0, "lx + unclean * lu + ls", "lx + unclean * lu + 2 * ls"),
        ("the smoothed term left out", 0, "lx + unclean * lu + ls", "lx + unclean * lu"),
        ("clean and unclean exchanged in the loss", 0, "torch.cat([clean, clean]))", "torch.cat([~clean, ~clean]))"),
        ("targets in the wrong order of views", 0, "torch.cat([target, target]), torch.cat([clean, clean])",
         "target.repeat_interleave(2, 0), clean.repeat_interleave(2)"),
        ("sharpened twice", 0, "target = target ** 2\n", "target = target ** 4\n"),
        ("only divided by the largest", 0, "target / target.sum(dim=1, keepdim=True)",
         "target / target.amax(dim=1, keepdim=True)"),
        ("the peer on the strong view", 0, "told = F.softmax(peer(plain), dim=1)",
         "told = F.softmax(peer(strong), dim=1)"),
    ]),
}
