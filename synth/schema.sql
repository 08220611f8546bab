-- The ledger, version 2. Rows are only ever inserted; the state of a request is a view.
-- Every row that matters for an audit carries `seq`, its place in the Merkle log. Only what the
-- promises hang on is UNIQUE: an index costs more than the row that it watches.

CREATE TABLE meta (name VARCHAR PRIMARY KEY, value VARCHAR NOT NULL);

CREATE TABLE leaf (            -- one entry of the log: hash = SHA-256(0x00 || canonical body)
    seq  BIGINT NOT NULL,
    kind VARCHAR NOT NULL,
    hash BLOB NOT NULL
);

CREATE TABLE batch (           -- one durable commit: the tree after it, so that opening is O(1)
    size     BIGINT NOT NULL,
    root     BLOB NOT NULL,
    frontier BLOB NOT NULL
);

CREATE TABLE decision (
    seq    BIGINT PRIMARY KEY,
    digest VARCHAR NOT NULL,
    at_ms   BIGINT NOT NULL,    -- milliseconds since 1970, UTC
    body   VARCHAR NOT NULL
);

CREATE TABLE request (         -- key = digest of what changes the answer; body is exactly what was sent
    key  VARCHAR PRIMARY KEY,
    base VARCHAR NOT NULL,
    path VARCHAR NOT NULL,
    body BLOB NOT NULL         -- zstd
);

CREATE TABLE attempt (         -- durable before the socket opens
    seq          BIGINT NOT NULL,
    id           VARCHAR NOT NULL UNIQUE,
    key          VARCHAR NOT NULL,
    at_ms         BIGINT NOT NULL,
    prompt_id    VARCHAR NOT NULL,
    sample       INTEGER NOT NULL,
    split        VARCHAR NOT NULL,
    offering     VARCHAR NOT NULL,
    model        VARCHAR NOT NULL,
    decision     VARCHAR NOT NULL,
    terms_pin    VARCHAR NOT NULL,
    prices       VARCHAR NOT NULL,
    reserve_nano BIGINT NOT NULL   -- billionths of a US dollar
);

CREATE TABLE outcome (
    seq                 BIGINT NOT NULL,
    attempt             VARCHAR NOT NULL UNIQUE,
    at_ms                BIGINT NOT NULL,
    class               VARCHAR NOT NULL,
    kind                VARCHAR NOT NULL,
    message             VARCHAR NOT NULL,
    status              INTEGER NOT NULL,
    served_model        VARCHAR NOT NULL,
    provider_request_id VARCHAR NOT NULL,
    prompt_tokens       BIGINT NOT NULL,
    completion_tokens   BIGINT NOT NULL,
    cached_tokens       BIGINT NOT NULL,
    reasoning_tokens    BIGINT NOT NULL,
    estimated           BOOLEAN NOT NULL,
    cost_nano           BIGINT NOT NULL,
    milliseconds        BIGINT NOT NULL,
    content_commit      VARCHAR NOT NULL,  -- SHA-256(salt || content); empty where there is none
    raw_commit          VARCHAR NOT NULL
);

CREATE TABLE completion (
    attempt        VARCHAR PRIMARY KEY,
    key            VARCHAR NOT NULL,
    text           VARCHAR NOT NULL,
    reasoning      VARCHAR NOT NULL,
    refusal        VARCHAR NOT NULL,
    tool_calls     VARCHAR NOT NULL,
    finish_reason  VARCHAR NOT NULL,
    fingerprint    VARCHAR NOT NULL,
    service_tier   VARCHAR NOT NULL,
    ignored        VARCHAR[] NOT NULL,
    repaired       BOOLEAN NOT NULL,
    signal         BLOB NOT NULL   -- token logprobs, packed: synth/rows.py
);

CREATE TABLE raw (             -- bytes as received, also of answers that could not be used
    attempt VARCHAR NOT NULL,
    salt    BLOB NOT NULL,
    headers VARCHAR NOT NULL,
    body    BLOB NOT NULL      -- zstd
);

CREATE TABLE verdict (         -- rows of one attempt share the seq of their leaf
    seq        BIGINT NOT NULL,
    attempt    VARCHAR NOT NULL,
    filter     VARCHAR NOT NULL,
    parameters VARCHAR NOT NULL,
    keep       BOOLEAN NOT NULL,
    reason     VARCHAR NOT NULL,
    score      VARCHAR NOT NULL
);

CREATE TABLE receipt (         -- a dataset, run or publication by its manifest; a clearance; a key's fingerprint
    seq    BIGINT PRIMARY KEY,
    kind   VARCHAR NOT NULL,
    name   VARCHAR NOT NULL,
    digest VARCHAR NOT NULL,
    file   VARCHAR NOT NULL,   -- SHA-256 of manifest.json or clearance itself; the salt of a key
    at_ms  BIGINT NOT NULL
);

CREATE VIEW state AS           -- an attempt with no outcome was perhaps billed
SELECT a.*, COALESCE(o.class, 'unknown') AS class, COALESCE(o.kind, 'no_outcome') AS kind,
       COALESCE(o.message, 'the process ended before the outcome was written') AS message,
       CASE WHEN o.class IS NULL OR o.class = 'unknown' THEN a.reserve_nano
            ELSE o.cost_nano END AS committed_nano
FROM attempt a LEFT JOIN outcome o ON o.attempt = a.id;
