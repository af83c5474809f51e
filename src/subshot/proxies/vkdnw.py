"""VKDNW (Tybl & Neumann, CVPR 2025, arXiv 2502.04975): entropy of the Fisher spectrum.

    score = -sum over deciles t of t log(t + 1e-10),   t: the nine deciles of the eigenvalues of F over their sum

F is the Fisher matrix of the predicted distribution for the first number of each of the first 128 parameters: the mean
over samples of J^T (diag p - p p^T) J, J the Jacobian of the logits, p 0.95 times their softmax plus 0.05 uniform.
It says how evenly the directions of the weights count and is meant to be free of size: the paper's single score puts
the number of parameter tensors first and this entropy second (``dimension`` in the parts), its aggregate sums log-ranks
with other proxies. No labels. Cost: one forward pass in which samples don't mix and a backward pass for each class, or
for each of the parameters and one more where these are fewer: at most 129 passes, for a thousand classes too. Both ways
give the same matrix but for rounding; a network that can't be differentiated twice takes the first in any case.

Departures from the authors' code: theirs multiplies the Jacobian by the factor L of diag p - p p^T = L L^T where the
theory has L^T (``released=true`` does the same; theirs rounds the share 0.05 to half precision); theirs is in
evaluation mode, here batch-norm mode is the protocol's and batch statistics are held fixed. Parameters are those of
convolutions, linear layers, batch and layer norms.
"""

from typing import TYPE_CHECKING

from subshot.proxies._proxy import Need, Preset, Reading, proxy

if TYPE_CHECKING:
    from subshot.proxies._evidence import Evidence

# The authors' constant.
_TINY = 1e-10


@proxy(
    paper="Tybl & Neumann, CVPR 2025, arXiv 2502.04975",
    formula="entropy of the deciles of the Fisher matrix's eigenvalues",
    needs=Need.OUTPUT_FISHER,
    scale="between 0 and log 9",
    preset=Preset(
        samples=64, initialisation="kaiming", batch_norm="running", unreal="gaussian_noise", options={"released": True}
    ),
)
def vkdnw(evidence: "Evidence", *, released: bool = False) -> Reading:
    """Entropy of the spectrum of the Fisher matrix of the predicted distribution.

    Args:
        evidence: With the pass in which samples don't mix.
        released: The matrix as the authors' code has it.
    """
    import torch

    found = evidence.samplewise
    assert found is not None
    matrix = found.released_fisher if released else found.output_fisher
    assert matrix is not None
    if not bool(torch.isfinite(matrix).all()):
        return Reading(float("nan"))
    eigenvalues = torch.linalg.eigvalsh(matrix).clamp(min=0).cpu()
    deciles = torch.quantile(eigenvalues, torch.arange(1, 10, dtype=torch.float64) / 10)
    shares = deciles / (deciles.sum() + _TINY)
    entropy = -float((shares * (shares + _TINY).log()).sum())
    return Reading(entropy, {"dimension": float(found.tensors), "largest": float(eigenvalues[-1])})
