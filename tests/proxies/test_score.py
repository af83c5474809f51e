"""The scores of one network: what they depend on, what they don't, and how failures are told."""

import inspect
import itertools
import math
import random
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import subshot
from subshot._seeds import stable_seed
from subshot._types import Protocol, Score
from subshot.errors import NetworkError, OptionError, UnknownNameError
from subshot.networks.initialisation import Initialiser
from subshot.proxies._proxy import bind
from subshot.proxies._score import score, score_prepared, split_batch

ALL = ["swap", "swap(ternary=true)", "swap_regularized(mu=1, sigma=4)", "nwot", "parameters", "macs"]
REDRAWN = Protocol(initialisation="normal", repeats=2, seed=3)


def small() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1),
            nn.BatchNorm2d(6),
            nn.ReLU(inplace=True),
            nn.Conv2d(6, 4, 3),
            nn.GELU(),
            nn.Flatten(),
            nn.Linear(64, 5),
        )


def images(samples: int = 10) -> Tensor:
    return torch.randn(samples, 3, 6, 6, generator=torch.Generator().manual_seed(1))


def plain(result: Score) -> dict[str, object]:
    """A score without its cost."""
    return {key: value for key, value in result.to_dict().items() if key != "cost"}


# --- company, order, seeds -------------------------------------------------------------------------------------------


def test_a_value_is_the_same_alone_and_in_any_company_and_order(specimen) -> None:  # type: ignore[no-untyped-def]
    network, inputs = specimen.draw(11, 10)
    alone = {name: plain(score(network, inputs, proxies=[name], protocol=REDRAWN)[name]) for name in ALL}
    orders = list(itertools.permutations(ALL))
    for order in random.Random(0).sample(orders, 12):
        for size in (2, 4, len(ALL)):
            chosen = order[:size]
            scores = score(network, inputs, proxies=chosen, protocol=REDRAWN)
            assert list(scores) == list(chosen)
            assert {name: plain(result) for name, result in scores.items()} == {name: alone[name] for name in chosen}


def test_one_look_serves_all() -> None:
    scores = score(small(), images(), proxies=ALL, protocol=REDRAWN)
    assert {result.cost.forwards for result in scores.values()} == {2}
    assert {result.cost.backwards for result in scores.values()} == {0}
    assert len({result.cost.seconds for result in scores.values()}) == 1
    assert score(small(), images(), proxies="parameters")["parameters"].cost.forwards == 0


def test_same_seed_same_score_and_other_seed_other_score() -> None:
    network, batch = small(), images()
    values = {seed: score(network, batch, protocol=replace(REDRAWN, seed=seed))["swap"].value for seed in range(6)}
    assert len(set(values.values())) > 1
    for seed, value in values.items():
        assert score(network, batch, protocol=replace(REDRAWN, seed=seed))["swap"].value == value
    by_seed = score(network, batch, seed=5)["swap"].value
    assert by_seed == score(network, batch)["swap"].value  # the weights are kept: nothing is drawn


def test_weights_the_network_has_do_not_matter_where_they_are_redrawn() -> None:
    first, second = small(), small()
    with torch.no_grad():
        for parameter in second.parameters():
            parameter.fill_(7.0)
        second[1].running_mean.fill_(9.0)
    for batch_norm in ("batch", "running", "off"):
        protocol = replace(REDRAWN, batch_norm=batch_norm)
        assert plain(score(first, images(), protocol=protocol)["swap"]) == plain(
            score(second, images(), protocol=protocol)["swap"]
        )


class Random(nn.Module):
    """A network that draws numbers while it runs, also in evaluation mode."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(9, 7)  # follows its own rule, which draws from torch's random state

    def forward(self, x: Tensor) -> Tensor:
        ids = torch.randint(0, 9, (len(x), 30))
        return F.relu(F.dropout(self.embed(ids), 0.3) + torch.randn(len(x), 30, 7))


@pytest.mark.parametrize("network", [small(), Random()], ids=["plain", "random"])
@pytest.mark.parametrize("initialisation", ["keep", "default"])
def test_the_global_random_state_does_not_matter(network: nn.Module, initialisation: str) -> None:
    protocol = Protocol(initialisation=initialisation, repeats=2, seed=1)
    values = []
    for seed in (0, 1, 2):
        torch.manual_seed(seed)
        values.append(plain(score(network, images(), protocol=protocol)["swap"]))
    assert values[0] == values[1] == values[2]


def measure() -> str:
    """Values of networks with weights drawn anew; also run in another process, so it imports what it uses."""
    import torch
    from torch import nn

    from subshot._types import Protocol
    from subshot.proxies._score import score

    torch.set_num_threads(1)
    network = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.SiLU(), nn.Flatten(), nn.Linear(96, 5), nn.ReLU())
    batch = torch.linspace(-3, 3, 10 * 3 * 36).sin().reshape(10, 3, 6, 6).roll(7, 2)
    values = []
    for how in ("default", "normal", "kaiming"):
        protocol = Protocol(initialisation=how, repeats=3, seed=8)
        scores = score(network, batch, proxies="swap, swap(ternary=true), nwot, macs", protocol=protocol)
        values += [(name, result.value, sorted(result.parts.items())) for name, result in scores.items()]
    return repr(values)


def test_the_same_in_another_process() -> None:
    script = f"import sys\n{inspect.getsource(measure)}\nsys.stdout.write(measure())"
    done = subprocess.run([sys.executable, "-W", "error", "-c", script], check=True, capture_output=True, text=True)
    assert done.stdout == measure()


# --- repeats ---------------------------------------------------------------------------------------------------------


def test_repeats_are_averaged_and_their_spread_is_told() -> None:
    network, batch = small(), images()
    initialiser = Initialiser(network, "normal")
    singles = []
    for repeat in range(4):
        initialiser.draw(stable_seed(9, "given", repeat))
        singles.append(score(network, batch)["swap"].value)
    assert len(set(singles)) > 1
    mean = sum(singles) / 4
    protocol = Protocol(initialisation="normal", repeats=4, seed=9)
    result = score(network, batch, protocol=protocol)["swap"]
    assert result.value == pytest.approx(mean)
    assert result.parts["spread"] == pytest.approx(math.sqrt(sum((v - mean) ** 2 for v in singles) / 3))
    assert result.parts["units"] == 6 * 36 + 64
    assert "spread" not in score(network, batch, protocol=replace(protocol, repeats=1))["swap"].parts


def test_more_repeats_keep_the_first_ones() -> None:
    network, batch = small(), images()
    one, two = (score(network, batch, protocol=replace(REDRAWN, repeats=n))["swap"] for n in (1, 2))
    assert two.parts["spread"] == pytest.approx(abs(two.value - one.value) * math.sqrt(2))


@pytest.mark.parametrize("repeats", [0, -1])
def test_no_repeats_are_refused(repeats: int) -> None:
    with pytest.raises(OptionError, match=rf"^{repeats} repeats were asked for\. At least one is needed\.$"):
        score(small(), images(), protocol=Protocol(repeats=repeats))


def test_weights_depend_on_the_architecture() -> None:
    network, batch = small(), images()
    initialiser = Initialiser(network, "normal")
    values = {
        identity: score_prepared(
            network, batch, bind("nwot"), initialiser=initialiser, protocol=REDRAWN, identity=identity,
            keep_parameters=True,
        )["nwot"].value
        for identity in ("a", "b", "c", "a")
    }  # fmt: skip
    assert len(set(values.values())) == 3


# --- failures --------------------------------------------------------------------------------------------------------


class Raising(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        F.relu(self.layer(x))
        raise KeyError("lost")


def test_a_network_that_raises_is_failed() -> None:
    scores = score(Raising(), torch.ones(3, 4), proxies=ALL)
    assert scores.pop("parameters").ok  # known without a pass
    for name, result in scores.items():
        assert result.status == "failed", name
        assert result.reason == "KeyError while the network ran: 'lost'"
        assert math.isnan(result.value)
        assert result.to_dict()["value"] is None


def test_a_batch_that_the_network_refuses_costs_only_those_that_run_it() -> None:
    """Batch norm has no statistics of a single row; weights, an input of ones and parts of the batch need none."""
    network = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 3))
    names = ["swap", "macs", "grad_norm", "near", "l2_norm", "synflow", "parameters"]
    batch = (torch.ones(1, 4), torch.zeros(1, dtype=torch.int64))
    together = score(network, batch, proxies=names)
    assert [name for name in names if together[name].ok] == ["l2_norm", "synflow", "parameters"]
    for name in names:
        (alone,) = score(network, batch, proxies=name).values()
        assert (alone.status, alone.reason) == (together[name].status, together[name].reason)
        assert alone.value == together[name].value or not alone.ok


def test_an_interrupt_is_no_score() -> None:
    class Interrupted(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        score(Interrupted(), torch.ones(3, 4))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_non_finite_output_is_nan_with_its_reason(bad: float) -> None:
    network = small()
    with torch.no_grad():
        network[-1].bias[2] = bad
    scores = score(network, images(), proxies=ALL)
    for name in ("swap", "swap(ternary=true)", "swap_regularized(mu=1, sigma=4)", "nwot"):
        assert scores[name].status == "nan"
        assert math.isnan(scores[name].value)
        assert scores[name].reason == "the output has 10 non-finite of 50 numbers"
    for name in ("parameters", "macs"):
        assert scores[name].ok
    assert scores["parameters"].value == sum(p.numel() for p in network.parameters())


def test_outputs_of_any_structure_are_checked() -> None:
    class Many(nn.Module):
        def forward(self, x: Tensor) -> object:
            x = F.relu(x)
            return {"a": [x, (x, torch.tensor([math.nan]))], "ids": x.long(), "name": "text", "none": None}

    assert score(Many(), torch.ones(3, 4))["swap"].reason == "the output has 1 non-finite of 25 numbers"


def test_no_activations_is_not_applicable_where_they_are_needed() -> None:
    scores = score(nn.Linear(4, 3), torch.ones(3, 4), proxies=ALL)
    for name, result in scores.items():
        expected = "ok" if name in ("parameters", "macs") else "not_applicable"
        assert result.status == expected, name
        assert bool(result.reason) is (expected != "ok")


def test_an_activation_without_a_batch_axis_is_told() -> None:
    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gate = nn.Parameter(torch.randn(7))

        def forward(self, x: Tensor) -> Tensor:
            return F.relu(x) * F.relu(self.gate)

    result = score(Gated(), torch.randn(5, 7))["swap"]
    assert result.parts["units"] == 7
    assert "1 activation calls have no axis of 5 samples and were not counted" in result.warnings


def test_a_proxy_that_raises_is_failed_and_the_others_are_not() -> None:
    (one,) = bind("swap_regularized(mu=1e200, sigma=1)")  # its square is beyond a float
    scores = score(small(), images(), proxies=[one, "swap"])
    assert scores[one.name].status == "failed"
    assert scores[one.name].reason.startswith("OverflowError in the proxy: ")
    assert scores["swap"].ok


def test_parameters_that_keep_their_values_are_told() -> None:
    class Bare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(3))
            self.layer = nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return F.relu(self.layer(x) * self.scale)

    told = "3 parameters have no rule to re-draw them and kept their values"
    x = torch.randn(8, 4)
    assert told in score(Bare(), x, protocol=Protocol(initialisation="normal"))["swap"].warnings
    assert told not in score(Bare(), x)["swap"].warnings


# --- batches ---------------------------------------------------------------------------------------------------------


class TwoInputs(nn.Module):
    def forward(self, dense: Tensor, ids: Tensor) -> Tensor:
        return F.relu(dense + F.one_hot(ids, 5))


def test_named_inputs_and_labels() -> None:
    inputs = {"ids": torch.tensor([0, 3, 1]), "dense": torch.randn(3, 5)}
    labels = torch.tensor([0, 1, 0])
    expected = score(nn.ReLU(), inputs["dense"] + F.one_hot(inputs["ids"], 5))["swap"].value
    for batch in (inputs, (inputs, labels), (inputs, None)):
        assert score(TwoInputs(), batch)["swap"].value == expected
    x = torch.randn(6, 4)
    assert plain(score(nn.ReLU(), x)["swap"]) == plain(score(nn.ReLU(), (x, labels))["swap"])


@pytest.mark.parametrize(
    ("batch", "kind"),
    [
        ([1, 2, 3], "list"),
        ([torch.ones(2, 2), torch.ones(2)], "list"),
        ("images", "str"),
        (None, "NoneType"),
        ({}, "dict"),
        ({"a": [1.0]}, "dict"),
        ((torch.ones(2), torch.ones(2), torch.ones(2)), "tuple"),
        ((torch.ones(2, 2), [0, 1]), "tuple"),
        (([0, 1], torch.ones(2)), "tuple"),
    ],
)
def test_other_batches_are_refused(batch: object, kind: str) -> None:
    with pytest.raises(NetworkError) as caught:
        score(small(), batch)  # type: ignore[arg-type]
    assert str(caught.value) == (
        f"A batch of type {kind} was given. Give a tensor, a dict of tensors, or a tuple (inputs, labels) of these."
    )


@pytest.mark.parametrize(
    ("batch", "lengths"),
    [
        (torch.ones(0, 3, 6, 6), [0]),
        (torch.tensor(1.0), [0]),
        ({"dense": torch.ones(3, 5), "ids": torch.zeros(2, dtype=torch.int64)}, [2, 3]),
    ],
)
def test_empty_and_ragged_batches_are_refused(batch: Tensor | dict[str, Tensor], lengths: list[int]) -> None:
    with pytest.raises(NetworkError) as caught:
        score(TwoInputs(), batch)
    assert str(caught.value) == (
        f"The batch has inputs of length {lengths}. "
        "Give at least one sample, the same number in every input tensor, on the first axis."
    )


def test_lazy_networks_are_refused() -> None:
    network = nn.Sequential(nn.LazyLinear(3), nn.ReLU())
    for initialisation in ("keep", "default"):
        with pytest.raises(NetworkError, match="Run it on a batch once, then score it"):
            score(network, torch.ones(4, 2), protocol=Protocol(initialisation=initialisation))
    network(torch.ones(4, 2))
    assert score(network, torch.ones(4, 2))["swap"].ok


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_floating_types(dtype: torch.dtype) -> None:
    network = nn.Sequential(nn.Linear(5, 50), nn.ReLU()).to(dtype)
    x = torch.randn(9, 5).to(dtype)
    with torch.no_grad():
        on = network(x) > 0
    result = score(network, x)["swap"]
    assert result.value == len({tuple(column) for column in on.T.tolist()})


def test_networks_that_run_under_autocast() -> None:
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(6, 400)

        def forward(self, x: Tensor) -> Tensor:
            with torch.autocast("cpu", torch.bfloat16):
                return F.relu(self.layer(x))

    network, x = Mixed(), torch.randn(20, 6)
    with torch.no_grad():
        on = network(x) > 0
    scores = score(network, x, proxies="swap, nwot")
    assert scores["swap"].value == len({tuple(column) for column in on.T.tolist()})
    kernel = [[int((a == b).sum()) for b in on] for a in on]
    assert scores["nwot"].value == pytest.approx(torch.tensor(kernel, dtype=torch.float64).logdet().item())


def test_networks_that_differentiate_while_they_run() -> None:
    class Force(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 60)

        def forward(self, x: Tensor) -> Tensor:
            with torch.enable_grad():
                x = x.detach().requires_grad_()
                return torch.autograd.grad(F.silu(self.layer(x)).sum(), x)[0]

    network, x = Force(), torch.randn(8, 4)
    with torch.no_grad():
        on = F.silu(network.layer(x)) > 0
    assert score(network, x)["swap"].value == len({tuple(column) for column in on.T.tolist()})


def test_the_callers_modes_do_not_matter() -> None:
    network, x = small(), images()
    expected = plain(score(network, x, proxies="swap", protocol=REDRAWN)["swap"])
    with torch.inference_mode():
        assert plain(score(network, x, proxies="swap", protocol=REDRAWN)["swap"]) == expected
    with torch.no_grad():
        assert plain(score(network, x, proxies="swap", protocol=REDRAWN)["swap"]) == expected
    torch.set_default_dtype(torch.float64)
    try:
        assert plain(score(network, x, proxies="swap", protocol=REDRAWN)["swap"]) == expected
    finally:
        torch.set_default_dtype(torch.float32)


# --- choosing --------------------------------------------------------------------------------------------------------


def test_proxies_are_chosen_by_text_or_sequence() -> None:
    for proxies in ("swap, nwot", ["swap", "nwot"], ("swap,nwot",), bind("swap,nwot"), "swap(ternary=false), nwot"):
        assert list(score(small(), images(), proxies=proxies)) == ["swap", "nwot"]
    assert list(score(small(), images())) == ["swap"]
    assert score(small(), images(), proxies=[]) == {}


def test_all_lists_every_proxy() -> None:
    scores = score(small(), images(), proxies="all")
    assert sorted(scores) == subshot.list_proxies()
    assert all(result.ok or result.reason for result in scores.values())


@pytest.mark.parametrize(
    ("proxies", "message"),
    [
        ("swop", r"There is no proxy named 'swop'\. Did you mean 'swap'"),
        ("xyzzy", r"There is no proxy named 'xyzzy'\. Known: "),
        ("swap(ternery=true)", r"There is no setting of proxy swap named 'ternery'\. Did you mean 'ternary'"),
        ("nwot(x=1)", r"There is no setting of proxy nwot named 'x'\. Known: none"),
    ],
)
def test_unknown_names_offer_near_ones(proxies: str, message: str) -> None:
    with pytest.raises(UnknownNameError, match=message):
        score(small(), images(), proxies=proxies)


@pytest.mark.parametrize("proxies", ["swap(ternary=1)", "swap(ternary=maybe)", "swap(ternary=none)"])
def test_options_of_the_wrong_type_are_refused(proxies: str) -> None:
    with pytest.raises(OptionError, match=r"^proxy swap was given ternary=.*ternary takes"):
        score(small(), images(), proxies=proxies)


def test_unknown_initialisation() -> None:
    with pytest.raises(OptionError) as caught:
        score(small(), images(), protocol=Protocol(initialisation="xavier"))
    assert str(caught.value) == "There is no initialisation 'xavier'. Use one of keep, default, normal, kaiming."


# --- the batch's digest ----------------------------------------------------------------------------------------------


def test_splitting_a_batch() -> None:
    x, y = torch.ones(2, 3), torch.ones(2)
    assert split_batch(x) == (x, None)
    assert split_batch((x, y)) == (x, y)
    assert split_batch({"a": x}) == ({"a": x}, None)


class Recurrent(nn.Module):
    """Most of its parameters are in a layer that proxies of weights don't see."""

    def __init__(self) -> None:
        super().__init__()
        self.memory = nn.LSTM(6, 12, batch_first=True)
        self.head = nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.memory(x)[0][:, -1])


def test_weights_out_of_sight_are_told() -> None:
    """A proxy of weights says how few it saw; one of sizes has nothing to say."""
    batch = torch.randn(8, 5, 6), torch.arange(8) % 4
    scores = score(Recurrent(), batch, proxies=["grad_norm", "zico", "parameters"])
    assert any("48 of 1,012 parameters" in warning for warning in scores["grad_norm"].warnings)
    assert scores["zico"].warnings == scores["grad_norm"].warnings
    assert scores["parameters"].warnings == ()
    assert (
        score(nn.Sequential(nn.Linear(6, 4)), (torch.randn(8, 6), batch[1]), proxies="grad_norm")["grad_norm"].warnings
        == ()
    )
