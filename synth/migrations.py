"""A ledger of an earlier version becomes one of this: numbered steps, each in one transaction.

    migrate(connection)      # "4"

A step only adds; what is in a ledger stays as it was written.
"""

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
STEPS = {"3": ("4", NOTICES)}
"""Version before -> version after, and what makes it."""


def migrate(connection: duckdb.DuckDBPyConnection) -> str:
    """Bring a ledger up to date; returns the version that it has then."""
    row = connection.execute("SELECT value FROM meta WHERE name = 'schema'").fetchone()
    version = str(row[0]) if row else ""
    while version in STEPS:
        version, script = STEPS[version]
        connection.execute("BEGIN")
        connection.execute(script)
        connection.execute("UPDATE meta SET value = ? WHERE name = 'schema'", [version])
        connection.execute("COMMIT")
    return version
