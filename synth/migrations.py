"""A ledger of an earlier version becomes one of this: numbered steps, each in one transaction.

    migrate(connection, folder)      # "7"
    brought_up(batch)                # what a journal still has of the earlier program

What is in a ledger stays as it was written; a step says anew how it lies there.
"""

from pathlib import Path
from typing import Any

import duckdb

from synth.bodies import ZSTD
from synth.journal import Batch

NOTICES = """
CREATE TABLE notice (          -- a takedown, an erasure, a change of policy: synth/notices.py
    seq     BIGINT PRIMARY KEY,
    kind    VARCHAR NOT NULL,
    what    VARCHAR NOT NULL,
    name    VARCHAR NOT NULL,
    digest  VARCHAR NOT NULL,
    state   VARCHAR NOT NULL,
    at_ms   BIGINT NOT NULL,
    said_by VARCHAR NOT NULL,
    because VARCHAR NOT NULL,
    body    VARCHAR NOT NULL
);
CREATE TABLE signed (          -- every checkpoint that was written to checkpoints/
    size BIGINT PRIMARY KEY,
    note VARCHAR NOT NULL
);
CREATE VIEW standing AS        -- how a thing stands: by its newest notice
SELECT * FROM notice WHERE kind = 'takedown'
QUALIFY row_number() OVER (PARTITION BY what, name, digest ORDER BY seq DESC) = 1;
"""
IMPORTS = """
CREATE TABLE imported (        -- an answer that came from outside: no attempt of ours, never billed
    seq               BIGINT NOT NULL,
    id                VARCHAR NOT NULL UNIQUE,
    key               VARCHAR NOT NULL,
    at_ms             BIGINT NOT NULL,   -- when it was brought in
    collected_ms      BIGINT NOT NULL,   -- when it was made, by the file or by who declared it
    prompt_id         VARCHAR NOT NULL,
    offering          VARCHAR NOT NULL,
    model             VARCHAR NOT NULL,
    served_model      VARCHAR NOT NULL,
    features          VARCHAR NOT NULL,
    decision          VARCHAR NOT NULL,
    terms_pin         VARCHAR NOT NULL,
    file              VARCHAR NOT NULL,  -- SHA-256 of the file
    name              VARCHAR NOT NULL,
    format            VARCHAR NOT NULL,
    place             VARCHAR NOT NULL,  -- line or row in it
    declared_by       VARCHAR NOT NULL,
    prompt_tokens     BIGINT NOT NULL,
    completion_tokens BIGINT NOT NULL,
    content_commit    VARCHAR NOT NULL,
    raw_commit        VARCHAR NOT NULL
);

CREATE VIEW asked AS           -- every stored request with the sample that its key holds
SELECT seq, id, key, sample, prompt_id, offering FROM attempt
UNION ALL SELECT seq, id, key, 0, prompt_id, offering FROM imported;

CREATE VIEW settled AS         -- everything that has stored bytes
SELECT attempt, content_commit, raw_commit FROM outcome
UNION ALL SELECT id, content_commit, raw_commit FROM imported;
"""
COMMITS = """
ALTER TABLE batch ADD COLUMN first BIGINT;      -- entries before it: a missing commit leaves a gap
UPDATE batch SET first = b.before
FROM (SELECT size, lag(size, 1, 0) OVER (ORDER BY size) AS before FROM batch) b
WHERE batch.size = b.size;
"""
BODIES = """
CREATE TABLE request7 (        -- body is exactly what was sent: synth/bodies.py
    key  VARCHAR NOT NULL,     -- once
    base VARCHAR NOT NULL,
    path VARCHAR NOT NULL,
    body BLOB NOT NULL USING COMPRESSION zstd,
    form VARCHAR NOT NULL
);
INSERT INTO request7 SELECT *, 'zstd' FROM request;
DROP TABLE request;
ALTER TABLE request7 RENAME TO request;

CREATE TABLE raw7 (            -- bytes as received, the completion's text cut out: synth/bodies.py
    attempt VARCHAR NOT NULL,
    salt    BLOB NOT NULL,
    headers VARCHAR NOT NULL,
    body    BLOB NOT NULL USING COMPRESSION zstd,
    form    VARCHAR NOT NULL,
    gap     BIGINT NOT NULL    -- where the text goes
);
INSERT INTO raw7 SELECT *, 'zstd', 0 FROM raw;
DROP TABLE raw;
ALTER TABLE raw7 RENAME TO raw;

CREATE TABLE completion7 (     -- its request is that of its attempt
    attempt        VARCHAR NOT NULL,
    text           VARCHAR NOT NULL USING COMPRESSION zstd,
    reasoning      VARCHAR NOT NULL USING COMPRESSION zstd,
    refusal        VARCHAR NOT NULL,
    tool_calls     VARCHAR NOT NULL,
    finish_reason  VARCHAR NOT NULL,
    fingerprint    VARCHAR NOT NULL,
    service_tier   VARCHAR NOT NULL,
    ignored        VARCHAR[] NOT NULL,
    repaired       BOOLEAN NOT NULL,
    signal         BLOB NOT NULL
);
INSERT INTO completion7 SELECT * EXCLUDE key FROM completion;
DROP TABLE completion;
ALTER TABLE completion7 RENAME TO completion;
"""
STEPS = {
    "3": ("4", NOTICES),
    "4": ("5", IMPORTS),
    "5": ("6", COMMITS),
    "6": ("7", BODIES),
}
"""Version before -> version after, and what makes it."""


def migrate(connection: duckdb.DuckDBPyConnection, folder: Path) -> str:
    """Bring the ledger of a folder up to date; returns the version that it has then."""
    row = connection.execute("SELECT value FROM meta WHERE name = 'schema'").fetchone()
    version = str(row[0]) if row else ""
    while version in STEPS:
        version, script = STEPS[version]
        connection.execute("BEGIN")
        connection.execute(script)
        if version == "6":
            _remember(connection, folder)
        connection.execute("UPDATE meta SET value = ? WHERE name = 'schema'", [version])
        connection.execute("COMMIT")
    return version


def brought_up(batch: Batch) -> Batch:
    """A commit of an earlier version, killed before DuckDB had it, with the columns of now."""
    added: dict[str, tuple[int, tuple[Any, ...]]] = {
        "batch": (3, (batch.first,)),
        "request": (4, (ZSTD,)),
        "raw": (4, (ZSTD, 0)),
    }
    for table, rows in batch.tables.items():
        width, more = added.get(table, (0, ()))
        if rows and len(rows[0]) == width:
            batch.tables[table] = [(*row, *more) for row in rows]
        if table == "completion" and len(rows[0]) == 12:
            batch.tables[table] = [(attempt, *row) for attempt, _, *row in rows]
    return batch


def _remember(connection: duckdb.DuckDBPyConnection, folder: Path) -> None:
    """Until then a checkpoint could be signed that the ledger did not know of."""
    for path in sorted((folder / "checkpoints").glob("*.note")):
        if path.stem.isdecimal():
            note = path.read_text(encoding="utf-8", errors="replace")
            connection.execute(
                "INSERT INTO signed SELECT $1, $2 WHERE $1 NOT IN (SELECT size FROM signed)",
                [int(path.stem), note],
            )
