"""What feature maps look like in one forward pass: those of single layers, of blocks, of feed-forward hidden layers.

Statistics are taken while the network runs, so that no map outlives its layer; only what goes backward through a block
keeps the block's output.
"""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from torch import nn

from subshot.proxies._axes import LAYERS
from subshot.proxies._block_maps import BLOCK_NEEDS, Block, BlockMaps
from subshot.proxies._hidden_maps import Hidden, HiddenMaps
from subshot.proxies._layer_maps import MAP_NEEDS, FeatureMap, LayerMaps
from subshot.proxies._proxy import Need
from subshot.proxies._recording import Recording

FEATURE_NEEDS = MAP_NEEDS | BLOCK_NEEDS | Need.HIDDEN


@dataclass(frozen=True)
class Features:
    """What was seen of feature maps, in the order of runs.

    Attributes:
        maps: Outputs of layers; of any other module too if that was asked for.
        blocks: Outputs of blocks.
        hidden: Hidden layers of feed-forward networks.
        backwards: Backward passes taken; those through single blocks make one together.
    """

    maps: tuple[FeatureMap, ...] = ()
    blocks: tuple[Block, ...] = ()
    hidden: tuple[Hidden, ...] = ()
    backwards: int = 0


class FeatureRecorder:
    """Watches feature maps while a network runs.

    Args:
        network: Any module.
        recording: What to gather, and how.
    """

    def __init__(self, network: nn.Module, recording: Recording) -> None:
        self._recording = recording
        self._layers = LayerMaps(recording)
        self._blocks = BlockMaps(network, recording)
        self._hidden = HiddenMaps(recording) if recording.needs & Need.HIDDEN else None
        names = {id(module): name for name, module in network.named_modules()}
        # Blocks first: a layer that is a block itself is seen as what runs on.
        self._hooks = [
            block.register_forward_hook(self._blocks.hook_for(names.get(id(block), "")))
            for block in self._blocks.modules
        ]
        for name, module in network.named_modules():
            if isinstance(module, LAYERS):
                self._hooks.append(module.register_forward_hook(recording.axes.note))
            if self._hidden is not None and isinstance(module, nn.Linear):
                self._hooks.append(module.register_forward_hook(self._hidden.hook_for(name)))
            hook = self._layers.hook_for(name, module)
            if hook is not None:
                self._hooks.append(module.register_forward_hook(hook))

    def remove(self) -> None:
        """Take the hooks off."""
        for hook in self._hooks:
            hook.remove()

    def watching(self) -> AbstractContextManager[object]:
        """While active, sees which linear layer an activation function is given."""
        return nullcontext() if self._hidden is None else self._hidden

    def collect(self, missing: dict[Need, Exception]) -> Features:
        """What was seen. With ``TRAINABILITY`` it goes backward through each block and keeps the graph.

        Args:
            missing: Where to note what could not be had.
        """
        maps = self._layers.collect()
        blocks, backwards = self._blocks.collect()
        hidden = () if self._hidden is None else self._hidden.collect()
        missing.update(self._recording.missing)
        return Features(maps, blocks, hidden, backwards)
