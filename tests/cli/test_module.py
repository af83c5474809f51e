"""``python -m subshot`` is the command."""

import subprocess
import sys

import subshot


def test_the_package_can_be_run():
    done = subprocess.run(
        [sys.executable, "-m", "subshot", "--version"], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout.strip()) == (0, subshot.__version__), done.stderr


def test_its_errors_have_the_same_code():
    done = subprocess.run(
        [sys.executable, "-m", "subshot", "list", "proxys"], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 2
    assert done.stderr.startswith("Error: ")
