"""Components of plain Python for tests of what runs components: one that counts, and one that fails."""

# No `from __future__ import annotations`: TFX's decorator reads the annotations themselves.

from tfx import v1 as tfx
from tfx.dsl.component.experimental.decorators import component

from bert_pipeline.settings.errors import UserError

RAN: list[str] = []
"""What ran, in order."""


@component
def Count(number: tfx.dsl.components.Parameter[int]) -> tfx.dsl.components.OutputDict(count=int):
    RAN.append(f"count {number}")
    return {"count": number + 1}


@component
def Fail(count: int) -> tfx.dsl.components.OutputDict(result=int):
    raise UserError(f"count is {count}; give another")
