"""Attempts at lesson 06."""

from . import Tries

ATTEMPTS = {
    "06.regression_loss": Tries([
        """
p = prediction / prediction.norm(dim=1, keepdim=True)
t = (target / target.norm(dim=1, keepdim=True)).detach()
return ((p - t) ** 2).sum(1).mean()
""", """
p, t = F.normalize(prediction, dim=-1), F.normalize(target, dim=-1).detach()
return F.mse_loss(p, t) * p.shape[1]
""", """
with torch.no_grad():
    t = target / target.norm(dim=1, keepdim=True)
p = prediction / prediction.norm(dim=1, keepdim=True)
return 2 * (1 - (p @ t.T).trace() / len(p))
"""], [
        ("only the target scaled", 0, "prediction / prediction.norm(dim=1, keepdim=True)", "prediction"),
        ("the norm of the whole matrix", 0, "norm(dim=1, keepdim=True)", "norm()"),
        ("divided by the squared length", 0, ".norm(dim=1, keepdim=True)", ".square().sum(1, keepdim=True)"),
        ("scaled by the largest entry", 0, ".norm(dim=1, keepdim=True)", ".abs().amax(1, keepdim=True)"),
        ("absolute differences", 0, "((p - t) ** 2)", "(p - t).abs()"),
        ("a number an image", 0, ".sum(1).mean()", ".sum(1)"),
        ("the sign of the cosine", 2, "2 * (1 - ", "2 * (1 + "),
        ("2 - cos", 2, "2 * (1 - (p @ t.T).trace() / len(p))", "2 - (p @ t.T).trace() / len(p)"),
        ("all pairs of images", 2, "(p @ t.T).trace() / len(p)", "(p @ t.T).mean()"),
        ("a neighbour's target", 0, "p - t", "p - t.roll(1, 0)"),
        ("centred over the batch first", 0, "p = prediction /",
         "prediction = prediction - prediction.mean(0)\np = prediction /"),
        ("the difference scaled, not the two", 0, "return ((p - t) ** 2)",
         "return (F.normalize(prediction - target.detach(), dim=1) ** 2)"),
        ("everything under no_grad", 2, "p = prediction", "    p = prediction"),
        ("detached, and thrown away", 1, "p, t = F.normalize(prediction, dim=-1), F.normalize(target, dim=-1).detach()",
         "target.detach()\np, t = F.normalize(prediction, dim=-1), F.normalize(target, dim=-1)"),
        ("times N", 1, "p.shape[1]", "p.shape[0]"),
        ("scaled in place", 2, "p = prediction / prediction.norm(dim=1, keepdim=True)",
         "p = prediction.div_(prediction.norm(dim=1, keepdim=True))"),
        ("softmax in place of the length", 0, "prediction / prediction.norm(dim=1, keepdim=True)",
         "prediction.softmax(1)"),
    ]),
    "06.update": Tries([
        """
for t, o in zip(target.parameters(), online.parameters()):
    t.data.lerp_(o.detach(), 1 - momentum)
return target
""", """
with torch.no_grad():
    for name, t in target.named_parameters():
        t.copy_(momentum * t + (1 - momentum) * online.get_parameter(name))
return target
"""], [
        ("no return", 0, "return target", "target"),
        ("returns the online network", 0, "return target", "return online"),
        ("added without fading", 1, "momentum * t + ", "t + "),
        ("faded, and all of the online weight added", 1, "(1 - momentum) * online", "online"),
        ("away from it", 1, "momentum * t + (1 - momentum) * online.get_parameter(name)",
         "t - (1 - momentum) * (online.get_parameter(name) - t)"),
        ("momentum squared", 1, "momentum * t + (1 - momentum)", "momentum ** 2 * t + (1 - momentum ** 2)"),
        ("the first parameter only", 0, "1 - momentum)", "1 - momentum)\n    break"),
        ("biases left out", 1, "        t.copy_", "        if 'bias' not in name: t.copy_"),
        ("the online network follows, too", 0, "1 - momentum)",
         "1 - momentum)\n    o.data.copy_(t.data)"),
        ("the mean of both", 0, "1 - momentum", "0.5"),
        ("twice in one call", 0, "    t.data.lerp_(o.detach(), 1 - momentum)",
         "    t.data.lerp_(o.detach(), 1 - momentum)\n    t.data.lerp_(o.detach(), 1 - momentum)"),
        ("made trainable again", 0, "return target", "return target.requires_grad_(True)"),
        ("a geometric mean", 1, "momentum * t + (1 - momentum) * online.get_parameter(name)",
         "t.abs() ** momentum * online.get_parameter(name).abs() ** (1 - momentum)"),
        ("pairs in reverse order", 0, "online.parameters()", "reversed(list(online.parameters()))"),
        ("the state dict of the online network loaded", "target.load_state_dict(online.state_dict())\nreturn target"),
    ]),
    "06.byol_step": Tries([
        """
optimizer.zero_grad(set_to_none=True)
loss = 0
for a, b in ((view1, view2), (view2, view1)):
    z = target(b).detach()
    loss = loss + regression_loss(predictor(online(a)), z)
loss.backward()
optimizer.step()
update(target, online, momentum)
return float(loss)
"""], [
        ("no update of the weights", 0, "optimizer.step()\n", ""),
        ("uphill", 0, "loss.backward()", "(-loss).backward()"),
        ("the loss halved for the gradient", 0, "loss.backward()", "(loss / 2).backward()"),
        ("the difference of the directions", 0, "loss + regression", "-loss + regression"),
        ("returns the last direction only", 0, "return float(loss)",
         "return float(regression_loss(predictor(online(view2)), target(view1)))"),
        ("the predictor stands still", 0, "optimizer.step()",
         "for p in predictor.parameters():\n    p.grad = None\noptimizer.step()"),
        ("the encoder stands still", 0, "online(a)", "online(a).detach()"),
        ("target updated twice", 0, "update(target, online, momentum)",
         "update(target, online, momentum)\nupdate(target, online, momentum)"),
        ("1 - momentum", 0, "online, momentum)", "online, 1 - momentum)"),
        ("target and online exchanged in the update", 0, "update(target, online, momentum)",
         "update(online, target, momentum)"),
        ("the target is a copy", 0, "online, momentum)", "online, 0.0)"),
        ("gradients cleared behind backward", 0, "loss.backward()", "loss.backward()\noptimizer.zero_grad()"),
        ("one step for each direction", 0, "    loss = loss + regression_loss(predictor(online(a)), z)",
         "    loss = regression_loss(predictor(online(a)), z)\n    loss.backward()\n    optimizer.step()\n"
         "    optimizer.zero_grad()", "loss.backward()\noptimizer.step()\nupdate", "update"),
        ("the first view twice", 0, "(view2, view1))", "(view1, view2))"),
        ("squared distance, not scaled", 0, "regression_loss(predictor(online(a)), z)",
         "(predictor(online(a)) - z).square().sum(1).mean()"),
        ("gradient clipped", 0, "optimizer.step()",
         "torch.nn.utils.clip_grad_norm_(online.parameters(), 0.05)\noptimizer.step()"),
    ]),
    "06.diagnose": Tries([
        """
d, m = online - before, after - before
a = (d * m).sum() / d.square().sum()
rest = m - a * d
share = rest.norm() / m.norm() if bool((m != 0).any()) else 0.0
return {"pull": a.item(), "stray": float(share)}
""", """
gap, moved = online - before, after - before
if not moved.any():
    return {"pull": 0.0, "stray": 0.0}
pull = torch.dot(moved, gap) / torch.dot(gap, gap)
return {"pull": pull, "stray": (after - (before + pull * gap)).norm() / moved.norm()}
"""], [
        ("gap the other way round", 0, "d, m = online - before", "d, m = before - online"),
        ("the movement the other way round", 1, "after - before\n", "before - after\n"),
        ("from after to online", 1, "gap, moved = online - before", "gap, moved = online - after"),
        ("divided by the movement", 0, "d.square().sum()", "m.square().sum()"),
        ("the share squared", 0, '"stray": float(share)', '"stray": float(share) ** 2'),
        ("one minus the share", 0, '"stray": float(share)', '"stray": 1 - float(share)'),
        ("the largest ratio", 0, "(d * m).sum() / d.square().sum()", "(m / d).max()"),
        ("the median ratio", 0, "(d * m).sum() / d.square().sum()", "(m / d).median()"),
        ("the pull cut to 0 to 1", 0, '"pull": a.item()', '"pull": min(max(a.item(), 0.0), 1.0)'),
        ("the pull without its sign", 0, '"pull": a.item()', '"pull": abs(a.item())'),
        ("mean absolute deviation", 0, "rest.norm() / m.norm()", "rest.abs().mean() / m.abs().mean()"),
        ("the whole movement is stray", 0, "rest.norm() / m.norm()", "m.norm() / m.norm()"),
        ("1 where nothing moved", 0, "else 0.0", "else 1.0"),
        ("vectors centred first", 0, "a = (d", "d, m = d - d.mean(), m - m.mean()\na = (d"),
        ("weights in place of gaps", 0, "(d * m).sum() / d.square().sum()", "(online @ after) / (online @ online)"),
        ("names exchanged", 0, '"pull": a.item(), "stray": float(share)', '"stray": a.item(), "pull": float(share)'),
        ("rounded to two digits", 0, '"stray": float(share)', '"stray": round(float(share), 2)'),
    ]),
}
