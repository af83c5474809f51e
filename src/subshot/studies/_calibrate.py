"""Fill a proxy's options from the sizes of a space, for proxies that take them; no accuracies are used."""

from subshot._seeds import stable_rng
from subshot._types import Protocol, TaskSpec
from subshot.costs._meter import Meter
from subshot.proxies._proxy import BoundProxy
from subshot.spaces._space import Space

# Architectures whose sizes are counted.
_SAMPLES = 200


def calibrate(proxy: BoundProxy, space: Space, task: TaskSpec, protocol: Protocol) -> BoundProxy:
    """The proxy with the options that were not given taken from sampled networks of the scored variant.

    Args:
        proxy: Any proxy; one that takes nothing from a space is returned as it is.
        space: Where to sample.
        task: What the networks are built for.
        protocol: Its variant and seed are used.
    """
    if proxy.info.calibrate is None or all(value is not None for value in proxy.options.values()):
        return proxy
    rng = stable_rng(protocol.seed, "calibration")
    meter = Meter(space, task, variant=protocol.variant)
    costs = [meter.costs(space.sample(rng)) for _ in range(_SAMPLES)]
    sizes = [int(cost["params"]) for cost in costs if cost]
    if len(sizes) < 2:
        return proxy
    supplied = proxy.info.calibrate(sizes, proxy.options)
    return proxy.with_options({key: value for key, value in supplied.items() if proxy.options[key] is None})
