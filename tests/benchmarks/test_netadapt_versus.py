"""The comparison of NetAdapt with its rivals: what makes it fair."""

import json
import math
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from search.budget import CostModel
from search.data import Dataset, Split
from search.latency.measurement import Measurement
from search.latency.runtimes.eager import Eager
from search.netadapt.timing import Subject, Timing
from searchspace import zoo
from searchspace.blocks import Classifier, ConvBN, MBConv, SeparableConv
from searchspace.cost import macs
from searchspace.errors import InfeasibleBudget, InvalidArgument
from searchspace.graph import lower
from searchspace.latency.table import Correction, LatencyTable
from searchspace.nn import Network, build
from searchspace.spec import NetworkSpec, Stage
from searchspace.to_template import to_template
from tests.benchmarks import netadapt_versus, torch_pruned
from tests.benchmarks.harness import Row
from tests.benchmarks.netadapt_arms import Pair, Results, run_arms, width_for
from tests.benchmarks.netadapt_versus import parser, report

SMALL = NetworkSpec(
    "small",
    32,
    (
        Stage("stem", (ConvBN(out_channels=16, kernel=3, stride=2),)),
        Stage("stage1", (SeparableConv(out_channels=16, stride=2),)),
        Stage(
            "stage2",
            (
                MBConv(expand_channels=48, out_channels=24, stride=2, squeeze_channels=8),
                MBConv(expand_channels=64, out_channels=24, squeeze_channels=8, skip=True),
            ),
        ),
        Stage("classifier", (Classifier(classes=2),)),
    ),
)


def images() -> Dataset:
    rng = np.random.default_rng(0)

    def split(count: int) -> Split:
        labels = np.arange(count) % 2
        dark = rng.integers(0, 120, (count, 32, 32, 3)) + 100 * labels[:, None, None, None]
        return Split(dark.astype(np.uint8), labels.astype(np.int64))

    return Dataset("two", ("dark", "bright"), 32, split(64), split(32), "f", (), (), split(32))


def narrower(base: Network, *, cost: Callable[[NetworkSpec], float], budget: float, **_: object) -> Network:
    """What stands for torch-pruning, which is no dependency of ours."""
    return build(width_for(to_template(SMALL), cost, budget))


def pair(folder: Path, *flags: str, clock: Callable[[], float] = time.time, end: float = math.inf) -> Pair:
    (folder / "small.json").write_text(SMALL.to_json())
    quick = "--batch 16 --epochs 2 --fine 1 --short-steps 2 --shortlist 1 --step 0.2 --images 32 --latency none"
    files = ["--json", str(folder / "out.json"), "--network", f"small={folder / 'small.json'}"]
    args = parser().parse_args([*files, *quick.split(), *flags])
    results = Results(args.json, {})
    return Pair(args, "small", 0, images(), CostModel("macs"), results, folder, end, clock, prune=narrower)


def rows_of(one: Pair) -> list[Row]:
    return list(one.results.rows().values())


def test_every_arm_meets_the_budget_and_no_rival_sees_fewer_images(tmp_path: Path) -> None:
    one = pair(tmp_path)
    run_arms(one)
    rows = {row["arm"]: row for row in rows_of(one)}
    assert list(rows) == list(netadapt_versus.ARMS)
    for arm in netadapt_versus.ARMS[1:]:
        assert rows[arm]["predicted_ms"] <= one.budget
        if arm == "torch-pruning":
            assert rows[arm]["epochs"] == one.args.epochs + one.args.fine  # the same fine-tuning
        else:
            assert rows[arm]["epochs"] >= rows["netadapt"]["epochs"]
        spec = NetworkSpec.from_json(json.dumps(rows[arm]["spec"]))
        assert rows[arm]["predicted_ms"] == pytest.approx(CostModel("macs").cost(lower(spec)))
    assert rows["netadapt"]["epochs"] > 3  # the short trainings count
    before = (tmp_path / "out.json").read_bytes()
    run_arms(pair(tmp_path))
    assert (tmp_path / "out.json").read_bytes() == before  # nothing is done twice
    assert "netadapt - width: " in report(rows_of(one))


def test_torch_pruning_meets_the_budget_where_it_is_installed() -> None:
    pytest.importorskip("torch_pruning", reason="no dependency of ours")
    network = build(SMALL).eval()
    found = torch_pruned.pruned_to(network, budget=0.6 * macs(SMALL), cost=macs, pixels=32, round_to=1)
    assert 0.3 * macs(SMALL) < macs(found.spec) <= 0.6 * macs(SMALL)


class Slow:
    """A device on which a network takes `factor` times its MACs, as the table does not know."""

    def __init__(self, factor: float) -> None:
        self.factor, self.timed = factor, list[float]()

    def alone(self, spec: Subject) -> Measurement:
        assert isinstance(spec, NetworkSpec)
        self.timed.append(self.factor * macs(spec))
        ms = self.timed[-1]
        return Measurement(latency_ms=ms, low_ms=ms, high_ms=ms, rounds=9, raw_median_ms=ms, noisy=False)

    def pair(self, before: Subject, after: Subject) -> Timing:
        assert isinstance(before, NetworkSpec)
        assert isinstance(after, NetworkSpec)
        ratio = macs(after) / macs(before)
        return Timing(1.0, ratio, ratio, ratio, ratio, 12)


@pytest.mark.parametrize("factor", [0.8, 1.0, 1.3])
def test_a_rival_is_the_slowest_that_measures_within_the_budget(factor: float, tmp_path: Path) -> None:
    one = pair(tmp_path, "--timed")
    whole = to_template(zoo.get("mobilenet_v1", classes=2).with_resolution(32))  # of many widths
    one.timer, one.budget = Slow(factor), 0.5 * macs(whole.expand())

    found = factor * macs(one.within(lambda ms: build(width_for(whole, one.cost, ms))).spec)
    assert found <= one.budget
    assert found == max(ms for ms in one.timer.timed if ms <= one.budget)
    assert found >= 0.9 * one.budget
    one.timer, one.budget = Slow(10.0), float(macs(SMALL))
    with pytest.raises(InfeasibleBudget, match="none of 1 networks measured within"):
        one.within(lambda ms: build(SMALL))


def test_where_networks_are_timed_every_arm_measures_within_the_budget(tmp_path: Path) -> None:
    one = pair(tmp_path)
    one.timer = Slow(1.3)
    one.budget = one.measured_budget()
    run_arms(one)
    rows = rows_of(one)
    assert [row["arm"] for row in rows] == list(netadapt_versus.ARMS)
    for row in rows[1:]:
        measured = 1.3 * macs(NetworkSpec.from_json(json.dumps(row["spec"])))
        assert 0.6 * one.budget <= measured <= one.budget


def test_where_networks_are_timed_the_table_knows_lighter_forms_of_them(tmp_path: Path) -> None:
    costs = [macs(spec) for spec in netadapt_versus.lighter_forms(pair(tmp_path).args, 2)]
    assert costs[0] == macs(to_template(SMALL).with_classes(2).expand())
    assert len(costs) > 4
    assert max(costs[1:]) < costs[0]


def test_nothing_is_timed_beside_other_jobs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = ["--json", str(tmp_path / "x.json"), "--latency", "x", "--data", "digits", "--timed", "--jobs", "2"]
    assert netadapt_versus.main(line) == 2
    assert "--timed needs --jobs 1" in capsys.readouterr().err


def test_a_wrong_table_is_told_before_any_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = ["--json", str(tmp_path / "x.json"), "--data", "digits", "--latency"]
    assert netadapt_versus.main([*line, str(tmp_path / "nowhere.json")]) == 2
    assert "nowhere.json" in capsys.readouterr().err
    phone = LatencyTable({**Eager().identity(32), "machine": "a phone"}, 1.0, {}, Correction(1.0, 0.1, 0.03))
    (tmp_path / "phone.json").write_text(phone.to_json())
    assert netadapt_versus.main([*line, str(tmp_path / "phone.json"), "--timed"]) == 2
    assert "--timed needs a table of this machine, got one of a phone" in capsys.readouterr().err
    assert not (tmp_path / "x.json").exists()


def test_where_networks_are_timed_the_budget_is_of_what_the_base_measures(tmp_path: Path) -> None:
    one = pair(tmp_path)
    assert one.budget == pytest.approx(0.5 * macs(SMALL))
    one.timer = Slow(1.3)
    assert one.measured_budget() == pytest.approx(0.5 * 1.3 * macs(one.template.expand()))
    one.results.add({"network": "small", "seed": 0, "arm": "base", "cut": False, "budget_ms": 7.0})
    assert one.measured_budget() == 7.0  # it is measured once


def test_the_networks_can_be_timed_at_other_pixels_than_their_own(tmp_path: Path) -> None:
    assert pair(tmp_path, "--resolution", "64").template.expand().resolution == 64
    assert pair(tmp_path).template.expand().resolution == 32


def test_an_arm_that_the_time_cut_off_counts_for_nothing_and_is_done_again(tmp_path: Path) -> None:
    moments = iter([0.0, 0.0])  # before the base begins; then the time is over
    one = pair(tmp_path, clock=lambda: next(moments, 2.0), end=1.0)
    run_arms(one)
    (row,) = rows_of(one)
    assert row["arm"] == "base"
    assert row["cut"]
    assert one.results.get("small", 0, "base") is None


def test_what_defines_the_comparison_is_the_same_when_it_is_read_back(tmp_path: Path) -> None:
    about = netadapt_versus.about_of(pair(tmp_path).args, images())
    with Results(tmp_path / "new.json", about).changed():
        pass
    assert Results(tmp_path / "new.json", about).rows() == {}
    with pytest.raises(InvalidArgument, match="other settings"):
        Results(tmp_path / "new.json", {**about, "epochs": 1})


@pytest.mark.parametrize("name", ["mobilenet_v1", "mobilenet_v3_small"])
def test_a_module_that_is_not_pruned_reads_back_as_its_spec(name: str) -> None:
    spec = zoo.get(name)
    assert torch_pruned.spec_of(build(spec)) == spec
