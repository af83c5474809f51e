"""TransNAS-Bench-101, micro: 4,096 cells trained for four tasks (arXiv 2105.11871).

``transnas_micro`` has the value of each task after the last epoch, ``transnas_micro_scores`` that of the best epoch,
which papers often quote, with eleven scores of NAS-Bench-Suite-Zero for 711 cells.
"""

from subshot.benchmarks._transnas import register

register("micro", 4_096, "711")
