"""Attempts at lesson 20."""

from . import Tries

ATTEMPTS = {
    "20.bound": Tries([
        """
n = scores.shape[0]
p = torch.softmax(scores, dim=1)
return torch.log(p.diagonal() * n).mean()
""", """
n = len(scores)
each = torch.stack([scores[i, i] - torch.logsumexp(scores[i], 0) for i in range(n)])
return each.mean() + math.log(n)
""", """
n = scores.size(0)
target = torch.arange(n)
loss = F.nll_loss(F.log_softmax(scores, dim=-1), target)
return torch.log(torch.tensor(float(n), dtype=scores.dtype)) - loss
""", """
n = scores.shape[1]
best = scores.max(dim=1, keepdim=True)[0]
p = torch.exp(scores - best) / torch.exp(scores - best).sum(dim=1, keepdim=True)
return math.log(n) + torch.log(torch.diagonal(p)).sum() / n
""", """
n = len(scores)
return math.log(n) - F.cross_entropy(scores, torch.eye(n, dtype=scores.dtype))
""", """
rows = torch.arange(scores.size(0))
own = scores[rows, rows].unsqueeze(1)
return -(scores - own).exp().mean(dim=1).log().mean()
"""], [
        ("minus the bound", 0, "return torch.log(p.diagonal() * n).mean()",
         "return -torch.log(p.diagonal() * n).mean()"),
        ("log N added to the loss", 2, "- loss", "+ loss"),
        ("the largest score is the partner", 0, "p.diagonal()", "p.amax(1)"),
        ("first column is the partner", 2, "torch.arange(n)", "torch.zeros(n, dtype=torch.long)"),
        ("all pairs in one softmax", 0, "p = torch.softmax(scores, dim=1)",
         "p = torch.softmax(scores.flatten(), 0).view(n, n)"),
        ("both directions", 0, "return torch.log(p.diagonal() * n).mean()",
         "return (torch.log(p.diagonal() * n).mean() + torch.log(torch.softmax(scores, 0).diagonal() * n).mean()) / 2"),
        ("accuracy", 0, "return torch.log(p.diagonal() * n).mean()",
         "return (p.argmax(1) == torch.arange(n)).double().mean()"),
        ("one value a row", 0, ".mean()", ""),
        ("log10", 0, "torch.log(", "torch.log10("),
        ("clamped at 0", 2, "return torch.log(torch.tensor(float(n), dtype=scores.dtype)) - loss",
         "return (torch.log(torch.tensor(float(n), dtype=scores.dtype)) - loss).clamp(min=1.0)"),
        ("temperature again", 0, "torch.softmax(scores,", "torch.softmax(scores / 0.2,"),
        ("scores made cosines", 0, "torch.softmax(scores,", "torch.softmax(F.normalize(scores, dim=1),"),
        ("detached", 0, "return torch.log(", "return torch.log(p.detach() * n).diagonal().mean() + 0 * torch.log("),
        ("mean score off", 0, "return torch.log(p.diagonal() * n).mean()",
         "return scores.diagonal().mean() - scores.mean()"),
        ("the hardest other only", 0, "return torch.log(p.diagonal() * n).mean()",
         "return (scores.diagonal() - scores.amax(1)).mean() + math.log(n)"),
        ("log N + 1", 0, "p.diagonal() * n", "p.diagonal() * (n + 1)"),
        ("ratio of means", 0, "return torch.log(p.diagonal() * n).mean()",
         "return scores.diagonal().mean() - (scores.exp().mean()).log()"),
        ("the loss as a plain number", "return math.log(len(scores)) - "
         "F.cross_entropy(scores, torch.arange(len(scores))).item()"),
        ("the scores' own winners", "return math.log(len(scores)) - F.cross_entropy(scores, scores.argmax(1))"),
        ("all entries of log_softmax", "return math.log(len(scores)) + F.log_softmax(scores, dim=1).mean()"),
        ("softened labels", "n = len(scores)\n"
         "return math.log(n) - F.cross_entropy(scores, torch.arange(n), label_smoothing=0.1)"),
        ("divided twice", "n = len(scores)\n"
         "return math.log(n) - F.cross_entropy(scores, torch.arange(n), reduction='sum') / n**2"),
        ("yes or no for each pair", "n = len(scores)\n"
         "return math.log(n) - F.binary_cross_entropy_with_logits(scores, torch.eye(n, dtype=scores.dtype))"),
        ("the bound's exponential", "n = len(scores)\nreturn n * (-F.cross_entropy(scores, torch.arange(n))).exp()"),
        ("others as one candidate", "n = len(scores)\n"
         "rest = scores.masked_fill(torch.eye(n, dtype=torch.bool), 0).sum(1) / (n - 1)\n"
         "return F.logsigmoid(scores.diagonal() - rest).mean() + math.log(n)"),
        ("log of the square's size", "n = len(scores)\n"
         "return math.log(n * n) - F.cross_entropy(scores, torch.arange(n))"),
        ("trace without a division", 0, "return torch.log(p.diagonal() * n).mean()",
         "return math.log(n) + torch.log(p).trace()"),
    ]),
    "20.signs": Tries([
        """
table = -torch.ones(n + 1, n + 1)
table.fill_diagonal_(1)
table[0, 1:] = 0
return table
""", """
rows = [[1] + [0] * n]
for i in range(1, n + 1):
    rows.append([1 if j == i else -1 for j in range(n + 1)])
return torch.tensor(rows)
""", """
eye = torch.eye(n + 1)
seen = torch.ones(n + 1, n + 1)
seen[0, 1:] = 0
return (2 * eye - 1) * seen
""", """
size = n + 1
table = torch.full((size, size), -1)
for i in range(size):
    table[i, i] = 1
table[0] = torch.zeros(size)
table[0, 0] = 1
return table
""", """
heads, views = torch.meshgrid(torch.arange(n + 1), torch.arange(n + 1), indexing="ij")
return torch.where(heads == views, 1, torch.where(heads == 0, 0, -1))
""", """
return [[1] + n * [0]] + [[-1] * i + [1] + [-1] * (n - i) for i in range(1, n + 1)]
"""], [
        ("first column in place of first row", 0, "table[0, 1:]", "table[1:, 0]"),
        ("all zeros but the diagonal", 0, "-torch.ones", "torch.zeros"),
        ("all ones but the diagonal", 0, "-torch.ones(n + 1, n + 1)", "torch.ones(n + 1, n + 1)",
         "fill_diagonal_(1)", "fill_diagonal_(-1)"),
        ("head 0 sees nothing", 0, "table[0, 1:]", "table[0]"),
        ("diagonal by columns of k_0", 0, "table.fill_diagonal_(1)", "table[:, 0] = 1"),
        ("one head too many", 0, "torch.ones(n + 1, n + 1)", "torch.ones(n + 2, n + 2)"),
        ("negatives of weight 1 / n", 0, "-torch.ones(n + 1, n + 1)", "-torch.ones(n + 1, n + 1) / (n + 1)"),
        ("booleans", 0, "return table", "return table == 1"),
        ("the antidiagonal", 0, "return table", "return table.flip(1)"),
        ("the last head is the general one", 0, "table[0, 1:] = 0", "table[-1, :-1] = 0"),
        ("twos on the diagonal", 0, "fill_diagonal_(1)", "fill_diagonal_(2)"),
        ("a flat list", 1, "return torch.tensor(rows)", "return torch.tensor(rows).flatten()"),
        ("upper half is not seen", 0, "return table", "return table.tril()"),
        ("only neighbours", 0, "return table", "return table.triu(-1)"),
        ("k_0 twice", 0, "return table", "table[1:, 0] = -2\nreturn table"),
        ("the table of two augmentations, whatever n",
         "return torch.tensor([[1, 0, 0], [-1, 1, -1], [-1, -1, 1]])"),
        ("n heads in place of n + 1", 0, "torch.ones(n + 1, n + 1)", "torch.ones(n, n)"),
        ("small whole numbers without a sign", 0, "return table", "return table.to(torch.uint8)"),
        ("no diagonal", 0, "table.fill_diagonal_(1)", "table.fill_diagonal_(0)"),
        ("head 0 pushes its own away", 0, "table[0, 1:] = 0", "table[0, 1:] = 0\ntable[0, 0] = -1"),
        ("head 0 sees all but k_0", 0, "table[0, 1:] = 0", "table[0, 0] = 0"),
        ("only k_0 and the next are seen", 0, "return table", "return table.tril(1)"),
        ("0 for the negatives", 1, "1 if j == i else -1", "1 if j == i else 0"),
        ("negatives by their distance", 1, "1 if j == i else -1", "1 if j == i else -abs(i - j)"),
        ("one row for all heads", 1, "1 if j == i else -1", "1 if j == 1 else -1"),
        ("heads that may keep come first", 0, "return table", "return table.roll(-1, 0)"),
        ("columns without k_0", 0, "return table", "return table[:, 1:]"),
        ("without the first row", 0, "return table", "return table[1:]"),
    ]),
    "20.looc": Tries([
        """
total = 0
for i in range(len(q)):
    own = (q[i][None] * k[i]).sum(-1).T
    if i == 0:
        own = own[:, :1]
    logits = torch.cat([own, q[i] @ queues[i].T], 1) / temperature
    total = total - torch.log_softmax(logits, 1)[:, i].mean()
return total / len(q)
""", """
own = torch.einsum('ind,ijnd->inj', q, k)
own[0, :, 1:] = -1e9
far = torch.einsum('ind,ikd->ink', q, queues)
logits = torch.cat([own, far], 2) / temperature
right = torch.stack([logits[i, :, i] for i in range(len(q))])
return (logits.logsumexp(2) - right).mean()
""", """
H, N, D = q.shape
each = []
for i in range(H):
    positive = (q[i] * k[i, i]).sum(dim=1, keepdim=True)
    others = [] if i == 0 else [(q[i] * k[i, j]).sum(dim=1, keepdim=True) for j in range(H) if j != i]
    logits = torch.cat([positive] + others + [q[i].mm(queues[i].t())], dim=1)
    each.append(F.cross_entropy(logits / temperature, torch.zeros(N, dtype=torch.long)))
return sum(each) / H
""", """
k, queues = k.detach(), queues.detach()
own = torch.matmul(k.transpose(1, 2), q[..., None])[..., 0] / temperature
far = torch.bmm(q, queues.transpose(1, 2)) / temperature
seen = torch.ones(len(q), len(q), dtype=torch.bool)
seen[0, 1:] = False
total = torch.logaddexp(own.masked_fill(~seen[:, None], -torch.inf).logsumexp(2), far.logsumexp(2))
return (total - torch.diagonal(own, dim1=0, dim2=2).T).mean()
""", """
loss = q.new_zeros(())
for i, (query, keys, queue) in enumerate(zip(q, k, queues)):
    score = torch.exp(einops.einsum(query, keys, "n d, j n d -> n j") / temperature)
    rest = torch.exp(query @ queue.T / temperature).sum(dim=1)
    rest = rest + (score[:, 0] if i == 0 else score.sum(dim=1))
    loss = loss - torch.log(score[:, i] / rest).mean()
return loss / len(queues)
"""], [
        ("temperature fixed", 0, "/ temperature", "/ 0.2"),
        ("temperature multiplies", 0, "/ temperature", "* temperature"),
        ("positive is the first column", 0, "[:, i].mean()", "[:, 0].mean()"),
        ("positive is the last column", 0, "[:, i].mean()", "[:, -1].mean()"),
        ("queue of the next head", 0, "queues[i].T", "queues[i - 1].T"),
        ("keys of the next head", 0, "* k[i])", "* k[i - 1])"),
        ("softmax over the images", 0, "log_softmax(logits, 1)", "log_softmax(logits, 0)"),
        ("sum of the images", 0, "[:, i].mean()", "[:, i].sum()"),
        ("sign turned", 0, "total = total - torch", "total = total + torch"),
        ("divided by the images", 0, "return total / len(q)", "return total / q.shape[1]"),
        ("query of head 0", 0, "(q[i][None] * k[i])", "(q[0][None] * k[i])"),
        ("own temperature twice", 0, "logits = torch.cat([own,", "logits = torch.cat([own / temperature,"),
        ("queue without temperature", 0, "q[i] @ queues[i].T", "temperature * q[i] @ queues[i].T"),
        ("head 0 masked at 0", 1, "-1e9", "0.0"),
        ("all heads masked", 1, "own[0, :, 1:] = -1e9", "own[:, :, 1:] = -1e9"),
        ("all candidates of all heads", 1, "return (logits.logsumexp(2) - right).mean()",
         "return (logits.transpose(0, 1).flatten(1).logsumexp(1) - right).mean()"),
        ("a loss for each head", 1, ".mean()", ".mean(1)"),
        ("mean of probabilities", 1, "return (logits.logsumexp(2) - right).mean()",
         "return -(right - logits.logsumexp(2)).exp().mean().log()"),
        ("negatives averaged", 1, "logits.logsumexp(2)", "(logits.exp().mean(2)).log()"),
        ("the positive left out", 0, "total = total - torch.log_softmax(logits, 1)[:, i].mean()",
         "rest = torch.cat([logits[:, :i], logits[:, i + 1:]], 1)\n    total = total + "
         "(rest.logsumexp(1) - logits[:, i]).mean()"),
        ("only the own key views", 0, "torch.cat([own, q[i] @ queues[i].T], 1)", "own"),
        ("key views of other images", 0, "(q[i][None] * k[i])", "(q[i][None] * k[i].roll(1, 1))"),
        ("hardest negative only", 1, "logits.logsumexp(2)", "logits.amax(2)"),
        ("head 0 weighs half", 0, "return total / len(q)", "return total / (len(q) - 0.5)"),
        ("queries are constants", 0, "(q[i][None] * k[i])", "(q[i][None].detach() * k[i])",
         "q[i] @ queues", "q[i].detach() @ queues"),
        ("queries constant against the queue", 0, "q[i] @ queues", "q[i].detach() @ queues"),
        ("a plain number", 1, ".mean()", ".mean().item()"),
        ("temperature of the positive alone", 1, "torch.cat([own, far], 2) / temperature",
         "torch.cat([own / temperature, far], 2)"),
        ("temperature of the positive forgotten", 1, "right = torch.stack([logits[i, :, i]",
         "right = torch.stack([own[i, :, i]"),
        ("temperature squared", 1, "/ temperature", "/ temperature ** 2"),
        ("other images' keys are negatives, too", 0, "torch.cat([own,",
         "torch.cat([own, (q[i] @ k[i, i].T).fill_diagonal_(-1e9),"),
        ("the other key views are positives, too", 1, "right = torch.stack([logits[i, :, i] for i in range(len(q))])",
         "right = torch.stack([logits[i, :, :(len(q) if i else 1)].mean(1) for i in range(len(q))])"),
        ("key views but k_0 hidden in every head", 0, "if i == 0:\n        own = own[:, :1]",
         "if i > 0:\n        own = own[:, i:i + 1]\n    else:\n        own = own[:, :1]", "[:, i]", "[:, 0]"),
        ("head 0 sees all, the others do not", 0, "if i == 0:\n        own = own[:, :1]",
         "if i > 0:\n        own = own[:, i:i + 1]", "[:, i]", "[:, 0]"),
        ("k_0 left out of heads 1 to n", 0, "own = own[:, :1]",
         "own = own[:, :1]\n    else:\n        own = torch.cat([own[:, 1:1 + i], own[:, i + 1:]], 1)",
         "[:, i].mean()", "[:, max(i - 1, 0)].mean()"),
        ("all queues together", 0, "queues[i].T", "queues.flatten(0, 1).T"),
        ("lengths made 1 along the wrong axis", 0, "total = 0", "total = 0\nq = F.normalize(q, dim=1)"),
        ("positive twice in the sum", 0, "torch.cat([own,", "torch.cat([own, own[:, i:i + 1],"),
        ("half of each queue", 0, "queues[i].T", "queues[i][::2].T"),
        ("a head's loss weighed by its candidates", 0, "[:, i].mean()", "[:, i].mean() * logits.shape[1] / 10"),
        ("squared distances for cosines", 0, "(q[i][None] * k[i]).sum(-1)",
         "(q[i][None] - k[i]).square().sum(-1).neg()"),
    ]),
    "20.looc_step": Tries([
        """
q = F.normalize(query(view), dim=-1)
keys = []
with torch.no_grad():
    for each in key_views:
        keys.append(F.normalize(key(each), dim=-1))
k = torch.stack(keys, dim=1)
rows = torch.stack([each.rows for each in queues])
loss = contrast(q, k, rows)
optimizer.zero_grad()
loss.backward()
optimizer.step()
with torch.no_grad():
    for a, b in zip(key.parameters(), query.parameters()):
        a.mul_(momentum).add_(b, alpha=1 - momentum)
for i in range(len(queues)):
    queues[i].enqueue(k[i, i])
return loss.item()
""", """
k = torch.stack([F.normalize(key(each).detach(), dim=2) for each in key_views]).transpose(0, 1)
q = query(view)
q = q / q.norm(dim=2, keepdim=True)
loss = contrast(q, k, torch.stack([each.rows for each in queues]))
optimizer.zero_grad(set_to_none=False)
loss.backward()
optimizer.step()
for slow, fast in zip(key.parameters(), query.parameters()):
    slow.data = momentum * slow.data + (1 - momentum) * fast.data
for i, each in enumerate(queues):
    each.enqueue(k[i][i])
return float(loss.detach())
""", """
queries = query(view)
queries = queries / torch.linalg.vector_norm(queries, dim=-1, keepdim=True)
with torch.no_grad():
    outputs = [key(v) for v in key_views]
    k = F.normalize(torch.stack(outputs, 1), dim=-1)
loss = contrast(queries, k, torch.stack([queue.rows for queue in queues], dim=0))
loss.backward()
optimizer.step()
optimizer.zero_grad()
with torch.no_grad():
    for p_key, p_query in zip(key.parameters(), query.parameters()):
        p_key.copy_(momentum * p_key + (1 - momentum) * p_query)
    for i, queue in enumerate(queues):
        queue.enqueue(k[i, i])
return loss.item()
""", """
with torch.no_grad():
    k = torch.stack([F.normalize(key(v), p=2, dim=2) for v in key_views], dim=1)
rows = torch.stack([queue.rows.clone() for queue in queues])
for head, queue in enumerate(queues):
    queue.enqueue(k[head, head])
loss = contrast(F.normalize(query(view), p=2, dim=2), k, rows)
optimizer.zero_grad()
loss.backward()
optimizer.step()
for a, b in zip(key.parameters(), query.parameters()):
    a.data.add_((b.data - a.data) * (1 - momentum))
return float(loss)
"""], [
        ("momentum turned round", 0, "a.mul_(momentum).add_(b, alpha=1 - momentum)",
         "a.mul_(1 - momentum).add_(b, alpha=momentum)"),
        ("momentum fixed", 0, "a.mul_(momentum).add_(b, alpha=1 - momentum)", "a.mul_(0.99).add_(b, alpha=0.01)"),
        ("key copied", 0, "a.mul_(momentum).add_(b, alpha=1 - momentum)", "a.copy_(b)"),
        ("only the first queue", 0, "for i in range(len(queues)):", "for i in range(1):"),
        ("the first queue is forgotten", 0, "for i in range(len(queues)):", "for i in range(1, len(queues)):"),
        ("queues are filled from the diagonal backwards", 0, "enqueue(k[i, i])", "enqueue(k[i, -1 - i])"),
        ("enqueued twice", 0, "    queues[i].enqueue(k[i, i])",
         "    queues[i].enqueue(k[i, i]); queues[i].enqueue(k[i, i])"),
        ("never enqueued", 0, "    queues[i].enqueue(k[i, i])", "    pass"),
        ("key views in reverse", 0, "for each in key_views:", "for each in reversed(key_views):"),
        ("all keys of the first view", 0, "key(each)", "key(key_views[0])"),
        ("the query's view is the second key", 0, "query(view)", "query(key_views[0])"),
        ("q and k exchanged", 0, "query(view)", "key(view)"),
        ("length along the heads", 0, "q = F.normalize(query(view), dim=-1)", "q = F.normalize(query(view), dim=0)"),
        ("zero_grad after backward", 0, "optimizer.zero_grad()\nloss.backward()",
         "loss.backward()\noptimizer.zero_grad()"),
        ("key follows before the step", 0, "optimizer.step()\n", "",
         "return loss.item()", "optimizer.step()\nreturn loss.item()"),
        ("twice the loss", 0, "loss = contrast(q, k, rows)", "loss = 2 * contrast(q, k, rows)"),
        ("the sign of the loss", 0, "loss = contrast(q, k, rows)", "loss = -contrast(q, k, rows)"),
        ("q detached", 0, "contrast(q, k, rows)", "contrast(q.detach() + 0 * q, k, rows)"),
        ("queues all of head 0 for the loss", 0, "each.rows for each in queues", "queues[0].rows for each in queues"),
        ("the keys of the next image", 0, "contrast(q, k, rows)", "contrast(q, k.roll(1, 2), rows)"),
        ("rows of the queue as keys", 0, "enqueue(k[i, i])", "enqueue(rows[i, :k.shape[2]])"),
        ("two optimizer steps", 0, "optimizer.step()\n", "optimizer.step()\noptimizer.step()\n"),
        ("key encoder in eval mode", 0, "keys = []", "keys = []\nkey.eval()"),
        ("length along the images", 0, "q = F.normalize(query(view), dim=-1)", "q = F.normalize(query(view))"),
        ("keys of length 1 along the images", 0, "F.normalize(key(each), dim=-1)", "F.normalize(key(each))"),
        ("stacked along the images", 0, "torch.stack(keys, dim=1)", "torch.stack(keys, dim=2).transpose(1, 2).flip(1)"),
        ("query follows the key encoder", 0, "zip(key.parameters(), query.parameters())",
         "zip(query.parameters(), key.parameters())"),
        ("the queue becomes the keys", 0, "queues[i].enqueue(k[i, i])", "queues[i].rows = k[i, i]"),
        ("one row a step", 0, "enqueue(k[i, i])", "enqueue(k[i, i][:1])"),
        ("all heads' keys of the own view", 0, "enqueue(k[i, i])", "enqueue(k[:, i].flatten(0, 1)[:k.shape[2]])"),
        ("enqueued without their length", 0, "enqueue(k[i, i])", "enqueue(2 * k[i, i])"),
        ("the mean of the key views is enqueued", 0, "enqueue(k[i, i])", "enqueue(k[i].mean(0))"),
        ("zero_grad between backward and step", 0, "optimizer.zero_grad()\n", "",
         "loss.backward()\n", "loss.backward()\noptimizer.zero_grad()\n"),
        ("no step of the optimizer", 0, "optimizer.step()\n", ""),
        ("no backward", 0, "loss.backward()\n", ""),
        ("key encoder scaled down", 0, "a.mul_(momentum).add_(b, alpha=1 - momentum)", "a.mul_(momentum)"),
        ("moved by the whole difference times momentum", 0, "a.mul_(momentum).add_(b, alpha=1 - momentum)",
         "a.add_(b, alpha=1 - momentum)"),
        ("queries and keys in one batch", 0, "query(view)", "query(torch.cat([view, *key_views]))[:, :len(view)]"),
        ("a mean of losses by head", 0, "loss = contrast(q, k, rows)", "loss = contrast(q, k, rows) / len(q)"),
        ("the loss after the step is returned", 0, "return loss.item()",
         "return contrast(F.normalize(query(view), dim=-1), k, rows).item()"),
        ("queues returned in place of the loss", 0, "return loss.item()", "return float(len(queues))"),
        ("keys without the no_grad, detached too late", 0, "with torch.no_grad():\n    for each",
         "if True:\n    for each", "enqueue(k[i, i])", "enqueue(k[i, i].detach())"),
    ]),
}
