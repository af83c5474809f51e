"""Search a space and remember everything: ask, evaluate, commit, tell; after a kill continue as if nothing happened."""

import hashlib
import json
import operator
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from subshot import __version__
from subshot._choice import Choice, parse_choices
from subshot._types import Protocol
from subshot.costs._latency_options import latency_source
from subshot.costs._limits import Limits
from subshot.costs._meter import Meter
from subshot.errors import OptionError
from subshot.proxies._proxy import BoundProxy, bind
from subshot.spaces._space import (
    Space,
    folder_size,
    get_space,
    network_settings,
    resolve_variant,
    space_settings,
)
from subshot.strategies._limits import limited
from subshot.strategies._objectives import check_objectives
from subshot.strategies._strategy import Moves, Strategy, make_strategy
from subshot.studies._aggregated import aggregated, check_aggregator
from subshot.studies._calibrate import calibrate
from subshot.studies._check import check_protocol
from subshot.studies._delivered import deliver
from subshot.studies._driver import Driver, Progress
from subshot.studies._evaluator import ProxyEvaluator
from subshot.studies._executors import make_executor
from subshot.studies._result import Study, best_first, pareto_front, write_best
from subshot.studies._start import Start
from subshot.studies._store import Store, move_aside
from subshot.studies._warm import Lender, lender_of, plan_of, refuse_redraws, warmed

if TYPE_CHECKING:
    import os

    from subshot.data import DataLike
    from subshot.supernets.warm_up import WarmUp
    from subshot.training._fit import FitState

# A user's own strategy: from the space inside the limits, the names of the objectives and the seed.
MakeStrategy = Callable[[Moves, tuple[str, ...], int], Strategy]


def search(
    space: str | Choice | Space = "nasbench201",
    *,
    data: "DataLike" = "mnist_sample",
    proxy: str | Sequence[str | Choice | BoundProxy] = "swap",
    objectives: str | Sequence[str] | None = None,
    aggregate: str | None = None,
    strategy: "str | Choice | MakeStrategy" = "swap_evolution",
    budget: int = 1000,
    max_params: float | None = None,
    max_macs: float | None = None,
    max_peak_bytes: float | None = None,
    max_latency_ms: float | None = None,
    latency: str | Choice | None = None,
    latency_file: "str | os.PathLike[str] | None" = None,
    latency_table: "str | os.PathLike[str] | None" = None,
    latency_column: str | None = None,
    variant: str | None = None,
    trained_variant: str | None = None,
    batch_size: int = 16,
    samples: str = "random",
    unreal: str = "none",
    image_size: tuple[int, int] | None = None,
    repeats: int = 1,
    init: str = "default",
    bn_mode: str = "batch",
    warm_up: "float | WarmUp | None" = None,
    weights: "str | os.PathLike[str] | None" = None,
    seed: int = 0,
    device: str = "cpu",
    workers: int = 1,
    executor: str = "auto",
    out: "str | os.PathLike[str] | Callable[[str], Path] | None" = None,
    fresh: bool = False,
    on_start: Callable[[Start], None] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    on_warm_up: "Callable[[FitState], None] | None" = None,
) -> Study:
    """Search a space for the architecture with the highest proxy score.

    Args:
        space: A space, or the name of one, with settings where wanted: ``"nasbench201(channels=8)"``.
        data: Name of a data set, path, ``ImageData``, tensor or array of images, ``(images, labels)``, or a data
            loader.
        proxy: One or more proxies; the first is the objective, all are recorded.
        objectives: What to improve together, as a front: proxies and costs with a minus sign, ``"swap,-macs"``; the
            first, a proxy, names the best. The first proxy alone if not given.
        aggregate: Order what was evaluated by an aggregator of all proxies, ``"rank_sum"`` for example, which names the
            best. The strategy itself follows the first proxy; ``random`` follows none.
        strategy: A strategy, with options where wanted: ``"swap_evolution(population=100)"``, or a function that makes
            one: ``make(space, objectives, seed)``.
        budget: Distinct architectures to evaluate.
        max_params: Highest number of parameters of the network that would be trained.
        max_macs: Highest number of multiply-accumulate operations of one sample of that network.
        max_peak_bytes: Most bytes of activations alive at once, for one sample in evaluation mode.
        max_latency_ms: Longest forward pass. A predictor fitted to some measurements keeps the search inside, with a
            margin for its error; what is handed out is measured, and what is too slow is dropped.
        latency: How latency is measured: ``eager``, ``compile`` or ``onnxruntime``, with settings where wanted:
            ``"eager(threads=2,batch_size=8,samples=100)"``.
        latency_file: Keeps the measurements and the predictor for further searches; the run folder's if not given.
        latency_table: Latencies of another device, instead of measuring here.
        latency_column: The table's column of latencies.
        variant: Which network of the space is scored; the space's scoring variant if not given, with learnt weights the
            one that is trained.
        trained_variant: Which network would be trained, and has the costs; the space's first variant if not given.
        batch_size: Samples in the batch, which is the same for every network.
        samples: ``random`` samples by the seed, or the ``first`` in file order.
        unreal: What to replace the batch by, to see what it decides: ``random_labels``, ``gaussian_noise``,
            ``smooth_noise`` or ``generated``; see :func:`subshot.data._unreal.unreal`.
        image_size: Height and width of the input; the data's own if not given, for a folder of photographs the size
            that the space was published for.
        repeats: Initialisations averaged for a score.
        init: Initialisation: ``default``, ``normal`` or ``kaiming``.
        bn_mode: Batch norm by ``batch`` statistics, ``running`` statistics, or ``off``.
        warm_up: Train the space's supernet for a while first, and score every network with the weights it lends: a
            share of the data's training part, or a whole plan.
        weights: The same with a supernet's file, which ``subshot warm-up`` wrote.
        seed: Seed of the batch, the strategy and every initialisation.
        device: Where networks run, for example ``cpu`` or ``cuda``.
        workers: Processes; the result doesn't depend on it.
        executor: ``serial``, ``processes``, or ``auto``: processes for more than one worker.
        out: Run folder; an unfinished run in it continues. Without one, nothing is written. A function is given the
            digest of the settings and returns the folder.
        fresh: Start anew although the folder holds a run, which is moved aside.
        on_start: Called once, before the warm-up and the first evaluation.
        on_progress: Called after every evaluation.
        on_warm_up: Called after every step of the warm-up.

    Neither the budget nor the aggregate is part of what the study is: a larger budget continues it, another aggregate
    orders it anew.

    Raises:
        SubshotError: Something given is unknown, out of range, or can't be used; the message says what to do.
        InfeasibleError: No architecture found meets the limits; the nearest is named.
    """
    from subshot.data import take_batch

    started = time.perf_counter()
    if budget < 1:
        raise OptionError(f"A budget of {budget} was given.", "At least one architecture must be evaluated.")
    if init == "keep":
        raise OptionError("Initialisation 'keep' was given.", "A network built for scoring has no weights to keep.")
    plan, learnt = plan_of(warm_up, seed=seed), warm_up is not None or weights is not None
    if learnt:
        refuse_redraws(init=init, repeats=repeats, both=warm_up is not None and weights is not None)
    space, seed = get_space(space), operator.index(seed)
    chosen = bind(proxy)
    if not chosen:
        raise OptionError("No proxy was given.", "Name one or more; the first is maximised.")
    if isinstance(proxy, str) and parse_choices(proxy)[0].name == "all":
        raise OptionError("The proxy 'all' was given first.", "Name the proxy to maximise first: swap,all.")
    strategy = Choice.parse(strategy) if isinstance(strategy, str) else strategy
    names = [one.name for one in chosen]
    goals = check_objectives(objectives or names[:1], scores=names, costs=("params", "macs"))
    if aggregate is not None:
        check_aggregator(aggregate, names, objectives=len(goals))
    variant = resolve_variant(space, variant or (None if learnt else space.scoring_variant))
    trained_variant = resolve_variant(space, trained_variant)
    batch = take_batch(
        data,
        batch_size,
        samples=samples,
        seed=seed,
        image_size=image_size,
        folder_size=folder_size(space),
        unreal=unreal,
    )
    protocol = Protocol(
        data=batch.name,
        data_digest=batch.digest,
        samples=batch.samples,
        batch_size=len(batch.inputs),
        repeats=repeats,
        input_shape=tuple(batch.inputs.shape[1:]),
        variant=variant,
        network=network_settings(space, variant),
        initialisation="keep" if learnt else init,
        batch_norm=bn_mode,
        weights="warm-up" if learnt else "init",
        device=device,
        seed=seed,
        version=__version__,
    )
    check_protocol(protocol)
    lender: Lender | None = None
    history: Mapping[str, Any] | None = None
    if weights is not None:
        lender, history = lender_of(Path(weights), space, batch.task, variant)
        protocol = replace(protocol, weights=lender.weights)
    limits = Limits.of(params=max_params, macs=max_macs, peak_bytes=max_peak_bytes, latency_ms=max_latency_ms)
    source = None
    if max_latency_ms is not None:
        source = latency_source(
            space,
            batch.task,
            variant=trained_variant,
            latency=latency,
            file=Path(latency_file) if latency_file is not None else None,
            table=Path(latency_table) if latency_table is not None else None,
            column=latency_column,
            seed=seed,
        )
    elif any(one is not None for one in (latency, latency_file, latency_table, latency_column)):
        raise OptionError("Latency was described without a limit.", "Give max_latency_ms (--max-latency-ms) too.")
    proxies = tuple(calibrate(one, space, batch.task, protocol) for one in chosen)
    settings = {
        "space": str(Choice(space.name, space_settings(space))),
        "proxies": {one.name: dict(one.options) for one in proxies},
        "objective": goals[0],
        "strategy": str(strategy) if isinstance(strategy, Choice) else _name_of(strategy),
        "trained_variant": trained_variant,
        "limits": dict(limits.bounds),
        "classes": batch.task.outputs,
        "protocol": protocol.to_dict(),
        **({"latency": source.identity()} if source is not None else {}),
        **({"warm_up": asdict(plan)} if plan is not None else {}),
        **({"objectives": list(goals)} if len(goals) > 1 else {}),
    }
    meter = Meter(space, batch.task, variant=trained_variant, also=limits.bounds, latency=source)
    run = _run_folder(out, settings)
    if source is not None and run is not None:  # before the strategy, which draws when it is made
        source.keep_in(run / "latency.json", anew=fresh)
    view = limited(space, limits, meter.upper)
    if isinstance(strategy, Choice):
        chooser = make_strategy(strategy, view, objective=goals, seed=seed)
    else:
        chooser = strategy(view, goals, seed)
    evaluator = ProxyEvaluator(space, batch.task, batch.inputs, proxies, protocol, batch.labels, lender)
    mapper = make_executor(evaluator, workers, kind=executor)  # the last to refuse anything: now files are touched
    if fresh and run is not None:
        move_aside(run)
    if source is not None:
        source.save()
    if on_start is not None:
        on_start(Start("search", run, settings))
    if plan is not None:
        lender, history = warmed(plan, data, space, batch.task, variant, run=run, on_step=on_warm_up)
        protocol = replace(protocol, weights=lender.weights)
        settings["protocol"] = protocol.to_dict()
        mapper = make_executor(replace(evaluator, protocol=protocol, lender=lender), workers, kind=executor)
    driver = Driver(space, meter, chooser, goals[0], budget, started, on_progress)
    with Store(run / "study.db" if run is not None else Path(":memory:"), settings) as store, mapper:
        status = driver.run(store, mapper)
    compared = goals if len(goals) > 1 else ()
    rows = driver.rows if aggregate is None else aggregated(driver.rows, aggregate)
    ranked = best_first(rows, aggregate or goals[0], objectives=compared if aggregate is None else names)
    front, checked = pareto_front(ranked, objectives=compared), None
    if source is not None and max_latency_ms is not None:
        delivered = deliver(ranked, space, source, max_latency_ms, objectives=compared, check=status == "done")
        ranked, front, checked = list(delivered.ranked), delivered.front, delivered.report
        if not ranked and checked["measured"]:
            driver.explanation += (
                f" All of the {len(checked['measured'])} architectures that were measured are slower than "
                f"{max_latency_ms:g} ms: more so than predicted."
            )
    study = Study(
        status=status,
        objective=aggregate or goals[0],
        best=ranked[0] if ranked else None,
        front=front,
        rows=tuple(rows),
        evaluations=sum(row.same_as is None for row in rows),
        resumed=driver.resumed,
        explanation=driver.explanation,
        seconds=time.perf_counter() - started,
        protocol=protocol,
        settings=settings,
        run=run,
        warm_up=history,
        latency=checked,
        aggregate=aggregate,
    )
    if run is not None:
        write_best(run, study)
    return study


def _name_of(make: MakeStrategy) -> str:
    """What a function that makes a strategy is called in the settings, which tell studies apart."""
    return f"function {getattr(make, '__module__', '')}.{getattr(make, '__qualname__', type(make).__qualname__)}"


def _run_folder(out: Any, settings: Mapping[str, Any]) -> Path | None:
    if out is None:
        return None
    if callable(out):
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
        return Path(out(digest[:12]))
    return Path(out)
