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
""", """
q, k = F.normalize(q), F.normalize(k)
out = {}
for name, scores in (("positive", torch.diagonal(q @ k.T)), ("negative", (q @ negatives.mT).flatten())):
    out[name] = scores.mean()
    out[name + "_variance"] = scores.square().mean() - scores.mean().square()
return out
""", """
q, k = q / torch.linalg.vector_norm(q, dim=1, keepdim=True), k / torch.linalg.vector_norm(k, dim=1, keepdim=True)
near, far = (q * k).sum(-1), torch.einsum("nd,kd->kn", q, negatives)
return {"positive": near.mean(), "positive_variance": near.var(unbiased=False),
        "negative": far.mean(), "negative_variance": far.std(correction=0) ** 2}
""", """
q = F.normalize(q, dim=-1)
near = torch.einsum("nd,nd->n", q, F.normalize(k, dim=-1))
far = F.linear(q, negatives)
(v1, m1), (v2, m2) = torch.var_mean(near, correction=0), torch.var_mean(far, correction=0)
return dict(negative=m2, negative_variance=v2, positive=m1, positive_variance=v1)
""", """
near = torch.stack([torch.dot(a, b) / (a.norm() * b.norm()) for a, b in zip(q, k)])
far = torch.stack([torch.dot(a, n) / a.norm() for a in q for n in negatives])
result = {}
result["positive"], result["negative"] = near.sum() / near.numel(), far.sum() / far.numel()
result["positive_variance"] = (near - result["positive"]).pow(2).sum() / near.numel()
result["negative_variance"] = (far - result["negative"]).pow(2).sum() / far.numel()
return result
""", """
a, b = F.normalize(q, p=2.0, dim=1), F.normalize(k, p=2.0, dim=1)
near, far = torch.bmm(a[:, None], b[:, :, None]).view(-1), torch.matmul(a, negatives.t()).reshape(-1)
near_mean, far_mean = near.mean(), far.mean()
return {"positive": near_mean, "positive_variance": F.mse_loss(near, near_mean.expand_as(near)),
        "negative": far_mean, "negative_variance": F.mse_loss(far, far_mean.expand_as(far))}
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
        ("the queue scaled over its rows", 0, '"nd,md->nm", qn, negatives',
         '"nd,md->nm", qn, F.normalize(negatives, dim=0)'),
        ("the keys of the next image", 0, '"nd,nd->n", qn, kn', '"nd,nd->n", qn, kn.roll(1, 0)'),
        ("the squared scores", 0, 's = torch.einsum("nd,nd->n", qn, kn)', 's = torch.einsum("nd,nd->n", qn, kn) ** 2'),
        ("the largest positive", 0, "positive=s.mean()", "positive=s.max()"),
        ("a variance that keeps its sign", 0, "((n - n.mean()) ** 2).mean()", "n.mean() ** 2 - (n ** 2).mean()"),
        ("only as many rows as queries", 0, "qn, negatives)", "qn, negatives[:len(qn)])"),
        ("divided by the width", 0, 'torch.einsum("nd,nd->n", qn, kn)',
         'torch.einsum("nd,nd->n", qn, kn) / q.shape[1]'),
        ("variances as standard errors", 0, "((s - s.mean()) ** 2).mean()", "((s - s.mean()) ** 2).mean() / len(s)"),
        ("the first query only", 0, '"nd,md->nm", qn, negatives', '"nd,md->nm", qn[:1], negatives'),
        ("the temperature of MoCo", 0, 's = torch.einsum("nd,nd->n", qn, kn)',
         's = torch.einsum("nd,nd->n", qn, kn) / 0.1'),
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
""", """
gap = draw * (q - k)
return q + gap, k - gap
""", """
return torch.lerp(k, q, 1 + draw), torch.lerp(q, k, 1 + draw)
""", """
pair, other = torch.stack([q, k]), torch.stack([k, q])
moved = pair + draw * (pair - other)
return tuple(moved.unbind(0))
""", """
lam = 1 + draw
old_q, old_k = q.clone(), k.clone()
out_q = old_q.mul(lam).add(old_k.mul(1 - lam))
out_k = old_k.mul(lam).add(old_q.mul(1 - lam))
return [out_q, out_k]
""", """
new_q = q - draw * k + draw * q
return new_q, k + q - new_q
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
        ("one row's direction for all", 0, "(1 - lam) * k", "(1 - lam) * k.mean(0)", "(1 - lam) * q",
         "(1 - lam) * q.mean(0)"),
        ("signs exchanged", 0, "lam * q + (1 - lam) * k", "(1 - lam) * q + lam * k",
         "lam * k + (1 - lam) * q", "(1 - lam) * k + lam * q"),
        ("moved along the difference twice", 0, "lam = draw + 1", "lam = (draw + 1) ** 2"),
        ("the root of lambda", 0, "lam = draw + 1", "lam = (1 + draw) ** 0.5"),
        ("lambda for each row", 0, "lam = draw + 1",
         "lam = 1 + draw * torch.linspace(0, 1, len(q), dtype=q.dtype)[:, None]"),
        ("only half of the way", 0, "lam = draw + 1", "lam = 1 + draw / 2"),
        ("the query detached in the key", 0, "new_k = lam * k + (1 - lam) * q",
         "new_k = lam * k + (1 - lam) * q.detach()"),
        ("the partner of the next image", 0, "(1 - lam) * k", "(1 - lam) * k.roll(1, 0)"),
        ("clamped", 0, "return new_q, new_k", "return new_q.clamp(-1, 1), new_k.clamp(-1, 1)"),
        ("rows of the sum 1", 0, "return new_q, new_k",
         "return new_q / new_q.sum(1, keepdim=True), new_k / new_k.sum(1, keepdim=True)"),
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
""", """
with torch.no_grad():
    rows = torch.lerp(negatives[order], negatives, b)
qh, kh = extrapolation(q, k.detach(), draw)
logits = torch.cat([(qh * kh).sum(1, keepdim=True), qh @ rows.T], dim=1) / temperature
return F.cross_entropy(logits, torch.zeros(len(q), dtype=torch.long))
""", """
k, negatives = k.detach(), negatives.detach()
qh, kh = extrapolation(q, k, draw)
near = torch.einsum("nd,nd->n", qh, kh) / temperature
far = (b * (qh @ negatives.T) + (1 - b) * (qh @ negatives[order].T)) / temperature
return (torch.logsumexp(torch.cat([near[:, None], far], 1), 1) - near).mean()
""", """
gap = draw * (q - k.detach())
qh, kh = q + gap, k.detach() - gap
n = negatives.detach()
n = n[order] + b * (n - n[order])
near, far = (qh * kh).sum(1) / temperature, torch.matmul(qh, n.mT) / temperature
return F.softplus(far.logsumexp(1) - near).mean()
""", """
qh, kh = extrapolation(q, k.detach(), draw)
rows = b * negatives.detach() + (1 - b) * negatives.detach().index_select(0, order)
losses = []
for i in range(len(q)):
    own = torch.dot(qh[i], kh[i])[None]
    losses.append(-torch.log_softmax(torch.cat([rows @ qh[i], own]) / temperature, 0)[-1])
return torch.stack(losses).mean()
""", """
lam = 1 + draw
key = k.detach()
s = F.cosine_similarity(q, key, dim=1) * q.norm(dim=1) * key.norm(dim=1)
near = (lam ** 2 + (1 - lam) ** 2) * s + lam * (1 - lam) * (q.square().sum(1) + key.square().sum(1))
rows = negatives.detach() * b + negatives.detach()[order] * (1 - b)
far = (lam * q + (1 - lam) * key) @ rows.T
logits = torch.cat([near[:, None], far], 1) / temperature
return -(logits[:, 0] - logits.logsumexp(1)).mean()
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
        ("mixed with the next but in the old order", 0, "rows[order]", "rows[order.argsort()]"),
        ("b and its rest for two halves", 0, "rows = b * rows + (1 - b) * rows[order]",
         "half = len(rows) // 2\nrows = torch.cat([b * rows[:half] + (1 - b) * rows[order][:half], rows[half:]])"),
        ("the negatives' scores squared", 0, '"nd,md->nm", far_q, rows)', '"nd,md->nm", far_q, rows) ** 2'),
        ("the temperature at the positive alone", 0, "torch.cat([pos, neg], dim=1) / temperature",
         "torch.cat([pos / temperature, neg], dim=1)"),
        ("the root of the temperature", 0, "/ temperature", "/ temperature ** 0.5"),
        ("the positive twice", 0, "torch.cat([pos, neg], dim=1)", "torch.cat([pos, pos, neg], dim=1)"),
        ("the hardest negative only", 0, "torch.cat([pos, neg], dim=1)",
         "torch.cat([pos, neg.amax(1, keepdim=True)], dim=1)"),
        ("weights that do not sum to 1", 0, "b * rows + (1 - b) * rows[order]", "b * rows + b * rows[order]"),
        ("key and query exchanged in the pair", 0, "far_q = lam * q + (1 - lam) * k", "far_q = lam * k + (1 - lam) * q",
         "far_k = lam * k + (1 - lam) * q", "far_k = lam * q + (1 - lam) * k"),
        ("the positive outside of the denominator", 0, "return -logits.log_softmax(1)[:, 0].mean()",
         "return (logits[:, 1:].logsumexp(1) - logits[:, 0]).mean()"),
        ("half of the loss", 0, "return -logits", "return -0.5 * logits"),
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
""", """
optimizer.zero_grad()
q = F.normalize(query(view1), dim=1)
with torch.no_grad():
    k = F.normalize(key(view2), dim=1)
loss = mixed_loss(q, k, queue.rows.clone(), draw, b, order, temperature=temperature)
loss.backward()
optimizer.step()
queue.enqueue(k)
with torch.no_grad():
    for slow, fast in zip(key.parameters(), query.parameters()):
        slow.copy_(slow + (1 - momentum) * (fast - slow))
return float(loss.detach())
""", """
k = F.normalize(key(view2).detach(), dim=-1)
q = F.normalize(query(view1), dim=-1)
value = mixed_loss(q=q, k=k, negatives=queue.rows, draw=draw, b=b, order=order, temperature=temperature)
for p in query.parameters():
    p.grad = None
value.backward()
optimizer.step()
for slow, fast in zip(key.parameters(), query.parameters()):
    slow.data.mul_(momentum).add_(fast.data * (1 - momentum))
queue.enqueue(k)
return value.item()
""", """
q, k = query(view1), key(view2).detach()
q, k = q / q.norm(dim=1, keepdim=True), k / k.norm(dim=1, keepdim=True)
loss = mixed_loss(q, k, queue.rows, draw, b, order, temperature)
optimizer.zero_grad(set_to_none=True)
loss.backward()
optimizer.step()
fast = dict(query.named_parameters())
with torch.no_grad():
    for name, slow in key.named_parameters():
        slow.lerp_(fast[name], 1 - momentum)
    queue.enqueue(k)
return loss.item()
""", """
with torch.inference_mode():
    k = F.normalize(key(view2), dim=1)
k = k.clone()
loss = mixed_loss(F.normalize(query(view1), dim=1), k, queue.rows, draw, b, order, temperature)
optimizer.zero_grad()
loss.backward()
optimizer.step()
with torch.no_grad():
    for slow, fast in zip(key.parameters(), query.parameters()):
        slow.set_(momentum * slow + (1 - momentum) * fast)
queue.enqueue(k)
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
        ("the key follows twice", 0, "queue.enqueue(keys)\n",
         "queue.enqueue(keys)\nwith torch.no_grad():\n    for slow, fast in zip(key.parameters(),"
         " query.parameters()):\n"
         "        slow.mul_(momentum).add_(fast, alpha=1 - momentum)\n"),
        ("keys of view 2 by the new key encoder", 0, "queue.enqueue(keys)\n",
         "queue.enqueue(F.normalize(key(view2)).detach())\n"),
        ("keys enqueued in reverse", 0, "queue.enqueue(keys)\n", "queue.enqueue(keys.flip(0))\n"),
        ("keys enqueued without their length of 1", 0, "queue.enqueue(keys)\n", "queue.enqueue(2 * keys)\n"),
        ("one permutation forgotten", 0, "draw, b, order", "draw, b, torch.arange(len(queue.rows))"),
        ("draw and its rest", 0, "queue.rows, draw, b", "queue.rows, 1 - draw, b"),
        ("b and its rest", 0, "draw, b, order", "draw, 1 - b, order"),
        ("gradients cleared before the step", 0, "loss.backward()\n", "loss.backward()\noptimizer.zero_grad()\n"),
        ("only the first parameter follows", 0, "zip(key.parameters(), query.parameters())",
         "[*zip(key.parameters(), query.parameters())][:1]"),
        ("scaled over the batch", 0, "F.normalize(query(view1))", "F.normalize(query(view1), dim=0)"),
        ("both views through the query at once", 0, "keys = F.normalize(key(view2))",
         "keys = F.normalize(query(torch.cat([view1, view2]))[len(view1):])"),
    ]),
}
