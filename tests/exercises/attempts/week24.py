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
""", """
rest = torch.logsumexp(scores.masked_fill(~negative, float("-inf")), dim=1, keepdim=True)
return -F.logsigmoid(scores - rest).masked_select(positive).mean()
""", """
top = scores.max(dim=1, keepdim=True).values
e = torch.exp(scores - top)
below = (e * negative).sum(1, keepdim=True)
share = e / (e + below)
return -torch.log(share)[positive].mean()
""", """
a, c = torch.where(positive)
rivals = scores[a].masked_fill(~negative[a], -torch.inf)
logits = torch.cat([scores[a, c].unsqueeze(1), rivals], dim=1)
return F.cross_entropy(logits, torch.zeros(len(a), dtype=torch.long))
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
        ("soft labels", "return F.cross_entropy(scores, positive.to(scores.dtype) / positive.sum(1, keepdim=True))"),
        ("soft labels over what is seen", "seen = scores.masked_fill(~(positive | negative), -1e9)\n"
         "return F.cross_entropy(seen, positive.to(scores.dtype) / positive.sum(1, keepdim=True))"),
        ("SupCon's sum", "rest = scores.masked_fill(~(positive | negative), -torch.inf).logsumexp(1, keepdim=True)\n"
         "each = ((rest - scores) * positive).sum(1) / positive.sum(1)\nreturn each.mean()"),
        ("the mask turned round", 0, "torch.where(negative,", "torch.where(~negative,"),
        ("along the columns", 0, "logsumexp(dim=-1)", "logsumexp(dim=-1).roll(1)"),
        ("the sign inside", 1, "F.softplus(rest[rows] - s)", "F.softplus(s - rest[rows])"),
        ("a hard cut against overflow", 0, "low = torch.finfo(scores.dtype).min",
         "low = torch.finfo(scores.dtype).min\nscores = scores.clamp(max=80)"),
        ("a sum over each row, the mean over rows", 0, "(each * positive).sum() / positive.sum()",
         "(each * positive).sum(1).mean()"),
        ("the best positive of each row", 0, "(each * positive).sum() / positive.sum()",
         "each.masked_fill(~positive, torch.inf).amin(1).mean()"),
        ("the worst positive of each row", 0, "(each * positive).sum() / positive.sum()",
         "(each * positive).amax(1).mean()"),
        ("scores of length 1", 0, "low = torch.finfo", "scores = F.normalize(scores, dim=1)\nlow = torch.finfo"),
        ("a temperature", 0, "low = torch.finfo", "scores = scores / 0.1\nlow = torch.finfo"),
        ("the sum of negatives, not of their exponentials", 1,
         "scores.masked_fill(negative.logical_not(), float(\"-inf\")).logsumexp(1)", "(scores * negative).sum(1)"),
        ("negatives weighed by positives", 1, "logsumexp(1)", "logsumexp(1) + positive.sum(1).log()"),
        ("plain number", 1, ".mean()", ".mean().item()"),
        ("zeros count in the mean", 0, "(each * positive).sum() / positive.sum()",
         "torch.where(positive, each, 0.0).sum(1).div(scores.shape[1]).mean()"),
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
""", """
n, d = sources.shape
places = targets.shape[2] * targets.shape[3]
cells = targets.permute(0, 2, 3, 1).reshape(n * places, d)
s = torch.mm(sources, cells.T) * d ** -0.5
c = clip * torch.tanh(s / clip)
owner = torch.arange(n * places) // places
positive = torch.arange(n)[:, None] == owner[None]
return weight * torch.mean(s ** 2) + nce(c, positive, ~positive)
""", """
n, d = sources.shape
s = torch.einsum("id,jdl->ijl", sources, targets.flatten(2)).div(math.sqrt(d))
soft = (s / clip).tanh().mul(clip)
same = torch.eye(n, dtype=torch.bool)[..., None].expand_as(s)
return nce(soft.flatten(1), same.flatten(1), ~same.flatten(1)) + weight * s.pow(2).mean()
""", """
n, d, h, w = targets.shape
cells = torch.cat([targets[j].reshape(d, h * w) for j in range(n)], dim=1)
raw = sources @ cells / math.sqrt(d)
own = torch.block_diag(*[torch.ones(1, h * w)] * n).bool()
return nce(clip * torch.tanh(raw / clip), own, own == False) + weight * (raw * raw).sum() / raw.numel()
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
        ("square of the mean", 0, "raw.pow(2).mean()", "raw.mean().pow(2)"),
        ("variance of the scores", 0, "raw.pow(2).mean()", "raw.var()"),
        ("norm of the scores", 0, "raw.pow(2).mean()", "raw.norm()"),
        ("squares of the rivals alone", 0, "raw.pow(2).mean()", "raw[~own].pow(2).mean()"),
        ("squares added in each row", 0, "raw.pow(2).mean()", "raw.pow(2).sum(1).mean()"),
        ("squares of unscaled products", 0, "raw.pow(2).mean()", "(sources @ flat.t()).pow(2).mean()"),
        ("half of the regulariser", 0, "+ weight * raw", "+ 0.5 * weight * raw"),
        ("divided by the clip at the end", 0, "torch.tanh(raw / clip) * clip", "torch.tanh(raw / clip) / clip"),
        ("arctangent", 0, "torch.tanh(raw / clip) * clip", "torch.atan(raw / clip) * clip"),
        ("clipped twice", 0, "torch.tanh(raw / clip) * clip", "torch.tanh(torch.tanh(raw / clip)) * clip"),
        ("targets of length 1", 0, "raw = (sources @ flat.t())", "raw = (sources @ F.normalize(flat, dim=1).t())"),
        ("sources detached", 0, "sources @ flat", "sources.detach() @ flat"),
        ("only the first place", 0, "N, d, h, w = targets.shape", "targets = targets[:, :, :1, :1]\n"
         "N, d, h, w = targets.shape"),
        ("the diagonal as the mask", 0, "own = who[None, :] == torch.arange(N)[:, None]",
         "own = torch.eye(N, N * h * w, dtype=torch.bool)"),
        ("the next image's places", 0, "own = who[None, :] == torch.arange(N)[:, None]",
         "own = (who[None, :] + 1) % N == torch.arange(N)[:, None]"),
        ("root of half the width", 0, "d ** 0.5", "(d / 2) ** 0.5"),
        ("both directions", 0, "return nce(soft, own, torch.logical_not(own))",
         "return nce(soft, own, torch.logical_not(own)) + nce(soft.T, own.T, torch.logical_not(own).T)"),
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
""", """
patches = height * width
one = torch.arange(rows * width, patches)
return (one[None] + patches * torch.arange(images)[:, None]).flatten()
""", """
here = torch.arange(images * height * width).view(images, height, width)[:, :height - rows]
return (here + rows * width).contiguous().view(-1)
""", """
b, r, c = torch.meshgrid(torch.arange(images), torch.arange(height - rows), torch.arange(width), indexing="ij")
return ((b * height + r + rows) * width + c).flatten().long()
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
        ("who predicts", "n = torch.arange(images * height * width).view(images, height, width)\n"
         "return n[:, :-rows].flatten()"),
        ("rows cut off the images", "n = torch.arange(images * height * width).view(images, height, width)\n"
         "return n[rows:].flatten()"),
        ("the last rows alone", "n = torch.arange(images * height * width).view(images, height, width)\n"
         "return n[:, -rows:].flatten()"),
        ("grid lying down", "n = torch.arange(images * height * width).view(images, width, height)\n"
         "return n[:, :, rows:].flatten()"),
        ("the row number alone", 0, "b * height * width + (r + rows) * width + c",
         "(r + rows) + 0 * b + 0 * c"),
        ("columns left out", 0, "(r + rows) * width + c", "(r + rows) * width + 0 * c"),
        ("one image's labels again and again",
         "return torch.arange(rows * width, height * width).repeat(images)"),
        ("each label once for every image",
         "return torch.arange(rows * width, height * width).repeat_interleave(images)"),
        ("rows times the height", 0, "(r + rows) * width", "(r * width + rows * height)"),
        ("images by the rows that predict", 0, "b * height * width", "b * (height - rows) * height"),
        ("rows + 1 below and one row fewer", 0, "(r + rows)", "(r + rows + 1)", "torch.arange(height - rows)",
         "torch.arange(height - rows - 1)"),
        ("upwards", "n = torch.arange(images * height * width).view(images, height, width)\n"
         "return n[:, :height - rows].flip(1).flatten()"),
        ("decimals", 0, ".reshape(-1)", ".reshape(-1) / 1"),
        ("label inside the row", 0, "return (b * height", "return ((b * height", ".reshape(-1)",
         " % width).reshape(-1)"),
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
""", """
maps = [network(view) for view in (view1, view2)]
places = [m.flatten(2) for m in maps]
image = torch.arange(view1.shape[0])
total = map_loss(places[0][image, :, cell1], maps[1], clip=clip)
total = total + map_loss(places[1][image, :, cell2], maps[0], clip=clip)
loss = total / 2
optimizer.zero_grad(set_to_none=True)
loss.backward()
optimizer.step()
return loss.detach().cpu().item()
""", """
map1 = network(view1)
map2 = network(view2)
first = torch.stack([m.flatten(1)[:, cell] for m, cell in zip(map1, cell1)])
second = torch.stack([m.flatten(1)[:, cell] for m, cell in zip(map2, cell2)])
loss = map_loss(first, map2, clip) / 2 + map_loss(second, map1, clip) / 2
loss.backward()
optimizer.step()
optimizer.zero_grad()
return loss.item()
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
        ("second view without a gradient", 0, "m2 = network(view2).flatten(2)",
         "with torch.no_grad():\n    m2 = network(view2).flatten(2)"),
        ("one cell for all images", 0, "m1[i, :, cell1]", "m1[:, :, cell1[0]]", "m2[i, :, cell2]",
         "m2[:, :, cell2[0]]"),
        ("last cell", 0, "m1[i, :, cell1]", "m1[:, :, -1]", "m2[i, :, cell2]", "m2[:, :, -1]"),
        ("cell counted from 1", 0, "m1[i, :, cell1]", "m1[i, :, cell1 - 1]", "m2[i, :, cell2]", "m2[i, :, cell2 - 1]"),
        ("rows and columns exchanged", 1, "cell // w, cell % w",
         "cell % here.shape[2], cell // here.shape[2] % here.shape[3]"),
        ("images in another order", 0, "i = torch.arange(len(m1))", "i = torch.arange(len(m1)).flip(0)"),
        ("channels chosen by cells", 0, "m1[i, :, cell1]", "m1[i, :, cell1][:, torch.arange(m1.shape[1]).flip(0)]"),
        ("sum of squares in place of a mean", 0, "0.5 * one + 0.5 * two", "0.5 * one ** 2 + 0.5 * two ** 2"),
        ("one half alone", 0, "0.5 * one + 0.5 * two", "0.5 * one"),
        ("the first is twice as heavy", 0, "0.5 * one + 0.5 * two", "(2 * one + two) / 3"),
        ("both steps one after the other", 0, "loss = 0.5 * one + 0.5 * two", "optimizer.zero_grad()\n"
         "one.backward(retain_graph=True)\noptimizer.step()\nloss = 0.5 * one.detach() + 0.5 * two"),
        ("zero_grad between backward and step", 0, "optimizer.zero_grad()\nloss.backward()\n",
         "loss.backward()\noptimizer.zero_grad()\n"),
        ("gradient upwards", 0, "loss.backward()", "(-loss).backward()"),
        ("the negative is returned", 0, "float(loss.detach())", "-float(loss.detach())"),
        ("the sum is returned", 0, "float(loss.detach())", "float((one + two).detach())"),
        ("gradients clipped", 0, "loss.backward()\n",
         "loss.backward()\ntorch.nn.utils.clip_grad_norm_(network.parameters(), 0.1)\n"),
        ("clip for the first direction alone", 0, "m1[..., None], clip)", "m1[..., None])"),
        ("the mean of source and map", 0, "m1[i, :, cell1]", "(m1[i, :, cell1] + m1.mean(2)) / 2"),
    ]),
}
