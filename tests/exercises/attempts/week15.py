"""Attempts at lesson 15."""

from . import Tries

ATTEMPTS = {
    "15.dino_loss": Tries([
        """
targets = [F.softmax((t.detach() - center) / teacher_temp, dim=-1) for t in teacher]
logs = [F.log_softmax(s / student_temp, dim=-1) for s in student]
total, count = 0.0, 0
for i, p in enumerate(targets):
    for j, q in enumerate(logs):
        if i == j:
            continue
        total = total - torch.einsum("nk,nk->n", p, q).mean()
        count += 1
return total / count
""",
        """
terms = []
for q in range(len(teacher)):
    p = F.softmax((teacher[q].detach() - center) / teacher_temp, dim=-1)
    rest = [s for v, s in enumerate(student) if v != q]
    terms.append(sum(F.cross_entropy(s / student_temp, p) for s in rest) / len(rest))
return sum(terms) / len(terms)
""",
        """
loss = 0
n = 0
for q, t in enumerate(teacher):
    P = torch.softmax((t - center) / teacher_temp, dim=1)
    for v, s in enumerate(student):
        if v == q:
            continue
        loss += torch.sum(-P.detach() * torch.log_softmax(s / student_temp, dim=1), dim=1).mean()
        n += 1
return loss / n
""",
    ], [
        ("student temperature fixed", 0, "s / student_temp", "s / 0.1"),
        ("teacher temperature fixed", 0, "/ teacher_temp", "/ 0.04"),
        ("sign", 0, "total = total - torch", "total = total + torch"),
        ("divided by the number of crops", 0, "return total / count", "return total / len(student)"),
        ("only the first teacher crop", 0, "enumerate(targets)", "enumerate(targets[:1])"),
        ("the KL divergence", 0, "torch.einsum(\"nk,nk->n\", p, q).mean()",
         "(p * (q - p.clamp(min=1e-30).log())).sum(-1).mean()"),
        ("student's softmax without log", 0, "F.log_softmax(s", "F.softmax(s"),
        ("softmax over the batch in the teacher", 0, "/ teacher_temp, dim=-1)", "/ teacher_temp, dim=0)"),
        ("the batch's own centre", 0, "t.detach() - center", "t.detach() - t.detach().mean(0)"),
        ("hard targets", 0, "logs = [",
         "targets = [F.one_hot(p.argmax(-1), p.shape[-1]).to(p.dtype) for p in targets]\nlogs = ["),
        ("divided by the temperature of the student twice", 0, "s / student_temp", "s / student_temp ** 2"),
        ("the sum over images", 0, "\"nk,nk->n\", p, q).mean()", "\"nk,nk->n\", p, q).sum()"),
        ("each pair of crops once", 2, "if v == q", "if v <= q"),
        ("later crops left out", 2, "if v == q", "if v >= q"),
        ("the teacher not sharpened", 2, "(t - center) / teacher_temp", "t - center"),
        ("only the centre divided", 2, "(t - center) / teacher_temp", "t - center / teacher_temp"),
        ("one temperature, the student's", 2, "/ teacher_temp", "/ student_temp"),
        ("one temperature, the teacher's", 2, "/ student_temp", "/ teacher_temp"),
        ("returned after the first pair", 2, "        n += 1", "        return loss"),
        ("returned after the first teacher crop", 2, "return loss / n", "return loss / n", "        n += 1\n",
         "        n += 1\n    return loss / n\n"),
        ("one number for each image", 2, ", dim=1).mean()", ", dim=1)"),
        ("student detached", 2, "s / student_temp", "s.detach() / student_temp"),
        ("the centre after the softmax", 2, "torch.softmax((t - center) / teacher_temp, dim=1)",
         "(torch.softmax(t / teacher_temp, dim=1) - center)"),
        ("squared error of the probabilities", 2,
         "torch.sum(-P.detach() * torch.log_softmax(s / student_temp, dim=1), dim=1).mean()",
         "((P.detach() - torch.softmax(s / student_temp, dim=1)) ** 2).sum(1).mean()"),
        ("the teacher's log, too", 2, "-P.detach() *", "-P.detach().log() *"),
        ("also the batch's mean", 2, "t - center)", "t - t.mean(0) - center)"),
        ("numbers off by one", 1, "for v, s in enumerate(student) if v", "for v, s in enumerate(student, 1) if v"),
        ("student softmax over images", 2, "dim=1), dim=1)", "dim=0), dim=1)"),
        ("student not sharpened", 2, "s / student_temp", "s"),
        ("multiplied by the temperature", 2, "s / student_temp", "s * student_temp"),
        ("the centre scaled, too late", 2, "(t - center) / teacher_temp", "t / teacher_temp - center / student_temp"),
        ("the last term twice", 2, "return loss / n", "return loss / (n - 1)"),
        ("largest pair", 1, "sum(F.cross_entropy(s / student_temp, p) for s in rest) / len(rest)",
         "max(F.cross_entropy(s / student_temp, p) for s in rest)"),
        ("log base 2", 2, "return loss / n", "return loss / n / math.log(2)"),
    ]),
    "15.moved_center": Tries([
        """
m = logits.detach().reshape(-1, logits.shape[-1]).mean(0)
return center.detach().lerp(m.view_as(center), 1 - momentum)
""",
        """
rows = logits.detach().flatten(0, -2)
return center + (1 - momentum) * (rows.mean(0) - center)
""",
        """
z = logits.clone().detach()
while z.dim() > 1:
    z = z.mean(0)
return (momentum * center + (1 - momentum) * z).detach()
""",
    ], [
        ("momentum fixed", 0, "1 - momentum", "0.1"),
        ("median", 0, ".mean(0)", ".median(0).values"),
        ("the difference", 0, "return center.detach().lerp(m.view_as(center), 1 - momentum)",
         "return momentum * center.detach() - (1 - momentum) * m.view_as(center)"),
        ("added without fading", 0, "return center.detach().lerp(m.view_as(center), 1 - momentum)",
         "return center.detach() + (1 - momentum) * m.view_as(center)"),
        ("mean of the softmax", 0, "logits.detach()", "logits.detach().softmax(-1)"),
        ("the old centre", 0, "return center.detach().lerp(m.view_as(center), 1 - momentum)",
         "return center.detach().clone()"),
        ("centre normalised", 0, "return center.detach().lerp(m.view_as(center), 1 - momentum)",
         "return F.normalize(center.detach().lerp(m.view_as(center), 1 - momentum), dim=-1)"),
        ("only the last sample", 0, ".mean(0)", "[-1]"),
        ("root of the momentum", 0, "1 - momentum", "1 - momentum ** 0.5"),
        ("the largest", 0, ".mean(0)", ".amax(0)"),
        ("kept shape of the batch", 0, "m.view_as(center)", "logits.detach()"),
        ("first axis only", 1, "rows.mean(0)", "logits.detach().mean(0)"),
        ("mean over both leading axes, always", 1, "flatten(0, -2)", "flatten(0, 1)"),
        ("no weight on the batch", 2, "(1 - momentum) * z", "z"),
        ("half and half", 2, "momentum * center + (1 - momentum) * z", "(center + z) / 2"),
        ("the whole faded", 2, "momentum * center + (1 - momentum) * z", "momentum * (center + (1 - momentum) * z)"),
        ("standard deviation", 1, "rows.mean(0)", "rows.std(0)"),
        ("rows scaled to length 1", 1, "rows.mean(0)", "F.normalize(rows, dim=-1).mean(0)"),
        ("divided by the temperature", 1, "rows.mean(0)", "(rows / 0.04).mean(0)"),
        ("log-probabilities", 1, "rows.mean(0)", "rows.log_softmax(-1).mean(0)"),
        ("class of the first image", 1, "rows.mean(0)", "rows[0]"),
        ("weight by the batch", 1, "(1 - momentum) * (rows.mean(0) - center)", "(rows.mean(0) - center) / len(rows)"),
        ("difference forgotten", 1, "(rows.mean(0) - center)", "rows.mean(0)"),
        ("mean over scores", 1, "rows.mean(0)", "rows.mean(-1).mean()"),
        ("first patch only", 1, "logits.detach().flatten(0, -2)",
         "(logits[:, 0] if logits.dim() == 3 else logits).detach()"),
        ("mean squared", 1, "rows.mean(0)", "rows.square().mean(0).sqrt()"),
        ("momentum squared", 2, "momentum * center", "momentum ** 2 * center"),
        ("absolute values", 1, "rows.mean(0)", "rows.abs().mean(0)"),
        ("divided by one less", 1, "rows.mean(0)", "rows.sum(0) / (len(rows) - 1)"),
        ("divided by images only", 1, "rows.mean(0)", "rows.sum(0) / len(logits)"),
        ("centre as a list", 2, "return (momentum * center + (1 - momentum) * z).detach()",
         "return (momentum * center + (1 - momentum) * z).detach().tolist()"),
    ]),
    "15.patch_loss": Tries([
        """
hidden = ~visible.reshape(student.shape[:2])
p = ((teacher - center.reshape(-1)) / teacher_temp).softmax(-1).detach()
ce = -(p * (student / student_temp).log_softmax(-1)).sum(-1)
per_image = []
for e, h in zip(ce, hidden):
    per_image.append(e[h].mean() if h.any() else e.sum() * 0)
return torch.stack(per_image).mean()
""",
        """
hidden = (~visible).flatten(1).double()
w = hidden / hidden.sum(1, keepdim=True).clamp(min=1)
with torch.no_grad():
    p = F.softmax((teacher - center) / teacher_temp, dim=-1)
ce = torch.sum(-p * F.log_softmax(student / student_temp, dim=-1), dim=-1)
return (w.to(ce.dtype) * ce).sum() / student.shape[0]
""",
        """
hidden = ~visible.reshape(visible.shape[0], -1)
p = F.softmax((teacher.detach() - center) / teacher_temp, dim=-1)
losses = []
for i in range(len(student)):
    if hidden[i].sum() == 0:
        losses.append(torch.zeros(()))
        continue
    losses.append(F.cross_entropy(student[i][hidden[i]] / student_temp, p[i][hidden[i]]))
return torch.stack([l.to(student.dtype) for l in losses]).mean()
""",
    ], [
        ("teacher temperature fixed", 0, "/ teacher_temp", "/ 0.04"),
        ("student temperature fixed", 0, "/ student_temp", "/ 0.1"),
        ("centre added", 0, "teacher - center", "teacher + center"),
        ("sign", 0, "ce = -(p", "ce = (p"),
        ("the sum over images", 0, "torch.stack(per_image).mean()", "torch.stack(per_image).sum()"),
        ("softmax over the patches", 0, "log_softmax(-1)", "log_softmax(1)"),
        ("the worst image", 0, "torch.stack(per_image).mean()", "torch.stack(per_image).max()"),
        ("student centred, too", 0, "(student / student_temp)", "((student - center.reshape(-1)) / student_temp)"),
        ("mean over K", 0, ".sum(-1)\n", ".mean(-1)\n"),
        ("hard targets", 0, ".softmax(-1).detach()",
         ".softmax(-1).detach()\np = F.one_hot(p.argmax(-1), p.shape[-1]).to(p.dtype)"),
        ("NaN for images without hidden patches", 0, "e[h].mean() if h.any() else e.sum() * 0", "e[h].mean()"),
        ("student detached", 0, "(student / student_temp)", "(student.detach() / student_temp)"),
        ("teacher and student exchanged", 0, "((teacher - center", "((student - center", "(student / student_temp)",
         "(teacher / student_temp)"),
        ("counted one too many", 1, "hidden.sum(1, keepdim=True).clamp(min=1)", "(hidden.sum(1, keepdim=True) + 1)"),
        ("a nan for an image without holes", 1, ".clamp(min=1)", " + 1"),
        ("root of the count", 1, ".clamp(min=1)", ".clamp(min=1).sqrt()"),
        ("the largest count", 1, "hidden.sum(1, keepdim=True).clamp(min=1)", "hidden.sum(1).max()"),
        ("the mean count", 1, "hidden.sum(1, keepdim=True).clamp(min=1)", "hidden.sum(1).mean()"),
        ("divided by the visible", 1, "hidden.sum(1, keepdim=True).clamp(min=1)",
         "(1 - hidden).sum(1, keepdim=True).clamp(min=1)"),
        ("the next patch", 1, "(w.to(ce.dtype) * ce)", "(w.to(ce.dtype).roll(1, 1) * ce)"),
        ("teacher of the next patch", 1, "p = F.softmax((teacher - center)",
         "p = F.softmax((teacher.roll(1, 1) - center)"),
        ("one number for each image", 1, ".sum() / student.shape[0]", ".sum(1)"),
        ("the batch's own centre", 1, "(teacher - center)", "(teacher - teacher.mean((0, 1)))"),
        ("the image's own centre", 1, "(teacher - center)", "(teacher - teacher.mean(1, keepdim=True))"),
        ("the KL divergence", 1, "F.log_softmax(student / student_temp, dim=-1), dim",
         "(F.log_softmax(student / student_temp, dim=-1) - p.clamp(min=1e-30).log()), dim"),
        ("squared error of the logits", 1, "torch.sum(-p * F.log_softmax(student / student_temp, dim=-1), dim=-1)",
         "(student - teacher.detach()).square().sum(-1)"),
        ("one temperature, the student's", 1, "/ teacher_temp", "/ student_temp"),
        ("one temperature, the teacher's", 1, "/ student_temp", "/ teacher_temp"),
        ("the centre after the temperature", 1, "(teacher - center) / teacher_temp", "teacher / teacher_temp - center"),
        ("divided by N - 1", 1, "/ student.shape[0]", "/ (student.shape[0] - 1)"),
        ("mean over patches of all", 1, ".sum() / student.shape[0]", ".mean()"),
        ("softmax over patches in the teacher", 1, "teacher_temp, dim=-1)", "teacher_temp, dim=1)"),
        ("the first half only", 1, "return (w.to(ce.dtype) * ce).sum() / student.shape[0]",
         "n = len(ce) // 2\nreturn (w.to(ce.dtype) * ce)[:n].sum() / n"),
        ("images with holes are weighted by their number", 2, ".mean()", ".sum() / hidden.any(1).sum()"),
        ("the grid transposed", 1, "(~visible).flatten(1)", "(~visible).transpose(-1, -2).flatten(1)"),
        ("only the first hidden patch", 1, "w = hidden /", "hidden = hidden * (hidden.cumsum(1) == 1)\nw = hidden /"),
        ("the student without the log", 1, "F.log_softmax(student", "F.softmax(student"),
    ]),
    "15.ibot_step": Tries([
        """
z, zp = teacher(crops)
a, b = z.detach().chunk(2)
y, yp = student(crops, visible)
loss = dino_loss(list(y.chunk(2)), [a, b], center)
loss = loss + patch_loss(yp, zp.detach(), visible, patch_center)
optimizer.zero_grad(set_to_none=True)
loss.backward()
optimizer.step()
ema_update(teacher, student, momentum)
c = moved_center(center, z.detach())
p = moved_center(patch_center, zp.detach())
return float(loss.detach()), c, p
""",
        """
n = len(crops) // 2
with torch.no_grad():
    t, tp = teacher(crops)
s, sp = student(crops, visible)
cls = dino_loss([s[:n], s[n:]], [t[:n], t[n:]], center)
patch = patch_loss(sp, tp, visible, patch_center)
loss = cls + patch
optimizer.zero_grad()
loss.backward()
optimizer.step()
with torch.no_grad():
    for a, b in zip(teacher.parameters(), student.parameters()):
        a.copy_(momentum * a + (1 - momentum) * b)
return loss.detach(), moved_center(center, t), moved_center(patch_center, tp)
""",
    ], [
        ("the patch loss at a third", 0, "loss + patch_loss", "loss + 0.3 * patch_loss"),
        ("the difference of the losses", 0, "loss + patch_loss", "loss - patch_loss"),
        ("the first crop's targets twice", 0, "[a, b], center", "[a, a], center"),
        ("one teacher crop", 0, "[a, b], center", "[a], center"),
        ("the crops of neighbours", 0, "list(y.chunk(2))", "[y[::2], y[1::2]]"),
        ("the student asked twice", 0, "patch_loss(yp,", "patch_loss(student(crops)[1],"),
        ("the mask of the other crop", 0, "visible, patch_center)",
         "visible.roll(len(visible) // 2, 0), patch_center)"),
        ("the teacher follows twice", 0, "ema_update(teacher, student, momentum)",
         "ema_update(teacher, student, momentum)\nema_update(teacher, student, momentum)"),
        ("the teacher is copied", 0, "ema_update(teacher, student, momentum)", "ema_update(teacher, student, 0.0)"),
        ("two updates", 0, "optimizer.step()", "optimizer.step()\noptimizer.step()"),
        ("the centres in the other order", 0, "()), c, p", "()), p, c"),
        ("the first crop's centre", 0, "moved_center(center, z.detach())", "moved_center(center, a)"),
        ("the centre of one patch", 0, "moved_center(patch_center, zp.detach())",
         "moved_center(patch_center, zp[:, 0].detach())"),
        ("the centre without a past", 0, "moved_center(center, z.detach())", "z.detach().mean(0)"),
        ("a patch loss for each crop, added", 1, "patch_loss(sp, tp, visible, patch_center)",
         "patch_loss(sp[:n], tp[:n], visible[:n], patch_center) + patch_loss(sp[n:], tp[n:], visible[n:], "
         "patch_center)"),
        ("patches of the first crop only", 1, "patch_loss(sp, tp, visible, patch_center)",
         "patch_loss(sp[:n], tp[:n], visible[:n], patch_center)"),
        ("the teacher's momentum for the centres", 1, "moved_center(center, t), moved_center(patch_center, tp)",
         "moved_center(center, t, momentum), moved_center(patch_center, tp, momentum)"),
        ("cleared before the step", 1, "optimizer.step()", "optimizer.zero_grad()\noptimizer.step()"),
        ("the mask turned round for the student", 1, "student(crops, visible)", "student(crops, ~visible)"),
        ("backward through the class loss only", 1, "loss.backward()", "cls.backward()"),
        ("backward through the patch loss only", 1, "loss.backward()", "patch.backward()"),
        ("centres of the teacher after its move", 1,
         "return loss.detach(), moved_center(center, t), moved_center(patch_center, tp)",
         "with torch.no_grad():\n    t, tp = teacher(crops)\nreturn loss.detach(), moved_center(center, t), "
         "moved_center(patch_center, tp)"),
        ("the centres moved twice", 1, "moved_center(center, t), moved_center(patch_center, tp)",
         "moved_center(moved_center(center, t), t), moved_center(moved_center(patch_center, tp), tp)"),
        ("returns the class loss", 1, "return loss.detach()", "return cls.item()"),
        ("student teaches itself", 1, "patch_loss(sp, tp", "patch_loss(sp, sp.detach()"),
        ("classes of the student as targets", 1, "[t[:n], t[n:]]", "[s[:n].detach(), s[n:].detach()]"),
        ("student centres for patches", 1, "moved_center(patch_center, tp)", "moved_center(patch_center, sp.detach())"),
        ("rows paired the wrong way", 1, "[s[:n], s[n:]]", "[s[n:], s[:n]]"),
        ("visible patches in the centre", 1, "moved_center(patch_center, tp)",
         "moved_center(patch_center, tp[visible])"),
        ("teacher of the masked first crop", 1, "t, tp = teacher(crops)",
         "t, tp = teacher(crops)\n    tp = teacher(crops, visible)[1]"),
        ("the loss of the whole batch as a sum", 1, "loss = cls + patch", "loss = (cls + patch) * n"),
        ("the product", 1, "loss = cls + patch", "loss = cls * patch"),
        ("one centre moves", 1, "moved_center(patch_center, tp)", "patch_center"),
        ("the teacher follows only in its head", 1, "a.copy_(momentum * a + (1 - momentum) * b)",
         "a.copy_(momentum * a + (1 - momentum) * b) if a.dim() > 1 else None"),
    ]),
    "15.rollout": Tries([
        """
L, B, H, T, _ = maps.shape
total = torch.eye(T, dtype=maps.dtype).expand(B, T, T)
for layer in maps:
    a = residual * torch.eye(T, dtype=maps.dtype) + (1 - residual) * layer.mean(dim=1)
    total = torch.bmm(a, total)
return total
""",
        """
out = torch.eye(maps.shape[-1], dtype=maps.dtype)
for layer in maps.mean(2):
    out = (1 - residual) * layer @ out + residual * out
return out
""",
        """
a = maps.mean(dim=2)
i = torch.eye(a.shape[-1], dtype=a.dtype)[None, None]
a = (1 - residual) * a + residual * i
a = a / a.sum(-1, keepdim=True)
r = a[0]
for k in range(1, len(a)):
    r = a[k] @ r
return r
""",
    ], [
        ("residual 0.5 always", 0, "residual * torch.eye(T, dtype=maps.dtype) + (1 - residual)",
         "0.5 * torch.eye(T, dtype=maps.dtype) + 0.5"),
        ("first head only", 0, "layer.mean(dim=1)", "layer[:, 0]"),
        ("sum over heads", 0, "layer.mean(dim=1)", "layer.sum(dim=1)"),
        ("first layer left out", 0, "in maps:", "in maps[1:]:"),
        ("transposed", 0, "return total", "return total.transpose(1, 2)"),
        ("rows divided by their maximum", 0, "return total", "return total / total.amax(-1, keepdim=True)"),
        ("smallest head", 0, "layer.mean(dim=1)", "layer.amin(dim=1)"),
        ("class row only", 0, "return total", "return total[:, 0]"),
        ("residual twice", 0, "(1 - residual) *", "(1 - residual) ** 2 *"),
        ("class token's diagonal removed", 0, "return total", "return total * (1 - torch.eye(T, dtype=maps.dtype))"),
        ("averaged over layers", 0, "return total", "return maps.mean((0, 2))"),
        ("residual in the first layer only", 2, "a = (1 - residual) * a + residual * i\n",
         "a = torch.cat([(1 - residual) * a[:1] + residual * i, a[1:]])\n"),
        ("last layer left out", 2, "range(1, len(a))", "range(1, len(a) - 1)"),
        ("each head by itself, then averaged",
         "layers = (1 - residual) * maps + residual * torch.eye(maps.shape[-1], dtype=maps.dtype)\ntotal = "
         "layers[0]\nfor layer in layers[1:]:\n    total = layer @ total\nreturn total.mean(1)"),
        ("layers transposed", 2, "r = a[k] @ r", "r = a[k].transpose(1, 2) @ r"),
        ("columns divided", 2, "a.sum(-1, keepdim=True)", "a.sum(-2, keepdim=True)"),
        ("the product of the heads", 1, "maps.mean(2)", "maps.prod(2)"),
        ("largest layer",
         "a = (1 - residual) * maps.mean(2) + residual * torch.eye(maps.shape[-1], dtype=maps.dtype)\n"
         "return a.amax(0)"),
        ("residual of the class token only", 2, "i = torch.eye(a.shape[-1], dtype=a.dtype)[None, None]",
         "i = torch.zeros(a.shape[-1], a.shape[-1], dtype=a.dtype)[None, None]\ni[..., 0, 0] = 1"),
        ("identity taken off at the end", 2, "return r", "return r - torch.eye(r.shape[-1], dtype=r.dtype)"),
        ("first row of all", 2, "return r", "return r[:, :1].expand_as(r)"),
        ("mean over layers first",
         "a = (1 - residual) * maps.mean((0, 2)) + residual * torch.eye(maps.shape[-1], dtype=maps.dtype)\n"
         "r = a\nfor k in range(1, len(maps)):\n    r = a @ r\nreturn r"),
        ("ones, not the identity", 2, "torch.eye(a.shape[-1], dtype=a.dtype)[None, None]",
         "torch.ones(a.shape[-1], a.shape[-1], dtype=a.dtype)[None, None] / a.shape[-1]"),
        ("softmax again", 1, "in maps.mean(2)", "in maps.mean(2).softmax(-1)"),
        ("median head", 1, "maps.mean(2)", "maps.median(2).values"),
        ("the last layer twice", 2, "return r", "return a[-1] @ r"),
        ("first image only", 2, "return r", "return r[:1].expand_as(r)"),
        ("residual never", 1, "(1 - residual) * layer @ out + residual * out", "layer @ out"),
        ("layers reversed in time", 1, "in maps.mean(2)", "in maps.mean(2).flip(0)"),
    ]),
}
