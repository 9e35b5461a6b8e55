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
    "04.simclr_step": Tries([
        """
v1 = augment(images, generator)
v2 = augment(images, generator)
z = head(backbone(torch.cat((v1, v2), dim=0)))
a, b = z[:len(images)], z[len(images):]
loss = nt_xent(a, b, temperature)["loss"]
optimizer.zero_grad()
loss.backward()
optimizer.step()
return loss.item()
"""], [
        ("a view thrown away first", 0, "v1 = augment", "augment(images, generator)\nv1 = augment"),
        ("the second view of a shuffled batch", 0, "v2 = augment(images,", "v2 = augment(images.flip(0),"),
        ("the batch halved", 0, "z = head", "v1, v2 = v1[: len(v1) // 2], v2[: len(v2) // 2]\nz = head",
         "z[:len(images)], z[len(images):]", "z.chunk(2)"),
        ("temperature squared", 0, "temperature)[", "temperature ** 2)["),
        ("two updates a step", 0, "return", "optimizer.step()\nreturn"),
        ("loss times N", 0, "loss.backward()", "(loss * len(images)).backward()"),
        ("the accuracy returned", 0, "loss.item()", "nt_xent(a, b, temperature)[\"accuracy\"].item()"),
        ("the loss after the update", 0, "return loss.item()",
         "z = head(backbone(torch.cat((v1, v2), dim=0)))\nreturn nt_xent(*z.chunk(2), temperature)[\"loss\"].item()"),
        ("evaluation mode", 0, "v1 = augment", "backbone.eval(); head.eval()\nv1 = augment"),
        ("the first half against itself", 0, "a, b = z[:len(images)], z[len(images):]",
         "a, b = z[:len(images)], z[:len(images)]"),
    ]),
    "04.standing": Tries([
        """
n = len(a)
z = F.normalize(torch.cat([a, b]), dim=-1)
s = z @ z.T
eye = torch.eye(2 * n, dtype=torch.bool)
pair = torch.eye(2 * n, dtype=torch.bool).roll(n, 0)
found = s.masked_fill(eye, -2).argmax(1) == torch.arange(2 * n).roll(n)
return {"found": found.float().mean(), "partners": s[pair].mean(), "others": s[~(eye | pair)].mean()}
"""], [
        ("found as a count", 0, ".float().mean()", ".float().sum()"),
        ("the median of the others", 0, "s[~(eye | pair)].mean()", "s[~(eye | pair)].median()"),
        ("the wrong partner", 0, "roll(n, 0)", "roll(1, 0)"),
        ("others: the sum over pairs", 0, "s[~(eye | pair)].mean()", "s[~(eye | pair)].sum()"),
        ("others over all 4N^2", 0, "s[~(eye | pair)].mean()", "s.masked_fill(eye | pair, 0).mean()"),
        ("the farthest candidate", 0, "s.masked_fill(eye, -2).argmax(1)", "s.masked_fill(eye, 2).argmin(1)"),
        ("absolute cosines", 0, "s = z @ z.T", "s = (z @ z.T).abs()"),
        ("a normalised over the batch", 0, "dim=-1", "dim=0"),
        ("found in percent", 0, "found.float().mean()", "100 * found.float().mean()"),
        ("partners and others exchanged", 0, "\"partners\": s[pair].mean(), \"others\": s[~(eye | pair)].mean()",
         "\"others\": s[pair].mean(), \"partners\": s[~(eye | pair)].mean()"),
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
