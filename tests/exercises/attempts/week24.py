"""Attempts at lesson 24."""

from . import Tries

ATTEMPTS = {
    "24.nce": Tries([
        """
low = torch.finfo(scores.dtype).min
rest = torch.where(negative, scores, torch.full_like(scores, low)).logsumexp(dim=-1)
each = torch.logaddexp(scores, rest[:, None]) - scores
return (each * positive).sum() / positive.sum()
""", """
rest = scores.masked_fill(negative.logical_not(), float("-inf")).logsumexp(1)
rows, columns = positive.nonzero(as_tuple=True)
s = scores[rows, columns]
return F.softplus(rest[rows] - s).mean()
""", """
total = 0.0
for a in range(len(scores)):
    for s in scores[a][positive[a]]:
        total = total + torch.logsumexp(torch.cat([s[None], scores[a][negative[a]]]), 0) - s
return total / positive.sum()
"""], [
        ("log of the mean share", """
rest = scores.masked_fill(~negative, -torch.inf).logsumexp(1, keepdim=True)
share = (scores - torch.logaddexp(scores, rest)).exp()
return -share[positive].mean().log()
"""),
        ("cross-entropy of the first positive", """
return F.cross_entropy(scores, positive.float().argmax(1))
"""),
        ("softmax over the anchors", 0, "logsumexp(dim=-1)", "logsumexp(dim=0).mean().expand(len(scores))"),
        ("negatives detached", 0, "scores, torch.full_like", "scores.detach(), torch.full_like"),
        ("positive detached below", 0, "torch.logaddexp(scores, rest", "torch.logaddexp(scores.detach(), rest"),
        ("masks exchanged", 0, "torch.where(negative,", "torch.where(positive,", "(each * positive).sum() / positive",
         "(each * negative).sum() / negative"),
        ("all that is not positive", 0, "torch.where(negative,", "torch.where(~positive,"),
        ("the hardest negative", 0, ".logsumexp(dim=-1)", ".amax(dim=-1)"),
        ("hinge", 0, "torch.logaddexp(scores, rest[:, None]) - scores", "F.relu(rest[:, None] - scores)"),
        ("the mean of the negatives", 0, ".logsumexp(dim=-1)",
         ".logsumexp(dim=-1) - negative.sum(-1).log()"),
        ("divided by the negatives", 0, "/ positive.sum()", "/ negative.sum()"),
        ("divided by the anchors", 0, "/ positive.sum()", "/ len(scores)"),
        ("a column", 0, "(each * positive).sum() / positive.sum()",
         "(each * positive).sum(1) / positive.sum(1)"),
        ("the median", 0, "(each * positive).sum() / positive.sum()", "each[positive].median()"),
        ("base two", 0, "(each * positive).sum()", "(each * positive).sum() / math.log(2)"),
        ("positive twice", 0, "torch.logaddexp(scores, rest[:, None])",
         "torch.logaddexp(scores + math.log(2), rest[:, None])"),
        ("one row sum for all", 0, "rest[:, None]", "rest.mean()"),
        ("squared", 0, "(each * positive).sum()", "(each ** 2 * positive).sum()"),
        ("zeros for masked scores", 0, "torch.full_like(scores, low)", "torch.zeros_like(scores)"),
        ("largest subtracted once", 0, "- scores\n", "- scores.amax(1, keepdim=True)\n"),
        ("sigmoid", """
return F.binary_cross_entropy_with_logits(scores, positive.to(scores.dtype))
"""),
        ("a mask of -10", 0, "torch.full_like(scores, low)", "torch.full_like(scores, -10)"),
    ]),
    "24.map_loss": Tries([
        """
N, d, h, w = targets.shape
flat = einops.rearrange(targets, "n d h w -> (n h w) d")
raw = (sources @ flat.t()) / d ** 0.5
soft = torch.tanh(raw / clip) * clip
who = torch.arange(N).repeat_interleave(h * w)
own = who[None, :] == torch.arange(N)[:, None]
return nce(soft, own, torch.logical_not(own)) + weight * raw.pow(2).mean()
""", """
n, d = sources.shape
scores = torch.einsum("id,jdhw->ijhw", sources, targets).reshape(n, -1) / math.sqrt(d)
reg = weight * (scores * scores).mean()
own = torch.kron(torch.eye(n), torch.ones(1, scores.shape[1] // n)).bool()
return reg + nce(clip * (scores / clip).tanh(), own, ~own)
""", """
n, d = sources.shape
maps = targets.reshape(n, d, -1)
scores = torch.stack([sources @ maps[j] for j in range(n)], 1) / math.sqrt(d)
soft = clip * torch.tanh(scores / clip)
losses = []
for i in range(n):
    rest = torch.cat([soft[i, :i].flatten(), soft[i, i + 1:].flatten()]).logsumexp(0)
    losses.append((torch.logaddexp(soft[i, i], rest) - soft[i, i]).mean())
return torch.stack(losses).mean() + weight * scores.square().mean()
"""], [
        ("clip fixed", 0, "torch.tanh(raw / clip) * clip", "torch.tanh(raw / 20) * 20"),
        ("weight fixed", 0, "weight * raw", "0.05 * raw"),
        ("root of the places", 0, "d ** 0.5", "(h * w) ** 0.5"),
        ("root of the images", 0, "d ** 0.5", "N ** 0.5"),
        ("d squared", 0, "d ** 0.5", "d ** 2"),
        ("sum of squares", 0, "raw.pow(2).mean()", "raw.pow(2).sum()"),
        ("regulariser subtracted", 0, "+ weight * raw", "- weight * raw"),
        ("regulariser of the clipped", 0, "raw.pow(2)", "soft.pow(2)"),
        ("regulariser of the vectors", 0, "raw.pow(2).mean()", "sources.pow(2).mean()"),
        ("root of the mean square", 0, "raw.pow(2).mean()", "raw.pow(2).mean().sqrt()"),
        ("regulariser detached", 0, "raw.pow(2).mean()", "raw.detach().pow(2).mean()"),
        ("regulariser inside the nce", 0, "nce(soft, own, torch.logical_not(own)) + weight * raw.pow(2).mean()",
         "nce(soft - weight * raw.pow(2), own, torch.logical_not(own))"),
        ("sigmoid for tanh", 0, "torch.tanh(raw / clip) * clip", "torch.sigmoid(raw / clip) * clip"),
        ("not multiplied again", 0, "torch.tanh(raw / clip) * clip", "torch.tanh(raw / clip)"),
        ("not divided inside", 0, "torch.tanh(raw / clip) * clip", "torch.tanh(raw) * clip"),
        ("hard clip", 0, "torch.tanh(raw / clip) * clip", "raw.clamp(-clip, clip)"),
        ("own image among the rivals", 0, "torch.logical_not(own)", "torch.ones_like(own)"),
        ("masks exchanged", 0, "nce(soft, own, torch.logical_not(own))", "nce(soft, torch.logical_not(own), own)"),
        ("places first", 0, '"n d h w -> (n h w) d"', '"n d h w -> (h w n) d"'),
        ("own by remainder", 0, "torch.arange(N).repeat_interleave(h * w)", "torch.arange(N * h * w) % N"),
        ("height and width exchanged", 0, '"n d h w -> (n h w) d"', '"n d h w -> (n w h) d"',
         "soft = torch.tanh(raw / clip) * clip", "soft = torch.tanh(raw / clip) * clip * 1.01"),
        ("pooled", 0, "flat = einops", "targets = targets.mean((2, 3), keepdim=True); h = w = 1\nflat = einops"),
        ("the largest place only", """
N, d, h, w = targets.shape
raw = torch.einsum("id,jdhw->ijhw", sources, targets).flatten(2) / d ** 0.5
soft = clip * torch.tanh(raw / clip)
return F.cross_entropy(soft.amax(2), torch.arange(N)) + weight * raw.pow(2).mean()
"""),
        ("targets detached", 0, "sources @ flat.t()", "sources @ flat.detach().t()"),
        ("cosines", 0, "raw = (sources @ flat.t()) / d ** 0.5",
         "raw = F.normalize(sources, dim=1) @ F.normalize(flat, dim=1).t()"),
        ("only the nce", 0, " + weight * raw.pow(2).mean()", ""),
        ("only the regulariser", 0, "nce(soft, own, torch.logical_not(own)) + ", ""),
        ("two of them", 0, "return nce(soft, own, torch.logical_not(own)) + weight * raw.pow(2).mean()",
         "return nce(soft, own, torch.logical_not(own)), weight * raw.pow(2).mean()"),
        ("added over places", 0, "return nce(", "return h * w * nce("),
    ]),
    "24.labels": Tries([
        """
b = torch.arange(images).view(-1, 1, 1)
r = torch.arange(height - rows).view(1, -1, 1)
c = torch.arange(width).view(1, 1, -1)
return (b * height * width + (r + rows) * width + c).reshape(-1)
""", """
out = []
for b in range(images):
    for r in range(rows, height):
        out += [b * height * width + r * width + c for c in range(width)]
return torch.tensor(out)
""", """
grid = einops.rearrange(torch.arange(images * height * width), "(b r c) -> b r c", r=height, c=width)
return einops.rearrange(grid[:, rows:, :], "b r c -> (b r c)")
"""], [
        ("heights for widths", 0, "(r + rows) * width", "(r + rows) * height"),
        ("widths run over heights", 0, "torch.arange(width)", "torch.arange(height)"),
        ("image step of one row", 0, "b * height * width", "b * width"),
        ("image step of the square", 0, "b * height * width", "b * height * height"),
        ("rows not added", 0, "(r + rows)", "r"),
        ("rows taken off", 0, "(r + rows)", "(r - rows)"),
        ("one row more", 0, "(r + rows)", "(r + rows + 1)"),
        ("rows times rows", 0, "(r + rows)", "(r * rows)"),
        ("added after the width", 0, "(r + rows) * width + c", "r * width + rows + c"),
        ("all rows", 0, "torch.arange(height - rows)", "torch.arange(height)"),
        ("one row fewer", 0, "torch.arange(height - rows)", "torch.arange(height - rows - 1)"),
        ("of one image", 0, "torch.arange(images)", "torch.arange(1)"),
        ("a table", 0, ".reshape(-1)", ""),
        ("columns fastest exchanged", 0, ".reshape(-1)", ".transpose(1, 2).reshape(-1)"),
        ("a remainder", 0, "return (b * height", "return torch.remainder(b * height", "+ c).reshape(-1)",
         "+ c, height * width).reshape(-1)"),
        ("columns below rows", 0, "(r + rows) * width + c", "c * height + r + rows"),
        ("from one", 0, "+ c).reshape", "+ c + 1).reshape"),
        ("images of fewer rows", 0, "b * height * width", "b * (height - rows) * width"),
        ("backwards", 0, ".reshape(-1)", ".reshape(-1).flip(0)"),
        ("floats", """
return torch.linspace(rows * width, images * height * width - 1, images * (height - rows) * width)
"""),
        ("without the first rows of the whole batch", """
return torch.arange(images * height * width)[rows * width:]
"""),
        ("a mask", """
return torch.arange(images * height * width).view(images, height, width) % height >= rows
"""),
    ]),
    "24.yadim_step": Tries([
        """
m1 = network(view1).flatten(2)
m2 = network(view2).flatten(2)
i = torch.arange(len(m1))
one = map_loss(m1[i, :, cell1], m2[..., None], clip)
two = map_loss(m2[i, :, cell2], m1[..., None], clip)
loss = 0.5 * one + 0.5 * two
optimizer.zero_grad()
loss.backward()
optimizer.step()
return float(loss.detach())
""", """
a, b = network(view1), network(view2)
losses = []
for here, there, cell in ((a, b, cell1), (b, a, cell2)):
    w = here.shape[3]
    source = here[torch.arange(len(here)), :, cell // w, cell % w]
    losses.append(map_loss(source, there, clip=clip, weight=0.05))
total = torch.stack(losses).mean()
network.zero_grad()
total.backward()
optimizer.step()
return total.item()
"""], [
        ("views exchanged", 0, "network(view1)", "network(view2)", "m2 = network(view2)", "m2 = network(view1)",
         "optimizer.step()", "optimizer.step(); loss = 2 * loss"),
        ("both from view 1", 0, "m2 = network(view2)", "m2 = network(view1)"),
        ("one direction", 0, "0.5 * one + 0.5 * two", "one"),
        ("other direction", 0, "0.5 * one + 0.5 * two", "two"),
        ("added", 0, "0.5 * one + 0.5 * two", "one + two"),
        ("difference", 0, "0.5 * one + 0.5 * two", "one - two"),
        ("largest", 0, "0.5 * one + 0.5 * two", "torch.maximum(one, two)"),
        ("second detached", 0, "0.5 * one + 0.5 * two", "0.5 * one + 0.5 * two.detach()"),
        ("same cell", 0, "m2[i, :, cell2]", "m2[i, :, cell1]"),
        ("cells exchanged", 0, "m1[i, :, cell1]", "m1[i, :, cell2]", "m2[i, :, cell2]", "m2[i, :, cell1]"),
        ("first cell", 0, "m1[i, :, cell1]", "m1[:, :, 0]", "m2[i, :, cell2]", "m2[:, :, 0]"),
        ("largest cell", 0, "m1[i, :, cell1]", "m1.amax(2)", "m2[i, :, cell2]", "m2.amax(2)"),
        ("own map", 0, "m2[..., None], clip", "m1[..., None], clip"),
        ("clip fixed", 0, "m2[..., None], clip)", "m2[..., None], 10)", "m1[..., None], clip)", "m1[..., None], 10)"),
        ("clip left out", 0, "m2[..., None], clip)", "m2[..., None])", "m1[..., None], clip)", "m1[..., None])"),
        ("clip as a weight", 0, "m2[..., None], clip)", "m2[..., None], 10, clip)"),
        ("pooled", 0, "m2[..., None]", "m2.mean(2)[..., None, None]", "m1[..., None]", "m1.mean(2)[..., None, None]"),
        ("teacher's targets", 0, "m2[..., None]", "m2.detach()[..., None]", "m1[..., None]", "m1.detach()[..., None]"),
        ("no zero_grad", 0, "optimizer.zero_grad()\n", ""),
        ("zero_grad late", 0, "optimizer.zero_grad()\nloss.backward()", "loss.backward()\noptimizer.zero_grad()"),
        ("no backward", 0, "loss.backward()\n", ""),
        ("no step", 0, "optimizer.step()\n", ""),
        ("two steps", 0, "optimizer.step()\n", "optimizer.step(); optimizer.step()\n"),
        ("backward twice", 0, "loss.backward()", "loss.backward(retain_graph=True); loss.backward()"),
        ("tensor returned", 0, "float(loss.detach())", "loss"),
        ("one part returned", 0, "float(loss.detach())", "float(one.detach())"),
        ("cosines", 0, "m1 = network(view1).flatten(2)", "m1 = F.normalize(network(view1).flatten(2), dim=1)",
         "m2 = network(view2).flatten(2)", "m2 = F.normalize(network(view2).flatten(2), dim=1)"),
        ("no regulariser", 0, "m2[..., None], clip)", "m2[..., None], clip, 0.0)", "m1[..., None], clip)",
         "m1[..., None], clip, 0.0)"),
        ("next image", 0, "m1[i, :, cell1]", "m1[i, :, cell1].roll(1, 0)"),
    ]),
}
