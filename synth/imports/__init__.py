"""Imports: rows that others' programs collected come into the ledger on somebody's word.

    found = FORMATS["openai-batch"](Source(path, ...))      # readers: file to rows, no ledger
    import_rows(order, permit)                              # all of them, or none

The terms of the declared origin decide, those of the day of collection and today's; what is not
known is denied. A format is a plain function in this dict.
"""

from collections.abc import Callable

from synth.imports.gateways import litellm, llm
from synth.imports.openai_files import batch, finetune, stored
from synth.imports.record import File, Row
from synth.imports.tables import huggingface

Reader = Callable[[File], list[Row]]

FORMATS: dict[str, Reader] = {
    "openai-stored": stored,
    "openai-finetune": finetune,
    "openai-batch": batch,
    "huggingface": huggingface,
    "litellm": litellm,
    "llm": llm,
}

__all__ = ["FORMATS", "File", "Reader", "Row"]
