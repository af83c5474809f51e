import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from subshot._types import Arch, Score
from subshot.errors import DataError, OptionError
from subshot.studies import _executors
from subshot.studies._executors import ProcessExecutor, SerialExecutor, make_executor

# A worker process has to import the evaluator's class, which it can't from a test's own file.
EVALUATORS = """
import os, signal
from dataclasses import dataclass
from subshot._types import Score
from subshot.errors import DataError

@dataclass(frozen=True)
class Proxy:
    name: str

class Evaluator:
    proxies = (Proxy("swap"), Proxy("nwot"))

    def __init__(self, fatal=(), refused=(), buggy=()):
        self.fatal, self.refused, self.buggy = fatal, refused, buggy

    def evaluate(self, archs):
        return [self.one(arch.genes[0]) for arch in archs]

    def one(self, number):
        import torch

        if number in self.fatal:
            os._exit(9)
        if number in self.refused:
            raise DataError(f"{number} is refused.", "Give another.")
        if number in self.buggy:
            raise ZeroDivisionError(f"bug at {number}")
        value = torch.sqrt(torch.tensor(float(number))).item()
        held = signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, [])
        parts = {"threads": torch.get_num_threads(), "process": os.getpid(), "held": held}
        return {proxy.name: Score.of(value, parts=parts) for proxy in self.proxies}
"""


@pytest.fixture
def make(tmp_path, monkeypatch):
    """The evaluator's class, importable in this process and in its workers."""
    (tmp_path / "executor_evaluators.py").write_text(EVALUATORS)
    monkeypatch.syspath_prepend(tmp_path)
    yield __import__("executor_evaluators").Evaluator
    del sys.modules["executor_evaluators"]


def archs(count):
    return [Arch("toy", (number,)) for number in range(count)]


def values(found):
    return {position: one["swap"].value for position, one in found}


def gone(process):
    """Whether a process has ended; one that nobody has asked about yet is a zombie."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_processes_give_what_one_process_gives(make):
    expected = {number: number**0.5 for number in range(30)}
    with SerialExecutor(make()) as serial:
        found = dict(serial.run(archs(30)))
    assert values(found.items()) == pytest.approx(expected)
    assert {one["swap"].parts["process"] for one in found.values()} == {os.getpid()}
    with ProcessExecutor(make(refused=(100,), buggy=(101,)), 2) as processes:
        shared = list(processes.run(archs(30)))
        assert values(shared) == values(found.items())
        assert all(one["swap"].parts["threads"] == 1 for _, one in shared)
        workers = {int(one["swap"].parts["process"]) for _, one in shared}
        assert os.getpid() not in workers
        # Ctrl-C goes to every process of a terminal; a worker that is still starting must not answer it either.
        assert all(one["swap"].parts["held"] for _, one in shared)
        assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])
        assert list(processes.run([])) == []
        # What is raised on purpose, and what is a bug, ends the run, and the workers are fit for another.
        with pytest.raises(DataError) as caught:
            list(processes.run([Arch("toy", (100,))]))
        assert caught.value.hint == "Give another."
        with pytest.raises(ZeroDivisionError, match="bug at 101"):
            list(processes.run([Arch("toy", (101,))]))
        assert values(processes.run(archs(3))) == values(list(found.items())[:3])
    assert all(map(gone, workers))


@pytest.mark.slow
def test_an_architecture_that_kills_its_worker_twice_is_failed_and_no_other(make):
    with ProcessExecutor(make(fatal=(1,)), 1) as processes:
        found = dict(processes.run(archs(4)))
        for name in ("swap", "nwot"):
            assert found[1][name].status == "failed"
            assert "worker process died" in found[1][name].reason
        assert {number: found[number]["swap"].value for number in (0, 2, 3)} == pytest.approx(
            {0: 0, 2: 2**0.5, 3: 3**0.5}
        )
        # A worker that is killed between two calls is replaced without a word.
        worker = int(found[3]["swap"].parts["process"])
        os.kill(worker, signal.SIGKILL)
        again = dict(processes.run([Arch("toy", (4,))]))
        assert again[0]["swap"].value == 2
        assert again[0]["swap"].parts["process"] != worker


def test_an_evaluator_that_can_not_be_sent_is_refused_at_once():
    class Local:
        def evaluate(self, archs):
            return []

    with pytest.raises(OptionError, match="can't be sent to worker processes") as caught:
        make_executor(Local(), 2)
    assert "use one worker" in caught.value.hint
    assert isinstance(make_executor(Local(), 1), SerialExecutor)


def test_workers_that_can_not_start_are_no_fault_of_the_architectures(tmp_path, make):
    # Without the guard, each worker runs the script again and dies; this must not fail every architecture in turn.
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\nfrom executor_evaluators import Evaluator\n"
        "from subshot._types import Arch\nfrom subshot.errors import OptionError\n"
        "from subshot.studies._executors import ProcessExecutor\n"
        "try:\n    list(ProcessExecutor(Evaluator(), 1).run([Arch('toy', (1,))]))\n"
        "except OptionError as error:\n    sys.stdout.write(str(error))\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True, timeout=60)
    assert "The worker processes end before they begin" in done.stdout
    assert "__main__" in done.stdout


@pytest.mark.parametrize(
    ("workers", "kind", "expected"),
    [
        (1, "auto", SerialExecutor),
        (2, "auto", ProcessExecutor),
        (2, "serial", SerialExecutor),
        (1, "processes", ProcessExecutor),
    ],
)
def test_kinds(make, workers, kind, expected):
    assert type(make_executor(make(), workers, kind=kind)) is expected


@pytest.mark.parametrize(
    ("workers", "kind", "message"), [(0, "auto", "0 workers"), (1, "magic", "no executor 'magic'")]
)
def test_other_kinds_are_refused(make, workers, kind, message):
    with pytest.raises(OptionError, match=message):
        make_executor(make(), workers, kind=kind)


def test_the_serial_executor_runs_on_one_thread_and_puts_the_number_back(make):
    import torch

    torch.set_num_threads(2)
    try:
        with SerialExecutor(make(refused=(1,))) as serial:
            results = serial.run(archs(2))
            _, evaluation = next(results)
            assert evaluation["swap"].parts["threads"] == 1
            assert torch.get_num_threads() == 2
            with pytest.raises(DataError):
                next(results)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)


def test_memory_settings_are_harmless_elsewhere(monkeypatch):
    def no_library(name):
        raise OSError("no C library here")

    monkeypatch.setattr(_executors.ctypes, "CDLL", no_library)
    _executors._keep_memory()


def test_a_score_crosses_processes():
    import pickle

    score = Score.of(1.0, parts={"a": 2.0})
    assert pickle.loads(pickle.dumps(score)) == score  # noqa: S301 - our own bytes
