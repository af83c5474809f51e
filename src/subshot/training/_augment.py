"""Changes to a batch that make training harder: tensors in, tensors out, randomness a parameter."""

import numpy as np
import torch
from torch import Tensor


def flip_crop(images: Tensor, rng: np.random.Generator, *, mirror: bool = True) -> Tensor:
    """Mirror each image by chance and shift it by up to an eighth of its side; what comes in is the channel's mean.

    Args:
        images: (S, C, H, W), normalised, so that 0 is the mean.
        rng: Randomness.
        mirror: Whether to mirror; what is written must not be.
    """
    count, _, height, width = images.shape
    rows, columns = height // 8, width // 8
    padded = torch.nn.functional.pad(images, (columns, columns, rows, rows))
    changed = torch.empty_like(images)
    tops, lefts = rng.integers(2 * rows + 1, size=count), rng.integers(2 * columns + 1, size=count)
    mirrored = rng.integers(2, size=count) if mirror else np.zeros(count, dtype=np.int64)
    for index, (top, left, flip) in enumerate(zip(tops, lefts, mirrored, strict=True)):
        window = padded[index, :, top : top + height, left : left + width]
        changed[index] = window.flip(2) if flip else window
    return changed


def cutout(images: Tensor, rng: np.random.Generator, *, share: float) -> Tensor:
    """Blank a square of each image, at a random place, to the channel's mean (DeVries and Taylor, arXiv 1708.04552).

    As there, the centre is anywhere, so that a square may reach over the edge.

    Args:
        images: (S, C, H, W), normalised, so that 0 is the mean.
        rng: Randomness.
        share: Side of the square as a share of the image's.
    """
    count, _, height, width = images.shape
    inside = []
    for length in (height, width):
        side = round(share * length)
        first = torch.from_numpy(rng.integers(length, size=count) - side // 2)[:, None]
        places = torch.arange(length)[None]
        inside.append((places >= first) & (places < first + side))
    blank = inside[0][:, None, :, None] & inside[1][:, None, None, :]
    return images.masked_fill(blank.to(images.device), 0.0)


def mixup(inputs: Tensor, rng: np.random.Generator, *, alpha: float) -> tuple[Tensor, Tensor, float]:
    """Mix a batch with a permutation of itself (Zhang et al., arXiv 1710.09412).

    Args:
        inputs: (S, ...), floats.
        rng: Randomness.
        alpha: The share is drawn from Beta(alpha, alpha), one for the batch.

    Returns:
        The mixed batch, the permutation, and the share of what was there before.
    """
    share = float(rng.beta(alpha, alpha))
    partners = torch.from_numpy(rng.permutation(len(inputs)))
    return share * inputs + (1 - share) * inputs[partners.to(inputs.device)], partners, share
