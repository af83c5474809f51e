import dataclasses
import json
import math
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from subshot._types import Arch, Cost, InputSpec, Protocol, Score, TaskSpec
from subshot.errors import OptionError


def strict(text):
    return json.loads(text, parse_constant=lambda constant: pytest.fail(f"{constant} in JSON"))


# --- Arch ------------------------------------------------------------------------------------------------------------


def test_architectures_are_values():
    one, same, other = Arch("s", (1, (2, 3))), Arch("s", (1, (2, 3))), Arch("s", (1, (2, 4)))
    assert one == same
    assert hash(one) == hash(same)
    assert sorted([other, one]) == [one, other]
    assert pickle.loads(pickle.dumps(one)) == one  # noqa: S301 - our own bytes
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.space = "t"


# --- TaskSpec --------------------------------------------------------------------------------------------------------


def test_image_task():
    task = TaskSpec.images(3, 32, 24, classes=7)
    assert (task.image_shape, task.outputs, task.loss) == ((3, 32, 24), 7, "cross_entropy")


@pytest.mark.parametrize(
    "inputs",
    [
        (InputSpec("tokens", (12,), "int64", 100),),
        (InputSpec("left", (3, 8, 8)), InputSpec("right", (3, 8, 8))),
    ],
)
def test_only_one_image_has_an_image_shape(inputs):
    with pytest.raises(OptionError, match=f"The task has the inputs {inputs[0].name}"):
        _ = TaskSpec(inputs, 2).image_shape


# --- Protocol --------------------------------------------------------------------------------------------------------

FULL = Protocol(
    data="cifar10",
    data_digest="0123456789abcdef",
    samples="random",
    batch_size=32,
    batches=2,
    repeats=3,
    input_shape=(3, 32, 32),
    variant="official",
    network=(("cells", 5), ("rate", 0.5), ("tied", False), ("word", "k"), ("zero", None)),
    initialisation="kaiming",
    batch_norm="off",
    weights="trained",
    dtype="float64",
    device="cuda:1",
    seed=7,
    version="1.2.3",
)


@pytest.mark.parametrize("protocol", [Protocol(), FULL])
def test_protocol_survives_json(protocol):
    assert Protocol.from_dict(strict(json.dumps(protocol.to_dict()))) == protocol


def test_every_field_of_the_protocol_counts_and_is_shown():
    plain = Protocol()
    for field in dataclasses.fields(Protocol):
        changed = dataclasses.replace(plain, **{field.name: getattr(FULL, field.name)})
        assert changed.digest != plain.digest, field.name
        if field.name != "data_digest":
            assert str(changed) != str(plain), field.name
    assert len(FULL.digest) == 16
    assert FULL.digest == dataclasses.replace(FULL).digest
    for shown in ("official", "cells=5", "cifar10 3x32x32", "random 32 x 2", "kaiming x 3", "off", "cuda:1", "seed 7"):
        assert shown in str(FULL)


def test_protocol_is_hashable():
    assert len({FULL, dataclasses.replace(FULL), Protocol()}) == 2


# --- Cost and Score --------------------------------------------------------------------------------------------------


def test_costs_add_up():
    assert Cost(1.5, 2, 1) + Cost(0.5, 1, 0) == Cost(2.0, 3, 1)
    assert sum([Cost(1, 1, 1)] * 3, Cost()) == Cost(3, 3, 3)


@pytest.mark.parametrize(
    ("value", "status"), [(1.5, "ok"), (-0.0, "ok"), (math.nan, "nan"), (math.inf, "inf"), (-math.inf, "-inf")]
)
def test_status_follows_from_the_value(value, status):
    score = Score.of(value)
    assert score.status == status
    assert score.ok == (status == "ok") == math.isfinite(score.value)


def test_scores_without_a_value():
    for score, status in ((Score.failed("why"), "failed"), (Score.not_applicable("why"), "not_applicable")):
        assert (score.status, score.reason, score.ok) == (status, "why", False)
        assert math.isnan(score.value)


floats = st.floats(allow_nan=True, allow_infinity=True)


@given(floats, st.dictionaries(st.text(max_size=5), floats, max_size=3), st.lists(st.text(max_size=5), max_size=2))
def test_scores_survive_strict_json(value, parts, warnings):
    score = Score.of(value, reason="r", parts=parts, warnings=warnings, cost=Cost(0.5, 1, 2))
    back = Score.from_dict(strict(json.dumps(score.to_dict(), allow_nan=False)))
    assert repr(back.value) == repr(score.value)  # by repr: NaN equals NaN, -0.0 isn't 0.0
    assert back.status == score.status
    assert (back.reason, back.warnings, back.cost) == (score.reason, score.warnings, score.cost)
    expected = {key: part if math.isfinite(part) else math.nan for key, part in parts.items()}
    assert repr(dict(back.parts)) == repr(expected)


@pytest.mark.parametrize("kind", ["failed", "not_applicable"])
def test_failures_survive_strict_json(kind):
    score = getattr(Score, kind)("the reason", cost=Cost(1.0, 1, 0))
    text = json.dumps(score.to_dict(), allow_nan=False)
    assert strict(text)["value"] is None
    back = Score.from_dict(strict(text))
    assert math.isnan(back.value)
    assert (back.status, back.reason, back.cost) == (kind, "the reason", Cost(1.0, 1, 0))


def test_numbers_of_numpy_become_plain():
    # A proxy's own arithmetic leaves such numbers, which JSON doesn't know.
    score = Score.of(np.float32(1.5), parts={"units": np.int64(3), "ratio": np.float32(0.5)})
    assert json.loads(json.dumps(score.to_dict()))["parts"] == {"units": 3, "ratio": 0.5}
