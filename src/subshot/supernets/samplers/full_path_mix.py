"""Full path first: with a chance that falls linearly from 1 to 0 a step trains the whole supernet (NASRec).

All other steps train one architecture that the space draws. NASRec lets the chance fall over 15,000 steps on Criteo,
12,500 on Avazu and 20,000 on KDD. A warm-up of a few hundred steps so trains the full supernet nearly always: that is
how SiGeo's recommender results were made. Departure: several operations of a slot are averaged here, since the sum of
all in every cell grows with depth.
"""

import numpy as np

from subshot.errors import OptionError
from subshot.supernets.samplers._sampler import Paths, SampledPath, path_sampler


@path_sampler(paper="Zhang et al.: NASRec, WWW 2023, arXiv 2207.07187")
def full_path_mix(
    supernet: Paths, step: int, rng: np.random.Generator, *, decay_steps: int = 15_000
) -> list[SampledPath]:
    """One path.

    Args:
        supernet: The supernet.
        step: Number of the step.
        rng: Randomness of the step.
        decay_steps: Steps over which the chance of the full path falls to 0.

    Raises:
        OptionError: ``decay_steps`` is below 1.
    """
    if decay_steps < 1:
        raise OptionError(f"decay_steps was given as {decay_steps}.", "It is a whole number from 1 on.")
    chance = max(0.0, 1 - step / decay_steps)
    return [supernet.full_path() if rng.random() < chance else supernet.sample_path(rng)]
