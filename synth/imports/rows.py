"""What was imported, as the filters and the freeze see it: prompts and candidates like any other.

    outside = imported_rows(ledger, sections.prompts, sections.dataset)
    outside.prompts, outside.candidates

A prompt's side is found as for our own, by what the student reads: an imported copy of a held-out
message never trains.
"""

import json
from collections import Counter
from dataclasses import dataclass, field

from synth.bodies import as_sent
from synth.config import Dataset, Prompts
from synth.filters.record import Candidate
from synth.ledger import Ledger
from synth.prompts import Prompt, side
from synth.turns import Message, text_only, words_of

_ROWS = """
SELECT i.id, i.prompt_id, i.model, i.served_model, i.features, i.file, i.name, i.format, i.place,
       i.declared_by, i.at_ms, r.body, r.form, c.text, c.finish_reason, c.refusal, c.tool_calls,
       c.ignored
FROM imported i JOIN completion c ON c.attempt = i.id JOIN request r ON r.key = i.key
ORDER BY i.seq
"""


@dataclass(frozen=True, slots=True)
class Imported:
    """On whose word a row is what it is said to be."""

    model: str
    features: str
    file: str
    name: str
    format: str
    place: str
    by: str
    at_ms: int

    @property
    def origin(self) -> str:
        """Its place in one text, for a column of the dataset."""
        return f"import:{self.format}:{self.file}#{self.place}"


@dataclass(slots=True)
class Outside:
    """Everything that was imported and not erased."""

    prompts: list[Prompt] = field(default_factory=list)
    candidates: list[Candidate] = field(default_factory=list)
    imported: dict[str, Imported] = field(default_factory=dict)


def imported_rows(ledger: Ledger, settings: Prompts, dataset: Dataset) -> Outside:
    """Prompts and candidates of the imported rows; none where the project leaves them out."""
    found, samples, splits = Outside(), Counter[str](), dict[str, str]()
    for row in ledger.each(_ROWS) if dataset.imported else ():
        attempt, prompt_id, model, served = row[:4]
        body, form, text, finish, refusal, tools, ignored = row[11:]
        found.imported[attempt] = Imported(model, *row[4:11])
        if prompt_id not in splits:
            messages = tuple(json.loads(as_sent(form, bytes(body)))["messages"])
            prompt = _prompt(prompt_id, messages, settings, dataset)
            splits[prompt_id] = prompt.split
            found.prompts.append(prompt)
        found.candidates.append(
            Candidate(
                attempt=attempt,
                prompt_id=prompt_id,
                sample=samples[prompt_id],
                split=splits[prompt_id],
                text=text,
                finish_reason=finish,
                refusal=refusal,
                tool_calls=tools,
                ignored=tuple(ignored),
                requested_model=model,
                served_model=served,
                expected={},
                json_schema=None,
            )
        )
        samples[prompt_id] += 1
    return found


def _prompt(
    prompt_id: str, messages: tuple[Message, ...], settings: Prompts, dataset: Dataset
) -> Prompt:
    turns = [one for one in messages if one["role"] not in ("system", "developer")]
    reads = words_of(turns[-1])
    if settings.turns or len(turns) > 1:
        reads = "\n".join(f"{turn['role']}: {words_of(turn)}" for turn in turns)
    told = settings.student_system
    system = [{"role": "system", "content": told}] if told and "{{" not in told else []
    return Prompt(
        id=prompt_id,
        split=side(reads, dataset.split),
        teacher=messages,
        student=(*system, *text_only(messages)),
        fields={},
        expected="",
    )
