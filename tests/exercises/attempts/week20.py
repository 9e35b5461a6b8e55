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
    ]),
}
