import pytest

from subshot.spaces._space import SPACES, get_space
from subshot.testing.spaces import SpaceContract


class TestContract(SpaceContract):
    @pytest.fixture(params=SPACES.names())
    def space(self, request):
        return get_space(request.param)
