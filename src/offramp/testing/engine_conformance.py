"""What every cost engine must do, as checks that raise AssertionError with a sentence."""

import math
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from offramp import jsonio
from offramp.cost.engines.cost_engine import COST_ENGINES, CostEngine, EngineOptions, build_engines
from offramp.cost.pricing import build_cost_model
from offramp.cost.report import CostReport, LayerCost, LayerEngine
from offramp.cost.sparsity_gain import gain_of
from offramp.cost.unsupported import UnpricedJobsError
from offramp.hardware.accelerator import Accelerator, Core, CoreKind, WeightSparsity
from offramp.hardware.loader import load_accelerator
from offramp.settings.cost_config import CostConfig
from offramp.testing.layer_shapes import square_convolution
from offramp.workload.graph import GRAPH_INPUT, Layer, Role, Workload
from offramp.workload.layer import LayerShape, Op

ACCELERATOR = "edge-tpu-quad"
"""The accelerator that engines are checked on when no other is named."""

_CLOSE = 1e-9


@dataclass(frozen=True)
class PricedJob:
    """A layer on a core and its price.

    Attributes:
        shape: The layer.
        core: The core that computes it.
        cost: What the engine says.
    """

    shape: LayerShape
    core: Core
    cost: LayerCost


def check_registration(name: str, accelerator: str = ACCELERATOR) -> None:
    """Check that an engine is described and that its variants can be told apart, as keys of stored prices must be.

    Args:
        name: The registered name of the engine.
        accelerator: Name or file of an accelerator that the engine can price.

    Raises:
        AssertionError: A description, a name or a version is empty, or two engines of different prices share a version.
    """
    entry = COST_ENGINES.get(name)
    _require(len(entry.description.split()) >= 3, f"cost engine {name!r} must have a description of one line")
    chip = load_accelerator(accelerator)
    for coarse in (False, True):
        engines = entry.build(EngineOptions(("latency", "energy"), coarse, chip))
        _require(
            len(engines) in (1, 2),
            f"{name!r} must build one engine or one engine per goal, got {len(engines)} for 2 goals",
        )
        for engine in engines:
            _require(bool(engine.name) and bool(engine.version), f"{name!r} must have a name and a version")
        versions = {(engine.name, engine.version) for engine in engines}
        _require(len(versions) == len(engines), f"{name!r} must have another version for each goal")
    precise, coarse_engine = (_engine(name, chip, coarse=coarse) for coarse in (False, True))
    if precise.version == coarse_engine.version:
        jobs = [(job.shape, job.core) for job in _priced(COST_ENGINES.get(name), chip)]
        _require(
            precise.price(jobs) == coarse_engine.price(jobs),
            f"{name!r} must have another version where coarse pricing gives other prices",
        )


def check_parts(name: str, accelerator: str = ACCELERATOR) -> None:
    """Check that every part of a price is finite and not negative, that work takes time, and JSON gives it back.

    Args:
        name: The registered name of the engine.
        accelerator: Name or file of an accelerator that the engine can price.

    Raises:
        AssertionError: A price breaks one of these rules.
    """
    chip = load_accelerator(accelerator)
    for job in _priced(COST_ENGINES.get(name), chip):
        cost, where = job.cost, f"{job.shape.op.value} on core {job.core.name!r}"
        cycles = (cost.temporal_cycles, cost.stall_cycles, cost.onload_cycles, cost.offload_cycles)
        energies = (cost.mac_energy_pj, *(part.energy_pj for part in cost.memory_energy))
        _require(all(math.isfinite(x) and x >= 0 for x in (*cycles, *energies)), f"parts must be >= 0, got {cost}")
        _require(0 <= cost.utilization <= 1 + _CLOSE, f"utilization must be in 0..1, got {cost.utilization} of {where}")
        _require_close(cost.latency_cycles, math.fsum(cycles), f"latency of {where}")
        _require_close(cost.energy_pj, math.fsum(energies), f"energy of {where}")
        _require(cost.latency_cycles > 0 and cost.energy_pj > 0, f"{where} must take time and energy, got {cost}")
        again = jsonio.loads(LayerCost, jsonio.dumps(cost))
        _require(again == cost, f"the price of {where} must be the same after JSON, got {again} for {cost}")


def check_more_work_costs_more(name: str, accelerator: str = ACCELERATOR) -> None:
    """Check that a layer never takes fewer cycles or less energy when one of its sizes is doubled.

    Args:
        name: The registered name of the engine.
        accelerator: Name or file of an accelerator that the engine can price.

    Raises:
        AssertionError: A larger layer is cheaper.
    """
    chip = load_accelerator(accelerator)
    engine = _engine(name, chip)
    for job in _priced(COST_ENGINES.get(name), chip):
        for what, shape in _doubled(job.shape):
            (larger,) = _prices(engine, [(shape, job.core)]) or (None,)
            if larger is None:
                continue
            where = f"{job.shape.op.value} on core {job.core.name!r} with twice the {what}"
            for figure in ("latency_cycles", "energy_pj"):
                before, after = getattr(job.cost, figure), getattr(larger, figure)
                _require(after >= before, f"{where}: {figure} must be at least {before}, got {after}")


def check_same_price(name: str, accelerator: str = ACCELERATOR) -> None:
    """Check that a job has one price: in any order, beside any other job, and on a new engine.

    Args:
        name: The registered name of the engine.
        accelerator: Name or file of an accelerator that the engine can price.

    Raises:
        AssertionError: A price differs.
    """
    chip = load_accelerator(accelerator)
    priced = _priced(COST_ENGINES.get(name), chip)
    backwards = [(job.shape, job.core) for job in reversed(priced)]
    engine = _engine(name, chip)
    for order in (backwards, [*backwards[:1], *backwards]):
        costs = engine.price(order)
        _require(len(costs) == len(order), f"{name!r} must give one price per job, {len(costs)} for {len(order)}")
        _require(costs[-len(priced) :] == [job.cost for job in reversed(priced)], "a job must have one price")
    _require(engine.price([]) == [], "no jobs must give no prices")


def check_core_names(name: str, accelerator: str = ACCELERATOR) -> None:
    """Check that the name and the source of a core have no influence: stored prices are found without them.

    Args:
        name: The registered name of the engine.
        accelerator: Name or file of an accelerator that the engine can price.

    Raises:
        AssertionError: A price depends on the name or the source.
    """
    chip = load_accelerator(accelerator)
    engine = _engine(name, chip)
    for job in _priced(COST_ENGINES.get(name), chip):
        (other,) = engine.price([(job.shape, replace(job.core, name="other", source="somewhere"))])
        _require(other == job.cost, f"the price of {job.shape.op.value} must not depend on the core's name")


def check_refusals(name: str, accelerator: str = ACCELERATOR) -> None:
    """Check that layers which cannot be priced are refused by name, all at once: nothing is priced by omission.

    A memory outside the chip cannot compute. Where a core gains from zero weights, an engine that knows nothing of
    them must say so.

    Args:
        name: The registered name of the engine.
        accelerator: Name or file of an accelerator that the engine can price.

    Raises:
        AssertionError: A layer is priced that must not be, or the error does not name all of them.
    """
    chip = load_accelerator(accelerator)
    engine = _engine(name, chip)
    fine = _priced(COST_ENGINES.get(name), chip)[0]
    for core in chip.cores_of(CoreKind.OFFCHIP)[:1]:
        _check_refused(engine, fine, [(shape, core) for shape in _matrix_shapes()])
    if not COST_ENGINES.get(name).prices_zero_weights:
        core = replace(fine.core, sparsity=WeightSparsity(0.5, 0.5, None, "invented"))
        shapes = [replace(shape, weight_density=0.5) for shape in _matrix_shapes()]
        sparse = [(shape, core) for shape in shapes if gain_of(shape, core)]
        _check_refused(engine, fine, sparse)


def check_reports(name: str, accelerator: str = ACCELERATOR) -> None:
    """Check that the report of a network with two exits adds up, with either mapping, and that JSON gives it back.

    Args:
        name: The registered name of the engine.
        accelerator: Name or file of an accelerator that the engine can price.

    Raises:
        AssertionError: A total differs from the sum of its parts.
    """
    chip, workload = load_accelerator(accelerator), _two_exits()
    for mapping in ("layer_by_layer", "optimized"):
        with tempfile.TemporaryDirectory() as folder:
            settings = CostConfig.model_validate({"accelerator": accelerator, "engine": name, "mapping": mapping})
            model = build_cost_model(settings, coarse=True, cache=Path(folder) / "prices.sqlite", accelerator=chip)
            report = model.estimate(workload, chip)
            _check_report(report, energy_by_layers=mapping == "layer_by_layer" and chip.formulas is None)
            _require(model.estimate(workload, chip) == report, "a network must have one price")


def _check_report(report: CostReport, *, energy_by_layers: bool) -> None:
    energy = 0.0
    for index, stage in enumerate(report.stages):
        parts = (stage.backbone_latency_cycles, stage.gap_cycles, stage.branch_latency_cycles)
        _require_close(stage.stage_latency_cycles, math.fsum(parts), f"latency of stage {index}")
        spent = math.fsum(layer.energy_pj for layer in report.layers if layer.stage == index)
        if energy_by_layers:
            _require_close(stage.stage_energy_pj, spent, f"energy of stage {index}")
        energy += stage.stage_energy_pj
        _require_close(stage.energy_to_exit_pj, energy + stage.speculation_energy_pj, f"energy to exit {index}")
    ends = [stage.latency_to_exit_cycles for stage in report.stages]
    _require(ends == sorted(ends) and ends[0] > 0, f"later exits must not come earlier, got {ends}")
    again = jsonio.loads(CostReport, jsonio.dumps(report))
    _require(again == report, "a report must be the same after JSON")


def _check_refused(engine: LayerEngine, fine: PricedJob, jobs: Sequence[tuple[LayerShape, Core]]) -> None:
    try:
        engine.price([(fine.shape, fine.core), *jobs])
    except UnpricedJobsError as exc:
        named = {job.shape for job in exc.jobs}
        _require(named == {shape for shape, _ in jobs}, f"the error must name all layers that are refused, got: {exc}")
        return
    raise AssertionError(f"Engine {engine.name!r} must refuse {len(jobs)} layer(s) on core {jobs[0][1].name!r}.")


def _engine(name: str, accelerator: Accelerator, *, coarse: bool = True) -> LayerEngine:
    return build_engines(name, EngineOptions(("latency",), coarse, accelerator))[0]


def _matrix_shapes() -> tuple[LayerShape, ...]:
    return square_convolution(4, 8, 16, kernel=3), LayerShape(Op.DENSE, k=12, c=32)


def _shapes() -> tuple[LayerShape, ...]:
    """Small layers of every operator that computes."""
    return (
        *_matrix_shapes(),
        square_convolution(4, 16, 16, kernel=3, groups=16),
        LayerShape(Op.ADD, g=16, oy=4, ox=4, iy=4, ix=4),
        LayerShape(Op.MAX_POOL, g=16, oy=2, ox=2, fy=2, fx=2, iy=4, ix=4, stride_y=2, stride_x=2),
        LayerShape(Op.AVG_POOL, g=16, fy=4, fx=4, iy=4, ix=4),
    )


def _doubled(shape: LayerShape) -> Iterator[tuple[str, LayerShape]]:
    if shape.op in (Op.CONV, Op.DENSE) and shape.g == 1:
        yield "inputs", replace(shape, c=2 * shape.c)
        yield "outputs", replace(shape, k=2 * shape.k)
    if shape.g > 1:
        yield "channels", replace(shape, g=2 * shape.g)
    if shape.op is not Op.DENSE and shape.oy > 1:
        yield "rows", replace(shape, oy=2 * shape.oy, iy=2 * shape.iy)


@lru_cache(maxsize=16)
def _priced(entry: CostEngine, accelerator: Accelerator) -> tuple[PricedJob, ...]:
    """Every small layer on every different core that takes it, priced once for all checks."""
    engine = entry.build(EngineOptions(coarse=True, accelerator=accelerator))[0]
    cores = {replace(core, name="", source=""): core for core in reversed(accelerator.cores)}
    found = tuple(
        PricedJob(shape, core, cost)
        for core in cores.values()
        if core.kind is not CoreKind.OFFCHIP
        for shape in _shapes()
        for cost in _prices(engine, [(shape, core)])
    )
    _require(bool(found), f"engine {engine.name!r} must price some layer on some core of {accelerator.name!r}")
    return found


def _prices(engine: LayerEngine, jobs: Sequence[tuple[LayerShape, Core]]) -> list[LayerCost]:
    """The prices, or none where the engine refuses."""
    try:
        return engine.price(jobs)
    except UnpricedJobsError:
        return []


def _two_exits() -> Workload:
    branch, backbone = Role.BRANCH, Role.BACKBONE
    pooling = LayerShape(Op.AVG_POOL, g=16, fy=8, fx=8, iy=8, ix=8)
    dense = LayerShape(Op.DENSE, k=10, c=16)
    layers = (
        Layer("stem", square_convolution(8, 8, 16, kernel=3), (GRAPH_INPUT,), 0, backbone),
        Layer("early.pool", pooling, ("stem",), 0, branch),
        Layer("early.linear", dense, ("early.pool",), 0, branch),
        Layer("block", square_convolution(8, 16, 16, kernel=3), ("stem",), 1, backbone),
        Layer("add", LayerShape(Op.ADD, g=16, oy=8, ox=8, iy=8, ix=8), ("block", "stem"), 1, backbone),
        Layer("final.pool", pooling, ("add",), 1, branch),
        Layer("final.linear", dense, ("final.pool",), 1, branch),
    )
    return Workload("two exits", layers, ("early.linear", "final.linear"))


def _require_close(actual: float, expected: float, what: str) -> None:
    _require(
        math.isclose(actual, expected, rel_tol=_CLOSE, abs_tol=1e-6),
        f"{what} must be the sum of its parts, {expected}, got {actual}",
    )


def _require(holds: bool, sentence: str) -> None:
    if not holds:
        raise AssertionError(f"{sentence}.")


CHECKS = (
    check_registration,
    check_parts,
    check_more_work_costs_more,
    check_same_price,
    check_core_names,
    check_refusals,
    check_reports,
)
