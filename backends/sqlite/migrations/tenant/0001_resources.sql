-- One tenant's resources. Times are milliseconds since 1970 UTC (_ms).

-- One row. Read after BEGIN IMMEDIATE in every write, never from memory: another
-- process may have written.
CREATE TABLE meta (
    one     INTEGER PRIMARY KEY CHECK (one = 1),
    store   TEXT    NOT NULL,  -- random; a restored or replaced store has another
    seq     INTEGER NOT NULL,  -- of the newest version row: orders commits across types
    cut_ms  INTEGER NOT NULL,  -- the newest transactionTime
    last_ms INTEGER NOT NULL   -- the highest lastUpdated
);

-- Numbers are never reused: they are the upper half of every rid.
CREATE TABLE resource_type (
    type_id INTEGER PRIMARY KEY AUTOINCREMENT,
    name    TEXT    NOT NULL UNIQUE,
    live    INTEGER NOT NULL DEFAULT 0  -- resources that are not deleted; counting them reads it all
);

-- Every version of every resource, append-only but for `sup`. The small columns come
-- before the body: what lies behind a long body is found only by walking its pages.
CREATE TABLE version (
    rid     INTEGER PRIMARY KEY,         -- type_id << 40 | seq
    id      TEXT    NOT NULL,
    ver     INTEGER NOT NULL,
    upd_ms  INTEGER NOT NULL,
    sup     INTEGER NOT NULL,            -- 2^62 while current, 2^61 + seq of its successor after:
                                         -- always eight bytes, so setting it moves no page
    prev    INTEGER,                     -- rid of the version before
    patient INTEGER,                     -- the one patient whose compartment holds it
    flags   INTEGER NOT NULL DEFAULT 0,  -- bit 0: deleted
    defs    INTEGER NOT NULL DEFAULT 0,  -- generation of the definitions it was indexed with
    body    BLOB                         -- the line, without newline; NULL when deleted
);

-- Where each version of an id lies: point reads, and the current one (the highest ver).
CREATE TABLE versions (
    type INTEGER NOT NULL,
    id   TEXT    NOT NULL,
    ver  INTEGER NOT NULL,
    rid  INTEGER NOT NULL,
    PRIMARY KEY (type, id, ver)
) WITHOUT ROWID;

-- Runs of rows written together: hints for plans and estimates, never truth.
CREATE TABLE extent (
    type      INTEGER NOT NULL,
    first_rid INTEGER NOT NULL,
    last_rid  INTEGER NOT NULL,
    rows      INTEGER NOT NULL,
    bytes     INTEGER NOT NULL,
    upd_min   INTEGER NOT NULL,
    upd_max   INTEGER NOT NULL,
    PRIMARY KEY (type, first_rid)
) WITHOUT ROWID;

-- The pins: states that open jobs still read.
CREATE TABLE snapshot (
    job      TEXT    PRIMARY KEY,
    seq      INTEGER NOT NULL,
    t_ms     INTEGER NOT NULL,
    boot     TEXT    NOT NULL,  -- when it was made, by the clock that does not step
    lease_ms INTEGER NOT NULL
) WITHOUT ROWID;
