"""Linear regions that the batch falls in (TE-NAS; Chen et al., ICLR 2021, arXiv 2102.11535).

    score = number of samples with an activation pattern of their own, equal patterns counted once

A sample's pattern says which of all units are on: it names the linear region of a ReLU network that holds the sample.
The count is at most the batch size and reaches it at once on networks of real width; it ranks only with many samples
of few pixels on thin networks, as in the authors' protocol (3 batches of 1,000 patches of 3 x 3 pixels, one channel).
SWAP counts the columns of the same table where this counts the rows. No labels. Cost: one forward pass, shared.

Departures from the authors' code: activations of any rank and kind count (theirs: outputs of ReLU modules with four
axes); patterns are compared exactly by whole numbers.
"""

from typing import TYPE_CHECKING

from subshot.proxies._proxy import Need, Reading, proxy

if TYPE_CHECKING:
    from subshot.proxies._evidence import Evidence


@proxy(
    paper="Chen et al., ICLR 2021, arXiv 2102.11535",
    formula="|{activation patterns of samples}|",
    needs=Need.AGREEMENT,
    scale="a count, at most the batch size; compare equal batches only",
)
def linear_regions(evidence: "Evidence") -> Reading:
    """Number of distinct activation patterns of samples."""
    import torch

    if evidence.units == 0:
        return Reading(float("nan"), not_applicable="no activation function was seen in the forward pass")
    assert evidence.agreement is not None
    same = evidence.agreement == evidence.units
    # A sample counts if no earlier one is equal: the lower triangle without the diagonal has no match.
    count = int((~torch.tril(same, diagonal=-1).any(dim=1)).sum())
    warnings: tuple[str, ...] = ()
    if count == evidence.samples > 1:
        warnings = ("saturated: every sample has a region of its own; use many small patches and a thin network",)
    return Reading(float(count), {"units": float(evidence.units)}, warnings)
