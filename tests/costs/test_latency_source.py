"""Where latencies come from: a predictor, its file, another device's table; and what limits and profiles do with it."""

import gzip
import json
import sys

import numpy as np
import pytest

from subshot.cli.main import main
from subshot.costs import _latency_predictor, _latency_source, latency
from subshot.costs._latency_options import latency_source
from subshot.costs._latency_records import Latencies, Latency, LatencyProtocol
from subshot.costs._limits import Limits, shown
from subshot.costs._meter import Meter
from subshot.costs._trace import trace_architecture
from subshot.costs.latency_table import read_latency_table
from subshot.costs.profile import profile
from subshot.errors import DataError, InfeasibleError, OptionError, UnknownNameError
from subshot.spaces._space import get_space

SPACE = get_space("nasbench_macro")
TASK = SPACE.task


def _truth(arch):
    """A machine that takes 1 ms for 10 M multiply-accumulates and 0.5 ms for nothing."""
    return 0.5 + trace_architecture(SPACE, arch, TASK).macs / 1e7


@pytest.fixture
def machine(monkeypatch):
    """Replaces measuring; remembers what was measured, and breaks what it is told to."""

    class Machine:
        measured = []
        broken = set()
        slower = 1.0

    Machine.measured, Machine.broken = [], set()

    def measure(space, archs, task, *, variant=None, protocol=None, seed=0, on_progress=None):
        found = []
        for arch in archs:
            text = space.format(arch)
            Machine.measured.append(text)
            ms = _truth(arch) * Machine.slower
            good = Latency(ms, ms - 0.1, ms + 0.1)
            found.append(Latency.failed("out of memory: too large") if text in Machine.broken else good)
            if on_progress is not None:
                on_progress(len(found))
        return Latencies(tuple(found), 0.02, protocol)

    monkeypatch.setattr(latency, "measure_architectures", measure)
    monkeypatch.setattr(_latency_predictor, "_CANDIDATES", (("totals", "ridge"), ("totals", "non_negative")))  # quick
    return Machine


@pytest.fixture
def archs():
    rng = np.random.default_rng(7)
    return [SPACE.sample(rng) for _ in range(6)]


def test_a_few_measurements_predict_everything(machine, archs):
    done = []
    source = latency_source(
        SPACE, TASK, latency="eager(samples=30)", on_progress=lambda number, total: done.append((number, total))
    )
    assert machine.measured == []  # nothing before it is needed
    assert source.error is None
    for arch in archs:
        assert source.latency_ms(arch) == pytest.approx(_truth(arch), rel=0.02)
        assert source.upper_ms(arch) == source.latency_ms(arch) * source.error.margin >= source.latency_ms(arch)
    assert len(machine.measured) == len(set(machine.measured)) == 30
    assert done[-1] == (30, 30)
    found = json.loads(json.dumps(source.to_dict(), allow_nan=False))
    assert found["error"]["samples"] == 30
    assert found["protocol"]["backend"] == "eager"
    assert "fitted to 30 architectures" in str(source)


def test_some_failures_are_left_out_and_many_are_an_error(machine, archs):
    source = latency_source(SPACE, TASK, latency="eager(samples=30)")
    everything = [SPACE.format(arch) for arch in source._sample()]
    machine.broken.update(everything[:8])
    assert source.latency_ms(archs[0]) == pytest.approx(_truth(archs[0]), rel=0.02)
    assert source.error.samples == 22
    machine.broken.update(everything[:11])
    with pytest.raises(InfeasibleError, match=r"19 of 30 architectures of nasbench_macro.*out of memory: too large"):
        latency_source(SPACE, TASK, latency="eager(samples=30)").ready()


def test_a_file_spares_the_measurements(machine, archs, tmp_path):
    file = tmp_path / "deep" / "latency.json"
    first = latency_source(SPACE, TASK, latency="eager(samples=30)", file=file)
    first.ready()
    assert len(json.loads(file.read_text())["measured"]) == 30
    machine.measured.clear()
    second = latency_source(SPACE, TASK, latency="eager(samples=50)", file=file)
    assert [second.latency_ms(arch) for arch in archs] == [first.latency_ms(arch) for arch in archs]
    assert machine.measured == []
    assert second.measurable
    # What is checked is kept as well, and not measured again.
    values = second.measure(archs[:2])
    assert [one.ms for one in values] == [pytest.approx(_truth(arch)) for arch in archs[:2]]
    machine.measured.clear()
    third = latency_source(SPACE, TASK, file=file)
    assert third.measure(archs[:3])[:2] == values
    assert machine.measured == [SPACE.format(archs[2])]


def test_a_run_folder_keeps_the_file_once_it_may_be_written(machine, archs, tmp_path):
    file = tmp_path / "latency.json"
    source = latency_source(SPACE, TASK, latency="eager(samples=30)")
    source.keep_in(file, anew=False)
    wanted = source.latency_ms(archs[0])
    assert not file.exists()
    source.save()
    machine.measured.clear()
    for anew, measured in ((False, 0), (True, 30)):
        again = latency_source(SPACE, TASK, latency="eager(samples=30)")
        again.keep_in(file, anew=anew)
        assert again.latency_ms(archs[0]) == wanted
        assert len(machine.measured) == measured


def test_a_file_of_something_else_is_refused(machine, tmp_path):
    file = tmp_path / "latency.json"
    latency_source(SPACE, TASK, latency="eager(samples=30)", file=file).ready()
    with pytest.raises(OptionError, match="holds latencies of another protocol"):
        latency_source(SPACE, TASK, latency="eager(threads=2)", file=file)
    with pytest.raises(OptionError, match="of another space"):
        latency_source(get_space("nasbench_macro(channels=16)"), TASK, file=file)
    file.write_text("{]")
    with pytest.raises(OptionError, match="is no file of latencies"):
        latency_source(SPACE, TASK, file=file)
    file.write_text("[1]")
    with pytest.raises(OptionError, match="is no file of latencies"):
        latency_source(SPACE, TASK, file=file)


def test_a_file_of_another_machine_predicts_and_does_not_check(machine, archs, tmp_path):
    file = tmp_path / "latency.json"
    latency_source(SPACE, TASK, latency="eager(samples=30)", file=file).ready()
    file.write_text(json.dumps({**json.loads(file.read_text()), "machine": "abacus"}))
    source = latency_source(SPACE, TASK, file=file)
    assert source.latency_ms(archs[0]) == pytest.approx(_truth(archs[0]), rel=0.02)
    assert not source.measurable
    assert source.measure(archs) is None


# --- tables of other devices -----------------------------------------------------------------------------------------


def _write(path, rows, header="arch,latency_ms"):
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def _sampled(number):
    rng = np.random.default_rng(3)
    found = {}
    while len(found) < number:
        arch = SPACE.sample(rng)
        found[SPACE.format(arch)] = arch
    return found


def test_a_table_is_exact_and_trains_a_predictor_for_the_rest(machine, tmp_path):
    known = _sampled(45)
    *inside, missing = known.items()
    table = _write(tmp_path / "phone.csv", [f"{text},{3 * _truth(arch)}" for text, arch in inside])
    source = latency_source(SPACE, TASK, table=table)
    _, arch = inside[0]
    assert source.latency_ms(arch) == source.upper_ms(arch) == pytest.approx(3 * _truth(arch))
    assert source.error is None  # nothing had to be predicted
    assert source.knows(arch)
    assert not source.knows(missing[1])
    assert source.latency_ms(missing[1]) == pytest.approx(3 * _truth(missing[1]), rel=0.02)
    assert source.upper_ms(missing[1]) >= source.latency_ms(missing[1])
    assert source.error.samples == 44
    assert machine.measured == []
    assert source.measure([arch]) is None
    assert source.to_dict()["table"] == "phone.csv"


def test_what_a_table_lacks_can_be_refused(tmp_path):
    known = list(_sampled(3).items())
    table = _write(tmp_path / "phone.csv", [f"{text},5" for text, _ in known[:2]])
    source = _latency_source.LatencySource(SPACE, TASK, table=table, refuse_missing=True)
    meter = Meter(SPACE, TASK, latency=source)
    assert meter.costs(known[0][1])["latency_ms"] == 5
    assert "latency_ms" not in meter.upper(known[2][1])
    limits = Limits.of(latency_ms=1e9)
    assert limits.excess(meter.upper(known[0][1])) < 1 < limits.excess(meter.upper(known[2][1]))
    with pytest.raises(OptionError, match="has 2 architectures, too few to predict others"):
        latency_source(SPACE, TASK, table=table).latency_ms(known[2][1])


def test_columns_of_a_table(tmp_path):
    one, two = list(_sampled(2))
    rows = [f"{one},1.5,8,x", f"{two},2.5,,y", f" {one} ,2.5,9,z"]
    table = _write(tmp_path / "t.csv", rows, "arch_str,gpu_latency,pi_latency,note")
    assert read_latency_table(table, SPACE, column="gpu_latency") == {one: 2.0, two: 2.5}
    assert read_latency_table(table, SPACE, column="pi_latency") == {one: 8.5}
    with pytest.raises(OptionError, match="several columns of latencies, gpu_latency, pi_latency"):
        read_latency_table(table, SPACE)
    with pytest.raises(OptionError, match="no column 'tpu'"):
        read_latency_table(table, SPACE, column="tpu")
    packed = tmp_path / "t.csv.gz"
    packed.write_bytes(gzip.compress(table.read_bytes()))
    assert read_latency_table(packed, SPACE, column="gpu_latency") == {one: 2.0, two: 2.5}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no rows"),
        ("arch,latency_ms\n", "no rows"),
        ("name,latency_ms\n1,2\n", "no column of architectures"),
        ("arch,accuracy\n00000000,2\n", "no column of latencies"),
        ("arch,latency_ms\n99999999,2\n", "Row 1"),
        ("arch,latency_ms\n00000000,fast\n", "latency 'fast'"),
        ("arch,latency_ms\n00000000,-1\n", "latency '-1'"),
        ("arch,latency_ms\n00000000,nan\n", "latency 'nan'"),
        ("arch,latency_ms\n00000000\n", "1 cells, its header 2"),
        ("arch,latency_ms\n00000000,\n", "has no latencies"),
    ],
)
def test_tables_that_are_none(tmp_path, text, message):
    table = tmp_path / "t.csv"
    table.write_text(text)
    with pytest.raises((DataError, OptionError), match=message):
        read_latency_table(table, SPACE)


def test_tables_that_can_not_be_read(tmp_path):
    with pytest.raises(DataError, match="No such file"):
        read_latency_table(tmp_path / "none.csv", SPACE)
    broken = tmp_path / "t.csv.gz"
    broken.write_bytes(gzip.compress(b"arch,latency_ms\n" * 50)[:-20])
    with pytest.raises(DataError, match="can't be read"):
        read_latency_table(broken, SPACE)
    with pytest.raises(OptionError, match="without a table"):
        latency_source(SPACE, TASK, column="x")
    with pytest.raises(OptionError, match="together with a way to measure"):
        latency_source(SPACE, TASK, table=broken, latency="eager")


# --- limits, meter, profile ------------------------------------------------------------------------------------------


def test_limits_see_the_upper_bound(machine, archs, monkeypatch):
    source = latency_source(SPACE, TASK, latency="eager(samples=30)")
    meter = Meter(SPACE, TASK, latency=source)
    costs, upper = meter.costs(archs[0]), meter.upper(archs[0])
    assert costs["latency_ms"] == source.latency_ms(archs[0])
    assert upper["latency_ms"] == source.upper_ms(archs[0])
    assert {**upper, "latency_ms": 0} == {**costs, "latency_ms": 0}
    assert str(Limits.of(latency_ms=0.5, params=1_000)) == "latency_ms <= 0.5, params <= 1,000"
    assert (shown("latency_ms", 1.23456), shown("peak_bytes", 12345.6)) == ("1.235", "12,346")
    assert Limits.of(peak_bytes=10).excess({"peak_bytes": 25}) == 2.5
    with pytest.raises(OptionError, match="limit of latency_ms was given as -1"):
        Limits.of(latency_ms=-1)


def test_failures_of_measuring_are_not_taken_for_the_architecture_s(machine, archs):
    source = latency_source(SPACE, TASK, latency="eager(samples=30)")
    machine.broken.update(SPACE.format(arch) for arch in source._sample())
    with pytest.raises(InfeasibleError, match="too few to predict others"):
        Meter(SPACE, TASK, latency=source).costs(archs[0])


def test_profile_of_costs_that_need_a_look(machine):
    source = latency_source(SPACE, TASK, latency="eager(samples=30)")
    found = profile(SPACE, TASK, also=["peak_bytes"], latency=source, looks=25)
    assert (found.exact, found.looked_at, found.feasible) == (True, 25, None)
    least, most = (_truth(SPACE.parse(text)) for text in ("00000000", "22222222"))
    spread = found.ranges["latency_ms"]
    assert spread.minimum == pytest.approx(least, rel=0.03)
    assert spread.maximum == pytest.approx(most, rel=0.03)
    memory = found.ranges["peak_bytes"]
    ends = [trace_architecture(SPACE, SPACE.parse(text), TASK).peak_bytes for text in ("00000000", "22222222")]
    assert (memory.minimum, memory.maximum) == (min(ends), max(ends))


@pytest.mark.parametrize(("factor", "feasible"), [(1.1, True), (0.9, False)])
def test_profile_tells_whether_a_latency_can_be_met(machine, factor, feasible):
    source = latency_source(SPACE, TASK, latency="eager(samples=30)")
    limits = Limits.of(latency_ms=factor * _truth(SPACE.parse("00000000")), params=1e9)
    found = profile(SPACE, TASK, limits=limits, latency=source, looks=15)
    assert found.feasible is feasible
    assert SPACE.format(found.smallest) == "00000000"
    assert found.smallest_costs["latency_ms"] == source.upper_ms(found.smallest)


@pytest.mark.parametrize(("bound", "feasible"), [(274_432, True), (274_431, False)])
def test_profile_tells_whether_a_memory_can_be_met(bound, feasible):
    found = profile(SPACE, TASK, limits=Limits.of(peak_bytes=bound), looks=15)
    assert found.feasible is feasible
    # The image and what goes into and comes out of the stem's ReLU: 3 + 32 + 32 channels of 32 x 32.
    assert found.ranges["peak_bytes"].minimum == 4 * 1024 * (3 + 32 + 32) == 274_432


@pytest.fixture
def command(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["subshot", "profile", "--space", "nasbench_macro", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        printed = capsys.readouterr()
        return end.value.code, printed.out, printed.err

    return run


def test_the_command_shows_latencies_and_their_error(command, machine, tmp_path):
    quick = ("--latency", "eager(samples=30)", "--latency-file", tmp_path / "l.json")
    code, out, err = command("--max-latency-ms", 0.1, "--costs", "peak_bytes", *quick, "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert found["feasible"] is False
    assert found["nearest"] == "00000000"
    assert found["latency_ms"]["min"] < found["latency_ms"]["median"] < found["latency_ms"]["max"]
    assert found["peak_bytes"]["min"] == 274_432
    assert found["latency"]["error"]["samples"] == 30
    code, out, _ = command("--max-latency-ms", 1000, *quick)
    assert code == 0
    assert "rank correlation" in out
    assert "Limits latency_ms <= 1,000 can be met" in out
    assert len(machine.measured) == 30  # the file spared the second time


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--costs", "energy"], "no further cost named 'energy'"),
        (["--latency", "tflite"], "backend 'tflite' was given"),
        (["--latency", "eager(samples=3)"], "At least 20"),
        (["--latency-table", "none.csv"], "none.csv can't be read"),
        (["--latency-column", "x"], "without a table"),
        (["--max-latency-ms", "-1"], "--max-latency-ms"),
        (["--latency", "eager(device=cuda:77)"], "Device 'cuda:77' was given"),
    ],
)
def test_the_command_refuses(command, arguments, message):
    code, out, err = command(*arguments)
    assert (code, out) == (2, "")
    assert message in " ".join(err.split())


def test_names_of_further_costs():
    from subshot.costs.profile import further_costs

    assert further_costs(" latency_ms, peak_bytes ") == ("latency_ms", "peak_bytes")
    assert further_costs("") == ()
    with pytest.raises(UnknownNameError, match="Did you mean 'latency_ms'"):
        further_costs("latency")


def test_the_protocol_is_part_of_what_a_study_is(tmp_path):
    assert latency_source(SPACE, TASK).identity() == {"protocol": LatencyProtocol().to_dict(), "samples": 100}
    first, second = (_write(tmp_path / f"{name}.csv", [f"00000000,{value}"]) for name, value in (("a", 1), ("b", 2)))
    digests = [latency_source(SPACE, TASK, table=table).identity()["table"] for table in (first, second)]
    assert digests[0] != digests[1]
