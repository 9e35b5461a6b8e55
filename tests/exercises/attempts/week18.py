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
    ]),
    "18.experts": Tries([
        """
mu = F.normalize(prototypes, dim=-1)
wanted = f + mu[None]
near = torch.einsum("nkd,nkd->nk", wanted, v) / tau
far = torch.einsum("nkd,mkd->nmk", wanted, queue) / tau
return near - torch.logsumexp(torch.cat([near[:, None], far], dim=1), dim=1)
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
    ]),
}
