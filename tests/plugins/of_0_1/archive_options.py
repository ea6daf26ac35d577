from typing import Annotated

from pydantic import Field

from fptkit import Decides, Options


class ArchiveOptions(Options):
    version: str = Field(default="v1", description="version of the archive")
    timeout_s: Annotated[float, Decides.NOTHING] = Field(
        default=10.0, gt=0, description="seconds to wait for the server"
    )
