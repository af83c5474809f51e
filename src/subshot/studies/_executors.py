"""Run an evaluator over architectures: in this process or in worker processes, with the same results.

Every evaluation runs on one torch thread wherever it runs, so that sums are added in the same order.
"""

import contextlib
import ctypes
import multiprocessing
import os
import pickle
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from types import TracebackType
from typing import Protocol

from subshot._types import Arch, Evaluation, Score
from subshot.errors import OptionError
from subshot.studies._evaluator import Evaluator


class Executor(Protocol):
    """Maps an evaluator over architectures."""

    def run(self, archs: Sequence[Arch]) -> Iterator[tuple[int, Evaluation]]:
        """Yield (position in ``archs``, evaluation) as they are done, in any order."""
        ...

    def __enter__(self) -> "Executor": ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class SerialExecutor:
    """Evaluates in this process.

    Args:
        evaluator: What to run.
    """

    def __init__(self, evaluator: Evaluator) -> None:
        self._evaluator = evaluator

    def run(self, archs: Sequence[Arch]) -> Iterator[tuple[int, Evaluation]]:
        """Evaluate one after the other."""
        for position, arch in enumerate(archs):
            with one_thread():
                evaluation = self._evaluator.evaluate([arch])[0]
            yield position, evaluation

    def __enter__(self) -> "SerialExecutor":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


class ProcessExecutor:
    """Evaluates in worker processes, each with one torch thread; the evaluator and its batch are sent once to each.

    A worker that dies (out of memory, say) costs no other evaluation: what was under way is tried again one at a time,
    and the architecture that kills a worker twice is recorded as failed.

    Args:
        evaluator: What to run; must be picklable.
        workers: Number of processes.
    """

    def __init__(self, evaluator: Evaluator, workers: int) -> None:
        try:
            pickle.dumps(evaluator)
        except Exception as error:
            raise OptionError(
                f"What is to be searched can't be sent to worker processes: {error}.",
                "Define its classes at the top of a module, or use one worker.",
            ) from error
        self._evaluator = evaluator
        self._workers = workers
        self._pool: ProcessPoolExecutor | None = None

    def run(self, archs: Sequence[Arch]) -> Iterator[tuple[int, Evaluation]]:
        """Evaluate on all workers.

        Raises:
            OptionError: The workers can't be started.
        """
        if not archs:
            return
        try:
            waiting = self._submit(archs)
        except BrokenProcessPool:  # a worker died between two calls
            self._stop()
            waiting = self._submit(archs)
        lost: list[int] = []
        while waiting:
            done, _ = wait(waiting, return_when=FIRST_COMPLETED)
            for future in done:
                position = waiting.pop(future)
                try:
                    evaluation = future.result()
                except BrokenProcessPool:
                    lost.append(position)
                    continue
                yield position, evaluation
        if lost:
            self._stop()
            for position in sorted(lost):
                yield position, self._retry(archs[position])

    def _submit(self, archs: Sequence[Arch]) -> dict[Future[Evaluation], int]:
        pool = self._running()
        return {pool.submit(_evaluate, arch): position for position, arch in enumerate(archs)}

    def _retry(self, arch: Arch) -> Evaluation:
        try:
            return self._running().submit(_evaluate, arch).result()
        except BrokenProcessPool:
            self._stop()
            names = [one.name for one in getattr(self._evaluator, "proxies", ())]
            reason = "the worker process died while it evaluated this architecture, twice (out of memory?)"
            return {name: Score.failed(reason) for name in names}

    def _running(self) -> ProcessPoolExecutor:
        """The pool; a new one has to answer first, or else every architecture would be blamed for its failure."""
        if self._pool is not None:
            return self._pool
        # Spawned, not forked: a forked process inherits torch's thread pools in an undefined state.
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(
            self._workers, mp_context=context, initializer=_set_up, initargs=(self._evaluator,)
        )
        try:
            with _interrupts_held():
                answer = self._pool.submit(os.getpid)
            answer.result()
        except BrokenProcessPool as error:
            self._stop()
            raise OptionError(
                "The worker processes end before they begin; their own messages stand above.",
                "A script that uses workers keeps what it runs below 'if __name__ == \"__main__\":' and registers its "
                "own spaces and proxies above it; or use one worker.",
            ) from error
        return self._pool

    def _stop(self, *, wait: bool = False) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=wait, cancel_futures=True)
            self._pool = None

    def __enter__(self) -> "ProcessExecutor":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop(wait=error is None)


# Parameters of glibc's mallopt.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3

EXECUTORS = ("auto", "serial", "processes")


def make_executor(evaluator: Evaluator, workers: int, *, kind: str = "auto") -> Executor:
    """Build an executor.

    Args:
        evaluator: What to run.
        workers: Processes.
        kind: ``serial``, ``processes``, or ``auto``: processes for more than one worker.

    Raises:
        OptionError: Fewer than one worker, an unknown kind, or an evaluator that worker processes can't be sent.
    """
    if workers < 1:
        raise OptionError(f"{workers} workers were asked for.", "At least one is needed.")
    if kind not in EXECUTORS:
        raise OptionError(f"There is no executor {kind!r}.", f"Use one of {', '.join(EXECUTORS)}.")
    if kind == "serial" or (kind == "auto" and workers == 1):
        return SerialExecutor(evaluator)
    return ProcessExecutor(evaluator, workers)


_evaluator: Evaluator | None = None


def _set_up(evaluator: Evaluator) -> None:
    """Runs once in each worker."""
    _keep_memory()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # Set before torch is imported, so that its thread pools are never made.
    os.environ["OMP_NUM_THREADS"] = "1"
    import torch

    global _evaluator
    torch.set_num_threads(1)
    _evaluator = evaluator


@contextlib.contextmanager
def _interrupts_held() -> Iterator[None]:
    """Hold Ctrl-C back, for good in processes that are started inside: it is the main process's to handle."""
    if not hasattr(signal, "pthread_sigmask"):  # not on Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _keep_memory() -> None:
    """Ask glibc to reuse freed memory instead of returning it: page faults are a third of a small network's forward."""
    if not sys.platform.startswith("linux"):
        return
    with contextlib.suppress(OSError, AttributeError):  # another C library
        c_library = ctypes.CDLL(None)
        for parameter, value in ((_M_MMAP_THRESHOLD, 1 << 25), (_M_TRIM_THRESHOLD, 1 << 30), (_M_TOP_PAD, 1 << 26)):
            c_library.mallopt(parameter, value)


def _end_with_parent() -> None:
    """End this worker when the main process is gone, also after a kill that lets it clean nothing up."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _evaluate(arch: Arch) -> Evaluation:
    assert _evaluator is not None
    return _evaluator.evaluate([arch])[0]


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Hold torch to one thread in this process, so that sums are added in the same order everywhere."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
