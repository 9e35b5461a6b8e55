"""Attempts at lesson 11."""

from . import Tries

ATTEMPTS = {
    "11.score_meter": Tries([
        """
qn = q / q.norm(dim=-1, keepdim=True)
kn = k / k.norm(dim=-1, keepdim=True)
s = torch.einsum("nd,nd->n", qn, kn)
n = torch.einsum("nd,md->nm", qn, negatives)
return dict(positive=s.mean(), positive_variance=((s - s.mean()) ** 2).mean(),
            negative=n.mean(), negative_variance=((n - n.mean()) ** 2).mean())
""", """
s = F.cosine_similarity(q, k, dim=1)
n = F.cosine_similarity(q[:, None], negatives[None], dim=2)
return {"positive": torch.mean(s), "positive_variance": torch.var(s, unbiased=False),
        "negative": torch.mean(n), "negative_variance": torch.var(n, unbiased=False)}
"""], [
        ("only the queries scaled", 0, "kn = k / k.norm(dim=-1, keepdim=True)", "kn = k"),
        ("divided twice", 0, "kn = k / k.norm(dim=-1, keepdim=True)",
         "kn = k / k.norm(dim=-1, keepdim=True) ** 2"),
        ("sums in place of means", 0, "positive=s.mean()", "positive=s.sum()", "negative=n.mean()", "negative=n.sum()"),
        ("median", 0, "positive=s.mean()", "positive=s.median()"),
        ("second moment, mean not taken off", 0, "((s - s.mean()) ** 2).mean()", "(s ** 2).mean()",
         "((n - n.mean()) ** 2).mean()", "(n ** 2).mean()"),
        ("mean absolute deviation", 0, "((s - s.mean()) ** 2).mean()", "(s - s.mean()).abs().mean()",
         "((n - n.mean()) ** 2).mean()", "(n - n.mean()).abs().mean()"),
        ("kinds exchanged", 0, "positive=s.mean()", "positive=n.mean()", "negative=n.mean()", "negative=s.mean()"),
        ("variance of the negatives over the queries", 0, "((n - n.mean()) ** 2).mean()", "n.var(0).mean()"),
        ("hardest negatives only", 0, "negative=n.mean()", "negative=n.max(1).values.mean()"),
        ("distances, not cosines", 0, 's = torch.einsum("nd,nd->n", qn, kn)', "s = (qn - kn).norm(dim=1)"),
        ("absolute scores", 0, 'n = torch.einsum("nd,md->nm", qn, negatives)',
         'n = torch.einsum("nd,md->nm", qn, negatives).abs()'),
        ("one variance for both", 0, "negative_variance=((n - n.mean()) ** 2).mean()",
         "negative_variance=((s - s.mean()) ** 2).mean()"),
        ("mean of the batch taken off", 0, "qn = q / q.norm(dim=-1, keepdim=True)",
         "q = q - q.mean(0)\nqn = q / q.norm(dim=-1, keepdim=True)"),
    ]),
    "11.extrapolation": Tries([
        """
lam = draw + 1
new_q = lam * q + (1 - lam) * k
new_k = lam * k + (1 - lam) * q
return new_q, new_k
""", """
middle, half = (q + k) / 2, (q - k) / 2
return middle + (1 + 2 * draw) * half, middle - (1 + 2 * draw) * half
"""], [
        ("draw doubled", 0, "lam = draw + 1", "lam = 2 * draw + 1"),
        ("draw fixed", 0, "lam = draw + 1", "lam = 1.5"),
        ("weights add to more than 1", 0, "(1 - lam) * k", "lam * k", "(1 - lam) * q", "lam * q"),
        ("negative lambda", 0, "lam = draw + 1", "lam = -draw"),
        ("1 - lam left out", 0, "+ (1 - lam) * k", "- k", "+ (1 - lam) * q", "- q"),
        ("only the keys moved", 0, "new_q = lam * q + (1 - lam) * k", "new_q = q"),
        ("key twice as far", 0, "new_k = lam * k + (1 - lam) * q", "new_k = (1 + lam) * k - lam * q"),
        ("halved", 0, "return new_q, new_k", "return new_q / 2, new_k / 2"),
        ("detached", 0, "return new_q, new_k", "return new_q.detach(), new_k.detach()"),
        ("key detached", 0, "new_q = lam * q + (1 - lam) * k", "new_q = lam * q + (1 - lam) * k.detach()"),
        ("the scores", 0, "return new_q, new_k", "return (new_q * new_k).sum(1)"),
        ("rounded draw", 0, "lam = draw + 1", "lam = 1 + round(float(torch.as_tensor(draw).mean()))"),
        ("stacked columns", 0, "return new_q, new_k", "return torch.cat([new_q, new_k], 1)"),
    ]),
    "11.mixed_loss": Tries([
        """
k = k.detach()
rows = negatives.detach()
rows = b * rows + (1 - b) * rows[order]
lam = 1 + draw
far_q = lam * q + (1 - lam) * k
far_k = lam * k + (1 - lam) * q
pos = torch.einsum("nd,nd->n", far_q, far_k).unsqueeze(1)
neg = torch.einsum("nd,md->nm", far_q, rows)
logits = torch.cat([pos, neg], dim=1) / temperature
return -logits.log_softmax(1)[:, 0].mean()
"""], [
        ("temperature fixed", 0, "/ temperature", "/ 0.1"),
        ("temperature multiplied", 0, "/ temperature", "* temperature"),
        ("b fixed", 0, "rows = b * rows + (1 - b) * rows[order]", "rows = 0.5 * rows + 0.5 * rows[order]"),
        ("partners only", 0, "rows = b * rows + (1 - b) * rows[order]", "rows = rows[order]"),
        ("partners added", 0, "rows = b * rows + (1 - b) * rows[order]", "rows = torch.cat([rows, rows[order]])"),
        ("partners by a shift", 0, "rows[order]", "rows.roll(1, 0)"),
        ("last column is the positive", 0, "[:, 0].mean()", "[:, -1].mean()"),
        ("positive sign", 0, "return -logits", "return logits"),
        ("key of the query with itself", 0, "far_q, far_k).unsqueeze(1)", "far_q, far_q).unsqueeze(1)"),
        ("moved keys against the negatives", 0, '"nd,md->nm", far_q, rows', '"nd,md->nm", far_k, rows'),
        ("keys not moved", 0, "far_k = lam * k + (1 - lam) * q", "far_k = k"),
        ("query detached in its own mixture", 0, "far_q = lam * q", "far_q = lam * q.detach()"),
        ("draw used twice", 0, "lam = 1 + draw", "lam = 1 + 2 * draw"),
        ("b for the pair", 0, "lam = 1 + draw", "lam = 1 + b"),
        ("all of the batch as candidates", 0, "logits = torch.cat([pos, neg], dim=1) / temperature",
         "logits = torch.cat([pos, neg, far_q @ far_k.T], dim=1) / temperature"),
        ("no logarithm", 0, "-logits.log_softmax(1)[:, 0].mean()", "-logits.softmax(1)[:, 0].mean()"),
        ("softmax over the batch", 0, "log_softmax(1)", "log_softmax(0)"),
        ("each query's loss", 0, "[:, 0].mean()", "[:, 0]"),
    ]),
    "11.imco_step": Tries([
        """
with torch.no_grad():
    keys = F.normalize(key(view2))
q = F.normalize(query(view1))
loss = mixed_loss(q, keys, queue.rows, draw, b, order, temperature)
optimizer.zero_grad()
loss.backward()
optimizer.step()
with torch.no_grad():
    for slow, fast in zip(key.parameters(), query.parameters()):
        slow.mul_(momentum).add_(fast, alpha=1 - momentum)
queue.enqueue(keys)
return loss.item()
"""], [
        ("temperature left at its default", 0, "order, temperature)", "order)"),
        ("momentum fixed", 0, "slow.mul_(momentum).add_(fast, alpha=1 - momentum)",
         "slow.mul_(0.99).add_(fast, alpha=0.01)"),
        ("draw shifted again", 0, "queue.rows, draw, b", "queue.rows, 1 + draw, b"),
        ("pair not mixed", 0, "queue.rows, draw, b", "queue.rows, 0.0, b"),
        ("negatives not mixed", 0, "draw, b, order", "draw, 1.0, order"),
        ("half of the queue", 0, "queue.rows, draw, b, order",
         "queue.rows[::2], draw, b, order[order % 2 == 0] // 2"),
        ("keys enqueued twice", 0, "queue.enqueue(keys)\n", "queue.enqueue(keys)\nqueue.enqueue(keys)\n"),
        ("nothing enqueued", 0, "queue.enqueue(keys)\n", ""),
        ("mixed rows enqueued", 0, "queue.enqueue(keys)\n",
         "queue.rows = b * queue.rows + (1 - b) * queue.rows[order]\nqueue.enqueue(keys)\n"),
        ("query and key exchanged in the loss", 0, "mixed_loss(q, keys,", "mixed_loss(keys, q,"),
        ("same view twice", 0, "key(view2)", "key(view1)"),
        ("step before backward", 0, "loss.backward()\noptimizer.step()", "optimizer.step()\nloss.backward()"),
        ("loss halved", 0, "loss.backward()", "loss = loss / 2\nloss.backward()"),
        ("query follows the key", 0, "zip(key.parameters(), query.parameters())",
         "zip(query.parameters(), key.parameters())"),
        ("sum of the losses", 0, "return loss.item()", "return loss.item() * len(q)"),
    ]),
}
