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
""", """
n = scores.size(0)
loss = F.cross_entropy(scores, torch.arange(n), reduction="sum") / n
return torch.tensor(n, dtype=scores.dtype).log() - loss
""", """
n = len(scores)
terms = []
for i in range(n):
    terms.append(scores[i, i] - (scores[i].logsumexp(dim=0) - math.log(n)))
return torch.stack(terms).mean()
""", """
n = scores.shape[0]
return torch.trace(torch.log_softmax(scores, dim=1)) / n + math.log(n)
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
        ("the scores' own winners", 0, "scores, target", "scores, scores.argmax(1)"),
        ("a plain number", 0, "F.cross_entropy(scores, target)", "F.cross_entropy(scores, target).item()"),
        ("all entries", 1, "picked.mean()", "log_p.mean()"),
        ("softened labels", 0, "scores, target", "scores, target, label_smoothing=0.1"),
        ("divided twice", 0, "F.cross_entropy(scores, target)",
         "F.cross_entropy(scores, target, reduction='sum') / n**2"),
        ("log of N N", 0, "math.log(n)", "math.log(n * n)"),
        ("log of N + 1", 0, "math.log(n)", "math.log(n + 1)"),
        ("base ten", 0, "math.log(n)", "math.log10(n)"),
        ("scores turned over", 0, "scores, target", "-scores, target"),
        ("a bound on probabilities", 0, "scores, target", "scores.softmax(1), target"),
        ("largest other in place of the sum", "n = len(scores)\n"
         "return math.log(n) + (scores.diagonal() - scores.amax(1)).mean()"),
        ("rows shifted by their diagonal alone", 2, "scores.diagonal() - best[:, 0]", "-best[:, 0]"),
        ("the next column is the partner", 0, "torch.arange(n, device=scores.device)", "torch.arange(n).roll(1)"),
        ("never above log N by force", 0, "return math.log(n) - F.cross_entropy(scores, target)",
         "return (math.log(n) - F.cross_entropy(scores, target)).clamp(max=0.5 * math.log(n))"),
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
""", """
n = len(scores)
eye = torch.eye(n, dtype=torch.bool)[:, :, None, None].expand_as(scores)
product = scores.masked_fill(eye, -torch.inf)
count = (~eye).sum()
return scores[eye].mean() - product.logsumexp((0, 1, 2, 3)) + count.log()
""", """
own = torch.diagonal(scores, dim1=0, dim2=1).mean()
off = ~torch.eye(scores.shape[0]).bool()
rest = scores[off]
return own - rest.logsumexp(dim=(0, 1, 2)) + math.log(rest.numel())
""", """
scores = scores.transpose(0, 1)
n, _, places, codes = scores.shape
mask = torch.ones(n, n, dtype=torch.bool).fill_diagonal_(False)
total = torch.stack([scores[i][mask[i]].flatten().logsumexp(0) for i in range(n)]).logsumexp(0)
return scores[~mask].mean() - (total - math.log(n * (n - 1) * places * codes))
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
        ("own pairs hidden, but counted", 0, "math.log(negative.numel())", "math.log(scores.numel())"),
        ("one place's count forgotten", 0, "math.log(negative.numel())", "math.log(n * (n - 1) * scores.shape[2])"),
        ("log of N - 1", 0, "math.log(negative.numel())", "math.log(n - 1)"),
        ("averaged over codes first", 0, "scores[~own].reshape(-1)", "scores.mean(3)[~own].flatten()"),
        ("log-mean-exp of each pair, averaged", 0, "(torch.logsumexp(negative, dim=0) - math.log(negative.numel()))",
         "(scores[~own].flatten(1).logsumexp(1) - math.log(scores[0, 0].numel())).mean()"),
        ("log-mean-exp over pairs, averaged over places", 0,
         "(torch.logsumexp(negative, dim=0) - math.log(negative.numel()))",
         "(scores[~own].logsumexp(0) - math.log(n * (n - 1))).mean()"),
        ("the largest place of an own pair", 0, "scores[own].mean()", "scores[own].flatten(1).amax(1).mean()"),
        ("own pairs against one another", 0, "scores[~own].reshape(-1)", "scores[own].reshape(-1)"),
        ("lower triangle", 0, "scores[~own]", "scores[torch.ones(n, n).tril(-1).bool()]"),
        ("clipped as in SMILE", 0, "scores[~own].reshape(-1)", "scores[~own].reshape(-1).clamp(-5, 5)"),
        ("InfoNCE's denominator", 0, "(torch.logsumexp(negative, dim=0) - math.log(negative.numel()))",
         "(scores.flatten(1).logsumexp(1) - math.log(scores[0].numel())).mean()"),
        ("signs of both", 0, "return positive - (torch", "return -positive + (torch"),
        ("a plus between", 0, "return positive - (torch", "return positive + (torch"),
        ("no logarithm of the mean", 0, "(torch.logsumexp(negative, dim=0) - math.log(negative.numel()))",
         "negative.exp().mean()"),
        ("own pairs detached", 0, "scores[own].mean()", "scores[own].detach().mean()"),
        ("a plain number", 0, "return positive - (", "return positive.item() - ("),
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
""", """
n = len(scores)
diagonal = torch.eye(n, dtype=torch.bool)
jsd = -F.softplus(-scores[diagonal]).mean() - F.softplus(scores[~diagonal]).mean()
value = nwj(scores.detach() + 1)
return value + jsd - jsd.detach()
""", """
own = torch.eye(scores.shape[0]) == 1
t, f = scores[own], scores[~own]
signal = -(1 + (-t).exp()).log().mean() - (1 + f.exp()).log().mean()
return (nwj(scores + 1) - signal).detach().add(signal)
""", """
own = torch.eye(len(scores), dtype=torch.bool)
signal = F.logsigmoid(scores[own]).mean() + F.logsigmoid(scores[~own].neg()).mean()
reading = nwj(scores + 1).item()
return signal + (reading - signal.item())
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
        ("1 added to the reading", 0, "nwj(scores + 1)", "nwj(scores) + 1"),
        ("1 added to own pairs alone", 0, "nwj(scores + 1)",
         "nwj(scores + torch.eye(len(scores), dtype=scores.dtype).view(len(scores), -1, *[1] * (scores.ndim - 2)))"),
        ("nothing is detached", 0, "return signal - signal.detach() + reading", "return signal - signal + reading"),
        ("both are added, the JSD kept", 0, "return signal - signal.detach() + reading", "return signal + reading"),
        ("the wrong one detached", 0, "with torch.no_grad():\n    reading = nwj(scores + 1)",
         "reading = nwj(scores + 1)", "return signal - signal.detach() + reading",
         "return signal.detach() - signal.detach() + reading"),
        ("softplus of own scores as they are", 1, "F.softplus(-joint)", "F.softplus(joint)"),
        ("softplus of minus both", 1, "F.softplus(product)", "F.softplus(-product)"),
        ("a difference of the two means", 1, "F.softplus(-joint).mean() + F.softplus(product).mean()",
         "F.softplus(-joint).mean() - F.softplus(product).mean()"),
        ("the mean over all pairs together", 1, "F.softplus(-joint).mean() + F.softplus(product).mean()",
         "torch.cat([F.softplus(-joint).flatten(), F.softplus(product).flatten()]).mean()"),
        ("twice the signal", 0, "return signal - signal.detach() + reading",
         "return 2 * (signal - signal.detach()) + reading"),
        ("SMILE's reading", 0, "nwj(scores + 1)", "smile(scores)"),
        ("exp for softplus", 1, "F.softplus(product).mean()", "product.exp().mean()"),
        ("plain scores for own pairs", 1, "F.softplus(-joint).mean()", "-joint.mean()"),
        ("sigmoid of the difference", 0, "F.logsigmoid(scores[own]).mean() + F.logsigmoid(-scores[~own]).mean()",
         "F.logsigmoid(scores[own].mean() - scores[~own].mean())"),
        ("a squared difference", 0, "return signal - signal.detach() + reading",
         "return reading - (signal - signal.detach()) ** 2"),
        ("the reading as a constant number", 0, "return signal - signal.detach() + reading", "return reading.item()"),
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
""", """
maps, codes = encoder(images)
p = place_net(maps)
q = code_net(codes)
u = p.size(1)
p = einops.rearrange(p, "k u h w -> k (h w) u")
scores = einops.einsum(q, p, "n u, k l u -> n k l") / math.sqrt(u)
loss = -estimate(scores)
optimizer.zero_grad()
loss.backward()
optimizer.step()
return -loss.item()
""", """
maps, codes = encoder(images)
places = place_net(maps).flatten(start_dim=2)
queries = code_net(codes)
scores = torch.matmul(queries, places).transpose(0, 1) * places.size(1) ** -0.5
reading = estimate(scores)
optimizer.zero_grad(set_to_none=True)
reading.neg().backward()
optimizer.step()
return float(reading.detach())
""", """
optimizer.zero_grad()
maps, codes = encoder(images)
places = place_net(maps)
N, u, h, w = places.shape
queries = code_net(codes) / u ** 0.5
scores = (queries[:, None, :, None] * places.reshape(1, N, u, h * w)).sum(dim=2)
value = estimate(scores)
value.mul(-1).backward()
optimizer.step()
return value.item()
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
        ("only own pairs", 0, "scores = torch.stack([query @ local[:, :, l].T for l in range(h * w)], dim=2)",
         "scores = torch.stack([torch.diag((query * local[:, :, l]).sum(1)) for l in range(h * w)], dim=2)"),
        ("one place left out", 0, "for l in range(h * w)]", "for l in range(1, h * w)]"),
        ("height and width exchanged", 0, "local.view(n, u, h * w)", "local.transpose(2, 3).reshape(n, u, h * w)"),
        ("root of the number of images", 0, "math.sqrt(u)", "math.sqrt(n)"),
        ("root of the map's channels", 0, "math.sqrt(u)", "math.sqrt(maps.shape[1])"),
        ("divided by half the root", 0, "math.sqrt(u)", "math.sqrt(u) * 2"),
        ("the other image's map", 0, "local = local.view(n, u, h * w)", "local = local.view(n, u, h * w).roll(1, 0)"),
        ("a mirrored second view", 0, "maps, codes = encoder(images)",
         "maps, codes = encoder(images)[0], encoder(images.flip(3))[1]"),
        ("images scaled again", 0, "encoder(images)", "encoder(images / 255)"),
        ("places of unit length", 0, "local = place_net(maps)", "local = F.normalize(place_net(maps), dim=1)"),
        ("the exponential is estimated", 0, "estimate(scores)", "estimate(scores.exp())"),
        ("clipped scores", 0, "estimate(scores)", "estimate(scores.clamp(-1, 1))"),
        ("the estimate of each place, added", 0, "value = estimate(scores)",
         "value = sum(estimate(scores[:, :, l:l + 1]) for l in range(h * w))"),
        ("zero_grad between backward and step", 0, "optimizer.zero_grad()\nloss.backward()\n",
         "loss.backward()\noptimizer.zero_grad()\n"),
        ("no step", 0, "optimizer.step()\n", ""),
        ("twice the root", 0, "return value.detach().item()", "return 2 * value.detach().item()"),
        ("the place net learns nothing", 0, "local = place_net(maps)", "local = place_net(maps).detach()"),
        ("the code net learns nothing", 0, "query = code_net(codes)", "query = code_net(codes).detach()"),
        ("a map of the mean image", 0, "local = place_net(maps)", "local = place_net(maps - maps.mean(0))"),
    ]),
}
