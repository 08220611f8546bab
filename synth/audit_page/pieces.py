"""Every attempt of the ledger as the page carries it: pieces of JSON, deflated, in base64.

A browser unpacks them with its own DecompressionStream, so a page of 20,000 answers is a few
megabytes. Base64 cannot end the element that it stands in, whatever a model wrote.
"""

import base64
import contextlib
import json
import zlib
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from policy.errors import BadInput
from synth.audit_page.account import Rows
from synth.bodies import as_sent
from synth.formats import read_columns
from synth.ledger import Ledger
from synth.notices import ERASED
from synth.report.text import shortened, shown

SIZE = 500
"""Rows a piece."""
MOST_WITH_TEXT = 20_000
"""Rows from which on the page leaves out what was said: it would not open on a phone."""
LONGEST_PROMPT, LONGEST_ANSWER = 1500, 4000
RAW_DEFLATE = -zlib.MAX_WBITS

FIELDS = (
    *("entry", "attempt", "prompt", "sample", "split", "at", "key", "offering", "model"),
    *("decision", "pin", "reserve", "class", "kind", "message", "cost", "answered", "answered_at"),
    *("status", "served", "request", "input", "output", "milliseconds", "finish", "erased"),
    *("verdicts", "datasets", "asked", "said"),
)
"""What stands at which place of a row; page.js reads them by these names."""

_QUERY = """
WITH newest AS (
    SELECT attempt, filter, max_by(struct_pack(k := keep, r := reason, s := score, e := seq), seq) v
    FROM verdict GROUP BY 1, 2
), judged AS (
    SELECT attempt, list(struct_pack(f := filter, v := v) ORDER BY filter) verdicts
    FROM newest GROUP BY 1
), every AS (
    SELECT s.seq, s.id, s.prompt_id, s.sample, s.split, s.at_ms, s.key, s.offering, s.model,
           s.decision, s.terms_pin, s.reserve_nano, s.class, s.kind, s.message, s.committed_nano,
           o.seq answered, o.at_ms answered_ms, o.status, o.served_model, o.provider_request_id,
           o.prompt_tokens, o.completion_tokens, o.milliseconds
    FROM state s LEFT JOIN outcome o ON o.attempt = s.id
    UNION ALL
    SELECT seq, id, prompt_id, 0, '', collected_ms, key, offering, model,
           decision, terms_pin, 0, 'imported', format,
           'from ' || name || ', ' || place || ', on the word of ' || declared_by, 0,
           seq, at_ms, 0, served_model, '', prompt_tokens, completion_tokens, 0
    FROM imported
)
SELECT s.*, c.finish_reason, e.seq, j.verdicts, {texts}
FROM every s
LEFT JOIN completion c ON c.attempt = s.id
LEFT JOIN ({erased}) e ON e.attempt = s.id
LEFT JOIN judged j ON j.attempt = s.id
{join}
ORDER BY s.seq
"""
_WITH_TEXT = (
    "r.form, r.body, COALESCE(NULLIF(c.text, ''), c.refusal)",
    "LEFT JOIN request r ON r.key = s.key",
)
_WITHOUT = ("NULL, NULL, NULL", "")


def pack_rows(
    ledger: Ledger,
    home: Path,
    datasets: Sequence[str],
    decisions: Sequence[str],
    most_with_text: int = MOST_WITH_TEXT,
) -> Rows:
    """All attempts and what was imported, the oldest first."""
    (count,) = ledger.one("SELECT count(*) FROM asked")
    texts = count <= most_with_text
    select, join = _WITH_TEXT if texts else _WITHOUT
    members = _members(home, datasets)
    places = {digest: place for place, digest in enumerate(decisions)}
    found = ledger.each(_QUERY.format(texts=select, join=join, erased=ERASED))
    packed, kept = [], 0
    while rows := [_row(one, places, members) for one in islice(found, SIZE)]:
        kept += sum(bool(row[FIELDS.index("datasets")]) for row in rows)
        packed.append(_packed(rows))
    return Rows(count=count, kept=kept, texts=texts, size=SIZE, pieces=tuple(packed))


def _row(
    values: tuple[Any, ...], places: Mapping[str, int], members: Mapping[int, list[list[Any]]]
) -> list[Any]:
    *head, verdicts, form, body, text = values
    head[FIELDS.index("decision")] = places.get(head[FIELDS.index("decision")])
    judged = [
        [one["f"], one["v"]["k"], one["v"]["r"], one["v"]["s"], one["v"]["e"]]
        for one in verdicts or ()
    ]
    frozen = members.get(head[FIELDS.index("answered")], [])
    asked_text = shortened(asked(form, bytes(body)), LONGEST_PROMPT) if body else ""
    row = [*head, judged, frozen, asked_text, shortened(text or "", LONGEST_ANSWER)]
    return [seen(value) for value in row]


def seen(value: Any) -> Any:
    """Steering and invisible characters by their numbers, wherever a provider may have put them."""
    if isinstance(value, str):
        return shown(value)
    if isinstance(value, dict):
        return {name: seen(one) for name, one in value.items()}
    return [seen(one) for one in value] if isinstance(value, list | tuple) else value


def _packed(rows: Sequence[Any]) -> str:
    text = json.dumps(rows, ensure_ascii=False, separators=(",", ":"))
    squeeze = zlib.compressobj(9, zlib.DEFLATED, RAW_DEFLATE)
    data = squeeze.compress(text.encode("utf-8", "replace")) + squeeze.flush()
    return base64.b64encode(data).decode("ascii")


def _members(home: Path, datasets: Sequence[str]) -> dict[int, list[list[Any]]]:
    """By the entry of an answer: the datasets that hold it, each with its split."""
    found: dict[int, list[list[Any]]] = {}
    for place, name in enumerate(datasets):
        for path in sorted((home / "datasets" / name).glob("*.parquet")):
            with contextlib.suppress(BadInput):  # `verify` says what is wrong with it
                for (leaf,) in read_columns(path, ("leaf",)):
                    found.setdefault(leaf, []).append([place, path.stem])
    return found


def asked(form: str, body: bytes) -> str:
    """What a person would call the question: the last turn of a request, in any dialect."""
    try:
        parsed = json.loads(as_sent(form, body))
    except ValueError:
        return ""
    if not isinstance(parsed, dict):
        return ""
    turns = parsed.get("messages") or parsed.get("input") or parsed.get("contents") or ""
    return _words(turns[-1] if isinstance(turns, list) and turns else turns)


def _words(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "\n".join(filter(None, map(_words, value)))
    if not isinstance(value, dict):
        return ""
    for name in ("content", "parts", "text"):
        if value.get(name):
            return _words(value[name])
    return f"[{value.get('type', 'not text')}]"
