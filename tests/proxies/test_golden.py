"""Scores against the authors' own code: values that it gave on the small networks of ``golden_networks.py``."""

import importlib.util
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from subshot._types import Protocol, Score
from subshot.proxies import _block_maps, _noise
from subshot.proxies._score import score

HERE = Path(__file__).parent
GOLDEN = json.loads((HERE / "golden_values.json").read_text())
ENTRIES: list[dict[str, Any]] = GOLDEN["entries"]

_spec = importlib.util.spec_from_file_location("golden_networks", HERE / "golden_networks.py")
assert _spec is not None
assert _spec.loader is not None
golden = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(golden)

TOLERANCE = 1e-4

# What our score is of the authors' value, by the definition in the proxy's file.
RELATIONS: dict[str, Callable[[float], float]] = {
    "same": float,
    "log": math.log,
    "negative": lambda value: -value,
    "half": lambda value: value / 2,
    "negative mean": lambda value: -value / golden.CLASSES,
}


class Kept:
    """In place of an initialiser: the golden network has its weights already."""

    def __init__(self, network: object, how: str) -> None:
        assert how == "normal"

    def draw(self, seed: int) -> None:
        pass


def ours(entry: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Score:
    """Our score by the protocol of an entry."""
    if "sign_seeds" in entry:
        seeds = entry["sign_seeds"][::-1]  # theirs begins at the last block
        monkeypatch.setattr(
            _block_maps, "random_signs", lambda like, seed, index: golden.signs(like.shape, seeds[index])
        )
    if "noise_seeds" in entry:
        left = list(entry["noise_seeds"])
        monkeypatch.setattr(_noise, "Initialiser", Kept)
        monkeypatch.setattr(torch, "randn", lambda shape, generator: golden.noise(tuple(shape), left.pop(0)))
    network = golden.build(entry["network"], seed=entry["weights_seed"], draw=entry["draw"])
    inputs, labels = golden.batch(entry["network"], entry["samples"], seed=entry["batch_seed"], kind=entry["batch"])
    last = entry.get("last", entry["samples"])  # theirs scores the last of what it is given
    protocol = Protocol(initialisation="keep", weights="given", batch_norm=entry["batch_norm"])
    (result,) = score(network, (inputs[-last:], labels[-last:]), proxies=[entry["proxy"]], protocol=protocol).values()
    return result


def name_of(entry: dict[str, Any]) -> str:
    return "-".join(str(entry[key]) for key in ("proxy", "network", "samples", "batch_norm", "repository"))


@pytest.mark.parametrize("entry", [entry for entry in ENTRIES if "differs" not in entry], ids=name_of)
def test_score_is_that_of_the_authors_code(entry: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    result = ours(entry, monkeypatch)
    assert result.ok, result.reason
    assert result.value == pytest.approx(RELATIONS[entry["relation"]](entry["value"]), rel=TOLERANCE)


@pytest.mark.parametrize("entry", [entry for entry in ENTRIES if "differs" in entry], ids=name_of)
def test_score_differs_where_the_definition_does(entry: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    result = ours(entry, monkeypatch)
    assert result.ok, result.reason
    theirs = RELATIONS[entry["relation"]](entry["value"])
    assert abs(result.value - theirs) > TOLERANCE * abs(theirs), "the reason in the file no longer holds"


def test_every_value_tells_where_it_comes_from() -> None:
    for entry in ENTRIES:
        assert len(entry["commit"]) == 40
        assert entry["repository"].count("/") == 1
        assert entry["dtype"] == "float64"
        assert isinstance(entry["patches"], list)
        assert entry["relation"] in RELATIONS


def test_numpy_draws_what_it_drew() -> None:
    # NumPy may change its streams between versions; then every value of the file must be made anew.
    drawn = golden.noise((3,), 0).tolist()
    assert drawn == pytest.approx([0.1257302210933933, -0.1321048632913019, 0.6404226504432821], rel=1e-12)
    assert golden.signs((6,), 21).tolist() == [1, 1, 1, -1, 1, 1]
