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
    ]),
}
