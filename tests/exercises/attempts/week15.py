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
"""], [
        ("student temperature fixed", 0, "s / student_temp", "s / 0.1"),
        ("teacher temperature fixed", 0, "/ teacher_temp", "/ 0.04"),
        ("sign", 0, "total = total - torch", "total = total + torch"),
        ("divided by the number of crops", 0, "return total / count", "return total / len(student)"),
        ("only the first teacher crop", 0, "enumerate(targets)", "enumerate(targets[:1])"),
        ("the KL divergence", 0, 'torch.einsum("nk,nk->n", p, q).mean()',
         "(p * (q - p.clamp(min=1e-30).log())).sum(-1).mean()"),
        ("student's softmax without log", 0, "F.log_softmax(s", "F.softmax(s"),
        ("softmax over the batch in the teacher", 0, "/ teacher_temp, dim=-1)", "/ teacher_temp, dim=0)"),
        ("the batch's own centre", 0, "t.detach() - center", "t.detach() - t.detach().mean(0)"),
        ("hard targets", 0, "logs = [",
         "targets = [F.one_hot(p.argmax(-1), p.shape[-1]).to(p.dtype) for p in targets]\nlogs = ["),
        ("divided by the temperature of the student twice", 0, "s / student_temp", "s / student_temp ** 2"),
        ("the sum over images", 0, '"nk,nk->n", p, q).mean()', '"nk,nk->n", p, q).sum()'),
    ]),
    "15.moved_center": Tries([
        """
m = logits.detach().reshape(-1, logits.shape[-1]).mean(0)
return center.detach().lerp(m.view_as(center), 1 - momentum)
"""], [
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
"""], [
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
        ("teacher and student exchanged", 0, "((teacher - center", "((student - center",
         "(student / student_temp)", "(teacher / student_temp)"),
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
"""], [
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
    ]),
    "15.rollout": Tries([
        """
L, B, H, T, _ = maps.shape
total = torch.eye(T, dtype=maps.dtype).expand(B, T, T)
for layer in maps:
    a = residual * torch.eye(T, dtype=maps.dtype) + (1 - residual) * layer.mean(dim=1)
    total = torch.bmm(a, total)
return total
"""], [
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
    ]),
}
