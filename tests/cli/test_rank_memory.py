"""A ranking of the complete NAS-Bench-201 stays small: its own tool is known for filling machines."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

# Measured: 0.3 GB.
_MOST_BYTES = 1 << 30

_CODE = """
import sys
from pathlib import Path
from subshot.benchmarks import ranking
ranking._RESAMPLES = 3
from subshot.cli.main import main
try:
    main()
except SystemExit as end:
    assert end.code == 0, end.code
for line in Path("/proc/self/status").read_text().splitlines():
    if line.startswith("VmHWM"):
        sys.stderr.write(f"PEAK {line.split()[1]}")
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read from /proc")
def test_the_complete_table_fits_into_a_gigabyte(folder, data_root):
    arguments = [
        "rank",
        "--table",
        "nasbench201",
        "--target",
        "cifar10_test_200,cifar100_test_12",
        "--scores",
        "cifar10_zen,one_shot_acc",
    ]
    arguments += ["--bands", "params:2", "--within", "hw_cifar10_raspi4_latency<=10", "--out", "run", "--json"]
    environment = {**os.environ, "SUBSHOT_DATA": str(data_root), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", _CODE, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    peak = 1024 * int(done.stderr.rpartition("PEAK ")[2])
    assert peak < _MOST_BYTES
    assert "torch" not in done.stderr
