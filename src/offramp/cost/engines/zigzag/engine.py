"""The cost engine that calls zigzag-dse."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version

from offramp.cost.engines.cost_engine import COST_ENGINES, CostEngine, EngineOptions
from offramp.cost.engines.zigzag.pricing_process import Answer, Job, answer_jobs
from offramp.cost.engines.zigzag.zigzag_call import ZigzagSettings, load_zigzag
from offramp.cost.operator_rules import RULE_OPS, rule_cost
from offramp.cost.report import LayerCost, LayerEngine
from offramp.cost.sparsity_gain import gain_of
from offramp.cost.unsupported import UnpricedJob, UnpricedJobsError
from offramp.errors import ConfigError
from offramp.hardware.accelerator import Core
from offramp.workload.layer import LayerShape

MIN_JOBS_FOR_WORKERS = 4
"""Below this a few seconds of import per process are not worth it."""

RULES_VERSION = 1
"""To be raised whenever a figure may change for a reason that lies here and not in zigzag-dse."""


@dataclass(frozen=True)
class ZigzagEngine:
    """Prices layers with zigzag-dse: lowest latency, ties by energy, over the loop orders of LOMA.

    A layer takes 0.2 to 9 s of CPU at the full settings. Equal layers are priced once, the others in several
    processes. The order and number of jobs have no influence on the figures.

    Attributes:
        loma_lpf_limit: Most temporal loops that are permuted; larger numbers of prime factors are merged. At least 1.
        num_spatial_mappings: Number of best-ranked spatial mappings that are tried, at least 1. A core with a dataflow
            has only that one.
        num_workers: Number of processes; 0 stands for one per CPU.
        loads_overlap_computation: Whether data that is loaded once may arrive during the computation, as zigzag-dse
            3.9.1 counts. False: it arrives before, as in zigzag-dse 3.6 and in the published evaluation of early-exit
            networks. Only layers with such loads differ, above all dense ones.
    """

    loma_lpf_limit: int = 6
    num_spatial_mappings: int = 3
    num_workers: int = 0
    loads_overlap_computation: bool = False

    @classmethod
    def coarse(cls, num_workers: int = 0) -> "ZigzagEngine":
        """Return an engine for searches, about 30 times faster: fewer loop orders and one spatial mapping.

        Args:
            num_workers: Number of processes; 0 stands for one per CPU.

        Returns:
            The engine.
        """
        return cls(loma_lpf_limit=4, num_spatial_mappings=1, num_workers=num_workers)

    @property
    def name(self) -> str:
        return "zigzag"

    @property
    def version(self) -> str:
        try:
            package = version("zigzag-dse")
        except PackageNotFoundError as exc:
            raise ConfigError(
                "The engine 'zigzag' needs the package zigzag-dse. Install it with: pip install 'offramp[zigzag]'."
            ) from exc
        loads = ".overlap" if self.loads_overlap_computation else ""
        return f"{package}+rules{RULES_VERSION}.lpf{self.loma_lpf_limit}.spatial{self.num_spatial_mappings}{loads}"

    def price(self, jobs: Sequence[tuple[LayerShape, Core]]) -> list[LayerCost]:
        """Price layers on cores.

        Args:
            jobs: Layers and cores.

        Returns:
            One cost per job, in order.

        Raises:
            UnpricedJobsError: zigzag-dse rejects some layers; the error names all of them.
            ConfigError: The package zigzag-dse is not installed.
        """
        load_zigzag()
        settings = ZigzagSettings(self.loma_lpf_limit, self.num_spatial_mappings, self.loads_overlap_computation)
        sparse = {(shape, core): UnpricedJob(shape, core.name, _SPARSE) for shape, core in jobs if gain_of(shape, core)}
        if sparse:
            raise UnpricedJobsError(self.name, tuple(sparse.values()))
        keys = [(shape, replace(core, name="core", source="")) for shape, core in jobs]
        unique = [key for key in dict.fromkeys(keys) if key[0].op not in RULE_OPS]
        # The largest first, so that no process is left with a long job at the end.
        unique.sort(key=lambda key: -_effort(key[0]))
        answers = answer_jobs([Job(shape, core, settings) for shape, core in unique], self._workers_for(len(unique)))
        found: dict[tuple[LayerShape, Core], Answer] = dict(zip(unique, answers, strict=True))
        costs: list[LayerCost] = []
        unpriced: dict[tuple[LayerShape, Core], UnpricedJob] = {}
        for key, (shape, core) in zip(keys, jobs, strict=True):
            answer = Answer(rule_cost(shape, core)) if shape.op in RULE_OPS else found[key]
            if answer.cost is None:
                unpriced.setdefault(key, UnpricedJob(shape, core.name, answer.fault))
            else:
                costs.append(answer.cost)
        if unpriced:
            raise UnpricedJobsError(self.name, tuple(unpriced.values()))
        return costs

    def _workers_for(self, num_jobs: int) -> int:
        if num_jobs < MIN_JOBS_FOR_WORKERS:
            return 1
        return self.num_workers or os.cpu_count() or 1


_SPARSE = "zigzag-dse does not cover zero weights, from which this core gains; use the native engine"


def _effort(shape: LayerShape) -> int:
    """Number of loops that are longer than one: what ZigZag's time depends on most."""
    return sum(size > 1 for size in (shape.b, shape.g, shape.k, shape.c, shape.oy, shape.ox, shape.fy, shape.fx))


def _build(options: EngineOptions) -> tuple[LayerEngine, ...]:
    engine = ZigzagEngine.coarse() if options.coarse else ZigzagEngine()
    return (replace(engine, loads_overlap_computation=options.loads == "overlap"),)


COST_ENGINES.add("zigzag", CostEngine("zigzag-dse itself, seconds per layer; needs offramp[zigzag]", _build))
