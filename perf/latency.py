"""How well do 100 measurements predict the latency of architectures that were not measured?

Two hundred random architectures of a space take turns, so that what else the machine does meets all alike; the
predictor is fitted to the first hundred and judged on the others, beside MACs and parameters as predictors. Last, what
a search must pay for each candidate: a look at the shapes of its network.

    python perf/latency.py --space nasbench201 --space "mobilenet(image_size=64,budget=200000)"
"""

import argparse
import platform
import time
from pathlib import Path

import numpy as np
import torch
from scipy.stats import spearmanr

from subshot._seeds import stable_rng
from subshot.costs._latency_options import parse_latency
from subshot.costs._latency_predictor import PredictorError, fit_latency_predictor
from subshot.costs._trace import trace_architecture
from subshot.costs.latency import measure_architectures
from subshot.costs.parameters import count_parameters
from subshot.spaces._space import get_space


def row(text: str, latency: str, fresh: int) -> tuple[str, str]:
    """A line of the table, and how it was measured."""
    space = get_space(text)
    protocol, samples = parse_latency(latency)
    rng = stable_rng(0, "perf")
    archs = {}
    while len(archs) < samples + fresh:
        arch = space.sample(rng)
        archs.setdefault(space.format(arch), arch)
    found = measure_architectures(space, list(archs.values()), space.task, protocol=protocol)
    kept = [(arch, one) for arch, one in zip(archs.values(), found.values, strict=True) if one.ok]
    started = time.process_time()
    traces = [trace_architecture(space, arch, space.task, batch_size=protocol.batch_size) for arch, _ in kept]
    look_ms = 1e3 * (time.process_time() - started) / len(traces)
    measured = np.array([one.ms for _, one in kept])
    width = float(np.median([(one.high_ms - one.low_ms) / one.ms for _, one in kept]))
    fitted = fit_latency_predictor(traces[:samples], measured[:samples])
    predicted = np.array([fitted.predict(one) for one in traces[samples:]])
    error = PredictorError.of(predicted, measured[samples:])
    above = float((measured[samples:] > predicted * fitted.error.margin).mean())
    macs = spearmanr([one.macs for one in traces[samples:]], measured[samples:]).statistic
    with torch.device("meta"):
        sizes = [count_parameters(space.build(arch)) for arch, _ in kept[samples:]]
    params = spearmanr(sizes, measured[samples:]).statistic
    cells = [
        text,
        f"{measured.min():.3g} - {measured.max():.3g}",
        f"{error.spearman:.3f}",
        f"{macs:.3f}",
        f"{params:.3f}",
        f"{error.median:.1%}",
        f"{error.mape:.1%}",
        f"{error.worst:.1%}",
        f"{fitted.error.mape:.1%}",
        f"{fitted.error.margin:.3f}",
        f"{above:.0%}",
        f"{width:.1%}",
        f"{found.drift:.1%}",
        f"{look_ms:.0f}",
        f"{fitted.features}, {fitted.method}",
    ]
    return "| " + " | ".join(cells) + " |", f"{text}: {protocol}; {len(kept)} of {samples + fresh} architectures"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", action="append", help="a space; may be repeated")
    parser.add_argument("--latency", default="eager(clock=cpu)", help="how to measure")
    parser.add_argument("--fresh", type=int, default=100, help="architectures to judge on")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "latency.md")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = [row(text, arguments.latency, arguments.fresh) for text in arguments.space or ["nasbench201"]]
    names = [
        "space",
        "latency (ms)",
        "rank correlation",
        "of MACs",
        "of parameters",
        "median error",
        "mean error",
        "worst error",
        "error foretold",
        "margin",
        "above it",
        "interval",
        "drift",
        "a look (ms)",
        "chosen",
    ]
    lines = [
        "# Predicted against measured latency",
        "",
        f"On {arguments.fresh} architectures that the predictor had not seen; torch {torch.__version__}, "
        f"{platform.machine()}. 'error foretold' is the mean error that cross-validation of the fit promised, 'above it' "
        "the share of architectures slower than their upper bound (5 % expected), 'interval' the median width of the "
        "95 % interval of a measurement: no prediction can be much better.",
        "",
        "| " + " | ".join(names) + " |",
        "| " + " | ".join("---" for _ in names) + " |",
        *(line for line, _ in rows),
        "",
        *(f"- {how}" for _, how in rows),
    ]
    text = "\n".join(lines) + "\n"
    print(text)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(text)


if __name__ == "__main__":
    main()
