"""A ledger of an earlier version becomes one of this: numbered steps, each in one transaction.

    migrate(connection, folder)      # "6"

A step only adds; what is in a ledger stays as it was written.
"""

from pathlib import Path

import duckdb

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
STEPS = {"3": ("4", NOTICES), "4": ("5", IMPORTS), "5": ("6", COMMITS)}
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


def _remember(connection: duckdb.DuckDBPyConnection, folder: Path) -> None:
    """Until then a checkpoint could be signed that the ledger did not know of."""
    for path in sorted((folder / "checkpoints").glob("*.note")):
        if path.stem.isdecimal():
            note = path.read_text(encoding="utf-8", errors="replace")
            connection.execute(
                "INSERT INTO signed SELECT $1, $2 WHERE $1 NOT IN (SELECT size FROM signed)",
                [int(path.stem), note],
            )
