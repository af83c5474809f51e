"""Sign patterns of activations: packed into words as they appear, and counted exactly.

A unit is one post-activation number of the network. Its *sample-wise pattern* is the bit vector that says on which of
the S samples of the batch it is positive (SWAP, arXiv 2403.04161, definition 3.2). What is kept of a layer is one word
per unit, never the (V, S) matrix of floats.
"""

from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor

# A float32 product of zeros and ones with powers of two is exact up to 24 bits; three such words fill 64 bits.
_GROUPS = (24, 24, 16)
_WORD = sum(_GROUPS)

# Up to this many bits a table of all possible patterns is smaller and faster than sorting those seen.
_TABLE_BITS = 16

# Unused columns between rows of gathered signs.
_PADDING = 48

# Numbers per slice of a layer, so that temporaries stay in cache and their memory is bounded.
_SLICE = 1 << 20


class PatternCounter:
    """Counts distinct bit patterns exactly, fed layer by layer.

    Memory is bounded by the words of one slice of one layer plus at most three times the distinct patterns seen.

    Args:
        bits: Length of a pattern.
        device: Where the activations live.
    """

    def __init__(self, bits: int, device: torch.device) -> None:
        self.bits = bits
        self._weights = _packing_weights(bits).to(device)
        if bits <= _TABLE_BITS:
            self._seen = torch.zeros(1 << bits, dtype=torch.bool, device=device)
        else:
            words = -(-bits // _WORD)
            self._distinct = torch.empty((words, 0), dtype=torch.int64, device=device)
            self._pending: list[Tensor] = []
            self._pending_size = 0

    def add(self, mask: Tensor) -> None:
        """Add the patterns of some units.

        Args:
            mask: Zeros and ones, shape (bits, units), float32.
        """
        words = (self._weights @ mask).long()  # (groups, units), each below 2**24
        if self.bits <= _TABLE_BITS:
            self._seen.index_fill_(0, words[0], True)
            return
        self._pending.append(_distinct(_join(words)))
        self._pending_size += self._pending[-1].shape[1]
        # Merging only when the pending patterns outnumber those merged keeps the sorting work proportional to V log V.
        if self._pending_size > max(self._distinct.shape[1], _SLICE):
            self._merge()

    def count(self) -> int:
        """The number of distinct patterns added so far."""
        if self.bits <= _TABLE_BITS:
            return int(torch.count_nonzero(self._seen))
        self._merge()
        return self._distinct.shape[1]

    def _merge(self) -> None:
        if self._pending:
            self._distinct = _distinct(torch.cat([self._distinct, *self._pending], dim=1))
            self._pending, self._pending_size = [], 0


class SignRecorder:
    """Turns activation maps into what proxies ask for: pattern counts and the agreement of samples.

    Args:
        samples: Batch size S.
        device: Where the activations live.
        binary: Count patterns of "positive or not", S bits.
        ternary: Count patterns of the sign (negative, zero, positive), 2 S bits. Differs from binary for activations
            that can be negative: GELU, SiLU and others.
        agreement: Sum up how many units each pair of samples agrees on (NWOT's kernel).
    """

    def __init__(self, samples: int, device: torch.device, *, binary: bool, ternary: bool, agreement: bool) -> None:
        self.samples = samples
        self.units = 0
        self.calls = 0
        self.skipped = 0
        self._binary = PatternCounter(samples, device) if binary else None
        self._ternary = PatternCounter(2 * samples, device) if ternary else None
        self._gram = torch.zeros(samples, samples, dtype=torch.float64, device="cpu") if agreement else None
        self._positive = torch.zeros(samples, dtype=torch.float64, device="cpu") if agreement else None
        # Units gather here, layer after layer, and are packed when it is full: few large steps, not many small ones.
        self._width = max(1, _SLICE // samples)
        # Rows a power of two apart would all fall into the same few places of a cache.
        rows = (2 if ternary else 1) * samples
        self._planes = torch.empty(rows, self._width + _PADDING, dtype=torch.float32, device=device)
        self._filled = 0

    def add(self, activation: Tensor) -> None:
        """Record one activation map.

        Args:
            activation: Output of an activation function. The samples are its first axis; a first axis that is a
                multiple of S (tokens or windows folded into the batch) is unfolded, and samples on the second axis
                (sequence-first transformers) are found. Anything else is counted in :attr:`skipped`.
        """
        maps = self._by_sample(activation)
        if maps is None:
            self.skipped += 1
            return
        self.calls += 1
        units = maps.shape[1]
        self.units += units
        start = 0
        while start < units:
            stop = min(units, start + self._width - self._filled)
            self._gather(maps if stop - start == units else maps[:, start:stop])
            start = stop

    def _gather(self, values: Tensor) -> None:
        """Put the signs of (S, units) into the free columns; pack when none is left."""
        end = self._filled + values.shape[1]
        columns = self._planes[:, self._filled : end]
        # Comparing straight into floats is several times faster than comparing to booleans and converting.
        torch.gt(values, 0, out=columns[: self.samples] if self._ternary else columns)
        if self._ternary:
            torch.lt(values, 0, out=columns[self.samples :])
        self._filled = end
        if end == self._width:
            self._flush()

    def _flush(self) -> None:
        """Pack and count the gathered columns."""
        if self._filled == 0:
            return
        planes = self._planes[:, : self._filled]
        self._filled = 0
        positive = planes[: self.samples]
        # In a network that runs under autocast, half-precision products would not be exact.
        with torch.autocast(planes.device.type, enabled=False):
            if self._binary:
                self._binary.add(positive)
            if self._ternary:
                self._ternary.add(planes)
            if self._gram is not None and self._positive is not None:
                self._gram += (positive @ positive.T).cpu()  # exact in float32: there are fewer than 2**24 columns
                self._positive += positive.sum(dim=1).cpu()

    def _by_sample(self, activation: Tensor) -> Tensor | None:
        """View as (S, units), or None where no axis can be the samples."""
        axis = sample_axis(activation.shape, self.samples)
        if axis is None:
            return None
        units = activation.numel() // self.samples
        if axis == 1:
            return activation.transpose(0, 1).reshape(self.samples, units)
        if not activation.is_contiguous() and activation.dim() == 4:
            activation = activation.permute(0, 2, 3, 1)  # channels-last memory; the order of units doesn't matter
        return activation.reshape(self.samples, units)

    @property
    def distinct(self) -> int | None:
        """Number of distinct binary patterns."""
        self._flush()
        return self._binary.count() if self._binary else None

    @property
    def distinct_ternary(self) -> int | None:
        """Number of distinct ternary patterns."""
        self._flush()
        return self._ternary.count() if self._ternary else None

    @property
    def agreement(self) -> Tensor | None:
        """Entry (i, j): units on which samples i and j are both positive or both not; (S, S), float64."""
        self._flush()
        if self._gram is None or self._positive is None:
            return None
        # <c_i, c_j> + <1 - c_i, 1 - c_j> with one matrix product instead of two.
        return 2 * self._gram - self._positive[:, None] - self._positive[None, :] + self.units


def sample_axis(shape: Sequence[int], samples: int) -> int | None:
    """Which axis holds the samples: the first, where a multiple of S is a fold, the second, or ``None``."""
    if not shape or shape[0] == samples:
        return 0 if shape else None
    second = len(shape) > 1 and shape[1] == samples
    # (tokens, samples, width) is far more common than a fold of sequences that are as long as the batch.
    if second and len(shape) == 3:
        return 1
    if shape[0] > 0 and shape[0] % samples == 0:
        return 0
    return 1 if second else None


@cache
def _packing_weights(bits: int) -> Tensor:
    """Matrix (groups, bits) whose product with 0/1 columns packs them into words of at most 24 bits."""
    rows: list[Tensor] = []
    start = 0
    while start < bits:
        width = min(_GROUPS[len(rows) % len(_GROUPS)], bits - start)
        row = torch.zeros(bits, dtype=torch.float32)
        row[start : start + width] = 2.0 ** torch.arange(width)
        rows.append(row)
        start += width
    return torch.stack(rows)


def _join(groups: Tensor) -> Tensor:
    """Join groups of 24, 24 and 16 bits into 64-bit words, (groups, units) -> (words, units)."""
    words = []
    for first in range(0, groups.shape[0], len(_GROUPS)):
        word = groups[first]
        if first + 1 < groups.shape[0]:
            word = word | (groups[first + 1] << 24)
        if first + 2 < groups.shape[0]:
            word = word | (groups[first + 2] << 48)
        words.append(word)
    return torch.stack(words)


def _distinct(words: Tensor) -> Tensor:
    """Distinct columns of (words, units), exactly."""
    distinct: Tensor = torch.unique(words[0])[None] if words.shape[0] == 1 else torch.unique(words, dim=1)
    return distinct
