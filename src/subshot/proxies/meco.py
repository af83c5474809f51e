"""MeCo (Jiang et al., NeurIPS 2023): smallest eigenvalues of the correlation of channels.

https://proceedings.neurips.cc/paper_files/paper/2023/hash/bfa815ac6f08f4ada34fe22be054f2b9-Abstract-Conference.html

    score = sum over layers of lambda_min(P(F))

F are the channels of the layer's output on the first sample of the batch, C by positions, and P their Pearson
correlation. A channel that is constant has zero rows. Tokens are positions, features channels. No labels. Cost: one
forward pass; eigenvalues of one C x C matrix for each layer.

A layer with no more positions than channels has lambda_min = 0: late layers add nothing, and early ones with wide maps
decide. ``opt``: the authors' ``meco_opt``, lambda_min of eight random channels times C / 8, since lambda_min falls with
the number of channels.

Departures from the authors' code: it takes the output of *every* module, containers and pooling among them, so that a
map counts once more for each module around it; here layers are convolutions, linear, norm and activation modules, so
that wrapping them changes nothing, and ``modules=all`` does as theirs. Activations called as functions are seen by
neither. Eigenvalues are those of the symmetric solver in double precision, held at zero or above, and exactly zero
where they must be (theirs carry the rounding of a general solver). With ``opt``, channels are drawn by the look's seed,
and fewer than eight are all taken (theirs raises). The first sample is normalised with its batch; the authors' batch is
one image, from the data or, in the measure that they register, of Gaussian noise.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from subshot._choice import Value
from subshot.errors import OptionError
from subshot.proxies._proxy import Need, Preset, Reading, proxy

if TYPE_CHECKING:
    from subshot.proxies._evidence import Evidence


def _check(options: Mapping[str, Value]) -> None:
    if options["modules"] not in ("layers", "all"):
        raise OptionError(f"There are no modules {options['modules']!r} of meco.", "Use layers or all.")


def _needs(options: Mapping[str, Value]) -> Need:
    few = Need.CORRELATION_OF_FEW if options["opt"] else Need.CORRELATION
    return few | Need.EVERY_MODULE if options["modules"] == "all" else few


@proxy(
    paper="Jiang et al., NeurIPS 2023, https://proceedings.neurips.cc/paper_files/paper/2023/hash/"
    "bfa815ac6f08f4ada34fe22be054f2b9-Abstract-Conference.html",
    formula="sum over layers of the smallest eigenvalue of the channels' correlation",
    needs=_needs,
    scale="at least 0; grows with the number of layers, falls with their width",
    check=_check,
    preset=Preset(samples=1, options={"modules": "all"}),
)
def meco(evidence: "Evidence", *, opt: bool = False, modules: str = "layers") -> Reading:
    """How uncorrelated channels are.

    Args:
        evidence: With correlations of channels.
        opt: Eight random channels of each layer, times C / 8.
        modules: ``layers``, or ``all`` with containers and what has no weights.
    """
    from subshot.proxies._layer_maps import FEW

    maps = [one for one in evidence.features.maps if one.kind != "other" or modules == "all"]
    if not any(one.positions > 1 for one in maps):
        return Reading(float("nan"), not_applicable="no layer has maps of several positions")
    total, full = 0.0, 0
    for one in maps:
        smallest = one.correlation_of_few if opt else one.correlation
        assert smallest is not None
        total += smallest * max(one.channels / FEW, 1.0) if opt else smallest
        full += one.positions > (min(one.channels, FEW) if opt else one.channels)
    warnings = () if full else ("no layer has more positions than channels, so the score is 0 for any weights",)
    return Reading(total, {"layers": float(len(maps)), "more positions than channels": float(full)}, warnings)
