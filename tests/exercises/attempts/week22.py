"""Attempts at lesson 22."""

from . import Tries

ATTEMPTS = {
    "22.pair": Tries([
        """
middle = features[:, 4]
rows = []
for k in (0, 1, 2, 3, 5, 6, 7, 8):
    rows.append(torch.cat([middle, features[:, k]], dim=-1))
return torch.stack(rows, dim=1)
""", """
keep = torch.ones(9, dtype=torch.bool)
keep[4] = False
around = features[:, keep]
middle = einops.repeat(features[:, 4], 'b d -> b k d', k=8)
return torch.cat((middle, around), -1)
""", """
B, _, D = features.shape
out = features.new_empty(B, 8, 2 * D)
out[..., :D] = features[:, 4, None]
out[..., D:] = features[:, [k for k in range(9) if k != 4]]
return out
""", """
grid = features.unflatten(1, (3, 3))
centre = grid[:, 1, 1]
rows = [torch.cat([centre, grid[:, i, j]], 1) for i in range(3) for j in range(3) if (i, j) != (1, 1)]
return torch.stack(rows).transpose(0, 1)
""", """
both = torch.cat([features[:, 4:5].repeat(1, 9, 1), features], dim=2)
return torch.cat([both[:, :4], both[:, 5:]], dim=1)
"""], [
        ("the last patch is the middle", 0, "features[:, 4]", "features[:, 8]"),
        ("counted from one", 0, "features[:, 4]", "features[:, 5]"),
        ("four neighbours only", 0, "(0, 1, 2, 3, 5, 6, 7, 8)", "(1, 3, 5, 7)"),
        ("the corners twice", 0, "(0, 1, 2, 3, 5, 6, 7, 8)", "(0, 2, 6, 8, 0, 2, 6, 8)"),
        ("backwards", 0, "(0, 1, 2, 3, 5, 6, 7, 8)", "(8, 7, 6, 5, 3, 2, 1, 0)"),
        ("the first eight", 0, "(0, 1, 2, 3, 5, 6, 7, 8)", "range(8)"),
        ("stacked in front", 0, "dim=1)", "dim=0)"),
        ("a sum", 0, "torch.cat([middle, features[:, k]], dim=-1)", "middle + features[:, k]"),
        ("the neighbour twice", 0, "torch.cat([middle,", "torch.cat([features[:, k],"),
        ("the middle twice", 0, "features[:, k]], dim=-1)", "middle], dim=-1)"),
        ("a product beside the middle", 0, "features[:, k]], dim=-1)", "middle * features[:, k]], dim=-1)"),
        ("the mean of all as the middle", 1, "features[:, 4], 'b d", "features.mean(1), 'b d"),
        ("normalised", 1, "return torch.cat((middle, around), -1)",
         "return F.normalize(torch.cat((middle, around), -1), dim=-1)"),
        ("flat", 1, "-1)", "-1).flatten(0, 1)"),
        ("interleaved", 1, "torch.cat((middle, around), -1)", "torch.stack((middle, around), -1).flatten(2)"),
        ("neighbours detached", 1, "around = features[:, keep]", "around = features[:, keep].detach()"),
        ("other pictures' neighbours", 1, "around = features[:, keep]", "around = features[:, keep].flip(0) * 1.5"),
        ("middles of other pictures by repeat", 0, "return torch.stack(rows, dim=1)",
         "around = features[:, [0, 1, 2, 3, 5, 6, 7, 8]]\nreturn torch.cat([features[:, 4:5].repeat(8, 1, 1).view("
         "around.shape), around], 2)"),
        ("joined along patches, then cut anew", 1, "torch.cat((middle, around), -1)",
         "torch.cat((middle, around), 1).reshape(len(features), 8, -1)"),
        ("rolled", 1, "around = features[:, keep]", "around = features.roll(-4, 1)[:, 1:]"),
        ("the middle left in, the last left out", 4, "torch.cat([both[:, :4], both[:, 5:]], dim=1)", "both[:, :8]"),
        ("patch 3 left out", 4, "both[:, :4], both[:, 5:]", "both[:, :3], both[:, 4:]"),
        ("columns for rows", 3, "grid[:, i, j]", "grid[:, j, i]"),
        ("a corner as the middle", 3, "grid[:, 1, 1]", "grid[:, 0, 0]"),
        ("patches first", 3, ".transpose(0, 1)", ""),
        ("the neighbour less the middle", 4, "features], dim=2)", "features - features[:, 4:5]], dim=2)"),
        ("halves exchanged", 2, "[..., :D]", "[..., D:]",
         "out[..., D:] = features[:, [k", "out[..., :D] = features[:, [k"),
        ("zeros for the middle", 2, "features[:, 4, None]", "0"),
        ("all detached", 4, "return torch.cat", "both = both.detach()\nreturn torch.cat"),
        ("the mean of the two twice", 4, "features[:, 4:5].repeat(1, 9, 1), features]",
         "(features + features[:, 4:5]) / 2, (features + features[:, 4:5]) / 2]"),
        ("the neighbours of a neighbour", 0, "features[:, k]]", "features[:, (k + 1) % 9]]"),
    ]),
    "22.position_step": Tries([
        """
B = patches.shape[0]
features = encoder(patches.reshape(B * 9, *patches.shape[2:]))
features = features.reshape(B, 9, -1)
pairs = pair(features)
logits = head(pairs.reshape(B * 8, -1))
target = torch.arange(8).repeat(B)
loss = F.cross_entropy(logits, target)
optimizer.zero_grad()
loss.backward()
optimizer.step()
return loss.item()
""", """
optimizer.zero_grad()
f = einops.rearrange(encoder(einops.rearrange(patches, 'b k ... -> (b k) ...')), '(b k) d -> b k d', k=9)
logits = head(einops.rearrange(pair(f), 'b k d -> (b k) d')).reshape(len(patches), 8, 8)
loss = -logits.log_softmax(-1).diagonal(dim1=1, dim2=2).mean()
loss.backward()
optimizer.step()
return float(loss)
""", """
B = len(patches)
z = encoder(patches.flatten(0, 1)).view(B, 9, -1)
rows = pair(z)
logits = head(rows.flatten(0, 1)).view(B, 8, 8)
loss = F.cross_entropy(logits.transpose(1, 2), torch.arange(8).expand(B, 8))
optimizer.zero_grad()
loss.backward()
optimizer.step()
return loss.item()
""", """
optimizer.zero_grad()
z = encoder(patches.flatten(0, 1)).unflatten(0, (len(patches), 9))
rows = pair(z).transpose(0, 1).flatten(0, 1)
loss = F.cross_entropy(head(rows), torch.arange(8).repeat_interleave(len(patches)))
loss.backward()
optimizer.step()
return loss.item()
""", """
z = encoder(patches.flatten(0, 1)).unflatten(0, patches.shape[:2])
scores = head(pair(z).flatten(0, 1))
wanted = F.one_hot(torch.arange(len(scores)) % 8, 8)
loss = -(wanted * scores.log_softmax(1)).sum(1).mean()
optimizer.zero_grad(set_to_none=True)
loss.backward()
optimizer.step()
return loss.detach().item()
"""], [
        ("the middle's place as a target", 0, "torch.arange(8).repeat(B)",
         "torch.tensor([0, 1, 2, 3, 5, 6, 7, 0]).repeat(B)"),
        ("places shifted by one", 0, "torch.arange(8).repeat(B)", "((torch.arange(8) + 1) % 8).repeat(B)"),
        ("random places", 0, "torch.arange(8).repeat(B)", "torch.randperm(8).repeat(B)"),
        ("twice the loss", 0, "loss = F.cross_entropy(logits, target)", "loss = 2 * F.cross_entropy(logits, target)"),
        ("the sign", 0, "loss = F.cross_entropy(logits, target)", "loss = -F.cross_entropy(logits, target)"),
        ("squared distance to one-hot", 0, "F.cross_entropy(logits, target)",
         "F.mse_loss(logits, F.one_hot(target, 8).to(logits.dtype))"),
        ("normalised features", 0, "pairs = pair(features)", "pairs = pair(F.normalize(features, dim=-1))"),
        ("step before backward", 0, "loss.backward()\noptimizer.step()", "optimizer.step()\nloss.backward()"),
        ("zero_grad after backward", 0, "optimizer.zero_grad()\nloss.backward()",
         "loss.backward()\noptimizer.zero_grad()"),
        ("two steps", 0, "optimizer.step()", "optimizer.step()\noptimizer.step()"),
        ("patches reversed", 0, "encoder(patches.reshape", "encoder(patches.flip(1).reshape"),
        ("the batch reversed after the encoder", 0, "pairs = pair(features)", "pairs = pair(features.flip(1))"),
        ("only the first half of the batch", 0, "loss = F.cross_entropy(logits, target)",
         "loss = F.cross_entropy(logits[:8], target[:8])"),
        ("without the last neighbour", 1, ".diagonal(dim1=1, dim2=2)", ".diagonal(dim1=1, dim2=2)[:, :7]"),
        ("softmax over the neighbours", 1, "log_softmax(-1)", "log_softmax(1)"),
        ("log of the mean", 1, "-logits.log_softmax(-1).diagonal(dim1=1, dim2=2).mean()",
         "-logits.softmax(-1).diagonal(dim1=1, dim2=2).mean().log()"),
        ("the middle detached", 1, "pair(f)", "pair(torch.cat([f[:, :4], f[:, 4:5].detach(), f[:, 5:]], 1))"),
        ("patches centred first", 0, "features = encoder(patches.reshape",
         "patches = patches - patches.mean(1, keepdim=True)\nfeatures = encoder(patches.reshape"),
        ("temperature", 0, "F.cross_entropy(logits, target)", "F.cross_entropy(logits / 0.2, target)"),
        ("label smoothing", 0, "F.cross_entropy(logits, target)",
         "F.cross_entropy(logits, target, label_smoothing=0.1)"),
        ("the accuracy comes back", 0, "return loss.item()",
         "return (logits.argmax(1) == target).double().mean().item()"),
        ("logits not transposed", 2, "logits.transpose(1, 2)", "logits"),
        ("rows place by place, answers picture by picture", 3, "repeat_interleave(len(patches))",
         "repeat(len(patches))"),
        ("answers from 0 to 8 without 4", 0, "torch.arange(8).repeat(B)",
         "torch.tensor([0, 1, 2, 3, 5, 6, 7, 8]).repeat(B)"),
        ("only the encoder's gradients cleared", 2, "optimizer.zero_grad()", "encoder.zero_grad()"),
        ("only the head's gradients cleared", 2, "optimizer.zero_grad()", "head.zero_grad()"),
        ("the last neighbour's gradient alone", 0, "loss = F.cross_entropy(logits, target)\noptimizer.zero_grad()\n"
         "loss.backward()\noptimizer.step()",
         "loss = F.cross_entropy(logits, target)\nfor k in range(8):\n    optimizer.zero_grad()\n"
         "    part = F.cross_entropy(logits[k::8], target[k::8])\n    part.backward(retain_graph=True)\n"
         "optimizer.step()"),
        ("its own pairs, the neighbour first", 0, "pairs = pair(features)",
         "beside = features[:, [0, 1, 2, 3, 5, 6, 7, 8]]\npairs = torch.cat([beside, features[:, 4:5].expand_as("
         "beside)], 2)"),
        ("the neighbours detached", 0, "pairs = pair(features)",
         "keep = torch.zeros(9, 1)\nkeep[4] = 1\npairs = pair(keep * features + (1 - keep) * features.detach())"),
        ("eight times the loss", 4, ".sum(1).mean()", ".sum() / len(patches)"),
        ("a mean over the classes, too", 4, ".sum(1).mean()", ".mean()"),
        ("divided by log 8", 2, "optimizer.zero_grad()", "loss = loss / math.log(8)\noptimizer.zero_grad()"),
        ("gradients clipped", 2, "optimizer.step()",
         "nn.utils.clip_grad_norm_(encoder.parameters(), 0.1)\noptimizer.step()"),
        ("no zero_grad", 2, "optimizer.zero_grad()\n", ""),
        ("the head in evaluation mode", 2, "rows = pair(z)", "rows = pair(z)\nhead.eval()"),
        ("without the middle's patch in the pass", 2, "z = encoder(patches.flatten(0, 1)).view(B, 9, -1)",
         "z = encoder(patches.flatten(0, 1)).view(B, 9, -1)\nz = torch.cat([z[:, :4], encoder(patches[:, 4])"
         "[:, None], z[:, 5:]], 1)"),
        ("the loss's exponential", 2, "return loss.item()", "return loss.exp().item()"),
        ("the weights' decay by hand", 2, "optimizer.step()",
         "optimizer.step()\nwith torch.no_grad():\n    for p in encoder.parameters():\n        p.mul_(0.99)"),
    ]),
    "22.standardise": Tries([
        """
flat = weight.reshape(len(weight), -1)
flat = flat - flat.mean(1, keepdim=True)
flat = flat / (flat.pow(2).mean(1, keepdim=True) + eps).sqrt()
return flat.reshape(weight.shape)
""", """
mean = weight.mean(dim=[1, 2, 3], keepdim=True)
var = ((weight - mean) ** 2).mean(dim=[1, 2, 3], keepdim=True)
return (weight - mean) * torch.rsqrt(var + eps)
""", """
variance, mean = torch.var_mean(weight, dim=(1, 2, 3), keepdim=True, unbiased=False)
return (weight - mean) / (variance + eps) ** 0.5
""", """
return F.group_norm(weight, 1, eps=eps)
""", """
mean = einops.reduce(weight, 'o i h w -> o 1 1 1', 'mean')
square = einops.reduce((weight - mean) ** 2, 'o i h w -> o 1 1 1', 'mean')
return (weight - mean) / torch.sqrt(square + eps)
""", """
rows = []
for filt in weight:
    centred = filt - filt.mean()
    rows.append(centred / (centred.square().mean() + eps).sqrt())
return torch.stack(rows)
"""], [
        ("the largest is 1", 0, "(flat.pow(2).mean(1, keepdim=True) + eps).sqrt()",
         "flat.abs().amax(1, keepdim=True)"),
        ("mean absolute value", 0, "(flat.pow(2).mean(1, keepdim=True) + eps).sqrt()",
         "(flat.abs().mean(1, keepdim=True) + eps)"),
        ("a sum in place of a mean", 0, "flat.pow(2).mean(1", "flat.pow(2).sum(1"),
        ("the median", 0, "flat - flat.mean(1, keepdim=True)", "flat - flat.median(1, keepdim=True).values"),
        ("by output and row", 1, "[1, 2, 3]", "[1, 2]"),
        ("eps twice", 1, "torch.rsqrt(var + eps)", "torch.rsqrt(var + 2 * eps)"),
        ("multiplied by the deviation", 1, "torch.rsqrt(var + eps)", "torch.sqrt(var + eps)"),
        ("the mean of all filters", 1, "mean = weight.mean(dim=[1, 2, 3], keepdim=True)", "mean = weight.mean()"),
        ("plus the mean", 1, "return (weight - mean)", "return (weight + mean)"),
        ("mean of squares without the mean", 1, "((weight - mean) ** 2)", "(weight ** 2)"),
        ("only the mean detached", 1, "((weight - mean) ** 2)", "((weight - mean) ** 2).detach()"),
        ("fan-in scaled", 1, "torch.rsqrt(var + eps)", "torch.rsqrt(var * weight[0].numel() + eps)"),
        ("a filter transposed", 0, "return flat.reshape(weight.shape)",
         "return flat.reshape(weight.shape).flip(0)"),
        ("flat", 0, "return flat.reshape(weight.shape)", "return flat"),
        ("eps subtracted", 1, "var + eps", "var - eps + 1e-3"),
        ("batch norm of the filters", 3, "F.group_norm(weight, 1, eps=eps)",
         "F.batch_norm(weight, None, None, training=True, eps=eps)"),
        ("a group for each input", 3, "F.group_norm(weight, 1, eps=eps)",
         "F.group_norm(weight, weight.shape[1], eps=eps)"),
        ("eps forgotten in the norm", 3, "eps=eps", "eps=1e-10"),
        ("the norm's own eps", 3, ", eps=eps", ""),
        ("std", 2, "(variance + eps) ** 0.5", "weight.std((1, 2, 3), keepdim=True)"),
        ("std and eps", 2, "(variance + eps) ** 0.5", "(weight.std((1, 2, 3), keepdim=True) + eps)"),
        ("variance at least eps", 2, "(variance + eps)", "variance.clamp(min=eps)"),
        ("eps squared", 2, "variance + eps", "variance + eps ** 2"),
        ("eps on top", 2, "(weight - mean) /", "(weight - mean + eps) /"),
        ("eps beside the result", 2, "** 0.5", "** 0.5 + eps"),
        ("only centred", 2, " / (variance + eps) ** 0.5", ""),
        ("only scaled", 2, "(weight - mean)", "weight"),
        ("the filter's mean detached", 2, "(weight - mean)", "(weight - mean.detach())"),
        ("the variance detached", 2, "(variance + eps)", "(variance.detach() + eps)"),
        ("one variance for all filters", 4, "einops.reduce((weight - mean) ** 2, 'o i h w -> o 1 1 1', 'mean')",
         "((weight - mean) ** 2).mean()"),
        ("by input", 4, "o 1 1 1", "1 i 1 1"),
        ("by place", 4, "o 1 1 1", "o 1 h w"),
        ("largest less smallest", 5, "(centred.square().mean() + eps).sqrt()", "(filt.max() - filt.min() + eps)"),
        ("times the root of the fan-in", 2, "return (weight - mean)",
         "return weight[0].numel() ** -0.5 * (weight - mean)"),
    ]),
    "22.ranks": Tries([
        """
def rank(x):
    smaller = (x[None, :] < x[:, None]).double().sum(1)
    same = (x[None, :] == x[:, None]).double().sum(1)
    return smaller + 0.5 * same
ra, rb = rank(a), rank(b)
ra, rb = ra - ra.mean(), rb - rb.mean()
return (ra @ rb / (ra.norm() * rb.norm())).item()
""", """
ranks = []
for x in (a, b):
    place = torch.empty(len(x))
    order = x.argsort()
    place[order] = torch.arange(len(x), dtype=torch.float32)
    for value in x.unique():
        place[x == value] = place[x == value].mean()
    ranks.append(place)
return F.cosine_similarity(ranks[0] - ranks[0].mean(), ranks[1] - ranks[1].mean(), dim=0)
""", """
a, b = ((x[:, None] - x).sign().sum(1) for x in (a, b))
return (a * b).sum() / ((a * a).sum() * (b * b).sum()).sqrt()
""", """
def rank(x):
    up = x.argsort(stable=True).argsort()
    down = (-x).argsort(stable=True).argsort()
    return (up - down).double()
both = torch.stack([rank(a), rank(b)])
both = both - both.mean(1, keepdim=True)
return float(both[0] @ both[1]) / float(both[0].norm() * both[1].norm())
""", """
def from_the_top(x):
    return [1 + sum(float(other > v) for other in x) + sum(float(other == v) for other in x) / 2 for v in x]
ranks = torch.tensor([from_the_top(a), from_the_top(b)])
return torch.corrcoef(ranks)[0, 1].item()
"""], [
        ("ties not shared", 1, "place[x == value] = place[x == value].mean()", "pass"),
        ("ties share the greatest", 1, "place[x == value].mean()", "place[x == value].max()"),
        ("order for place", 1, "place[order] = torch.arange(len(x), dtype=torch.float32)", "place = order.float()"),
        ("not centred", 1, "ranks[0] - ranks[0].mean(), ranks[1] - ranks[1].mean()", "ranks[0], ranks[1]"),
        ("a alone", 0, "rank(a), rank(b)", "rank(a), rank(a)"),
        ("b from the top", 0, "rank(a), rank(b)", "rank(a), rank(-b)"),
        ("absolute", 0, "return (ra @ rb", "return abs(ra @ rb"),
        ("divided by n", 0, "(ra.norm() * rb.norm())", "len(a)"),
        ("divided by one norm squared", 0, "(ra.norm() * rb.norm())", "(ra.norm() * ra.norm())"),
        ("squared distance of ranks", 0, "return (ra @ rb / (ra.norm() * rb.norm())).item()",
         "return (ra - rb).square().mean().item()"),
        ("smaller or equal", 0, "x[None, :] < x[:, None]", "x[None, :] <= x[:, None]"),
        ("logarithms of ranks", 0, "ra, rb = rank(a), rank(b)", "ra, rb = rank(a).log1p(), rank(b).log1p()"),
        ("pairs in the same order", 0, "return (ra @ rb / (ra.norm() * rb.norm())).item()",
         "return ((a[:, None] < a) == (b[:, None] < b)).double().mean().item()"),
        ("the top agrees", 0, "return (ra @ rb / (ra.norm() * rb.norm())).item()",
         "return float(a.argmax() == b.argmax())"),
        ("reversed list", 0, "rank(a), rank(b)", "rank(a), rank(b.flip(0))"),
        ("rounded", 0, ".item()", ".round().item()"),
        ("both lists sorted", 0, "rank(a), rank(b)", "a.sort().values.double(), b.sort().values.double()"),
        ("ranks of the ranks' order", 0, "rank(a), rank(b)", "rank(a.argsort()), rank(b.argsort())"),
        ("the whole matrix", 4, "torch.corrcoef(ranks)[0, 1].item()", "torch.corrcoef(ranks)"),
        ("a with itself", 4, "[0, 1].item()", "[0, 0].item()"),
        ("columns for rows", 4, "torch.corrcoef(ranks)", "torch.corrcoef(ranks.T)"),
        ("the covariance", 4, "torch.corrcoef(ranks)", "torch.cov(ranks)"),
        ("one from the top", 4, "from_the_top(b)]", "[-v for v in from_the_top(b)]]"),
        ("ties at the top place", 4, " + sum(float(other == v) for other in x) / 2", ""),
        ("ties shared without itself", 4, "/ 2 for v in x", "for v in x"),
        ("a slope", 2, "((a * a).sum() * (b * b).sum()).sqrt()", "(a * a).sum()"),
        ("the sum of places apart", 0, "return (ra @ rb / (ra.norm() * rb.norm())).item()",
         "return 1 - 3 * (ra - rb).abs().sum().item() / (len(a) ** 2 - 1)"),
        ("the formula for no ties", 0, "return (ra @ rb / (ra.norm() * rb.norm())).item()",
         "return 1 - 6 * (ra - rb).square().sum().item() / (len(a) * (len(a) ** 2 - 1))"),
        ("n - 1 below, n above", 0, "return (ra @ rb / (ra.norm() * rb.norm()))",
         "return (ra @ rb / (ra.std() * rb.std()) / len(a))"),
        ("its square", 0, ".item()", ".square().item()"),
        ("from 0 to 1", 0, "return (ra @ rb / (ra.norm() * rb.norm())).item()",
         "return (1 + ra @ rb / (ra.norm() * rb.norm())).item() / 2"),
        ("the values of b", 0, "rank(a), rank(b)", "rank(a), b.double()"),
        ("argsort twice", 0, "rank(a), rank(b)", "a.argsort().argsort().double(), b.argsort().argsort().double()"),
        ("argsort once", 0, "rank(a), rank(b)", "a.argsort().double(), b.argsort().double()"),
        ("who is above the mean", 0, "rank(a), rank(b)", "(a > a.mean()).double(), (b > b.mean()).double()"),
    ]),
}
