"""Prices of parts of layers, each asked of the engine once."""

from collections.abc import Hashable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

from offramp.cost.price_cache import CachedEngine, cached_engines
from offramp.cost.report import LayerCost, LayerEngine
from offramp.cost.unsupported import UnpricedJob
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
        cached = tuple(engine for engine in engines if isinstance(engine, CachedEngine))
        self._cached = cached if len(cached) == len(self.engines) else cached_engines(self.engines, None)
        self.templates: dict[Hashable, object] = {}

    @contextmanager
    def open_caches(self) -> Iterator[None]:
        """Keep the files of engines that store their prices open.

        Yields:
            Nothing.
        """
        with ExitStack() as stack:
            for engine in self._cached:
                stack.enter_context(engine.batched_writes())
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
        return self._cached[variant].price_or_refusal(shape, core)
