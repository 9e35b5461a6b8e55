"""Attempts at lesson 10."""

from . import Tries

ATTEMPTS = {
    "10.debiased": Tries([
        """
e = torch.exp(negatives / temperature)
m = e.shape[-1]
own = torch.exp(positive / temperature)
n_g = (e.sum(-1) - tau_plus * m * own) / (1 - tau_plus)
return torch.clamp(n_g, min=m * math.exp(-1.0 / temperature))
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
    ]),
    "10.reweighted": Tries([
        """
e = torch.exp(negatives / temperature)
w = torch.softmax(beta * negatives / temperature, dim=-1) * negatives.shape[-1]
return torch.einsum("am,am->a", w, e)
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
    ]),
    "10.percentile": Tries([
        """
m = scores.size(1)
ordered = torch.argsort(scores, dim=1, descending=True)
chosen = ordered[:, int(round(low * m)):int(round(high * m))]
return torch.gather(values, 1, chosen)
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
    ]),
}
