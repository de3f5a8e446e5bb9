"""Calls that a type checker must accept, and calls that it must refuse; read by mypy, never run.

An ignore that is not needed is an error, so that every refused call is really refused.
"""

import offramp
from offramp import Config, CostConfig, DataConfig, SpaceConfig, with_settings


def accepted(config: Config) -> None:
    """What users write."""
    offramp.search()
    offramp.search(config, run="runs/first", overwrite=True)
    offramp.search(data=DataConfig(source="digits"), space=SpaceConfig(max_exits=2), seed=1)
    offramp.search(data__source="digits", cost__mapping="optimized", fine_tune__picks=["knee", "macs<=2M"])
    offramp.search(run="runs/first", resume=True, execution__workers=2)
    with_settings(config, {"cost.weight_bits": 4}, train__epochs=None, search__constraints=("macs<=2M",))


def refused(config: Config) -> None:
    """What they must not write."""
    offramp.search(data__sourc="digits")  # type: ignore[call-arg]
    offramp.search(dta=DataConfig())  # type: ignore[call-arg]
    offramp.search(seed="one")  # type: ignore[arg-type]
    offramp.search(cost=DataConfig())  # type: ignore[arg-type]
    offramp.search(cost__mapping="best")  # type: ignore[arg-type]
    offramp.search(train__epochs="many")  # type: ignore[arg-type]
    offramp.search(search__objectives="macs")  # type: ignore[arg-type]
    with_settings(config, fine_tune__drop_exit=True)  # type: ignore[call-arg]
    DataConfig(sauce="digits")  # type: ignore[call-arg]
    CostConfig(weight_bits="eight")  # type: ignore[arg-type]
