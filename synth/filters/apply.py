"""Run the filters over what a project collected, and write what they found.

    found = apply(ledger, candidates, settings, names)
    found["verify"][attempt].keep

Only verdicts that changed become rows: the same ledger filtered twice grows by nothing.
"""

import json
from collections.abc import Iterable, Mapping, Sequence

from policy.digest import digest
from synth.config import Filters, Sampling
from synth.filters import Candidate, Verdict, resolve
from synth.ledger import Ledger
from synth.prompts import Prompt
from synth.rows import VerdictRow
from synth.wire import Call, Completion

Found = dict[str, dict[str, Verdict]]
"""filter -> attempt -> verdict."""

_COLUMNS = """
SELECT c.attempt, a.key, c.text, c.finish_reason, c.refusal, c.tool_calls, c.ignored, a.model,
       o.served_model
FROM completion c JOIN attempt a ON a.id = c.attempt JOIN outcome o ON o.attempt = c.attempt
ORDER BY a.seq
"""


def candidates(
    ledger: Ledger, calls: Sequence[Call], prompts: Sequence[Prompt], sampling: Sampling
) -> list[Candidate]:
    """The stored completions that answer these calls, in the order of the calls."""
    by_key = {call.key: (place, call) for place, call in enumerate(calls)}
    by_id = {prompt.id: prompt for prompt in prompts}
    found = []
    for attempt, key, *columns in ledger.each(_COLUMNS):
        if key not in by_key:
            continue
        place, call = by_key[key]
        text, finish_reason, refusal, tool_calls, ignored, requested, served = columns
        candidate = Candidate(
            attempt=attempt,
            prompt_id=call.prompt_id,
            sample=call.sample,
            split=call.split,
            text=text,
            finish_reason=finish_reason,
            refusal=refusal,
            tool_calls=tool_calls,
            ignored=tuple(ignored),
            requested_model=requested,
            served_model=served,
            expected=known(by_id[call.prompt_id]),
            json_schema=sampling.json_schema,
        )
        found.append((place, candidate))
    return [candidate for _, candidate in sorted(found, key=lambda pair: pair[0])]


def live(completion: Completion, call: Call, prompt: Prompt, sampling: Sampling) -> Candidate:
    """A completion that has just arrived, as a filter sees it."""
    return Candidate(
        attempt=call.key,
        prompt_id=call.prompt_id,
        sample=call.sample,
        split=call.split,
        text=completion.text,
        finish_reason=completion.finish_reason,
        refusal=completion.refusal,
        tool_calls=completion.tool_calls,
        ignored=completion.ignored,
        requested_model="",
        served_model=completion.served_model,
        expected=known(prompt),
        json_schema=sampling.json_schema,
    )


def known(prompt: Prompt) -> dict[str, str]:
    """The known answer of a prompt, by column."""
    value: dict[str, str] = json.loads(prompt.expected) if prompt.expected else {}
    return value


def apply(
    ledger: Ledger, rows: Sequence[Candidate], settings: Filters, names: Iterable[str]
) -> Found:
    """Verdicts of every named filter on every candidate; changed ones are appended."""
    wanted = list(dict.fromkeys(names))
    found = {
        name: {v.attempt: v for v in resolve(name, settings)(rows, settings)} for name in wanted
    }
    parameters = {name: fingerprint(name, settings) for name in wanted}
    before = _latest(ledger)
    changed = []
    for row in rows:
        new = tuple(
            (name, parameters[name], verdict.keep, verdict.reason, verdict.score)
            for name in sorted(wanted)
            if (verdict := found[name][row.attempt])
            and before.get((row.attempt, name, parameters[name]))
            != (verdict.keep, verdict.reason, verdict.score)
        )
        if new:
            changed.append(VerdictRow(row.attempt, new))
    ledger.append_all(changed)
    return found


def fingerprint(name: str, settings: Filters) -> str:
    """Digest of what a filter was run with."""
    return digest({"filter": name, "settings": settings.model_dump(mode="json")})


def _latest(ledger: Ledger) -> Mapping[tuple[str, str, str], tuple[bool, str, str]]:
    rows = ledger.each(
        "SELECT attempt, filter, parameters, keep, reason, score FROM verdict ORDER BY seq"
    )
    return {(row[0], row[1], row[2]): (row[3], row[4], row[5]) for row in rows}
