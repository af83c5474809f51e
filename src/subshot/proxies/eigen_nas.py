"""Smallest eigenvalue of the neural tangent kernel, Eigen-NAS (Zhu et al., NeurIPS 2022, arXiv 2209.07238).

    score = lambda_min(K)

K is the kernel of ``ntk_condition``: the paper bounds the generalisation error of stochastic gradient descent by its
inverse. It scales with the gradients and so with size; ``normalized`` divides by the kernel's trace (ours). No labels.
Cost: one forward and one backward pass, shared with the other kernel proxies.

There is no code of the authors; the recipe, one batch at initialisation in double precision, is that of a reading of
the paper. Held fixed batch statistics are ours, as in ``ntk_condition``. The paper's closed form over activations and
skip connections is left out: its constants could not be verified.
"""

from typing import TYPE_CHECKING

from subshot.proxies._proxy import Preset, Reading, proxy
from subshot.proxies.ntk_condition import kernel_needs, kernel_of, spectrum_of

if TYPE_CHECKING:
    from subshot.proxies._evidence import Evidence


@proxy(
    paper="Zhu et al., NeurIPS 2022, arXiv 2209.07238",
    formula="lambda_min of the neural tangent kernel",
    needs=kernel_needs,
    scale="grows with the size of gradients; compare equal batch sizes only",
    preset=Preset(samples=64, initialisation="kaiming", options={"coupled": True}),
)
def eigen_nas(evidence: "Evidence", *, normalized: bool = False, coupled: bool = False) -> Reading:
    """Smallest eigenvalue of the neural tangent kernel.

    Args:
        evidence: With the kernel.
        normalized: Divide by the trace.
        coupled: Let gradients flow through batch statistics, one backward pass for each sample.
    """
    eigenvalues = spectrum_of(kernel_of(evidence, coupled=coupled))
    low, trace = float(eigenvalues[0]), float(eigenvalues.sum())
    return Reading(low / trace if normalized and trace > 0 else low, {"lambda_min": low, "trace": trace})
