"""Attempts at lesson 18."""

from . import Tries

ATTEMPTS = {
    "18.responsibilities": Tries([
        """
joint = torch.exp(log_pi) * torch.exp(log_phi)
total = joint.sum(dim=-1, keepdim=True)
return joint / total
""", """
joint = log_pi + log_phi
return torch.exp(joint - torch.logsumexp(joint, dim=1, keepdim=True))
""", """
pi, phi = log_pi.exp(), log_phi.exp()
return torch.einsum("nk,nk->nk", pi, phi) / torch.einsum("nk,nk->n", pi, phi)[:, None]
""", """
joint = log_pi + log_phi
joint = joint - joint.max(dim=1, keepdim=True).values
weights = torch.exp(joint)
return weights / weights.sum(1, keepdim=True)
""", """
return F.softmax(torch.add(log_phi, log_pi), dim=-1)
""", """
return torch.stack([torch.softmax(a + b, 0) for a, b in zip(log_pi, log_phi)])
""", """
return (log_pi + log_phi).log_softmax(1).exp()
"""], [
        ("largest in place of the sum", 0, "joint.sum(dim=-1, keepdim=True)", "joint.amax(dim=-1, keepdim=True)"),
        ("mean in place of the sum", 0, "joint.sum(dim=-1, keepdim=True)", "joint.mean(dim=-1, keepdim=True)"),
        ("one sum for all", 0, "joint.sum(dim=-1, keepdim=True)", "joint.sum()"),
        ("gate without exponential", 0, "torch.exp(log_pi)", "log_pi"),
        ("experts without exponential", 0, "torch.exp(log_phi)", "log_phi"),
        ("gate twice", 1, "log_pi + log_phi", "2 * log_pi + log_phi"),
        ("half of both", 1, "log_pi + log_phi", "(log_pi + log_phi) / 2"),
        ("experts normalised first", 1, "log_pi + log_phi", "log_pi.exp() + log_phi.softmax(1)"),
        ("the total is added", 1, "joint - torch", "joint + torch"),
        ("the sum over experts comes back", 0, "return joint / total", "return total"),
        ("the likeliest number", 0, "return joint / total", "return joint.argmax(1)"),
        ("softmax of the experts alone, times the gate", 1,
         "joint = log_pi + log_phi\n", "return log_pi.exp() * log_phi.softmax(1)\njoint = log_pi + log_phi\n"),
        ("the sum over images", 0, "joint.sum(dim=-1, keepdim=True)", "joint.sum(dim=0, keepdim=True)"),
        ("a temperature of a half", 1, "joint = log_pi + log_phi", "joint = 2 * (log_pi + log_phi)"),
        ("the logarithms multiplied", 1, "log_pi + log_phi", "log_pi * log_phi"),
        ("the smallest answers", 1, "joint = log_pi + log_phi", "joint = -(log_pi + log_phi)"),
        ("the gate of the next image", 1, "log_pi + log_phi", "log_pi.roll(1, 0) + log_phi"),
        ("the mean of prior and likelihood", 0, "torch.exp(log_pi) * torch.exp(log_phi)",
         "torch.exp(log_pi) + log_phi.softmax(1)"),
        ("the root of the product", 0, "return joint / total", "return (joint / total).sqrt()"),
        ("one minus", 0, "return joint / total", "return 1 - joint / total"),
    ]),
    "18.centers": Tries([
        """
axes = torch.zeros(clusters, dim)
for k in range(clusters):
    axes[k, k] = 1.0
axes -= axes.mean(0, keepdim=True)
return F.normalize(axes)
""", """
table = torch.full((clusters, clusters), -1 / (clusters - 1))
table.fill_diagonal_(1.0)
values, vectors = torch.linalg.eigh(table)
corners = vectors * values.clamp(min=0).sqrt()
return F.pad(corners, (0, dim - clusters))
""", """
corners = torch.eye(clusters) - 1 / clusters
corners = torch.cat([corners, torch.zeros(clusters, dim - clusters)], dim=1)
return corners / corners.norm(dim=1, keepdim=True)
""", """
corners = torch.full((clusters, clusters), -1.0)
corners.fill_diagonal_(clusters - 1.0)
full = torch.zeros(clusters, dim)
full[:, :clusters] = corners
return F.normalize(full, dim=-1)
""", """
turn = torch.linalg.qr(torch.randn(dim, dim, generator=torch.Generator().manual_seed(0))).Q
axes = turn[:clusters]
axes = axes - axes.mean(0)
return axes / axes.norm(dim=1, keepdim=True)
""", """
corners = torch.zeros(clusters, dim)
corners[:, -clusters:] = torch.eye(clusters)
corners = corners - corners.mean(dim=0, keepdim=True)
return corners * math.sqrt(clusters / (clusters - 1))
""", """
scale = math.sqrt(1 - 1 / clusters)
rows = []
for k in range(clusters):
    row = [-1 / clusters] * clusters + [0.0] * (dim - clusters)
    row[k] = 1 - 1 / clusters
    rows.append([value / scale for value in row])
return torch.tensor(rows)
"""], [
        ("shifted by one", 0, "axes.mean(0, keepdim=True)", "1.0"),
        ("shifted by 1 / dim", 0, "axes.mean(0, keepdim=True)", "1 / dim"),
        ("shifted by a half mean", 0, "axes.mean(0, keepdim=True)", "axes.mean(0, keepdim=True) / 2"),
        ("the mean added", 0, "axes -=", "axes +="),
        ("one mean of all entries", 0, "axes.mean(0, keepdim=True)", "axes.mean()"),
        ("cosines at -1 / K", 1, "-1 / (clusters - 1)", "-1 / clusters"),
        ("cosines at + 1 / (K - 1)", 1, "-1 / (clusters - 1)", "1 / (clusters - 1)"),
        ("values without root", 1, ".clamp(min=0).sqrt()", ".clamp(min=0)"),
        ("all the same", 0, "axes[k, k] = 1.0", "axes[k, 0] = 1.0"),
        ("transposed", 0, "return F.normalize(axes)", "return F.normalize(axes).T"),
        ("last one missing", 0, "return F.normalize(axes)", "return F.normalize(axes)[:-1]"),
        ("one row scaled too little", 0, "return F.normalize(axes)",
         "axes = F.normalize(axes)\nreturn torch.cat([axes[:-1], 0.9 * axes[-1:]])"),
        ("squares for lengths", 0, "return F.normalize(axes)", "return axes / axes.square().sum(1, keepdim=True)"),
        ("the sum taken off", 0, "axes.mean(0, keepdim=True)", "axes.sum(0, keepdim=True)"),
        ("scaled first, then the mean", 0, "return F.normalize(axes)", "return F.normalize(axes).sub(0.1)"),
        ("the last axis taken off", 0, "axes.mean(0, keepdim=True)", "axes[-1:].clone()"),
        ("at random", 0, "return F.normalize(axes)",
         "return F.normalize(torch.randn(clusters, dim, generator=torch.Generator().manual_seed(0)))"),
        ("one axis too many", 0, "return F.normalize(axes)", "return F.pad(F.normalize(axes), (0, 1))"),
        ("the first is zero", 0, "axes[k, k] = 1.0", "axes[k, k] = float(k)"),
        ("half of the length", 0, "return F.normalize(axes)", "return F.normalize(axes) / 2"),
        ("the table of cosines itself", 1, "return F.pad(corners,", "return F.pad(table,"),
    ]),
    "18.experts": Tries([
        """
mu = F.normalize(prototypes, dim=-1)
wanted = f + mu[None]
near = torch.einsum("nkd,nkd->nk", wanted, v) / tau
far = torch.einsum("nkd,mkd->nmk", wanted, queue) / tau
return near - torch.logsumexp(torch.cat([near[:, None], far], dim=1), dim=1)
""", """
mu = prototypes / prototypes.norm(dim=-1, keepdim=True)
scores = []
for k in range(len(mu)):
    query = f[:, k] + mu[k]
    candidates = torch.cat([(query * v[:, k]).sum(1, keepdim=True), query @ queue[:, k].mT], dim=1)
    scores.append(-F.cross_entropy(candidates / tau, torch.zeros(len(f), dtype=torch.long), reduction="none"))
return torch.stack(scores, 1)
""", """
query = f + F.normalize(prototypes, dim=-1).unsqueeze(0)
near = (query * v).sum(-1) / tau
far = (query.unsqueeze(1) * queue.unsqueeze(0)).sum(-1) / tau
return near - torch.logaddexp(near, far.logsumexp(1))
""", """
query = (f + F.normalize(prototypes, dim=1)).transpose(0, 1)
near = (query * v.transpose(0, 1)).sum(-1, keepdim=True)
far = torch.bmm(query, queue.permute(1, 2, 0))
return torch.log_softmax(torch.cat((far, near), -1).div(tau), -1)[..., -1].T
""", """
query = (f + prototypes / prototypes.square().sum(1, keepdim=True).sqrt()) / tau
near = einops.einsum(query, v, "n k d, n k d -> n k")
far = einops.einsum(query, queue, "n k d, m k d -> m n k")
return -torch.log1p((far - near).exp().sum(0))
""", """
query = f + F.normalize(prototypes, p=2, dim=1)
positive = torch.exp((query * v).sum(2) / tau)
negative = torch.exp(torch.einsum("nkd,mkd->nkm", query, queue) / tau).sum(2)
return torch.log(positive / (positive + negative))
"""], [
        ("tau fixed", 0, "wanted, v) / tau", "wanted, v) / 0.1", "queue) / tau", "queue) / 0.1"),
        ("tau on the positive only", 0, "queue) / tau", "queue)"),
        ("tau on the queue only", 0, "wanted, v) / tau", "wanted, v)"),
        ("prototypes subtracted", 0, "f + mu", "f - mu"),
        ("prototypes for f", 0, "wanted = f + mu[None]", "wanted = mu[None].expand_as(f)"),
        ("f twice", 0, "f + mu", "2 * f + mu"),
        ("mean of f and mu", 0, "wanted = f + mu[None]", "wanted = (f + mu[None]) / 2"),
        ("mu on the teacher's side", 0, "wanted = f + mu[None]", "wanted = f", "wanted, v)", "wanted, v + mu)",
         "wanted, queue)", "wanted, queue + mu)"),
        ("mean over the candidates", 0, "return near - torch", "return near + math.log(1 + len(queue)) - torch"),
        ("over the images", 0, "torch.cat([near[:, None], far], dim=1), dim=1)",
         "torch.cat([near[:, None], far], dim=1).amax(1), dim=0)"),
        ("largest in place of the sum", 0,
         "torch.logsumexp(torch.cat([near[:, None], far], dim=1), dim=1)",
         "torch.cat([near[:, None], far], dim=1).amax(1)"),
        ("transposed", 0, "dim=1), dim=1)", "dim=1), dim=1).T.reshape(near.shape)"),
        ("f for v", 0, "wanted, v)", "wanted, f)"),
        ("divided by the root of the width", 0, "wanted, v) / tau", "wanted, v) / f.shape[-1]**0.5",
         "queue) / tau", "queue) / f.shape[-1]**0.5"),
        ("the queue's first row left out", 0, "torch.cat([near[:, None], far], dim=1)",
         "torch.cat([near[:, None], far[:, 1:]], dim=1)"),
        ("the positive twice", 0, "torch.cat([near[:, None], far]", "torch.cat([near[:, None], near[:, None], far]"),
        ("the prototypes of the next expert", 0, "f + mu[None]", "f + mu.roll(1, 0)[None]"),
        ("the prototypes without gradient", 0, "f + mu[None]", "f + mu[None].detach()"),
        ("another image's teacher", 0, "wanted, v)", "wanted, v.roll(1, 0))"),
        ("the softmax over the experts", 0, "return near - torch", "near = near + 0\n"
         "return torch.cat([near[:, None], far], dim=1).log_softmax(2)[:, 0] - 0 * torch"),
        ("distances in place of products", 0, '"nkd,nkd->nk", wanted, v)', '"nkd,nkd->nk", wanted - v, v - wanted)'),
        ("the mean of the prototypes", 0, "f + mu[None]", "f + mu.mean(0)"),
        ("the negatives' mean in the denominator", 0, "torch.cat([near[:, None], far], dim=1), dim=1",
         "torch.cat([near[:, None], far - math.log(far.shape[1])], dim=1), dim=1"),
    ]),
    "18.mice_step": Tries([
        """
f = F.normalize(student(views[0]), dim=-1)
with torch.no_grad():
    v = F.normalize(teacher(views[1]), dim=-1)
log_pi, log_phi = gate(views[2]), experts(f, v, prototypes, queue.rows, tau)
q = responsibilities(log_pi, log_phi).detach()
loss = (q * (q.log() - log_pi - log_phi)).sum(1).mean()
optimizer.zero_grad()
loss.backward()
optimizer.step()
with torch.no_grad():
    for slow, fast in zip(teacher.parameters(), student.parameters()):
        slow.mul_(momentum).add_(fast, alpha=1 - momentum)
    best = q.argmax(1)
    for k in range(sums.shape[0]):
        sums[k] += v[best == k, k].sum(0)
queue.enqueue(v)
return loss.item()
""", """
with torch.no_grad():
    v = F.normalize(teacher(views[1]), dim=2)
f = F.normalize(student(views[0]), dim=2)
joint = experts(f, v, prototypes, queue.rows, tau=tau) + gate(views[2])
loss = joint.logsumexp(1).neg().mean()
optimizer.zero_grad(set_to_none=True)
loss.backward()
optimizer.step()
with torch.no_grad():
    for slow, fast in zip(teacher.parameters(), student.parameters()):
        slow.copy_(momentum * slow + (1 - momentum) * fast)
    who = joint.argmax(1)
    sums.index_add_(0, who, v[torch.arange(len(who)), who])
queue.enqueue(v)
return float(loss.detach())
""", """
one, two, three = views
f, v = F.normalize(student(one), dim=-1), F.normalize(teacher(two).detach(), dim=-1)
log_phi = experts(f, v, prototypes, queue.rows, tau)
log_pi = gate(three)
evidence = (log_pi.exp() * log_phi.exp()).sum(1).log()
loss = -evidence.sum() / len(evidence)
optimizer.zero_grad()
loss.backward()
optimizer.step()
q = responsibilities(log_pi.detach(), log_phi.detach())
for image, k in zip(v, q.max(1).indices):
    sums[k] += image[k]
with torch.no_grad():
    for slow, fast in zip(teacher.parameters(), student.parameters()):
        slow.data = slow.data * momentum + fast.data * (1 - momentum)
queue.enqueue(v)
return loss.item()
""", """
optimizer.zero_grad()
f = F.normalize(student(views[0]), dim=2)
with torch.no_grad():
    v = F.normalize(teacher(views[1]), dim=2)
joint = gate(views[2]) + experts(f, v, prototypes, queue.rows, tau)
loss = -torch.logsumexp(joint, dim=1).mean()
loss.backward()
optimizer.step()
queue.enqueue(v)
with torch.no_grad():
    for key, fast in student.named_parameters():
        slow = dict(teacher.named_parameters())[key]
        slow += (1 - momentum) * (fast - slow)
    mask = F.one_hot(joint.argmax(1), joint.shape[1]).to(v.dtype)
    sums.add_((mask.unsqueeze(-1) * v).sum(0))
return loss.item()
""", """
f = F.normalize(student(views[0]), dim=2)
v = F.normalize(teacher(views[1]), dim=2).detach()
joint = gate(views[2]) + experts(f, v, prototypes, queue.rows, tau)
q = joint.softmax(1).detach()
loss = -(q * joint - torch.special.entr(q) * -1).sum(1).mean()
optimizer.zero_grad()
loss.backward()
optimizer.step()
best = q.argmax(1)
with torch.no_grad():
    sums += torch.stack([v[best == k, k].sum(0) for k in range(len(sums))])
    for slow, fast in zip(teacher.parameters(), student.parameters()):
        slow.lerp_(fast, 1.0 - momentum)
queue.enqueue(v)
return loss.item()
"""], [
        ("tau fixed", 0, "queue.rows, tau)", "queue.rows, 0.1)"),
        ("momentum fixed", 0, "slow.mul_(momentum).add_(fast, alpha=1 - momentum)",
         "slow.mul_(0.99).add_(fast, alpha=0.01)"),
        ("the sign", 0, "(q.log() - log_pi - log_phi)", "(log_pi + log_phi - q.log())"),
        ("gate subtracted", 0, "- log_pi - log_phi", "+ log_pi - log_phi"),
        ("mean over experts too", 0, ".sum(1).mean()", ".mean()"),
        ("teacher sees view 1", 0, "teacher(views[1])", "teacher(views[0])"),
        ("student sees the gate's view", 0, "student(views[0])", "student(views[2])"),
        ("gate sees view 2", 0, "gate(views[2])", "gate(views[1])"),
        ("scaled over the experts", 0, "student(views[0]), dim=-1", "student(views[0]), dim=1"),
        ("least likely expert", 0, "q.argmax(1)", "q.argmin(1)"),
        ("sums by the gate", 0, "q.argmax(1)", "log_pi.argmax(1)"),
        ("sums by the experts", 0, "q.argmax(1)", "log_phi.argmax(1)"),
        ("means in place of sums", 0, "v[best == k, k].sum(0)", "v[best == k, k].mean(0)"),
        ("teacher copied", 0, "slow.mul_(momentum).add_(fast, alpha=1 - momentum)", "slow.copy_(fast)"),
        ("sums over the queue", 0, "v[best == k, k].sum(0)", "queue.rows[:len(v)][best == k, k].sum(0)"),
        ("the entropy left out of the value", 0, "(q.log() - log_pi - log_phi)", "(-log_pi - log_phi)"),
        ("all sums in one expert", 0, "sums[k] += v[best == k, k].sum(0)", "sums[0] += v[best == k, k].sum(0)"),
        ("the first expert's embedding for all", 0, "v[best == k, k]", "v[best == k, 0]"),
        ("soft sums", 0, "sums[k] += v[best == k, k].sum(0)", "sums[k] += (q[:, k:k + 1] * v[:, k]).sum(0)"),
        ("sums subtracted", 0, "sums[k] += v", "sums[k] -= v"),
        ("the queue of unscaled vectors", 0, "queue.enqueue(v)", "queue.enqueue(teacher(views[1]).detach())"),
        ("the queue twice", 0, "queue.enqueue(v)", "queue.enqueue(v); queue.enqueue(v)"),
        ("the queue filled with the student", 0, "queue.enqueue(v)", "queue.enqueue(f.detach())"),
        ("the teacher follows before the update", 0, "optimizer.step()\nwith torch.no_grad():\n",
         "with torch.no_grad():\n", "queue.enqueue(v)", "optimizer.step()\nqueue.enqueue(v)"),
        ("the sum over the batch", 0, ".sum(1).mean()", ".sum(1).sum()"),
        ("q at a temperature of a half", 0, "responsibilities(log_pi, log_phi)",
         "responsibilities(2 * log_pi, 2 * log_phi)"),
    ]),
}
