"""TransNAS-Bench-101, macro: 3,256 backbones trained for four tasks (arXiv 2105.11871).

``transnas_macro`` has the value of each task after the last epoch, ``transnas_macro_scores`` that of the best epoch,
which papers often quote, with eleven scores of NAS-Bench-Suite-Zero for 662 (classification) and 725 networks.
"""

from subshot.benchmarks._transnas import register

register("macro", 3_256, "662 to 725")
