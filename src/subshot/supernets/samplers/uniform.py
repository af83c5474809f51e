"""Uniform: every step trains one architecture that the space draws (single path one-shot)."""

import numpy as np

from subshot.supernets.samplers._sampler import Paths, SampledPath, path_sampler


@path_sampler(paper="Guo et al.: Single Path One-Shot NAS with Uniform Sampling, ECCV 2020, arXiv 1904.00420")
def uniform(supernet: Paths, step: int, rng: np.random.Generator) -> list[SampledPath]:
    """One path.

    Args:
        supernet: The supernet.
        step: Number of the step.
        rng: Randomness of the step.
    """
    return [supernet.sample_path(rng)]
