"""What was found in the answers, and whether what was erased is gone."""

import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from policy.manifest import read_manifest
from synth.audits.answer import Answer
from synth.audits.basis import when
from synth.bench import Bench
from synth.erase import is_subject
from synth.formats import read_columns
from synth.ledger import Ledger
from synth.notices import ERASE, ERASED
from synth.reach import PLACES, SPLITS, dataset_rows
from synth.search import attempts_holding, fields_holding, files_holding, holds
from synth.takedown import states_of

_LATEST = """
SELECT v.filter, v.keep, v.reason, a.key, a.prompt_id || '#' || a.sample
FROM (SELECT * FROM verdict WHERE list_contains($1, filter || ' ' || parameters)
      QUALIFY row_number() OVER (PARTITION BY attempt, filter ORDER BY seq DESC) = 1) v
JOIN asked a ON a.id = v.attempt ORDER BY v.filter, v.reason, a.seq
"""


def found_in(bench: Bench, ledger: Ledger, folder: Path) -> Answer:
    """What the filters of a dataset found, in how many rows, and what became of those rows."""
    manifest = read_manifest(folder)
    held = {split: _keys(folder, split) for split in SPLITS}
    counts: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    wanted = [f"{name} {parameters}" for name, parameters in manifest["filters"].items()]
    judged = 0
    for name, keep, reason, key, row in ledger.each(_LATEST, [wanted]):
        judged += 1
        if not keep:
            became = next((f"in {split}" for split in SPLITS if key in held[split]), "left out")
            counts[name, reason, became].append(row)
    rows = [
        {"filter": name, "finding": reason, "rows": len(ids), "became": became, "ids": ids[:1000]}
        for (name, reason, became), ids in sorted(counts.items())
    ]
    kept = sum(len(held[split]) for split in ("train", "validation"))
    return Answer(
        f"What was found in the answers for dataset {folder.name}, and what became of it",
        ("filter", "finding", "rows", "became", "ids"),
        rows,
        (
            f"{judged:,} verdicts of {', '.join(manifest['filters']) or 'no filter'};"
            f" {kept:,} rows teach. The test split is never filtered",
        ),
    )


def _keys(folder: Path, split: str) -> set[str]:
    path = folder / f"{split}.parquet"
    return {key for (key,) in read_columns(path, ("key",)) if key} if path.is_file() else set()


def erasure(bench: Bench, ledger: Ledger, subject: str) -> Answer:
    """Which erasures were of this subject (or row), what they reached, and whether any byte of it
    is found now: in the ledger, the datasets, the report and the prompts."""
    rows = [*_acts(ledger, subject), *_made_with(ledger), *_still_there(bench, ledger, subject)]
    found = [row for row in rows if row["state"] == "FOUND"]
    return Answer(
        "Whether the content about one subject was erased, and who learned from it",
        ("thing", "name", "state", "when", "by", "why"),
        rows,
        (f"{len(found)} places still hold it",),
        bad=bool(found),
    )


def _acts(ledger: Ledger, subject: str) -> Iterator[dict[str, Any]]:
    for seq, what, name, whom, at, by, because, body in ledger.rows(
        "SELECT seq, what, name, digest, at_ms, said_by, because, body FROM notice"
        " WHERE kind = ? AND what IN ('subject', 'row') ORDER BY seq",
        [ERASE],
    ):
        if name == subject if what == "row" else is_subject(name, whom, subject):
            count = json.loads(body)["attempts"]
            yield _line("erasure", f"entry {seq}", f"{count} requests", when(at), by, because)
    erased = ledger.one(
        f"SELECT count(*), count(r.attempt) FROM ({ERASED}) e LEFT JOIN raw r USING (attempt)"  # noqa: S608
    )
    if erased[0]:
        state = "all gone" if not erased[1] else "FOUND"
        yield _line("ledger", f"{erased[0]} erased requests", state)


def _made_with(ledger: Ledger) -> Iterator[dict[str, Any]]:
    """What is not clean: it was made with rows that were taken down or erased."""
    for what, name, state, at, by, because in ledger.rows(
        "SELECT what, name, state, at_ms, said_by, because FROM standing"
        " WHERE what IN ('dataset', 'run', 'published') AND state <> 'clean' ORDER BY seq"
    ):
        yield _line(what, name, state, when(at), by, because)


def _still_there(bench: Bench, ledger: Ledger, subject: str) -> Iterator[dict[str, Any]]:
    project = bench.project
    for attempt in attempts_holding(ledger, subject):
        yield _line("ledger", attempt, "FOUND")
    for words in fields_holding(ledger, subject):
        yield _line("log", words, "FOUND")
    gone = states_of(ledger)
    for folder in sorted((project.home / PLACES["dataset"]).glob("[!.]*")):
        count = sum(holds(row.text, subject) or row.id == subject for row in dataset_rows(folder))
        if count:
            digest = str(read_manifest(folder)["digest"])
            why = f"{count} rows; frozen before, {gone.state('dataset', folder.name, digest)}"
            yield _line("dataset", folder.name, "FOUND", why=why)
    for name in files_holding(project.home, [subject]):
        yield _line("file", name, "FOUND")
    for path in (*project.home.glob("report.*"), project.folder / project.sections.prompts.file):
        if path.is_file() and holds(path.read_text(encoding="utf-8", errors="replace"), subject):
            yield _line("file", path.name, "FOUND")


def _line(
    thing: str, name: str, state: str, at: str = "", by: str = "", why: str = ""
) -> dict[str, Any]:
    return {"thing": thing, "name": name, "state": state, "when": at, "by": by, "why": why}
