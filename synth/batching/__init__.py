"""Batch collection: the same requests and the same rows, at the provider's batch price.

FORMATS["anthropic"].create(order)    # what goes out; synth/batching/engine.py sends it
"""

from policy.errors import BadInput
from synth.batching import anthropic, gemini, mistral, openai
from synth.batching.parts import Format
from synth.config import Teacher

FORMATS: dict[str, Format] = {
    "openai": openai.FORMAT,
    "groq": openai.GROQ,
    "anthropic": anthropic.FORMAT,
    "gemini": gemini.FORMAT,
    "mistral": mistral.FORMAT,
}
"""Every batch API that is spoken, by the name that [teacher] batch_api gives it."""
_BY_OFFERING = {"mistral-api": "mistral", "groq": "groq"}
_BY_ADAPTER = {
    "openai": ("openai", "groq", "mistral"),
    "azure": ("openai",),
    "responses": ("openai",),
    "anthropic": ("anthropic",),
    "gemini": ("gemini",),
}


def api_of(teacher: Teacher) -> str:
    """The batch API of a teacher. Raises BadInput where it has none."""
    known = _BY_ADAPTER.get(teacher.adapter, ())
    offering = teacher.offering
    owners = (offering, offering.partition("/")[0], offering.rpartition("@")[2])
    named = next((_BY_OFFERING[owner] for owner in owners if owner in _BY_OFFERING), "")
    chosen: str = teacher.batch_api
    if chosen == "auto":
        chosen = named or next(iter(known), "")
    if chosen not in known:
        raise BadInput(
            f"adapter {teacher.adapter!r} has no batch API"
            if not known
            else f"adapter {teacher.adapter!r} does not go with batch API {chosen!r}",
            where="[limits] batch",
            fix="remove the line" if not known else f"batch_api = one of {', '.join(known)}",
        )
    return chosen
