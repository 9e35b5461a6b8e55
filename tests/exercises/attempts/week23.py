"""Attempts at lesson 23."""

from . import Tries

ATTEMPTS = {
    "23.prototypes": Tries([
        """
s = support - mean
s = s / s.norm(dim=2, keepdim=True)
q = queries - mean
q = q / q.norm(dim=1, keepdim=True)
p = s.mean(dim=1)
return ((q.unsqueeze(1) - p.unsqueeze(0)) ** 2).sum(dim=2).sqrt()
""", """
s = F.normalize(support - mean, dim=-1)
q = F.normalize(queries - mean, dim=-1)
columns = []
for k in range(len(s)):
    columns.append((q - s[k].mean(0)).norm(dim=1))
return torch.stack(columns, dim=1)
""", """
def unit(z):
    return z / z.square().sum(-1, keepdim=True).sqrt()
prototypes = unit(support - mean).sum(1) / support.shape[1]
gaps = unit(queries - mean).unsqueeze(1).expand(-1, len(prototypes), -1) - prototypes
return torch.linalg.vector_norm(gaps, dim=2)
""", """
K, S, D = support.shape
flat = F.normalize((support - mean).reshape(K * S, D), dim=1).reshape(K, S, D)
prototypes = einops.reduce(flat, 'k s d -> k d', 'mean')
q = F.normalize(queries - mean, dim=1)
return torch.stack([torch.stack([(a - p).norm() for p in prototypes]) for a in q])
""", """
s, q = [F.normalize(z - mean, dim=-1) for z in (support, queries)]
p = torch.einsum('ksd->kd', s) / s.shape[1]
squared = (q ** 2).sum(1)[:, None] + (p ** 2).sum(1)[None] - 2 * torch.einsum('md,kd->mk', q, p)
return squared.clamp_min(0) ** 0.5
"""], [
        ("minus the distance", 0, "return (", "return -("),
        ("transposed", 1, "torch.stack(columns, dim=1)", "torch.stack(columns, dim=0)"),
        ("sum of absolute differences", 0, "** 2).sum(dim=2).sqrt()", "** 2).sqrt().sum(dim=2)"),
        ("mean over dimensions", 0, ".sum(dim=2).sqrt()", ".mean(dim=2).sqrt()"),
        ("median image", 1, "s[k].mean(0)", "s[k].median(0).values"),
        ("first image only", 1, "s[k].mean(0)", "s[k][0]"),
        ("last image only", 1, "s[k].mean(0)", "s[k][-1]"),
        ("mean added", 0, "support - mean", "support + mean", "queries - mean", "queries + mean"),
        ("only the support is centred", 0, "queries - mean", "queries"),
        ("only the support has length 1", 0, "q = q / q.norm(dim=1, keepdim=True)\n", ""),
        ("only the queries have length 1", 0, "s = s / s.norm(dim=2, keepdim=True)\n", ""),
        ("length along the support", 0, "s.norm(dim=2", "s.norm(dim=1"),
        ("length along the classes", 0, "s.norm(dim=2", "s.norm(dim=0"),
        ("the nearest class", 1, "return torch.stack(columns, dim=1)", "return torch.stack(columns, dim=1).argmin(1)"),
        ("probabilities", 1, "return torch.stack(columns, dim=1)", "return (-torch.stack(columns, dim=1)).softmax(1)"),
        ("length 1 by the sum", 0, "s.norm(dim=2, keepdim=True)", "s.abs().sum(2, keepdim=True)"),
        ("queries centred on their own mean", 0, "queries - mean", "queries - queries.mean(0)"),
        ("each class on its own mean", 1, "support - mean", "support - support.mean(1, keepdim=True)"),
        ("squared length", 0, "s.norm(dim=2, keepdim=True)", "s.norm(dim=2, keepdim=True) ** 2"),
        ("farthest image", 1, "(q - s[k].mean(0)).norm(dim=1)", "(q[:, None] - s[k]).norm(dim=2).max(1).values"),
        ("one minus cosine", 1, "(q - s[k].mean(0)).norm(dim=1)", "1 - q @ s[k].mean(0)"),
        ("mean of the raw features, then length 1", 1, "s = F.normalize(support - mean, dim=-1)",
         "s = F.normalize((support - mean).mean(1, keepdim=True), dim=-1)"),
        ("centred after length 1", 1, "F.normalize(support - mean, dim=-1)", "F.normalize(support, dim=-1) - mean",
         "F.normalize(queries - mean, dim=-1)", "F.normalize(queries, dim=-1) - mean"),
        ("length 1 before and after centring", 1, "F.normalize(support - mean, dim=-1)",
         "F.normalize(F.normalize(support, dim=-1) - mean, dim=-1)", "F.normalize(queries - mean, dim=-1)",
         "F.normalize(F.normalize(queries, dim=-1) - mean, dim=-1)"),
        ("the mean of all support images for each class", 0, "s.mean(dim=1)",
         "s.mean(dim=1).mean(0, keepdim=True).expand(len(s), -1)"),
        ("the largest difference", 0, "** 2).sum(dim=2).sqrt()", "** 2).amax(dim=2).sqrt()"),
        ("standardised in place of length 1", 0, "s = s / s.norm(dim=2, keepdim=True)",
         "s = s / s.std(dim=2, keepdim=True)",
         "q = q / q.norm(dim=1, keepdim=True)", "q = q / q.std(dim=1, keepdim=True)"),
        ("length 1 over the whole table", 0, "q.norm(dim=1, keepdim=True)", "q.norm()"),
        ("divided by one image too few", 0, "s.mean(dim=1)", "s.sum(dim=1) / max(s.shape[1] - 1, 1)"),
        ("unlike the mean of the queries", 1, "q - s[k].mean(0)", "q.mean(0) - s[k].mean(0) + 0 * q"),
        ("similarities of a softmax", 0, "return ((q.unsqueeze(1) - p.unsqueeze(0)) ** 2).sum(dim=2).sqrt()",
         "return (q @ p.T).softmax(1)"),
        ("centred feature by feature", 0, "support - mean", "support - support.mean(-1, keepdim=True)",
         "queries - mean",
         "queries - queries.mean(-1, keepdim=True)"),
    ]),
    "23.mahalanobis": Tries([
        """
mean = train.mean(dim=0)
centred = train - mean
cov = centred.T @ centred / train.shape[0]
diff = test - mean
return torch.diagonal(diff @ torch.linalg.pinv(cov) @ diff.T)
""", """
inverse = torch.linalg.pinv(torch.cov(train.T, correction=0))
scores = []
for row in test - train.mean(0):
    scores.append(row @ inverse @ row)
return torch.stack(scores)
""", """
mu = train.sum(0) / len(train)
d = train - mu
cov = torch.einsum('ni,nj->ij', d, d) / len(train)
return torch.einsum('mi,ij,mj->m', test - mu, torch.linalg.pinv(cov, hermitian=True), test - mu)
""", """
mean = train.mean(0, keepdim=True)
cov = ((train - mean).T @ (train - mean)).div(train.size(0))
away = test - mean
return (away * (torch.linalg.pinv(cov) @ away.T).T).sum(-1)
""", """
d = train - train.mean(0)
u, s, vh = torch.linalg.svd(d, full_matrices=False)
keep = s > 1e-4 * s.max()
z = (test - train.mean(0)) @ vh[keep].T
return len(train) * ((z / s[keep]) ** 2).sum(1)
"""], [
        ("the whole table", 0, "return torch.diagonal(diff @ torch.linalg.pinv(cov) @ diff.T)",
         "return diff @ torch.linalg.pinv(cov) @ diff.T"),
        ("half of it", 1, "return torch.stack(scores)", "return 0.5 * torch.stack(scores)"),
        ("minus", 1, "return torch.stack(scores)", "return -torch.stack(scores)"),
        ("divided by D", 0, "train.shape[0]", "train.shape[1]"),
        ("not divided", 0, " / train.shape[0]", ""),
        ("divided by the test images", 0, "train.shape[0]", "test.shape[0]"),
        ("ridge", 0, "torch.linalg.pinv(cov)", "torch.linalg.inv(cov + 0.1 * torch.eye(len(cov), dtype=cov.dtype))"),
        ("one variance for all", 0, "torch.linalg.pinv(cov)",
         "(torch.eye(len(cov), dtype=cov.dtype) / cov.diagonal().mean())"),
        ("deviations instead of variances", 0, "torch.linalg.pinv(cov)",
         "torch.diag(1 / (cov.diagonal().sqrt() + 1e-6))"),
        ("inverted twice", 0, "torch.linalg.pinv(cov)", "torch.linalg.pinv(cov @ cov)"),
        ("transposed the wrong way", 0, "torch.linalg.pinv(cov) @ diff.T", "torch.linalg.pinv(cov).T @ diff"),
        ("correlation", 1, "torch.cov(train.T, correction=0)", "torch.corrcoef(train.T).nan_to_num()"),
        ("distance from the first image", 1, "train.mean(0)", "train[0]"),
        ("median", 1, "train.mean(0)", "train.median(0).values"),
        ("largest term", 1, "row @ inverse @ row", "(row @ inverse * row).max()"),
        ("absolute terms", 1, "row @ inverse @ row", "(row @ inverse * row).abs().sum()"),
        ("of length 1 first", 1, "torch.cov(train.T, correction=0)",
         "torch.cov(F.normalize(train, dim=1).T, correction=0)"),
        ("root of the terms", 1, "row @ inverse @ row", "(row @ inverse).norm()"),
        ("logarithm", 1, "return torch.stack(scores)", "return torch.stack(scores).log()"),
        ("train scores", 1, "test - train.mean(0)", "train - train.mean(0)"),
        ("softmax", 1, "return torch.stack(scores)", "return torch.stack(scores).softmax(0)"),
        ("the pseudo-inverse of the features", 0, "torch.linalg.pinv(cov)",
         "(torch.linalg.pinv(centred) @ torch.linalg.pinv(centred).T)"),
        ("the mean of both", 0, "mean = train.mean(dim=0)", "mean = torch.cat([train, test]).mean(dim=0)"),
        ("statistics of both", 1, "torch.cov(train.T, correction=0)",
         "torch.cov(torch.cat([train, test]).T, correction=0)"),
        ("N - 1 by default", 1, "torch.cov(train.T, correction=0)", "torch.cov(train.T)"),
        ("each image centred on itself", 1, "test - train.mean(0)", "test - test.mean(1, keepdim=True)"),
        ("one number for the mean", 1, "test - train.mean(0)", "test - train.mean()"),
        ("standardised only", 0, "return torch.diagonal(diff @ torch.linalg.pinv(cov) @ diff.T)",
         "return (diff / (train.std(0) + 1e-9)).square().sum(1)"),
        ("entry by entry", 0, "torch.linalg.pinv(cov)",
         "torch.where(cov.abs() > 1e-9, 1 / cov, torch.zeros_like(cov))"),
        ("the sum over rows", 0, "torch.diagonal(diff @ torch.linalg.pinv(cov) @ diff.T)",
         "(diff @ torch.linalg.pinv(cov) @ diff.T).sum(1)"),
        ("its root inverse only once", 1, "row @ inverse @ row", "(row @ inverse).sum()"),
        ("the nearest training image", 1, "return torch.stack(scores)",
         "return torch.cdist(test, train).amin(1).square()"),
        ("a logarithm of the determinant added", 0, "return torch.diagonal(diff @ torch.linalg.pinv(cov) @ diff.T)",
         "more = torch.logdet(cov + torch.eye(len(cov)).to(cov))\nreturn torch.diagonal(diff @ torch.linalg.pinv(cov) "
         "@ diff.T) + more"),
    ]),
    "23.pgd_step": Tries([
        """
adv = x.clone().detach()
adv.requires_grad = True
loss = F.cross_entropy(classifier(adv), labels)
loss.backward()
new = adv.detach() + step * torch.sign(adv.grad)
delta = torch.clamp(new - centre, min=-epsilon, max=epsilon)
return torch.clamp(centre + delta, 0, 1)
""", """
with torch.enable_grad():
    z = x.detach().clone().requires_grad_(True)
    g = torch.autograd.grad(F.cross_entropy(classifier(z), labels, reduction='sum'), z)[0]
z = z.detach() + step * g.sign()
z = torch.max(torch.min(z, centre + epsilon), centre - epsilon)
return z.clamp(min=0.0, max=1.0)
""", """
x = x.detach().clone().requires_grad_(True)
F.nll_loss(F.log_softmax(classifier(x), dim=1), labels).backward()
low, high = (centre - epsilon).clamp(min=0), (centre + epsilon).clamp(max=1)
return torch.clamp(x.detach() + step * x.grad.sign(), low, high)
""", """
delta = (x - centre).detach().requires_grad_(True)
loss = F.cross_entropy(classifier(centre + delta), labels)
gradient, = torch.autograd.grad(loss, [delta])
delta = (delta.detach() + step * gradient.sign()).clamp(-epsilon, epsilon)
return (centre + delta).clamp(0.0, 1.0)
""", """
x = x.detach().requires_grad_()
minus = -nn.CrossEntropyLoss()(classifier(x), labels)
g, = torch.autograd.grad(minus, x)
new = (x - step * torch.sign(g)).detach()
new = centre + torch.clip(new - centre, -epsilon, epsilon)
return torch.clip(new, 0, 1)
"""], [
        ("twice the step", 0, "+ step *", "+ 2 * step *"),
        ("gradient of length 1", 1, "g.sign()", "(g / g.flatten(1).norm(dim=1).view(-1, 1, 1, 1))"),
        ("round ball", 0, "torch.clamp(new - centre, min=-epsilon, max=epsilon)",
         "(new - centre) * (epsilon / (new - centre).flatten(1).norm(dim=1).view(-1, 1, 1, 1)).clamp(max=1)"),
        ("ball on one side", 0, "min=-epsilon", "min=0"),
        ("clamped from above only", 1, "min=0.0, max=1.0", "max=1.0"),
        ("clamped from below only", 1, "min=0.0, max=1.0", "min=0.0"),
        ("clamped to -1 and 1", 1, "min=0.0", "min=-1.0"),
        ("returns the difference", 0, "return torch.clamp(centre + delta, 0, 1)", "return delta"),
        ("the difference is added to x", 0, "centre + delta", "x + delta"),
        ("does not move", 1, "z = z.detach() + step * g.sign()", "z = z.detach()"),
        ("the largest logit up", 0, "F.cross_entropy(classifier(adv), labels)", "classifier(adv).max(1).values.sum()"),
        ("the true logit up", 0, "F.cross_entropy(classifier(adv), labels)",
         "classifier(adv).gather(1, labels[:, None]).sum()"),
        ("towards the first class", 0, "labels)", "torch.zeros_like(labels))"),
        ("sign of x", 1, "g.sign()", "z.detach().sign()"),
        ("upper end of the ball only", 1, "torch.max(torch.min(z, centre + epsilon), centre - epsilon)",
         "torch.min(z, centre + epsilon)"),
        ("half the ball", 0, "min=-epsilon, max=epsilon", "min=-epsilon / 2, max=epsilon / 2"),
        ("noise in place of the gradient", 0, "torch.sign(adv.grad)", "torch.sign(torch.randn_like(x))"),
        ("to 255", 1, "max=1.0", "max=255.0"),
        ("step fixed", 0, "+ step *", "+ 0.01 *"),
        ("one sign for each image", 0, "torch.sign(adv.grad)",
         "torch.sign(adv.grad.mean((1, 2, 3), keepdim=True)).expand_as(x)"),
        ("one sign for each channel", 0, "torch.sign(adv.grad)", "torch.sign(adv.grad.mean((2, 3), keepdim=True))"),
        ("relative step", 1, "step * g.sign()", "step * z.detach() * g.sign()"),
        ("a tanh for the sign", 1, "g.sign()", "g.tanh()"),
        ("divided by the largest entry", 1, "g.sign()", "(g / g.abs().max())"),
        ("step in units of 255", 0, "+ step *", "+ step / 255 *"),
        ("the ball around 0", 0, "new - centre, min", "new, min", "centre + delta", "delta"),
        ("the ball before the step", 1, "z = torch.max(torch.min(z, centre + epsilon), centre - epsilon)\n", "",
         "z = z.detach() + step", "z = torch.max(torch.min(z.detach(), centre + epsilon), centre - epsilon) + step"),
        ("scaled into [0, 1]", 0, "torch.clamp(centre + delta, 0, 1)",
         "(centre + delta - (centre + delta).min()) / ((centre + delta).max() - (centre + delta).min())"),
        ("the gradient of the loss of labels plus one", 0, "labels)", "(labels + 1) % classifier(adv).shape[1])"),
        ("a mean squared error", 0, "F.cross_entropy(classifier(adv), labels)",
         "F.mse_loss(classifier(adv), F.one_hot(labels, classifier(adv).shape[1]).to(adv))"),
        ("epsilon twice", 1, "centre + epsilon), centre - epsilon", "centre + 2 * epsilon), centre - 2 * epsilon"),
        ("returns the gradient", 1, "return z.clamp(min=0.0, max=1.0)", "return g"),
        ("the step is added and the ball forgets the lower end", 1,
         "torch.max(torch.min(z, centre + epsilon), centre - epsilon)",
         "torch.max(z, centre - epsilon)"),
        ("images in -1 to 1", 0, "torch.clamp(centre + delta, 0, 1)", "torch.clamp(centre + delta, -1, 1)"),
        ("the true logit down", 0, "F.cross_entropy(classifier(adv), labels)",
         "-classifier(adv).gather(1, labels[:, None]).sum()"),
    ]),
    "23.tuning_step": Tries([
        """
logits = head(backbone(images))
loss = F.cross_entropy(logits, labels)
weights = list(backbone.parameters()) + list(head.parameters())
grads = torch.autograd.grad(loss, weights)
rates = [lr] * len(list(backbone.parameters())) + [head_lr] * len(list(head.parameters()))
with torch.no_grad():
    for p, g, rate in zip(weights, grads, rates):
        p.sub_(rate * g)
return float(loss)
""", """
optimizer = torch.optim.SGD([{'params': backbone.parameters(), 'lr': lr},
                             {'params': head.parameters(), 'lr': head_lr}], lr=lr)
optimizer.zero_grad()
loss = nn.functional.cross_entropy(head(backbone(images)), labels)
loss.backward()
optimizer.step()
return loss.detach().item()
""", """
for p in (*backbone.parameters(), *head.parameters()):
    p.grad = None
loss = F.cross_entropy(head(backbone(images)), labels)
loss.backward()
for p in backbone.parameters():
    p.data.sub_(lr * p.grad)
for p in head.parameters():
    p.data.sub_(head_lr * p.grad)
return loss.detach().item()
""", """
body, top = torch.optim.SGD(backbone.parameters(), lr=lr), torch.optim.SGD(head.parameters(), lr=head_lr)
body.zero_grad(), top.zero_grad()
loss = nn.CrossEntropyLoss()(head(backbone(images)), labels)
loss.backward()
body.step()
top.step()
return loss.item()
""", """
n = len(list(backbone.parameters()))
loss = F.nll_loss(head(backbone(images)).log_softmax(-1), labels)
every = [*backbone.parameters(), *head.parameters()]
for i, (p, g) in enumerate(zip(every, torch.autograd.grad(loss, every))):
    p.data = p.data - (lr if i < n else head_lr) * g
return float(loss.detach())
"""], [
        ("one rate forgotten", 1, "'lr': head_lr}], lr=lr", "}], lr=lr", "parameters(), }", "parameters()}"),
        ("rates halved", 0, "p.sub_(rate * g)", "p.sub_(rate * g / 2)"),
        ("sign of the gradient", 0, "p.sub_(rate * g)", "p.sub_(rate * g.sign())"),
        ("gradient of length 1", 0, "p.sub_(rate * g)", "p.sub_(rate * g / g.norm().clamp_min(1e-9))"),
        ("decay", 1, "lr=lr)", "lr=lr, weight_decay=0.1)"),
        ("momentum is lost", 1, "optimizer.step()", "optimizer.step(); optimizer.step()"),
        ("step before backward", 1, "loss.backward()\noptimizer.step()", "optimizer.step()\nloss.backward()"),
        ("cleared after backward", 1, "loss.backward()", "loss.backward()\noptimizer.zero_grad()"),
        ("Adam", 1, "torch.optim.SGD", "torch.optim.Adam"),
        ("rates fixed", 0, "[lr] *", "[0.02] *", "[head_lr] *", "[0.2] *"),
        ("the head at ten times lr", 0, "[head_lr] *", "[10 * lr] *"),
        ("the weights of the first layer only", 0, "zip(weights, grads, rates)",
         "list(zip(weights, grads, rates))[:1]"),
        ("biases stay", 0, "    for p, g, rate in zip(weights, grads, rates):",
         "    for p, g, rate in [each for each in zip(weights, grads, rates) if each[0].ndim > 1]:"),
        ("accuracy returned", 0, "return float(loss)", "return (logits.argmax(1) == labels).float().mean().item()"),
        ("mean squared error", 0, "F.cross_entropy(logits, labels)",
         "F.mse_loss(logits, F.one_hot(labels, logits.shape[1]).to(logits))"),
        ("smoothed labels", 0, "F.cross_entropy(logits, labels)",
         "F.cross_entropy(logits, labels, label_smoothing=0.1)"),
        ("labels shuffled", 0, "F.cross_entropy(logits, labels)", "F.cross_entropy(logits, labels.flip(0))"),
        ("half the batch", 0, "F.cross_entropy(logits, labels)", "F.cross_entropy(logits[::2], labels[::2])"),
        ("features of length 1", 0, "head(backbone(images))", "head(F.normalize(backbone(images), dim=1))"),
        ("loss times 2 returned", 0, "return float(loss)", "return 2 * float(loss)"),
        ("centred features", 0, "head(backbone(images))", "head(backbone(images) - backbone(images).mean(0))"),
        ("loss of the first image", 0, "F.cross_entropy(logits, labels)", "F.cross_entropy(logits[:1], labels[:1])"),
        ("ReLU between", 0, "head(backbone(images))", "head(F.relu(backbone(images)))"),
        ("the head before the backward of the backbone", 1, "optimizer.step()",
         "optimizer.param_groups[0]['lr'] = 0.0; optimizer.step()"),
        ("the rates added", 0, "[head_lr] *", "[lr + head_lr] *"),
        ("the rates multiplied", 0, "[head_lr] *", "[lr * head_lr] *"),
        ("half a rate for all", 0, "[lr] *", "[(lr + head_lr) / 2] *", "[head_lr] *", "[(lr + head_lr) / 2] *"),
        ("momentum", 1, "lr=lr)", "lr=lr, momentum=0.9, nesterov=True)"),
        ("clipped gradients", 1, "optimizer.step()",
         "nn.utils.clip_grad_norm_([*backbone.parameters(), *head.parameters()], 0.1); optimizer.step()"),
        ("AdamW", 1, "torch.optim.SGD", "torch.optim.AdamW"),
        ("features detached", 0, "logits = head(backbone(images))\n",
         "logits = head(backbone(images).detach()) + 0 * sum(p.sum() for p in backbone.parameters())\n"),
        ("two steps on halves", 0, "loss = F.cross_entropy(logits, labels)",
         "loss = (F.cross_entropy(logits[::2], labels[::2]) + F.cross_entropy(logits[1::2], labels[1::2]))"),
        ("the loss in the wrong unit", 0, "return float(loss)", "return float(loss) / 0.6931"),
        ("perplexity", 0, "return float(loss)", "return float(loss.exp())"),
        ("backbone in evaluation mode", 1, "loss = nn", "backbone.eval()\nloss = nn"),
        ("cleared for the head only", 1, "optimizer.zero_grad()", "head.zero_grad()"),
    ]),
}
