"""Visual words: tokenizers that turn an image into a grid of integers, for BEiT's targets.

The paper takes DALL-E's dVAE, trained on 250 M pictures; these two train on your own images in seconds or a minute, and
their codebooks can be inspected:

- `KMeansTokenizer`: k-means on patches. Between raw pixels nearly all of the distance is mean colour. `whiten` (PCA)
  gives every direction of patches the same variance, faint noise excepted: an edge then counts as much as the colour.
- `VQVAE` (van den Oord et al., NeurIPS 2017, arXiv 1711.00937): a convolutional autoencoder whose code at each place is
  replaced by the nearest of K vectors; its words know their surroundings. It is trained by `course_lib.train.loop.fit`.

Both: `encode(images) -> (B, g, g) int64`, `decode(tokens) -> images`, `pictures() -> (codes, 3, patch, patch)`; images
are in [0, 1]. `perplexity` says how many words are really in use, which matters more than the size of the codebook.
"""

from __future__ import annotations

from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from course_lib.augment.pixels import MEAN, STD, standardize, to_float
from course_lib.augment.views import Augment
from course_lib.collectives import all_reduce_sum, gather
from course_lib.methods.base import Method
from course_lib.precision import at_least_float32, in_float32


def word_counts(tokens: Tensor, codes: int) -> Tensor:
    """Integers of any shape -> how often each of the `codes` words occurs, float (codes,), over all ranks."""
    return all_reduce_sum(torch.bincount(tokens.flatten(), minlength=codes).float())


def perplexity(counts: Tensor) -> Tensor:
    """exp(entropy) of the words' shares, from their counts (K,): K if all are used equally, 1 if only one is used."""
    share = counts / counts.sum()
    return torch.exp(torch.special.entr(share).sum())


# ------------------------------------------------------------------------------------------------ k-means
def kmeans(points: Tensor, clusters: int, generator: torch.Generator, iterations: int = 20) -> Tensor:
    """Centres (clusters, D) of the points (N, D), by scikit-learn, seeded by the generator.

    An empty cluster takes the point farthest from its own centre.
    """
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    if len(points) < clusters:
        raise ValueError(f"{clusters} clusters need as many points at least, got {len(points)}: fewer codes, or more "
                         "images")
    seed = int(torch.randint(2**31, (1,), generator=generator))
    with threadpool_limits(1):  # with several threads the order of sums varies
        means = KMeans(clusters, max_iter=iterations, n_init=1, random_state=seed)  # pyright: ignore[reportArgumentType]
        found = means.fit(at_least_float32(points).cpu().numpy())  # the stub takes n_init for a text, by its default
    return torch.from_numpy(found.cluster_centers_).to(points)


@in_float32
def _nearest(points: Tensor, centres: Tensor, block: int = 8192) -> tuple[Tensor, Tensor]:
    """(N,) squared distance to, and int64 (N,) number of, the nearest centre; the first of equals."""
    norms = centres.square().sum(1)
    parts = []
    for part in points.split(block):  # |x - c|^2 = |x|^2 - 2 x.c + |c|^2; the first term is the same for all c
        value, index = torch.addmm(norms, part, centres.T, alpha=-2).min(1)
        parts.append((value + part.square().sum(1), index))
    return torch.cat([d for d, _ in parts]).clamp(min=0), torch.cat([i for _, i in parts])


class KMeansTokenizer(nn.Module):
    """A word is the nearest of K centres of (whitened) patches. Call `learn(images)` once; after that it is frozen.

    whiten: patches are projected on their principal axes and divided by sqrt(variance + floor), floor being a tenth of
    the mean variance: without it the faintest axes, mere noise, would count as much as edges. False: raw pixels.
    """

    axes: Tensor     # (pixels, pixels): whitened = x @ axes
    centres: Tensor  # (codes, pixels)
    means: Tensor    # (codes, 3, patch, patch): the mean patch of each word
    fitted: Tensor   # () bool

    def __init__(self, codes: int = 256, patch: int = 4, whiten: bool = True):
        super().__init__()
        self.codes, self.patch, self.whiten = codes, patch, whiten
        size = 3 * patch * patch
        self.register_buffer("axes", torch.eye(size))
        self.register_buffer("centres", torch.zeros(codes, size))
        self.register_buffer("means", torch.zeros(codes, 3, patch, patch))
        self.register_buffer("fitted", torch.zeros((), dtype=torch.bool))

    def _vectors(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] -> whitened patches (B, L, 3 * patch^2); an offset would change no distance."""
        x = rearrange(to_float(images), "b c (h p) (w q) -> b (h w) (c p q)", p=self.patch, q=self.patch)
        return x @ self.axes

    @torch.no_grad()
    def learn(self, images: Tensor, generator: torch.Generator, most: int = 20000, iterations: int = 20,
              floor: float = 0.1) -> KMeansTokenizer:
        """Learn axes and centres from up to `most` patches drawn of images (N, 3, H, W), uint8 or in [0, 1]."""
        per_image = (images.shape[2] // self.patch) * (images.shape[3] // self.patch)
        some = torch.randperm(len(images), generator=generator)[: -(-most // max(1, per_image // 4))]
        self.axes.copy_(torch.eye(len(self.axes)))
        pictures = to_float(images[some.to(images.device)]).to(self.axes.device)
        points = self._vectors(pictures).flatten(0, 1)
        chosen = torch.randperm(len(points), generator=generator)[:most].to(points.device)
        if self.whiten:
            variance, axes = torch.linalg.eigh(torch.cov(points.T.double(), correction=0))
            if variance.amax() <= 0:
                raise ValueError("all patches of the images are equal: there is nothing to learn words from")
            self.axes.copy_(axes / (variance.clamp(min=0) + floor * variance.mean()).sqrt())
        self.centres.copy_(kmeans(points[chosen] @ self.axes, self.codes, generator, iterations))
        tokens = self.encode(pictures).flatten()
        patches = rearrange(pictures, "b c (h p) (w q) -> (b h w) c p q", p=self.patch, q=self.patch)
        counts = torch.bincount(tokens, minlength=self.codes).clamp(min=1)
        self.means.copy_(torch.zeros_like(self.means).index_add_(0, tokens, patches) / counts.view(-1, 1, 1, 1))
        self.fitted.fill_(True)
        return self

    @torch.no_grad()
    @in_float32
    def encode(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W), uint8 or in [0, 1] -> words, int64 (B, g, g)."""
        x = self._vectors(images)
        side = images.shape[2] // self.patch
        return _nearest(x.flatten(0, 1), self.centres)[1].view(len(x), side, -1)

    def decode(self, tokens: Tensor) -> Tensor:
        """(B, g, g) -> (B, 3, H, W): each word as the mean of its patches."""
        return rearrange(self.means[tokens], "b h w c p q -> b c (h p) (w q)")

    def pictures(self) -> Tensor:
        """The mean patch of each word."""
        return self.means


# ------------------------------------------------------------------------------------------------ VQ-VAE
@in_float32
def vq_loss(prediction: Tensor, images: Tensor, z: Tensor, quantised: Tensor, beta: float = 0.25) -> dict[str, Tensor]:
    """Reconstruction (mean squared error) + beta * commitment (of codes z to their words: mean |z - sg(e)|^2).

    prediction, images (B, 3, H, W); z, quantised (B, L, D). The words themselves follow by moving averages.
    """
    error = (prediction - images).square().mean()
    commitment = (z - quantised.detach()).square().mean()
    return {"loss": error + beta * commitment, "reconstruction": error, "commitment": commitment}


class VQVAE(Method):
    """A small VQ-VAE: train it with `fit`, hand it to BEiT as its tokenizer. 0.25 M parameters at width 64.

    The words follow their codes by moving averages (the paper's appendix A.1). A word whose average count falls below a
    hundredth of its fair share is replaced by a code of the batch: otherwise most words die in the first steps.
    """

    recipe = {"lr": 2e-3}
    words: Tensor    # (codes, dim)
    counts: Tensor   # (codes,): moving average of how often a batch uses each word
    sums: Tensor     # (codes, dim): and of the sum of the codes that went to it
    updates: Tensor  # () int64

    def __init__(self, codes: int = 256, patch: int = 4, width: int = 64, dim: int = 16, beta: float = 0.25,
                 decay: float = 0.98, revive: bool = True, augment: Augment | None = None):
        super().__init__()
        if patch < 2 or patch & (patch - 1):
            raise ValueError(f"patch must be a power of 2 (each halving is a strided convolution), got {patch}")
        self.codes, self.patch, self.beta, self.decay, self.revive = codes, patch, beta, decay, revive
        self.augment = augment
        halvings = patch.bit_length() - 1
        down: list[nn.Module] = []
        for i in range(halvings):
            down += [nn.Conv2d(3 if i == 0 else width, width, 4, 2, 1), nn.ReLU(inplace=True)]
        self.backbone = nn.Sequential(*down, _Residual(width), nn.Conv2d(width, dim, 1))
        up: list[nn.Module] = [nn.Conv2d(dim, width, 3, 1, 1), _Residual(width)]
        for i in range(halvings):
            up += [nn.ReLU(inplace=True), nn.ConvTranspose2d(width, 3 if i == halvings - 1 else width, 4, 2, 1)]
        self.decoder = nn.Sequential(*up)
        self.register_buffer("words", torch.randn(codes, dim))
        self.register_buffer("counts", torch.ones(codes))
        self.register_buffer("sums", self.words.clone())
        self.register_buffer("updates", torch.zeros((), dtype=torch.long))

    @property
    def fitted(self) -> bool:
        return bool(self.updates)

    def views(self, batch, generator: torch.Generator) -> Tensor:
        return self.augment(batch.images, generator) if self.augment else to_float(batch.images)

    def loss(self, images: Tensor, progress: float = 0.0) -> dict[str, Any]:
        inputs = standardize(images)
        z = at_least_float32(rearrange(self.backbone(inputs), "b d h w -> b h w d"))
        token = self._assign(z)
        if self.training:
            self._learn(z.detach().flatten(0, 2), token.flatten())
        quantised = self.words[token]
        through = z + (quantised - z).detach()  # straight through: the decoder's gradient passes to z as it is
        prediction = self.decoder(rearrange(through, "b h w d -> b d h w"))
        used = perplexity(word_counts(token, self.codes))
        return {**vq_loss(prediction, inputs, z, quantised, self.beta), "perplexity": used, "views_per_image": 1}

    def _assign(self, z: Tensor) -> Tensor:
        return _nearest(z.detach().flatten(0, -2), self.words)[1].view(z.shape[:-1])

    @torch.no_grad()
    def _learn(self, z: Tensor, token: Tensor) -> None:
        """Moving averages of counts and sums; a word is their quotient."""
        counts = all_reduce_sum(torch.bincount(token, minlength=self.codes).to(self.counts))
        sums = all_reduce_sum(torch.zeros_like(self.sums).index_add_(0, token, z))
        self.counts.lerp_(counts, 1 - self.decay)
        self.sums.lerp_(sums, 1 - self.decay)
        self.words.copy_(self.sums / self.counts.clamp(min=1e-5)[:, None])
        if self.revive:
            z, dead = gather(z), self.counts < 0.01 * self.counts.mean()
            draw = torch.randint(len(z), (self.codes,), generator=torch.Generator().manual_seed(int(self.updates)))
            fresh = z[draw.to(z.device)]
            self.words.copy_(torch.where(dead[:, None], fresh, self.words))
            self.counts.copy_(torch.where(dead, self.counts.mean(), self.counts))
            self.sums.copy_(self.words * self.counts[:, None])
        self.updates += 1

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        return self._assign(at_least_float32(rearrange(self.backbone(standardize(images)), "b d h w -> b h w d")))

    @torch.no_grad()
    def decode(self, tokens: Tensor) -> Tensor:
        out = self.decoder(rearrange(self.words[tokens], "b h w d -> b d h w"))
        return out.mul(STD).add(MEAN).clamp(0, 1)

    @torch.no_grad()
    def pictures(self) -> Tensor:
        """Each word decoded with itself all around."""
        grid = torch.arange(self.codes, device=self.words.device).view(-1, 1, 1).expand(-1, 5, 5)
        return self.decode(grid)[:, :, 2 * self.patch : 3 * self.patch, 2 * self.patch : 3 * self.patch]


class _Residual(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.conv = nn.Sequential(nn.ReLU(), nn.Conv2d(width, width // 2, 3, 1, 1), nn.ReLU(inplace=True),
                                  nn.Conv2d(width // 2, width, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x)
