"""Attempts at lesson 25."""

from . import Tries

ATTEMPTS = {
    "25.infonce": Tries([
        """
n = scores.shape[0]
target = torch.arange(n, device=scores.device)
return math.log(n) - F.cross_entropy(scores, target)
""", """
log_p = F.log_softmax(scores, dim=-1)
picked = log_p.gather(1, torch.arange(len(scores))[:, None]).squeeze(1)
return picked.mean() + math.log(len(scores))
""", """
best = scores.max(dim=1, keepdim=True).values.detach()
shifted = (scores - best).exp()
return (scores.diagonal() - best[:, 0] - shifted.mean(dim=1).log()).mean()
"""], [
        ("both directions", "n = len(scores)\ny = torch.arange(n)\n"
         "return math.log(n) - (F.cross_entropy(scores, y) + F.cross_entropy(scores.T, y)) / 2"),
        ("half of it", 0, "return math.log(n) -", "return 0.5 * math.log(n) - 0.5 *"),
        ("log of 2N", 0, "math.log(n)", "math.log(2 * n)"),
        ("cosines", 0, "scores, target", "F.normalize(scores, dim=1), target"),
        ("a temperature", 0, "scores, target", "scores / 0.1, target"),
        ("bits for the ceiling alone", 0, "math.log(n)", "math.log2(n)"),
        ("targets reversed", 0, "torch.arange(n, device=scores.device)", "torch.arange(n).flip(0)"),
        ("detached", 0, "F.cross_entropy(scores, target)", "F.cross_entropy(scores.detach(), target)"),
        ("exp without logsumexp", "n = len(scores)\n"
         "return math.log(n) + (scores.diagonal().exp() / scores.exp().sum(1)).log().mean()"),
        ("clamped at 0", 0, "return math.log(n) - F.cross_entropy(scores, target)",
         "return (math.log(n) - F.cross_entropy(scores, target)).clamp(min=0)"),
        ("the first row alone", 0, "scores, target", "scores[:1], target[:1]"),
        ("the median", 1, "picked.mean()", "picked.median()"),
        ("accuracy", "return (scores.argmax(1) == torch.arange(len(scores))).double().mean() + 0 * scores.sum()"),
        ("a sigmoid", "return F.logsigmoid(scores.diagonal()).mean() + math.log(len(scores))"),
        ("minus the mean of the others", 0, "scores, target", "scores - scores.mean(0), target"),
    ]),
    "25.dv": Tries([
        """
n = scores.shape[0]
own = torch.eye(n, dtype=torch.bool)
positive = scores[own].mean()
negative = scores[~own].reshape(-1)
return positive - (torch.logsumexp(negative, dim=0) - math.log(negative.numel()))
""", """
n, _, places, codes = scores.shape
positive = sum(scores[i, i].mean() for i in range(n)) / n
rest = torch.cat([scores[i, j].flatten() for i in range(n) for j in range(n) if j != i])
top = rest.max()
return positive - top - (rest - top).exp().mean().log()
"""], [
        ("the famous code", "n = len(scores)\nmask = torch.eye(n, dtype=scores.dtype)\n"
         "positive = (scores * mask).sum() / mask.sum()\n"
         "u = scores * (1 - mask)\n"
         "return positive - torch.logsumexp(u.flatten(), 0) + math.log(n * (n - 1))"),
        ("off by the places", 0, "math.log(negative.numel())", "math.log(n * (n - 1))"),
        ("log of N N", 0, "math.log(negative.numel())", "math.log(scores.numel())"),
        ("only the upper triangle", 0, "scores[~own]", "scores[torch.ones(n, n).triu(1).bool()]"),
        ("neighbours alone", 0, "scores[~own]", "scores[torch.eye(n, dtype=torch.bool).roll(1, 0)]"),
        ("NWJ", 0, "(torch.logsumexp(negative, dim=0) - math.log(negative.numel()))",
         "(negative - 1).exp().mean()"),
        ("the largest score", 0, "(torch.logsumexp(negative, dim=0) - math.log(negative.numel()))", "negative.max()"),
        ("averaged over places first", 0, "scores[~own].reshape(-1)", "scores.mean((2, 3))[~own]"),
        ("the first code alone", 0, "scores[~own]", "scores[..., 0][~own]"),
        ("own pairs at -10", 0, "scores[~own].reshape(-1)",
         "scores.masked_fill(own[:, :, None, None], -10.0).reshape(-1)"),
        ("detached others", 0, "scores[~own]", "scores.detach()[~own]"),
        ("in bits", 0, "return positive - (torch.logsumexp(negative, dim=0) - math.log(negative.numel()))",
         "return (positive - torch.logsumexp(negative, dim=0) + math.log(negative.numel())) / math.log(2)"),
        ("a sum of own pairs", 0, "scores[own].mean()", "scores[own].sum()"),
        ("own pairs summed over places", 0, "scores[own].mean()", "scores[own].flatten(1).sum(1).mean()"),
        ("clamped", 0, "return positive", "return torch.tensor(0.0) * positive + positive.clamp(max=1)"),
    ]),
    "25.jsd": Tries([
        """
own = torch.eye(len(scores), dtype=torch.bool)
signal = F.logsigmoid(scores[own]).mean() + F.logsigmoid(-scores[~own]).mean()
with torch.no_grad():
    reading = nwj(scores + 1)
return signal - signal.detach() + reading
""", """
n = len(scores)
own = torch.eye(n, dtype=torch.bool)
joint, product = scores[own], scores[~own]
reading = (joint + 1).mean() - product.exp().mean()
loss = F.softplus(-joint).mean() + F.softplus(product).mean()
return (reading + loss).detach() - loss
"""], [
        ("scores + 1 everywhere", 1, "loss = F.softplus(-joint).mean() + F.softplus(product).mean()",
         "loss = F.softplus(-joint - 1).mean() + F.softplus(product + 1).mean()"),
        ("e forgotten", 1, "product.exp()", "(product - 1).exp()"),
        ("half of the signal", 1, "(reading + loss).detach() - loss", "(reading + loss / 2).detach() - loss / 2"),
        ("the loss's sign", 1, "(reading + loss).detach() - loss", "(reading - loss).detach() + loss"),
        ("a hinge in place of softplus", 1, "F.softplus(-joint).mean() + F.softplus(product).mean()",
         "F.relu(1 - joint).mean() + F.relu(1 + product).mean()"),
        ("the reading alone", 1, "return (reading + loss).detach() - loss", "return reading.detach() + 0 * loss"),
        ("the sum of both values", 1, "return (reading + loss).detach() - loss", "return reading - loss"),
        ("product weighed by N - 1", 1, "F.softplus(product).mean()", "(n - 1) * F.softplus(product).mean()"),
        ("only others", 1, "F.softplus(-joint).mean() + F.softplus(product).mean()", "F.softplus(product).mean()"),
        ("Donsker-Varadhan's reading", 1, "(joint + 1).mean() - product.exp().mean()",
         "joint.mean() - product.flatten().logsumexp(0) + math.log(product.numel())"),
        ("sigmoid without logarithm", 0, "F.logsigmoid(scores[own]).mean() + F.logsigmoid(-scores[~own]).mean()",
         "scores[own].sigmoid().mean() + (-scores[~own]).sigmoid().mean()"),
        ("InfoNCE's signal", 0, "F.logsigmoid(scores[own]).mean() + F.logsigmoid(-scores[~own]).mean()",
         "scores[own].mean() - scores.logsumexp(1).mean()"),
        ("cut twice", 0, "return signal - signal.detach() + reading",
         "return signal.detach() - signal.detach() + reading + 0 * signal"),
    ]),
    "25.dim_step": Tries([
        """
maps, codes = encoder(images)
local = place_net(maps)
n, u, h, w = local.shape
local = local.view(n, u, h * w)
query = code_net(codes)
scores = torch.stack([query @ local[:, :, l].T for l in range(h * w)], dim=2) / math.sqrt(u)
value = estimate(scores)
loss = -value
optimizer.zero_grad()
loss.backward()
optimizer.step()
return value.detach().item()
"""], [
        ("each place with the query's own image", 0, "query @ local[:, :, l].T", "local[:, :, l] @ query.T"),
        ("the first place alone", 0, "for l in range(h * w)]", "for l in [0] * (h * w)]"),
        ("places upside down", 0, "for l in range(h * w)]", "for l in reversed(range(h * w))]"),
        ("divided by the root of the places", 0, "math.sqrt(u)", "math.sqrt(h * w)"),
        ("times the root", 0, "/ math.sqrt(u)", "* math.sqrt(u)"),
        ("a mean over places", 0, "value = estimate(scores)",
         "value = estimate(scores.mean(2, keepdim=True).expand_as(scores))"),
        ("a sum in place of a mean", 0, "loss = -value", "loss = -value * h * w"),
        ("squared", 0, "loss = -value", "loss = value ** 2"),
        ("step before backward", 0, "loss.backward()\noptimizer.step()", "optimizer.step()\nloss.backward()"),
        ("cleared too late", 0, "optimizer.zero_grad()\nloss.backward()\n",
         "loss.backward()\noptimizer.zero_grad()\n"),
        ("nothing flows to the encoder", 0, "maps, codes = encoder(images)",
         "with torch.no_grad():\n    maps, codes = encoder(images)"),
        ("queries of unit length", 0, "code_net(codes)", "F.normalize(code_net(codes), dim=1)"),
        ("softmax over places", 0, "value = estimate(scores)", "value = estimate(scores.softmax(2))"),
        ("a second estimate", 0, "return value.detach().item()", "return estimate(scores.detach() * 2).item()"),
        ("read after the step", 0, "return value.detach().item()",
         "maps, codes = encoder(images)\n"
         "local, query = place_net(maps).flatten(2), code_net(codes)\n"
         "return estimate(torch.einsum('nu,kul->nkl', query, local) / math.sqrt(u)).item()"),
        ("codes of another image", 0, "query = code_net(codes)", "query = code_net(codes.roll(1, 0))"),
        ("two updates", 0, "optimizer.step()\n", "optimizer.step()\noptimizer.step()\n"),
        ("absolute value", 0, "loss = -value", "loss = -value.abs()"),
    ]),
}
