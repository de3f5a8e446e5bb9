"""Prices of parts of layers, each asked of the engine once."""

from collections.abc import Hashable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from offramp.cost.price_cache import CachedEngine
from offramp.cost.report import LayerCost, LayerEngine
from offramp.cost.unsupported import UnpricedJob, UnpricedJobsError
from offramp.hardware.accelerator import Core
from offramp.workload.layer import LayerShape


class BlockPricer:
    """Prices parts of layers; every engine is asked once for each.

    Attributes:
        engines: The engines, numbered by their position.
        templates: What a builder of tasks keeps for the next network.
    """

    def __init__(self, engines: Sequence[LayerEngine]) -> None:
        """Start without any price.

        Args:
            engines: At least one engine.
        """
        self.engines = tuple(engines)
        self._costs: dict[tuple[int, LayerShape, str, int], LayerCost | UnpricedJob] = {}
        self.templates: dict[Hashable, object] = {}
        self._cores: dict[Core, int] = {}
        self._numbers: dict[int, tuple[Core, int]] = {}

    @contextmanager
    def open_caches(self) -> Iterator[None]:
        """Keep the files of engines that store their prices open.

        Yields:
            Nothing.
        """
        with ExitStack() as stack:
            for engine in self.engines:
                if isinstance(engine, CachedEngine):
                    stack.enter_context(engine.together())
            yield

    def price(self, variant: int, shape: LayerShape, core: Core) -> LayerCost | UnpricedJob:
        """Price a part of a layer.

        Args:
            variant: Number of the engine.
            shape: The part.
            core: The core that computes it.

        Returns:
            The cost, or why the engine has none.
        """
        key = (variant, shape, core.kind.value, self._number(core))
        found = self._costs.get(key)
        if found is None:
            try:
                found = self.engines[variant].price([(shape, core)])[0]
            except UnpricedJobsError as exc:
                found = exc.jobs[0]
            self._costs[key] = found
        return found

    def _number(self, core: Core) -> int:
        """Cores that differ in name only are one; hashing a whole core takes long, so by identity first."""
        known = self._numbers.get(id(core))
        if known is None or known[0] is not core:
            plain = replace(core, name="", source="")
            known = self._numbers[id(core)] = (core, self._cores.setdefault(plain, len(self._cores)))
        return known[1]
