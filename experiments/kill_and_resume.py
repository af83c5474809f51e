"""Does a search killed at random moments end as an unbroken one?

A search is started as a command, killed with SIGKILL at a random moment, and started again, ten times over; then it is left
to finish. Its best, its history and its rows are compared with those of an unbroken run, all but time columns; serially and
with two workers.

    python experiments/kill_and_resume.py
"""

import argparse
import contextlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from _scores import HERE

MAIN = "from subshot.cli.main import main; main()"
KILLS = 10


def command(out: Path, workers: int, budget: int) -> list[str]:
    return [
        sys.executable,
        "-c",
        MAIN,
        "search",
        "--space",
        "nasbench201(channels=4,cells=2)",
        "--budget",
        str(budget),
        "--strategy",
        "swap_evolution(population=30,sample=8,mutations=8)",
        "--proxy",
        "swap,nwot",
        "--workers",
        str(workers),
        "--out",
        str(out),
        "--json",
    ]


def rows(out: Path) -> list[tuple[Any, ...]]:
    """Everything stored but times."""
    with contextlib.closing(sqlite3.connect(out / "study.db")) as database:
        found = database.execute(
            "SELECT trial, arch, same_as, scores, costs FROM evaluations ORDER BY trial"
        ).fetchall()
    kept = []
    for trial, arch, same_as, scores, costs in found:
        values = json.loads(scores)
        for score in values.values():
            score["cost"].pop("seconds")
        kept.append((trial, arch, same_as, values, json.loads(costs)))
    return kept


def stored(out: Path) -> int:
    """Evaluations on disk, read from a copy so that the running search isn't touched."""
    with tempfile.TemporaryDirectory() as folder:
        for suffix in ("", "-wal"):
            source = out / f"study.db{suffix}"
            if source.exists():
                (Path(folder) / f"study.db{suffix}").write_bytes(source.read_bytes())
        try:
            with contextlib.closing(sqlite3.connect(Path(folder) / "study.db")) as database:
                return int(database.execute("SELECT count(*) FROM evaluations").fetchone()[0])
        except sqlite3.Error:
            return 0


def run(out: Path, workers: int, budget: int) -> dict[str, Any]:
    done = subprocess.run(command(out, workers, budget), capture_output=True, text=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def broken(
    out: Path, workers: int, budget: int, chance: random.Random, seconds: float
) -> tuple[dict[str, Any], list[int]]:
    """Kill ten times at random moments of the work, then finish."""
    at = []
    for _ in range(KILLS):
        process = subprocess.Popen(
            command(out, workers, budget), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        before = stored(out)
        # Wait until this run has stored something, then a random while.
        while process.poll() is None and stored(out) == before:
            time.sleep(0.02)
        time.sleep(chance.uniform(0, seconds / KILLS))
        if process.poll() is not None:
            sys.exit("The search ended before it was killed; give a larger --budget.")
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        at.append(stored(out))
    return run(out, workers, budget), at


def strip(result: dict[str, Any]) -> dict[str, Any]:
    """The result without times, folder, and how many rows were read back."""
    told = ("seconds", "compute_seconds", "resumed", "run")
    return {key: value for key, value in result.items() if key not in told}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    chance = random.Random(arguments.seed)
    lines = [
        "# A search killed ten times",
        "",
        f"`subshot search`, {arguments.budget} evaluations on NAS-Bench-201 (4 channels, 2 cells), SIGKILL at random moments, "
        "then left to finish; against an unbroken run with one worker.",
        "",
        "| workers | evaluations stored at each kill | trials | same best | same front | same rows |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "whole"
        started = time.perf_counter()
        expected = run(whole, 1, arguments.budget)
        seconds = time.perf_counter() - started
        reference = rows(whole)
        for workers in (1, 2):
            out = Path(folder) / f"broken{workers}"
            result, at = broken(out, workers, arguments.budget, chance, seconds / workers)
            same = [
                result["best"] == expected["best"],
                strip(result) == strip(expected),
                rows(out) == reference,
            ]
            shown = " | ".join("yes" if one else "NO" for one in same)
            lines.append(f"| {workers} | {', '.join(map(str, at))} | {len(rows(out))} | {shown} |")
            print(lines[-1], flush=True)
            if not all(same):
                sys.exit("The resumed search differs from the unbroken one.")
    (HERE / "results" / "kill_and_resume.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
