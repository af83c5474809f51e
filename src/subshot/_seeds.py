"""Seeds that depend on what is evaluated and on nothing else."""

import hashlib
import operator

import numpy as np


def stable_seed(*parts: object) -> int:
    """Hash ``parts`` to a seed in ``[0, 2**63)``, the same in every process and on every machine.

    An evaluation seeded by (study seed, architecture text, repeat) gives the same result in any order, on any
    worker. Parts are joined by their ``repr``, so pass plain strings and numbers only.
    """
    # A NumPy integer is the number that it is.
    plain = (operator.index(part) if hasattr(part, "__index__") else part for part in parts)
    text = "\x1f".join(map(repr, plain))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def stable_rng(*parts: object) -> np.random.Generator:
    """A NumPy generator seeded by :func:`stable_seed` of ``parts``."""
    return np.random.default_rng(stable_seed(*parts))
