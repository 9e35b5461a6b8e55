"""Attempts at lesson 04."""

from . import Tries

ATTEMPTS = {
    "04.nt_xent": Tries([
        """
n = len(a)
z = torch.cat((a / a.norm(dim=1, keepdim=True), b / b.norm(dim=1, keepdim=True)))
sim = torch.mm(z, z.t()).div(temperature)
eye = torch.eye(2 * n, dtype=torch.bool)
sim = sim.masked_fill(eye, float("-inf"))
target = torch.cat((torch.arange(n, 2 * n), torch.arange(0, n)))
logp = F.log_softmax(sim, dim=1)
loss = -logp[torch.arange(2 * n), target].mean()
return {"loss": loss, "accuracy": (sim.argmax(dim=1) == target).double().mean().item()}
"""], [
        ("temperature left out", 0, ".div(temperature)", ""),
        ("fixed temperature 0.5", 0, ".div(temperature)", ".div(0.5)"),
        ("target off by one", 0, "target = torch.cat((torch.arange(n, 2 * n), torch.arange(0, n)))",
         "target = (torch.arange(2 * n) + n + 1) % (2 * n)"),
        ("softmax instead of log_softmax", 0, "F.log_softmax(sim, dim=1)", "F.softmax(sim, dim=1)"),
        ("sign", 0, "loss = -logp", "loss = logp"),
        ("accuracy of the unmasked logits", 0, "sim = sim.masked_fill(eye, float(\"-inf\"))",
         "raw, sim = sim, sim.masked_fill(eye, float(\"-inf\"))", "(sim.argmax", "(raw.argmax"),
        ("accuracy as a count", 0, ".double().mean().item()", ".double().sum().item()"),
        ("divided by the temperature twice", 0, ".div(temperature)", ".div(temperature).div(temperature)"),
        ("normalised after concatenation along dim 0", 0,
         "torch.cat((a / a.norm(dim=1, keepdim=True), b / b.norm(dim=1, keepdim=True)))",
         "F.normalize(torch.cat((a, b)), dim=0)"),
        ("centred first", 0, "n = len(a)", "n = len(a)\na, b = a - a.mean(0), b - b.mean(0)"),
    ]),
    "04.temperature_weights": Tries([
        """
m = len(similarity)
n = m // 2
e = (similarity - similarity.max()) / temperature
e = e.masked_fill(torch.eye(m, dtype=torch.bool), float("-inf"))
p = torch.softmax(e, dim=-1)
out = p.clone()
for i in range(m):
    out[i, (i + n) % m] -= 1
return out / temperature
"""], [
        ("multiplied by the temperature", 0, "return out / temperature", "return out * temperature"),
        ("two is taken off", 0, "-= 1", "-= 2"),
        ("the neighbour taken for the partner", 0, "(i + n) % m", "(i + 1) % m"),
        ("temperature twice", 0, "return out / temperature", "return out / temperature ** 2"),
        ("no softmax: the exponentials", 0, "torch.softmax(e, dim=-1)", "e.exp()"),
        ("the logarithm", 0, "torch.softmax(e, dim=-1)",
         "torch.log_softmax(e.masked_fill(torch.eye(m, dtype=torch.bool), -50), dim=-1)"),
        ("divided by n", 0, "return out / temperature", "return out / temperature / n"),
        ("partner's entry set to -1", 0, "-= 1", "= -1"),
        ("row's own entry is lowered", 0, "out[i, (i + n) % m]", "out[i, i]"),
        ("similarity not divided inside", 0, ") / temperature\ne", ")\ne"),
    ]),
    "04.distill": Tries([
        """
with torch.no_grad():
    target = F.softmax(teacher / temperature, dim=-1)
return F.cross_entropy(student / temperature, target)
""", """
t = teacher.detach() / temperature
t = (t - t.logsumexp(1, keepdim=True)).exp()
s = student / temperature
return -((s - s.logsumexp(1, keepdim=True)) * t).sum() / len(student)
"""], [
        ("times the temperature", 1, "return -", "return -temperature * "),
        ("temperature multiplies both", 1, "/ temperature", "* temperature"),
        ("log of the teacher too", 1, "* t).sum()", "* t.log()).sum()"),
        ("softmax over images", 0, "dim=-1", "dim=0"),
        ("divided by classes", 1, "len(student)", "student.shape[1]"),
        ("sign", 1, "return -(", "return (("[:-1]),
        ("student's probabilities, no log", 1, "(s - s.logsumexp(1, keepdim=True))", "s.softmax(1)"),
        ("mean squared error of probabilities", 0, "F.cross_entropy(student / temperature, target)",
         "(F.softmax(student / temperature, -1) - target).square().sum(1).mean()"),
        ("temperature of the loss only", 1, "s = student / temperature", "s = student",
         "t = teacher.detach() / temperature", "t = teacher.detach()", "/ len(student)",
         "/ len(student) / temperature"),
        ("the student's own entropy", 0, "teacher / temperature", "student / temperature"),
        ("the mean of teacher and student as a target", 0, "F.softmax(teacher / temperature, dim=-1)",
         "(F.softmax(teacher / temperature, dim=-1) + F.softmax(student / temperature, dim=-1)) / 2"),
    ]),
}
