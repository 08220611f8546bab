"""Logs of programs that stand between: LiteLLM's standard logging payload, and `llm`'s SQLite.

Sources: litellm 1.106 (types/utils.py, StandardLoggingPayload; proxy/_types.py, SpendLogsPayload);
llm 0.36 (migrations.py: `responses` up to 0.2x, `turns`, `messages` and `parts` since).
"""

import json
import sqlite3
from typing import Any

from policy.errors import BadInput
from synth.imports.record import (
    File,
    Row,
    answer,
    lines_of,
    milliseconds,
    table,
    text_answer,
    turns,
    word,
)

REDACTED = "redacted-by-litellm"


def litellm(file: File) -> list[Row]:
    """Successful calls; failed ones are counted and left out."""
    rows = []
    for number, (where, value) in enumerate(lines_of(file.path), 1):
        given = table(value, where)
        if given.get("status", "success") != "success":
            file.skipped += 1
            continue
        completion, raw = answer(_opened(given.get("response")), where)
        if REDACTED in (completion.text, given.get("messages")):
            raise BadInput("its words were redacted when it was logged", where=where)
        asked = _opened(given.get("messages")) or table(
            _opened(given.get("proxy_server_request")) or {}, where
        ).get("messages")
        rows.append(
            Row(
                place=f"line {number}" if " line " in where else f"entry {number}",
                messages=turns(asked, where),
                completion=completion,
                model=file.model or word(given.get("model")),
                collected_ms=milliseconds(given.get("startTime"), where),
                raw=raw,
            )
        )
    return rows


def _opened(value: Any) -> Any:
    """JSON inside of text, as a database's columns hold it."""
    if isinstance(value, str) and value[:1] in ("{", "["):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def llm(file: File) -> list[Row]:
    """Every logged answer of `logs.db`, in the old tables and the new ones."""
    try:
        with sqlite3.connect(f"{file.path.resolve().as_uri()}?mode=ro", uri=True) as database:
            database.row_factory = sqlite3.Row
            names = {row[0] for row in database.execute("SELECT name FROM sqlite_master")}
            rows = _old(database, file) if "responses" in names else []
            rows += _new(database, file) if "turns" in names else []
            if not {"responses", "turns"} & names:
                raise BadInput("holds no table of `llm`", where=file.path.name)
    except sqlite3.Error as error:
        raise BadInput(f"is no SQLite file of `llm`: {error}", where=str(file.path)) from None
    finally:
        if "database" in locals():
            database.close()
    return rows


_OLD = "SELECT * FROM responses ORDER BY id"


def _old(database: sqlite3.Connection, file: File) -> list[Row]:
    """A conversation's earlier turns belong to the prompt of a later one."""
    rows: list[Row] = []
    said: dict[str, list[dict[str, str]]] = {}
    for row in database.execute(_OLD):
        given, where = dict(row), f"{file.path.name} response {row['id']}"
        before = said.setdefault(str(given.get("conversation_id") or row["id"]), [])
        if given.get("system"):
            before[:] = [one for one in before if one["role"] != "system"]
            before.insert(0, {"role": "system", "content": given["system"]})
        before.append({"role": "user", "content": given.get("prompt") or ""})
        turn = {"role": "assistant", "content": given.get("response") or ""}
        if not turn["content"]:
            file.skipped += 1
            continue
        rows.append(_row(file, given, where, f"response {row['id']}", list(before), turn))
        before.append(turn)
    return rows


_TURN = """
WITH RECURSIVE chain(hash, parent, role, depth) AS (
  SELECT hash, parent_hash, role, 0 FROM messages WHERE hash = ?
  UNION ALL SELECT m.hash, m.parent_hash, m.role, depth + 1 FROM messages m, chain
  WHERE m.hash = chain.parent)
SELECT chain.hash, role, depth, p.type, p.text, p.payload FROM chain
LEFT JOIN parts p ON p.message_hash = chain.hash ORDER BY depth DESC, p.position
"""


def _new(database: sqlite3.Connection, file: File) -> list[Row]:
    rows = []
    for row in database.execute("SELECT * FROM turns ORDER BY id").fetchall():
        given, where = dict(row), f"{file.path.name} turn {row['id']}"
        chain: dict[str, dict[str, str]] = {}
        whole = True
        for part in database.execute(_TURN, [given["tip_message_hash"]]):
            turn = chain.setdefault(part["hash"], {"role": part["role"], "content": ""})
            if part["type"] == "text" and part["text"] is not None:
                turn["content"] += part["text"]
            elif part["type"] != "reasoning" and part["type"] is not None:
                whole = False  # a tool, a picture or a fragment: its words lie elsewhere
        messages = list(chain.values())
        if not whole or len(messages) < 2 or messages[-1]["role"] != "assistant":
            file.skipped += 1
            continue
        before, last = messages[:-1], messages[-1]
        rows.append(_row(file, given, where, f"turn {row['id']}", before, last))
    return rows


def _row(
    file: File,
    given: dict[str, Any],
    where: str,
    place: str,
    before: list[dict[str, str]],
    last: dict[str, str],
) -> Row:
    served = word(given.get("resolved_model")) or _model_of(given.get("response_json"))
    completion, raw = text_answer(last, where, served)
    when = milliseconds(given.get("datetime_utc"), where)
    model = file.model or word(given.get("model"))
    return Row(place, turns(before, where), completion, model, when, raw)


def _model_of(response: Any) -> str:
    opened = _opened(response)
    return word(opened.get("model")) if isinstance(opened, dict) else ""
