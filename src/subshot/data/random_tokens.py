"""Sequences of random tokens with random labels: input for scoring text encoders where there is no text.

Nothing can be learnt from them, so they are for scores before training only. ``random_tokens`` draws every token alike;
``zipf_tokens`` draws the token of rank r in proportion to 1 / r, about as often as words are in natural text: half of
all tokens are one of 130. Both have the shape that the encoders of NAS-Bench-BERT were made for: 128 tokens out of
30,522.
"""

from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from subshot._seeds import stable_rng
from subshot.data._arrays import tensors_from_arrays
from subshot.data._dataset import DATASETS, DataSet
from subshot.data._split import Split
from subshot.data._tensors import TensorData

COUNT, LENGTH, VOCABULARY, CLASSES = 1_024, 128, 30_522, 2
_LICENCE = "made by subshot: no rights reserved"


def make_tokens(
    law: Literal["uniform", "zipf"], *, name: str, split: Split = None, limit: int | None = None
) -> TensorData:
    """1,024 sequences of 128 tokens and labels of 2 classes, always the same.

    Args:
        law: How often tokens are: ``uniform`` all alike, ``zipf`` by rank. Which token has which rank is random.
        name: What to call the set.
        split: See :func:`subshot.data.load_images`.
        limit: Likewise.
    """
    rng = stable_rng("tokens", law)
    share = None
    if law == "zipf":
        weight = 1 / np.arange(1, VOCABULARY + 1)
        share = rng.permutation(weight / weight.sum())
    tokens = rng.choice(VOCABULARY, size=(COUNT, LENGTH), p=share)
    labels = rng.integers(CLASSES, size=COUNT)
    made = tensors_from_arrays(
        tokens, labels, name=name, vocabulary=VOCABULARY, split=split, limit=limit, licence=_LICENCE
    )
    return replace(made, notes=("tokens and labels are random: for scores before training only",))


def load_random_tokens(where: Path, *, split: Split = None, limit: int | None = None) -> TensorData:
    """Tokens all alike; see :func:`make_tokens`."""
    return make_tokens("uniform", name="random_tokens", split=split, limit=limit)


def load_zipf_tokens(where: Path, *, split: Split = None, limit: int | None = None) -> TensorData:
    """Tokens about as often as words are in text; see :func:`make_tokens`."""
    return make_tokens("zipf", name="zipf_tokens", split=split, limit=limit)


for _name, _load in (("random_tokens", load_random_tokens), ("zipf_tokens", load_zipf_tokens)):
    DATASETS.register(
        _name,
        DataSet(
            _name,
            "tokens",
            licence=_LICENCE,
            how_to_get="It is made when it is read.",
            locate=lambda root: Path(__file__),
            load=_load,
        ),
    )
