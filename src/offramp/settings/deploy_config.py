"""Settings of the exported bundles."""

from typing import Annotated

from pydantic import Field

from offramp.settings.section import Section


class DeployConfig(Section):
    """In which forms a run delivers the chosen networks, and what their bundles hold beside the figures."""

    licence: Annotated[str, Field(min_length=1, max_length=4096)] | None = Field(
        default=None,
        description="Licence of the exported networks: a name such as CC-BY-4.0, or a text file (default: none).",
    )
    targets: tuple[str, ...] = Field(
        default=("onnx",),
        description="Deployment targets of each chosen network (see `offramp list targets`); onnx is always written.",
    )
