-- The ledger as its first version made it; synth/migrations.py adds what came since.
-- Rows are only ever inserted; the state of a request is a view.
-- Every row that matters for an audit carries `seq`, its place in the Merkle log. What grows with
-- the requests has no index: synth/merging.py looks for what is there already, `audit` too.

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
    key  VARCHAR NOT NULL,         -- once
    base VARCHAR NOT NULL,
    path VARCHAR NOT NULL,
    body BLOB NOT NULL         -- zstd
);

CREATE TABLE attempt (         -- durable before the socket opens
    seq          BIGINT NOT NULL,
    id           VARCHAR NOT NULL,   -- once
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
    attempt             VARCHAR NOT NULL,  -- once
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
    attempt        VARCHAR NOT NULL,
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

CREATE TABLE job (             -- one row a change of a batch's state; the newest row of an id counts
    seq         BIGINT PRIMARY KEY,
    id          VARCHAR NOT NULL,
    at_ms       BIGINT NOT NULL,
    state       VARCHAR NOT NULL,
    api         VARCHAR NOT NULL,
    base        VARCHAR NOT NULL,
    offering    VARCHAR NOT NULL,
    model       VARCHAR NOT NULL,
    provider_id VARCHAR NOT NULL,
    file        VARCHAR NOT NULL,
    word        VARCHAR NOT NULL,
    requests    BIGINT NOT NULL,
    attempts    VARCHAR[] NOT NULL,  -- in the row that intends it
    note        VARCHAR NOT NULL
);

CREATE VIEW newest_job AS
SELECT * FROM job QUALIFY row_number() OVER (PARTITION BY id ORDER BY seq DESC) = 1;

CREATE VIEW pending AS         -- attempts in a batch that has not ended: billed when it does
SELECT unnest(j.attempts) AS attempt FROM job j JOIN newest_job n ON n.id = j.id
WHERE j.state = 'intended' AND n.state NOT IN ('settled', 'dropped', 'lost');

CREATE VIEW state AS           -- an attempt with no outcome was perhaps billed
SELECT a.*,
       CASE WHEN o.class IS NOT NULL THEN o.class
            WHEN p.attempt IS NOT NULL THEN 'pending' ELSE 'unknown' END AS class,
       CASE WHEN o.class IS NOT NULL THEN o.kind
            WHEN p.attempt IS NOT NULL THEN 'in_batch' ELSE 'no_outcome' END AS kind,
       CASE WHEN o.class IS NOT NULL THEN o.message
            WHEN p.attempt IS NOT NULL THEN 'in a batch at the provider'
            ELSE 'the process ended before the outcome was written' END AS message,
       CASE WHEN o.class IS NULL OR o.class = 'unknown' THEN a.reserve_nano
            ELSE o.cost_nano END AS committed_nano
FROM attempt a LEFT JOIN outcome o ON o.attempt = a.id LEFT JOIN pending p ON p.attempt = a.id;

CREATE VIEW refusal AS         -- of a request, or of a question about a batch, whose attempts go on
SELECT seq, id, offering, kind, message FROM state
UNION ALL
SELECT seq, substr(id, 2) || '.' || seq, offering, split_part(note, ': ', 1), note FROM job
WHERE note <> '';
