"""Attempts at lesson 10."""

from . import Tries

WEIGHTS = "w = torch.softmax(beta * negatives / temperature, dim=-1) * negatives.shape[-1]"

ATTEMPTS = {
    "10.debiased": Tries([
        """
e = torch.exp(negatives / temperature)
m = e.shape[-1]
own = torch.exp(positive / temperature)
n_g = (e.sum(-1) - tau_plus * m * own) / (1 - tau_plus)
return torch.clamp(n_g, min=m * math.exp(-1.0 / temperature))
""", """
m = negatives.shape[1]
floor = m * math.exp(-1 / temperature)
total = torch.logsumexp(negatives / temperature, 1).exp()
left = (total - tau_plus * m * torch.exp(positive / temperature)) / (1 - tau_plus)
return torch.where(left > floor, left, torch.full_like(left, floor))
""", """
m = negatives.shape[1]
floor = m * math.exp(-1 / temperature)
left = ((negatives / temperature).exp() - tau_plus * (positive[:, None] / temperature).exp()).sum(1) / (1 - tau_plus)
return F.relu(left - floor) + floor
"""], [
        ("temperature fixed", 0, "negatives / temperature", "negatives / 0.5"),
        ("tau_plus fixed", 0, "tau_plus * m", "0.1 * m"),
        ("divided by tau_plus", 0, "/ (1 - tau_plus)", "/ tau_plus"),
        ("times 1 - tau_plus", 0, "/ (1 - tau_plus)", "* (1 - tau_plus)"),
        ("plus in place of minus", 0, "e.sum(-1) - tau_plus", "e.sum(-1) + tau_plus"),
        ("clamped from above", 0, "min=m", "max=m"),
        ("sum over the anchors", 0, "e.sum(-1)", "e.sum(0).mean()"),
        ("floor with plus one", 0, "math.exp(-1.0 / temperature)", "math.exp(1.0 / temperature)"),
        ("floor without temperature", 0, "math.exp(-1.0 / temperature)", "math.exp(-1.0)"),
        ("mean of positives", 0, "own = torch.exp(positive / temperature)",
         "own = torch.exp(positive / temperature).mean()"),
        ("logarithm at the end", 0, "math.exp(-1.0 / temperature))", "math.exp(-1.0 / temperature)).log()"),
        ("hardest only", 0, "e.sum(-1) -", "m * e.amax(-1) -"),
        ("floor counts anchors", 0, "min=m *", "min=len(positive) *"),
        ("temperature twice", 0, "torch.exp(negatives / temperature)",
         "torch.exp(negatives / temperature / temperature)"),
        ("floor added", 0, "torch.clamp(n_g, min=m * math.exp(-1.0 / temperature))",
         "n_g + m * math.exp(-1.0 / temperature)"),
        ("floor by tau_plus", 0, "math.exp(-1.0 / temperature)", "math.exp(-1.0 / tau_plus)"),
        ("positive among the sum", 0, "e.sum(-1)", "(e.sum(-1) + own)"),
        ("floor before the division", """
m, own = negatives.shape[-1], torch.exp(positive / temperature)
left = torch.exp(negatives / temperature).sum(-1) - tau_plus * m * own
return left.clamp(min=m * math.exp(-1.0 / temperature)) / (1 - tau_plus)
"""),
        ("only the positive's part divided", 0, "(e.sum(-1) - tau_plus * m * own) / (1 - tau_plus)",
         "e.sum(-1) - tau_plus * m * own / (1 - tau_plus)"),
        ("exp of the sum", 0, "e.sum(-1)", "(negatives / temperature).sum(-1).exp()"),
        ("the mean negative stands for the own class", 0, "own = torch.exp(positive / temperature)",
         "own = e.mean(-1)"),
        ("sum detached", 0, "e.sum(-1)", "e.sum(-1).detach()"),
        ("M + 1", 0, "m = e.shape[-1]", "m = e.shape[-1] + 1"),
        ("absolute value in place of the floor", 0, "torch.clamp(n_g, min=m * math.exp(-1.0 / temperature))",
         "n_g.abs()"),
        ("one floor for the smallest negative", 0, "min=m * math.exp(-1.0 / temperature)", "min=m * float(e.min())"),
        ("a column", 0, "e.sum(-1) - tau_plus * m * own", "e.sum(-1, keepdim=True) - tau_plus * m * own[:, None]"),
        ("table of all pairs", 0, "e.sum(-1) - tau_plus * m * own", "e.sum(-1, keepdim=True) - tau_plus * m * own"),
        ("floor detaches all", 0, "torch.clamp(n_g, min=m * math.exp(-1.0 / temperature))",
         "torch.clamp(n_g.detach(), min=m * math.exp(-1.0 / temperature))"),
        ("mean of M, not the sum", 0, "return torch.clamp(n_g, min=m * math.exp(-1.0 / temperature))",
         "return torch.clamp(n_g, min=m * math.exp(-1.0 / temperature)) / m"),
        ("the ratio to the positive", 0, "return torch.clamp(n_g, min=m * math.exp(-1.0 / temperature))",
         "return torch.clamp(n_g, min=m * math.exp(-1.0 / temperature)) / own"),
        ("the loss itself", 0, "return torch.clamp(n_g, min=m * math.exp(-1.0 / temperature))",
         "return torch.log1p(torch.clamp(n_g, min=m * math.exp(-1.0 / temperature)) / own)"),
        ("tau_plus and temperature exchanged", 0, "negatives / temperature", "negatives / tau_plus",
         "positive / temperature", "positive / tau_plus",
         "tau_plus * m", "temperature * m",
         "1 - tau_plus", "1 - temperature",
         "-1.0 / temperature", "-1.0 / tau_plus"),
    ]),
    "10.reweighted": Tries([
        """
e = torch.exp(negatives / temperature)
w = torch.softmax(beta * negatives / temperature, dim=-1) * negatives.shape[-1]
return torch.einsum("am,am->a", w, e)
""", """
logits = negatives / temperature
return negatives.shape[1] * (torch.logsumexp((1 + beta) * logits, 1) - torch.logsumexp(beta * logits, 1)).exp()
""", """
e = (negatives / temperature).exp()
w = e.pow(beta)
return (w * e).mean(1) / w.mean(1) * e.shape[1]
"""], [
        ("temperature fixed", 0, "torch.exp(negatives / temperature)", "torch.exp(negatives / 0.5)"),
        ("beta fixed", 0, "beta * negatives", "1.0 * negatives"),
        ("mean over negatives at the end", 0, 'return torch.einsum("am,am->a", w, e)', "return (w * e).mean(-1)"),
        ("number of anchors", 0, "negatives.shape[-1]", "negatives.shape[0]"),
        ("weights of exponentials, not logits", 0, "torch.softmax(beta * negatives / temperature, dim=-1)",
         "torch.softmax(beta * e, dim=-1)"),
        ("cosines weighed", 0, 'torch.einsum("am,am->a", w, e)', "(w * negatives / temperature).sum(-1).exp()"),
        ("one number", 0, 'torch.einsum("am,am->a", w, e)', "(w * e).sum()"),
        ("not summed", 0, 'torch.einsum("am,am->a", w, e)', "w * e"),
        ("softmax over anchors", 0, "dim=-1", "dim=0"),
        ("added in place of multiplied", 0, 'torch.einsum("am,am->a", w, e)', "(w + e).sum(-1)"),
        ("absolute cosines", 0, "beta * negatives", "beta * negatives.abs()"),
        ("temperature twice in the weights", 0, "beta * negatives / temperature",
         "beta * negatives / temperature ** 2"),
        ("beta as a factor", 0, WEIGHTS,
         "w = beta * e / e.mean(-1, keepdim=True)"),
        ("power of the mean", 0, WEIGHTS,
         "w = (e / e.mean(-1, keepdim=True)) ** beta"),
        ("divided by the mean exponential", 0, WEIGHTS,
         "w = e ** beta / e.mean(-1, keepdim=True)"),
        ("beta divides", 0, "beta * negatives / temperature", "negatives / (temperature * (beta + 1e-9))"),
        ("logarithm returned", 0, 'torch.einsum("am,am->a", w, e)', "(w * e).sum(-1).log()"),
        ("largest weight 1", 0, WEIGHTS,
         "w = e ** beta / (e ** beta).amax(-1, keepdim=True)"),
        ("weights of length 1", 0, WEIGHTS,
         "w = F.normalize(e ** beta, dim=-1)"),
        ("one plus beta in the weights", 0, "beta * negatives", "(1 + beta) * negatives"),
        ("the exponentials detached", 0, 'torch.einsum("am,am->a", w, e)', "(w * e.detach()).sum(-1)"),
        ("the mean of the weights detached", 0, WEIGHTS,
         "w = e ** beta / (e ** beta).mean(-1, keepdim=True).detach()"),
        ("mean over the anchors returned", 0, 'torch.einsum("am,am->a", w, e)', "(w * e).sum(-1).mean()"),
        ("ranks as weights", 0, WEIGHTS,
         "r = negatives.argsort(-1).argsort(-1).to(e.dtype); w = (beta * r).softmax(-1) * e.shape[-1]"),
        ("weights of the distance", 0, "beta * negatives / temperature", "-beta * (1 - negatives) ** 2 / temperature"),
        ("weights squared", 0, 'torch.einsum("am,am->a", w, e)', "(w ** 2 * e).sum(-1)"),
        ("the weighted mean cosine", 0, 'torch.einsum("am,am->a", w, e)',
         "((w * negatives).sum(-1) / temperature).exp()"),
        ("beta only where positive", 0, "beta * negatives / temperature",
         "beta * negatives.clamp(min=0) / temperature"),
        ("M - 1", 0, "* negatives.shape[-1]", "* (negatives.shape[-1] - 1)"),
    ]),
    "10.percentile": Tries([
        """
m = scores.size(1)
ordered = torch.argsort(scores, dim=1, descending=True)
chosen = ordered[:, int(round(low * m)):int(round(high * m))]
return torch.gather(values, 1, chosen)
""", """
m = scores.shape[1]
rows = torch.arange(len(scores))[:, None]
return values[rows, (-scores).argsort(1)[:, int(low * m):int(high * m)]]
""", """
order = scores.argsort(1).flip(1)
m = scores.shape[1]
return torch.stack([v[o][round(m * low):round(m * high)] for v, o in zip(values, order)])
""", """
order = torch.sort(scores, dim=-1, descending=True)[1]
values = torch.take_along_dim(values, order, dim=-1)
m = values.shape[-1]
return values[..., math.floor(low * m + 0.5):math.ceil(high * m)]
"""], [
        ("number of anchors", 0, "scores.size(1)", "scores.size(0)"),
        ("low not used", 0, "int(round(low * m))", "0"),
        ("high not used", 0, "int(round(high * m))", "m"),
        ("columns returned", 0, "return torch.gather(values, 1, chosen)", "return chosen"),
        ("one too far", 0, "int(round(high * m))]", "int(round(high * m)) + 1]"),
        ("easiest first among the chosen", 0, "return torch.gather(values, 1, chosen)",
         "return torch.gather(values, 1, chosen).flip(1)"),
        ("mean of the chosen", 0, "return torch.gather(values, 1, chosen)",
         "return torch.gather(values, 1, chosen).float().mean(1)"),
        ("others set to zero", 0, "return torch.gather(values, 1, chosen)",
         "return torch.zeros_like(values).scatter(1, chosen, values.gather(1, chosen))"),
        ("sorted by size", 0, "dim=1, descending=True", "dim=1, descending=False"),
        ("absolute scores", 0, "argsort(scores,", "argsort(scores.abs(),"),
        ("ranks as columns", 0, "descending=True)", "descending=True).argsort(1)"),
        ("gathered along the anchors", 0, "torch.gather(values, 1, chosen)",
         "torch.gather(values, 0, chosen % len(values))"),
        ("in their old order", 0, "torch.gather(values, 1, chosen)", "torch.gather(values, 1, chosen.sort(1).values)"),
        ("without the first of the range", 0, "[:, int(round(low * m)):", "[:, int(round(low * m)) + 1:"),
        ("high counts from low", 0, ":int(round(high * m))]", ":int(round(low * m)) + int(round(high * m))]"),
        ("as many as high - low, from the top", 0, "[:, int(round(low * m)):int(round(high * m))]",
         "[:, :int(round((high - low) * m))]"),
        ("values sorted", 0, "return torch.gather(values, 1, chosen)",
         "return torch.gather(values, 1, chosen).sort(1, descending=True).values"),
        ("per cent", 0, "low * m", "low / 100 * m", "high * m", "high / 100 * m"),
        ("scores times values", 0, "return torch.gather(values, 1, chosen)",
         "return torch.gather(values * scores, 1, chosen)"),
        ("the others", 0, "chosen = ordered[:, int(round(low * m)):int(round(high * m))]",
         "chosen = torch.cat([ordered[:, :int(round(low * m))], ordered[:, int(round(high * m)):]], 1)"),
        ("the mask", """
m = scores.shape[1]
rank = scores.argsort(1, descending=True).argsort(1)
return (rank >= round(low * m)) & (rank < round(high * m))
"""),
        ("masked, flat", """
m = scores.shape[1]
rank = scores.argsort(1, descending=True).argsort(1)
return values[(rank >= round(low * m)) & (rank < round(high * m))]
"""),
        ("masked, in the order of the columns", """
m = scores.shape[1]
rank = scores.argsort(1, descending=True).argsort(1)
return values[(rank >= round(low * m)) & (rank < round(high * m))].view(len(scores), -1)
"""),
        ("quantiles of the scores", """
low_, high_ = (torch.quantile(scores, 1 - share, dim=1, keepdim=True) for share in (high, low))
return torch.where((scores >= low_) & (scores <= high_), values, torch.zeros_like(values))
"""),
        ("all sorted, none cut", 0, "[:, int(round(low * m)):int(round(high * m))]", ""),
        ("one row's order for all", 0, "chosen = ordered[:,", "chosen = ordered[:1].expand_as(ordered)[:,"),
        ("numbers of floats", 0, "return torch.gather(values, 1, chosen)",
         "return torch.gather(values, 1, chosen).float() / m"),
        ("sorted along the anchors", 0, "dim=1, descending", "dim=0, descending"),
        ("low and high exchanged", """
m = scores.size(1)
ordered = scores.argsort(1, descending=True)
return values.gather(1, ordered[:, round((1 - high) * m):round((1 - low) * m)])
"""),
    ]),
    "10.roco_step": Tries([
        """
with torch.no_grad():
    key_rows = F.normalize(key(view2))
    own = F.normalize(key(scramble(view1)))
q = F.normalize(query(view1))
positive = torch.einsum("nd,nd->n", q, key_rows)
near = alpha * torch.einsum("nd,nd->n", q, own)
logits = torch.cat([positive[:, None], q @ queue.rows.T, near[:, None]], 1) / temperature
loss = -torch.log_softmax(logits, 1)[:, 0].mean()
optimizer.zero_grad()
loss.backward()
optimizer.step()
with torch.no_grad():
    for a, b in zip(key.parameters(), query.parameters()):
        a.mul_(momentum).add_(b, alpha=1 - momentum)
queue.enqueue(key_rows)
return loss.item()
""", """
q = F.normalize(query(view1), dim=1)
k = F.normalize(key(view2).detach(), dim=1)
t = F.normalize(key(scramble(view1)).detach(), dim=1)
logits = torch.cat([(alpha * q * t).sum(1, keepdim=True), q @ queue.rows.T, (q * k).sum(1, keepdim=True)], 1)
target = torch.full((len(q),), logits.shape[1] - 1)
loss = F.cross_entropy(logits / temperature, target)
optimizer.zero_grad(set_to_none=False)
loss.backward()
optimizer.step()
for slow, fast in zip(key.parameters(), query.parameters()):
    slow.data = momentum * slow.data + (1 - momentum) * fast.data
queue.enqueue(k)
return float(loss.detach())
"""], [
        ("temperature fixed", 0, "/ temperature", "/ 0.2"),
        ("momentum turned round", 0, "a.mul_(momentum).add_(b, alpha=1 - momentum)",
         "a.mul_(1 - momentum).add_(b, alpha=momentum)"),
        ("alpha fixed", 0, "near = alpha *", "near = 2.0 *"),
        ("sum in place of mean", 0, "[:, 0].mean()", "[:, 0].sum()"),
        ("last column is the positive", 0, "[:, 0].mean()", "[:, -1].mean()"),
        ("own negative subtracted", 0, "near = alpha *", "near = -alpha *"),
        ("both views exchanged", 0, "key(view2)", "key(view1)", "q = F.normalize(query(view1))",
         "q = F.normalize(query(view2))"),
        ("key follows before the step", 0, "optimizer.step()\n", "pass\n", "queue.enqueue(key_rows)",
         "queue.enqueue(key_rows)\noptimizer.step()"),
        ("alpha divided", 0, "near = alpha *", "near = 1 / alpha *"),
        ("queue not normalised twice but scaled", 0, "q @ queue.rows.T", "2 * q @ queue.rows.T"),
        ("softmax over the batch", 0, "log_softmax(logits, 1)", "log_softmax(logits, 0)"),
        ("q not of length 1", 0, "q = F.normalize(query(view1))", "q = query(view1)"),
        ("k not of length 1", 0, "key_rows = F.normalize(key(view2))", "key_rows = key(view2)"),
        ("temperature twice", 0, "/ temperature", "/ temperature ** 2"),
        ("no temperature", 0, " / temperature", ""),
        ("the positives of a batch", 0, "loss = -torch.log_softmax(logits, 1)[:, 0].mean()",
         "loss = F.cross_entropy(logits, torch.arange(len(q)))"),
        ("k from the query's view", 0, "key(view2)", "key(view1)"),
        ("alpha squared", 0, "near = alpha *", "near = alpha ** 2 *"),
        ("alpha on the positive too", 0, "positive = torch", "positive = alpha * torch"),
        ("no queue", 0, "positive[:, None], q @ queue.rows.T, near", "positive[:, None], near"),
        ("sign of the loss", 0, "loss = -torch", "loss = torch"),
        ("q detached beside t", 0, '"nd,nd->n", q, own', '"nd,nd->n", q.detach(), own'),
        ("zero_grad after backward", 0, "optimizer.zero_grad()\nloss.backward()",
         "loss.backward()\noptimizer.zero_grad()"),
        ("key copied", 0, "a.mul_(momentum).add_(b, alpha=1 - momentum)", "a.copy_(b)"),
        ("momentum fixed", 0, "a.mul_(momentum).add_(b, alpha=1 - momentum)", "a.mul_(0.99).add_(b, alpha=0.01)"),
        ("enqueued twice", 0, "queue.enqueue(key_rows)", "queue.enqueue(key_rows)\nqueue.enqueue(key_rows)"),
        ("never enqueued", 0, "queue.enqueue(key_rows)\n", ""),
        ("own negative of the next image", 0, '"nd,nd->n", q, own', '"nd,nd->n", q, own.roll(1, 0)'),
        ("scrambled keys", 0, "own = F.normalize(key(scramble(view1)))", "own = scramble(key_rows)"),
        ("query sees the patches", 0, "q = F.normalize(query(view1))", "q = F.normalize(query(scramble(view1)))"),
        ("mean of the logits of the queue", 0, "q @ queue.rows.T, near",
         "(q @ queue.rows.T).mean(1, keepdim=True), near"),
        ("own in eval mode", 0, "    own = F", "    key.eval()\n    own = F",
         "q = F.normalize", "key.train()\nq = F.normalize"),
        ("alpha without a similarity", 0, 'near = alpha * torch.einsum("nd,nd->n", q, own)',
         'near = alpha + torch.einsum("nd,nd->n", q, own)'),
        ("own negatives inside the positives", 0, "[:, 0].mean()", "[:, [0, -1]].mean()"),
        ("the positive left out below", 0, "loss = -torch.log_softmax(logits, 1)[:, 0].mean()",
         "loss = (logits[:, 1:].logsumexp(1) - logits[:, 0]).mean()"),
        ("two losses", 0, "loss = -torch.log_softmax(logits, 1)[:, 0].mean()",
         "loss = -sum(torch.log_softmax(part, 1)[:, 0].mean() for part in (logits[:, :-1], logits[:, [0, -1]]))"),
        ("views exchanged for the key side", 0, "key(scramble(view1))", "key(scramble(view2))"),
        ("queue follows the query's weights", 0, "queue.enqueue(key_rows)",
         "with torch.no_grad():\n    queue.enqueue(F.normalize(key(view2)))"),
    ]),
}
