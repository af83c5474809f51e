"""What does SWAP-NAS on the DARTS space cost, and do two workers help?

The search of the paper (population 50, evolution by plain SWAP at S = 16) over thousands of scored networks, each the pair of
tiny cells (`swap_pair`), once with one worker and once with two, from an empty folder each time, wall clock from command to
result. Published for the same job: about 6 minutes on one V100 GPU.

    python experiments/swap_nas_search.py
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from typing import Any

from _scores import HERE

from subshot.spaces._space import get_space

MAIN = "from subshot.cli.main import main; main()"


def run(workers: int, budget: int, seed: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        arguments = ["search", "--space", "darts", "--strategy", "swap_evolution(population=50,sample=10,mutations=10)"]
        arguments += ["--budget", str(budget), "--workers", str(workers), "--seed", str(seed)]
        arguments += ["--init", "normal", "--out", folder, "--json"]
        done = subprocess.run([sys.executable, "-c", MAIN, *arguments], capture_output=True, text=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget", type=int, default=3000)
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    lines = [
        f"# SWAP-NAS on the DARTS space, {arguments.budget:,} scored networks",
        "",
        f"Wall seconds on {os.cpu_count()} cores, one thread per worker, import of torch included.",
        "",
        "| seed | 1 worker | 2 workers | speed-up | same result | best score | params of the CIFAR network |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    best = ""
    for seed in range(arguments.seeds):
        one, two = (run(workers, arguments.budget, seed) for workers in (1, 2))
        same = "yes" if one["best"] == two["best"] and one["front"] == two["front"] else "NO"
        score, params = one["best"]["score"], one["best"]["costs"]["params"]
        lines.append(
            f"| {seed} | {one['seconds']:.1f} | {two['seconds']:.1f} | {one['seconds'] / two['seconds']:.2f}x | {same} | "
            f"{score:,.0f} | {params:,} |"
        )
        print(lines[-1], flush=True)
        best = best or get_space("darts").format(get_space("darts").parse(one["best"]["arch"]))
    lines += ["", f"Best of seed 0: `{best}`"]
    (HERE / "results" / "swap_nas_search.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
