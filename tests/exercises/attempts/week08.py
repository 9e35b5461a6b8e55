"""Attempts at lesson 08."""

from . import Tries

ATTEMPTS = {
    "08.sinkhorn": Tries([
        """
q = (scores.detach() / epsilon)
for _ in range(iterations):
    q = torch.log_softmax(q, dim=0)
    q = torch.log_softmax(q, dim=1)
return q.exp()
"""], [
        ("epsilon 0.05 always", 0, "/ epsilon", "/ 0.05"),
        ("three rounds always", 0, "range(iterations)", "range(3)"),
        ("one round more", 0, "range(iterations)", "range(iterations + 1)"),
        ("columns again at the end", 0, "return q.exp()", "return torch.softmax(q, dim=0)"),
        ("the logarithm", 0, "return q.exp()", "return q"),
        ("hard codes", 0, "return q.exp()", "return F.one_hot(q.argmax(1), q.shape[1]).to(q.dtype)"),
        ("softmax in place of log_softmax", 0, "torch.log_softmax(q, dim=0)", "torch.softmax(q, dim=0)"),
        ("transposed", 0, "return q.exp()", "return q.exp().T"),
        ("rows of equal mass N/K", 0, "return q.exp()", "return q.exp() * scores.shape[0] / scores.shape[1]"),
        ("negative scores", 0, "scores.detach() / epsilon", "-scores.detach() / epsilon"),
        ("epsilon squared", 0, "/ epsilon", "/ epsilon ** 2"),
    ]),
    "08.in_use": Tries([
        """
counts = torch.bincount(scores.argmax(dim=1), minlength=scores.shape[1]).to(scores.dtype)
p = counts / counts.sum()
p = p[p > 0]
return torch.exp(-(p * p.log()).sum())
"""], [
        ("divided by the prototypes", 0, "counts / counts.sum()", "counts / len(counts)"),
        ("the farthest prototype", 0, "argmax", "argmin"),
        ("the sign", 0, "-(p * p.log())", "(p * p.log())"),
        ("mean in place of sum", 0, "p.log()).sum()", "p.log()).mean()"),
        ("as a share of K", 0, "return torch.exp(-(p * p.log()).sum())",
         "return torch.exp(-(p * p.log()).sum()) / scores.shape[1]"),
        ("log K minus the entropy", 0, "return torch.exp(-(p * p.log()).sum())",
         "return torch.log(torch.tensor(float(scores.shape[1]))) + (p * p.log()).sum()"),
        ("exp without the weights", 0, "(p * p.log())", "p.log()"),
        ("a softmax of the counts", 0, "counts / counts.sum()", "counts.softmax(0)"),
    ]),
    "08.swav_loss": Tries([
        """
logp = [torch.log_softmax(s / temperature, dim=-1) for s in scores]
terms = [[-(codes[i].detach() * logp[v]).sum(-1).mean() for v in range(len(scores)) if v != i]
         for i in range(len(codes))]
return torch.stack([torch.stack(t).mean() for t in terms]).mean()
"""], [
        ("temperature multiplies", 0, "s / temperature", "s * temperature"),
        ("sign", 0, "[-(codes", "[(codes"),
        ("temperature fixed", 0, "s / temperature", "s / 0.1"),
        ("codes softened", 0, "codes[i].detach()", "(codes[i].detach() / temperature).softmax(1)"),
        ("only the first code", 0, "for i in range(len(codes))]", "for i in range(1)]"),
        ("the sum over images", 0, ".sum(-1).mean()", ".sum()"),
        ("the largest term", 0, "torch.stack(t).mean()", "torch.stack(t).max()"),
        ("roles exchanged: softmax of scores against log of codes", 0, "(codes[i].detach() * logp[v])",
         "(logp[v].exp() * codes[i].detach().log())"),
        ("log left out", 0, "torch.log_softmax", "torch.softmax"),
        ("codes in the other order", 0, "codes[i]", "codes[1 - i]"),
        ("scores normalised over images first", 0, "s / temperature", "(s - s.mean(0)) / temperature"),
    ]),
    "08.prototypes": Tries([
        """
if hold:
    prototypes.weight.grad = None
optimizer.step()
with torch.no_grad():
    w = prototypes.weight
    w /= w.norm(dim=1, keepdim=True)
return prototypes.weight.detach()
"""], [
        ("held when it should not be", 0, "if hold:", "if not hold:"),
        ("squared length", 0, "w.norm(dim=1, keepdim=True)", "w.square().sum(1, keepdim=True)"),
        ("steps twice", 0, "optimizer.step()\n", "optimizer.step()\noptimizer.step()\n"),
        ("length sqrt of K", 0, "w /= w.norm(dim=1, keepdim=True)", "w /= w.norm(dim=1, keepdim=True) / 2"),
        ("centred, too", 0, "w /= w.norm", "w -= w.mean(0)\n    w /= w.norm"),
        ("all gradients removed in rest", 0, "prototypes.weight.grad = None", "optimizer.zero_grad()"),
        ("returns the transposed", 0, "return prototypes.weight.detach()", "return prototypes.weight.detach().T"),
        ("only longer ones shortened", 0, "w.norm(dim=1, keepdim=True)", "w.norm(dim=1, keepdim=True).clamp(min=1)"),
        ("never a step", 0, "optimizer.step()\n", ""),
        ("1-norm", 0, "w.norm(dim=1, keepdim=True)", "w.abs().sum(1, keepdim=True)"),
    ]),
    "08.step": Tries([
        """
s1 = prototypes(F.normalize(encoder(view1), dim=-1))
s2 = prototypes(F.normalize(encoder(view2), dim=-1))
q1, q2 = codes(s1).detach(), codes(s2).detach()
loss = swav_loss([s1, s2], [q1, q2])
optimizer.zero_grad()
loss.backward()
prototype_step(prototypes, optimizer, hold)
return loss.item()
"""], [
        ("twice the loss", 0, "loss = swav_loss([s1, s2], [q1, q2])", "loss = 2 * swav_loss([s1, s2], [q1, q2])"),
        ("scaled along the batch", 0, "encoder(view1), dim=-1", "encoder(view1), dim=0"),
        ("two steps", 0, "prototype_step(prototypes, optimizer, hold)",
         "optimizer.step(); prototype_step(prototypes, optimizer, hold)"),
        ("hold turned round", 0, "prototype_step(prototypes, optimizer, hold)",
         "prototype_step(prototypes, optimizer, not hold)"),
        ("the same view twice", 0, "encoder(view2)", "encoder(view1)"),
        ("the codes exchanged", 0, "[q1, q2])", "[q2, q1])"),
        ("one code for both", 0, "[q1, q2])", "[q1, q1])"),
        ("codes of softmaxed scores", 0, "codes(s1).detach(), codes(s2)",
         "codes(s1.softmax(1)).detach(), codes(s2.softmax(1))"),
        ("scores of the second view detached", 0, "s2 = prototypes(F.normalize(encoder(view2), dim=-1))",
         "s2 = prototypes(F.normalize(encoder(view2), dim=-1)).detach()"),
        ("the encoder detached", 0, "encoder(view1), dim", "encoder(view1).detach(), dim"),
        ("half the loss", 0, "return loss.item()", "return swav_loss([s1, s2], [q1, q2]).item() / 2"),
    ]),
    "08.queue_codes": Tries([
        """
full = bool((queue[-1] != 0).any())
pool = torch.cat([z, queue]) if full else z
codes = sinkhorn(pool.detach() @ prototypes.detach().T, epsilon, iterations)[:len(z)]
return codes, torch.cat([z, queue[:len(queue) - len(z)]]).detach()
"""], [
        ("epsilon not passed on", 0, "epsilon, iterations)", "0.05, iterations)"),
        ("iterations not passed on", 0, "epsilon, iterations)", "epsilon)"),
        ("the last rows' codes", 0, "[:len(z)]", "[-len(z):]"),
        ("full if anything is in it", 0, "queue[-1] != 0", "queue != 0"),
        ("z in reverse order in the queue", 0, "torch.cat([z, queue[:", "torch.cat([z.flip(0), queue[:"),
        ("queue unchanged", 0, "torch.cat([z, queue[:len(queue) - len(z)]]).detach()", "queue.detach()"),
        ("codes into the queue", 0, "return codes, torch.cat([z, queue[:len(queue) - len(z)]]).detach()",
         "return codes, torch.cat([z @ prototypes.T @ prototypes, queue[:len(queue) - len(z)]]).detach()"),
        ("full only without a single zero", 0, "(queue[-1] != 0).any()", "(queue[-1] != 0).all()"),
        ("queue normalised along the batch", 0, "torch.cat([z, queue]) if",
         "torch.cat([z, F.normalize(queue, dim=0)]) if"),
        ("two results exchanged", 0, "return codes, torch.cat([z, queue[:len(queue) - len(z)]]).detach()",
         "return torch.cat([z, queue[:len(queue) - len(z)]]).detach(), codes"),
    ]),
}
