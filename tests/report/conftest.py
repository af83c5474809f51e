"""Small runs to tell of, and a real browser where one is installed: Chromium, driven by its protocol over two pipes."""

import base64
import fcntl
import itertools
import json
import os
import select
import shutil
import signal
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import subshot
from subshot._types import TaskSpec
from subshot.benchmarks import ranking
from subshot.studies.ranking import rank
from subshot.studies.study import search
from subshot.supernets._supernet import make_supernet
from subshot.supernets.files import save_supernet
from subshot.supernets.warm_up import WarmUp, warm_up
from subshot.training._recipe import Recipe
from subshot.training._samples import Samples
from subshot.training.parts import Parts
from subshot.training.winner import Candidate, TrainingPlan, train_winner

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
PATIENCE_S = 60


class Browser:
    """One tab; see https://chromedevtools.github.io/devtools-protocol for the methods.

    Attributes:
        errors: Texts of exceptions, console errors and warnings of the page that is open.
        requests: Addresses that it asked for, other than data that it holds itself.
    """

    def __init__(self, program, home):
        # Numbers above 10, so that giving them 3 and 4 in the new process overwrites neither.
        ends = (*os.pipe(), *os.pipe())
        pipes = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends]
        for end in ends:
            os.close(end)
        theirs_in, self._out, self._in, theirs_out = pipes
        command = [
            program,
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--hide-scrollbars",
            "--no-first-run",
            "--remote-debugging-pipe",
            f"--user-data-dir={home}",
            "about:blank",
        ]
        actions = [
            (os.POSIX_SPAWN_DUP2, theirs_in, 3),
            (os.POSIX_SPAWN_DUP2, theirs_out, 4),
            (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
            (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
        ]
        self._process = os.posix_spawn(program, command, os.environ, file_actions=actions, setpgroup=0)
        os.close(theirs_in)
        os.close(theirs_out)
        self._numbers, self._rest, self._session = itertools.count(1), b"", None
        self.errors, self.requests = [], []
        target = next(one for one in self._targets() if one["type"] == "page")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def _targets(self):
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            found = self.call("Target.getTargets")["targetInfos"]
            if any(one["type"] == "page" for one in found):
                return found
            time.sleep(0.1)
        raise TimeoutError("the browser opened no page")

    def call(self, method, **params):
        """The result of one method."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == number:
                assert "error" not in answer, answer["error"]
                return answer["result"]
            self._note(answer)

    def _read(self):
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._in], [], [], PATIENCE_S)
            if not ready:
                raise TimeoutError("the browser doesn't answer")
            got = os.read(self._in, 1 << 20)
            if not got:
                raise EOFError("the browser ended")
            self._rest += got
        text, _, self._rest = self._rest.partition(b"\0")
        return json.loads(text)

    def _note(self, event):
        params = event.get("params", {})
        if event.get("method") == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            self.errors.append(details.get("exception", {}).get("description") or details["text"])
        elif event.get("method") == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
            self.errors.append(" ".join(str(one.get("value", one.get("description"))) for one in params["args"]))
        elif event.get("method") == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.errors.append(params["entry"]["text"])
        elif event.get("method") == "Network.requestWillBeSent" and not params["request"]["url"].startswith("data:"):
            self.requests.append(params["request"]["url"])

    def open(self, path, *, width=1200, height=900, phone=False):
        """Load a file and wait until it has been drawn."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone)
        self.call("Emulation.setTouchEmulationEnabled", enabled=phone)
        self.call("Page.navigate", url="about:blank")
        self.errors.clear()
        self.requests.clear()
        address = Path(path).resolve().as_uri()
        self.call("Page.navigate", url=address)
        end = time.monotonic() + PATIENCE_S
        while self.run("[location.href, document.readyState]") != [address, "complete"]:
            assert time.monotonic() < end, "the page doesn't load"
            time.sleep(0.05)
        self.settle()

    def settle(self):
        """Wait for two frames, in which everything asked for has been drawn."""
        self.run("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(1))))")

    def run(self, script):
        """The value of an expression; a promise is waited for."""
        result = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def hover(self, x, y):
        """Move the pointer there."""
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
        time.sleep(0.15)  # plotly waits a little before it shows anything
        self.settle()

    def click(self, x, y):
        """Move the pointer there and press its button."""
        self.hover(x, y)
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)
        time.sleep(0.4)  # it might have become a double click
        self.settle()

    def screenshot(self, path, *, whole=True):
        """A PNG of the whole page."""
        data = self.call("Page.captureScreenshot", captureBeyondViewport=whole)["data"]
        Path(path).write_bytes(base64.b64decode(data))

    def pdf(self, path):
        """Print on A4."""
        data = self.call(
            "Page.printToPDF", printBackground=True, preferCSSPageSize=True, paperWidth=8.27, paperHeight=11.69
        )
        Path(path).write_bytes(base64.b64decode(data["data"]))

    def close(self):
        """End the browser and all its processes."""
        os.close(self._out)
        os.close(self._in)
        os.killpg(self._process, signal.SIGKILL)
        os.waitpid(self._process, 0)


@pytest.fixture(scope="session")
def browser():
    """A headless Chromium, else the test is skipped."""
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip(f"no browser is installed: none of {', '.join(NAMES)} is on the path")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        opened = Browser(program, home)
        yield opened
        opened.close()


SPACE = "nasbench201(channels=2,cells=1)"


@pytest.fixture(scope="session")
def images():
    """Eight random images of ten classes with labels."""
    return np.random.default_rng(0).normal(size=(8, 3, 8, 8)).astype(np.float32), np.arange(8)


@pytest.fixture(scope="session")
def search_run(tmp_path_factory, images):
    """The folder of a search with a limit and two proxies; some cells have no path and so no score."""
    out = tmp_path_factory.mktemp("search")
    search(
        SPACE, data=images, proxy="swap,nwot", strategy="random", budget=80, batch_size=8, max_params=20_000, out=out
    )
    return out


@pytest.fixture(scope="session")
def table(tmp_path_factory):
    """A table of sixty cells: a true value with a long tail, another target to be minimised, and a stored score."""
    space, rng = subshot.get_space(SPACE), np.random.default_rng(1)
    cells = list(dict.fromkeys(space.format(space.sample(rng)) for _ in range(90)))[:59]
    cells.append("|none~0|+|none~0|none~1|+|none~0|none~1|none~2|")  # which can't be scored
    truth = 90 - np.sort(rng.exponential(2, size=len(cells)))
    truth[-2:] = 10.0
    path = tmp_path_factory.mktemp("table") / "cells.csv"
    lines = [
        f"{cell},{value!r},{100 - value!r},{noise!r}"
        for cell, value, noise in zip(cells, truth.tolist(), rng.normal(size=len(cells)).tolist(), strict=True)
    ]
    path.write_text("\n".join(["arch,acc,error,luck", *lines]) + "\n")
    return path


@pytest.fixture(scope="session")
def rank_run(tmp_path_factory, table, images):
    """The folder of a ranking of measured scores, with a second seed and bands."""
    out = tmp_path_factory.mktemp("rank")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranking, "_RESAMPLES", 20)
        rank(
            SPACE,
            table=table,
            target="acc",
            proxies="swap,plain",
            aggregates="vote",
            data=images,
            batch_size=8,
            again=5,
            bands="params:2",
            out=out,
        )
    return out


@pytest.fixture(scope="session")
def stored_run(tmp_path_factory, table):
    """The folder of a ranking of a column against two targets."""
    out = tmp_path_factory.mktemp("stored")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranking, "_RESAMPLES", 20)
        rank(SPACE, table=table, target=["acc", "error"], scores="luck", minimize=None, out=out)
    return out


TASK = TaskSpec.images(3, 8, 8, classes=10)


@pytest.fixture(scope="session")
def bright():
    """Forty random images of ten classes, and their labels."""
    return np.random.default_rng(2).normal(size=(40, 3, 8, 8)).astype(np.float32), np.arange(40) % 10


@pytest.fixture(scope="session")
def warm_up_done(tmp_path_factory, bright):
    """The file of a supernet, and how it was warmed up: twelve steps on eight of forty images each."""
    supernet = make_supernet(subshot.get_space(SPACE), TASK)
    plan = WarmUp(share=2.4, recipe=Recipe(batch_size=8))
    done = warm_up(supernet, tuple(map(torch.tensor, bright)), plan=plan)
    path = tmp_path_factory.mktemp("supernets") / "digits.safetensors"
    save_supernet(supernet, path, warmed_up=done)
    return path, done


@pytest.fixture(scope="session")
def warmed_run(tmp_path_factory, bright, warm_up_done):
    """The folder of a search for two objectives with weights that were learnt."""
    out = tmp_path_factory.mktemp("warmed")
    search(
        SPACE,
        data=bright,
        proxy="swap,nwot",
        objectives="swap,-macs",
        strategy="random",
        budget=20,
        batch_size=40,
        weights=warm_up_done[0],
        out=out,
    )
    return out


MODEL = """
import subshot
import torch
from torch import nn


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = (nn.Conv2d(4, 4, 3, padding=1) for _ in range(2))

    def forward(self, x):
        return x + self.conv2(self.conv1(x).relu())


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.layer1 = nn.Sequential(Block(), Block())
        self.head = nn.Linear(4, 10)

    def forward(self, x):
        return self.head(self.layer1(self.stem(x).relu()).mean((2, 3)))


def mine():
    torch.manual_seed(0)
    return subshot.Space.around(Net(), torch.zeros(2, 3, 8, 8))
"""


@pytest.fixture(scope="session")
def own_space(tmp_path_factory):
    """The name of a space around a model in a file."""
    path = tmp_path_factory.mktemp("own") / "a_model_of_mine.py"
    path.write_text(MODEL)
    return f"{path}:mine"


@pytest.fixture(scope="session")
def own_run(tmp_path_factory, own_space, bright):
    """The folder of a search around a model."""
    out = tmp_path_factory.mktemp("own_run")
    search(own_space, data=bright, proxy="nwot", strategy="random", budget=20, batch_size=16, out=out)
    return out


@pytest.fixture(scope="session")
def train_run(tmp_path_factory, bright):
    """The folder of a training: two trials, the winner and a baseline."""
    images, labels = bright
    whole, space = Samples("bright", "d", labels, images.__getitem__), subshot.get_space(SPACE)
    parts = Parts(TASK, *(whole.part(np.arange(a, b)) for a, b in ((0, 24), (24, 32), (32, 40))), facts={})

    def candidate(text):
        built = {"space": SPACE, "arch": text, "variant": "official"}
        return Candidate(text, lambda: space.build(space.parse(text), TASK), built)

    good = "|nor_conv_3x3~0|+|none~0|none~1|+|skip_connect~0|none~1|nor_conv_3x3~2|"
    plain = "|none~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|"
    out = tmp_path_factory.mktemp("train")
    train_winner(
        [candidate(good), candidate(plain)],
        parts,
        plan=TrainingPlan(epochs=3, trial_epochs=1, recipe="sgd"),
        folder=out,
        baseline=candidate(plain),
        settings={"space": SPACE},
    )
    return out
