"""The contract of a space, as a test suite.

Subclass it in your tests and supply the space::

    from subshot.testing.spaces import SpaceContract

    class TestMySpace(SpaceContract):
        @pytest.fixture
        def space(self):
            return MySpace()
"""

import pickle
from collections.abc import Mapping

import numpy as np
import pytest
import torch

from subshot._types import Arch
from subshot.costs.macs import count_macs
from subshot.costs.parameters import count_parameters
from subshot.errors import ArchError, SubshotError
from subshot.spaces._space import (
    Crossable,
    Diagnosing,
    Encodable,
    Enumerable,
    Measurable,
    Populations,
    Space,
    get_space,
    space_settings,
)

# Architectures drawn where a property is checked on samples; few, since some are built.
_DRAWS = 30
_BUILDS = 3


class SpaceContract:
    """What every space promises; optional abilities are tested where the space has them."""

    @pytest.fixture
    def space(self) -> Space:
        """The space under test."""
        raise NotImplementedError("supply a fixture named 'space'")

    @pytest.fixture
    def rng(self) -> np.random.Generator:
        """Randomness, the same in every run."""
        return np.random.default_rng(0)

    def test_samples_are_values(self, space: Space, rng: np.random.Generator) -> None:
        """Architectures are hashable, ordered, picklable and name their space."""
        archs = [space.sample(rng) for _ in range(_DRAWS)]
        assert all(isinstance(arch, Arch) and arch.space == space.name for arch in archs)
        assert sorted(archs, reverse=True) == sorted(archs)[::-1]
        assert len(set(archs)) > 1 or space.size == 1
        assert pickle.loads(pickle.dumps(archs)) == archs  # noqa: S301 - our own bytes

    def test_sampling_depends_on_the_generator_alone(self, space: Space) -> None:
        """The same generator gives the same architectures."""
        first, second = (
            [space.sample(rng) for _ in range(_DRAWS)] for rng in (np.random.default_rng(3), np.random.default_rng(3))
        )
        assert first == second

    def test_text_round_trips(self, space: Space, rng: np.random.Generator) -> None:
        """``parse`` inverts ``format``, and the text is canonical."""
        for _ in range(_DRAWS):
            arch = space.sample(rng)
            text = space.format(arch)
            assert space.parse(text) == arch
            assert space.format(space.parse(text)) == text
            assert space.parse(f"  {text}\n") == arch

    @pytest.mark.parametrize("text", ["", "nonsense", "|||", "()", "__import__('os')", "\x00", "9" * 10_000])
    def test_other_text_is_refused(self, space: Space, text: str) -> None:
        """Text of no architecture raises an ``ArchError`` that says what to do."""
        with pytest.raises(ArchError) as caught:
            space.parse(text)
        assert caught.value.message
        assert caught.value.hint

    def test_another_spaces_arch_is_refused(self, space: Space) -> None:
        """An architecture of another space raises an ``ArchError``."""
        with pytest.raises(ArchError):
            space.format(Arch("no such space", (0,)))

    def test_mutation_changes_and_stays_inside(self, space: Space, rng: np.random.Generator) -> None:
        """A mutant differs and has a text that parses."""
        arch = space.sample(rng)
        for _ in range(_DRAWS):
            mutant = space.mutate(arch, rng)
            assert mutant != arch
            assert space.parse(space.format(mutant)) == mutant
            arch = mutant

    def test_settings_rebuild_the_space(self, space: Space) -> None:
        """A registered space is what its name and settings say."""
        assert get_space(space.name, space_settings(space)) == space
        assert pickle.loads(pickle.dumps(space)) == space  # noqa: S301 - our own bytes

    def test_variants(self, space: Space, rng: np.random.Generator) -> None:
        """There is a variant to train and one to score, and no other is accepted."""
        assert len(set(space.variants)) == len(space.variants) > 0
        assert space.scoring_variant in space.variants
        with pytest.raises(SubshotError, match="no such variant"):
            space.build(space.sample(rng), variant="no such variant")

    def test_networks_map_a_batch_to_outputs(self, space: Space, rng: np.random.Generator) -> None:
        """The scored network accepts a batch of the task and is built the same from the same random state."""
        for _ in range(_BUILDS):
            arch = space.sample(rng)
            outputs = []
            for _ in range(2):
                with torch.random.fork_rng():
                    torch.manual_seed(0)
                    network = space.build(arch, variant=space.scoring_variant)
                batch = {spec.name: _batch(spec) for spec in space.task.inputs}
                with torch.no_grad():
                    output = network(**batch) if len(batch) > 1 else network(*batch.values())
                assert output.shape[0] == 2
                assert output.shape[-1] == space.task.outputs
                outputs.append(output)
            torch.testing.assert_close(outputs[0], outputs[1], rtol=0, atol=0)

    def test_measured_size_is_the_built_size(self, space: Space, rng: np.random.Generator) -> None:
        """``measure`` counts what ``build`` builds, for the scored variant."""
        if not isinstance(space, Measurable):
            pytest.skip("the space doesn't measure without building")
        for _ in range(_BUILDS):
            arch = space.sample(rng)
            network = space.build(arch, variant=space.scoring_variant)
            size = space.measure(arch, variant=space.scoring_variant)
            assert size.parameters == count_parameters(network)
            assert size.macs == count_macs(network, space.task)

    def test_enumeration(self, space: Space) -> None:
        """Every architecture is listed once; ``size`` says how many."""
        if not isinstance(space, Enumerable) or space.size > 100_000:
            pytest.skip("the space can't be listed, or is too large to be")
        archs = list(space.architectures())
        assert len(archs) == len(set(archs)) == space.size
        assert archs == list(space.architectures())

    def test_crossover_stays_inside(self, space: Space, rng: np.random.Generator) -> None:
        """A child parses; equal parents have themselves as child."""
        if not isinstance(space, Crossable):
            pytest.skip("the space has no crossover")
        for _ in range(_DRAWS):
            first, second = space.sample(rng), space.sample(rng)
            child = space.crossover(first, second, rng)
            assert space.parse(space.format(child)) == child
            assert space.crossover(first, first, rng) == first

    def test_encoding_round_trips(self, space: Space, rng: np.random.Generator) -> None:
        """``decode`` inverts ``encode``; a vector of no architecture gives ``None``."""
        if not isinstance(space, Encodable):
            pytest.skip("the space has no encoding")
        for _ in range(_DRAWS):
            arch = space.sample(rng)
            vector = space.encode(arch)
            assert vector.dtype == np.float32
            assert vector.ndim == 1
            assert space.decode(vector) == arch
        assert space.decode(np.full_like(vector, 0.5)) is None
        assert space.decode(vector[:-1]) is None

    def test_populations(self, space: Space) -> None:
        """Populations are distinct architectures in a fixed order, and unknown names are refused."""
        if not isinstance(space, Populations):
            pytest.skip("the space has no populations")
        assert space.populations[0] == "all"
        for name in space.populations:
            archs = space.population(name)
            assert len(set(archs)) == len(archs) > 0
            assert list(archs) == list(space.population(name))
        with pytest.raises(SubshotError, match="no such population"):
            space.population("no such population")

    def test_diagnosis(self, space: Space, rng: np.random.Generator) -> None:
        """A defect is a sentence; some architecture has none."""
        if not isinstance(space, Diagnosing):
            pytest.skip("the space diagnoses nothing")
        defects = [space.defect(space.sample(rng)) for _ in range(_DRAWS)]
        assert None in defects
        assert all(defect is None or defect for defect in defects)

    def test_settings_are_plain_values(self, space: Space) -> None:
        """Settings can be written as text: booleans, numbers, words."""
        settings = space_settings(space)
        assert isinstance(settings, Mapping)
        assert all(value is None or isinstance(value, (bool, int, float, str)) for value in settings.values())


def _batch(spec: "object") -> torch.Tensor:
    from subshot._types import InputSpec

    assert isinstance(spec, InputSpec)
    shape = (2, *spec.shape)
    generator = torch.Generator().manual_seed(0)
    if spec.vocabulary is not None:
        return torch.randint(spec.vocabulary, shape, generator=generator)
    return torch.randn(shape, generator=generator)
