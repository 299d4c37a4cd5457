-- The search index: what resources say now, by element path. Nothing here is truth: all of it
-- can be made again from `version` (penstock reindex).

-- Random, this store's alone: keys the hashes of the index and signs cursors.
ALTER TABLE meta ADD COLUMN secret BLOB NOT NULL DEFAULT x'';
-- Generation of the search definitions: grows when a SearchParameter of the tenant's own changes,
-- and when the index is to be made again.
ALTER TABLE meta ADD COLUMN defs INTEGER NOT NULL DEFAULT 1;
-- The generation that a reindex has brought every resource to; 0: none ever did, so nothing can
-- be searched for.
ALTER TABLE meta ADD COLUMN indexed INTEGER NOT NULL DEFAULT 0;
-- The settings that its rows were made for (backends.definitions).
ALTER TABLE meta ADD COLUMN made_for TEXT NOT NULL DEFAULT '';

-- All versions of a type, for the totals of histories.
ALTER TABLE resource_type ADD COLUMN total INTEGER NOT NULL DEFAULT 0;
UPDATE resource_type SET total =
    (SELECT count(*) FROM versions WHERE versions.type = resource_type.type_id);

-- A resource's number through all its versions: the rid of the first one, here NULL where it is
-- this version's own. Index rows hold it, so an update changes only the rows that differ.
ALTER TABLE versions ADD COLUMN res INTEGER;
UPDATE versions SET res = (
    SELECT first.rid FROM versions AS first
    WHERE first.type = versions.type AND first.id = versions.id ORDER BY first.ver LIMIT 1
) WHERE ver > 1;

-- Live resources, their current version, and the hash of Type/id by which references mean them.
CREATE TABLE live (
    res  INTEGER PRIMARY KEY,
    rid  INTEGER NOT NULL,
    tkey INTEGER NOT NULL,
    defs INTEGER NOT NULL  -- generation of the definitions that its index rows were made with
);
CREATE UNIQUE INDEX live_rid ON live (rid);  -- by lastUpdated
CREATE INDEX live_tkey ON live (tkey);

-- Small numbers of element paths, never used again: rows of a path that no parameter looks at any
-- more may lie about under its number.
CREATE TABLE path (
    p     INTEGER PRIMARY KEY AUTOINCREMENT,
    name  TEXT    NOT NULL UNIQUE,
    since INTEGER NOT NULL  -- generation that brought it: complete once `indexed` is as much
);

-- The dictionary of tokens: postings hold only k, the hash of the others. A search that leaves
-- out the system or the code asks here for the keys that are meant.
CREATE TABLE term (
    k      INTEGER PRIMARY KEY,
    p      INTEGER NOT NULL,
    system TEXT    NOT NULL,
    code   TEXT    NOT NULL
);
CREATE INDEX term_code ON term (p, code, system);

-- Equality postings. Clustered, so a page is in the order of res.
CREATE TABLE tok (
    k   INTEGER NOT NULL,
    res INTEGER NOT NULL,
    PRIMARY KEY (k, res)
) WITHOUT ROWID;

-- References, from the target and from the source.
CREATE TABLE ref (
    p      INTEGER NOT NULL,
    target INTEGER NOT NULL,
    res    INTEGER NOT NULL,
    PRIMARY KEY (p, target, res)
) WITHOUT ROWID;

CREATE TABLE fwd (
    res    INTEGER NOT NULL,
    p      INTEGER NOT NULL,
    target INTEGER NOT NULL,
    PRIMARY KEY (res, p, target)
) WITHOUT ROWID;

-- Ordered values. p is a path, or the key of a composite with its token. edge: 1 the least, 2 the
-- greatest value of its resource there, 3 both.
CREATE TABLE str (
    p     INTEGER NOT NULL,
    value TEXT    NOT NULL,  -- normalized
    res   INTEGER NOT NULL,
    exact TEXT    NOT NULL,  -- as written; '' if that is the same
    edge  INTEGER NOT NULL,
    PRIMARY KEY (p, value, res, exact)
) WITHOUT ROWID;

CREATE TABLE dat (
    p    INTEGER NOT NULL,
    lo   INTEGER NOT NULL,
    hi   INTEGER NOT NULL,  -- exclusive
    res  INTEGER NOT NULL,
    edge INTEGER NOT NULL,
    PRIMARY KEY (p, lo, hi, res)
) WITHOUT ROWID;

-- What ends after a moment is found among what began not long before it, and among these few:
-- whatever lasts longer than 32 days (backends.sqlite.search.ordered.WIDE_MS).
CREATE INDEX dat_wide ON dat (p, hi) WHERE hi - lo > 2764800000;

CREATE TABLE num (
    p     INTEGER NOT NULL,
    value REAL    NOT NULL,
    res   INTEGER NOT NULL,
    edge  INTEGER NOT NULL,
    PRIMARY KEY (p, value, res)
) WITHOUT ROWID;

CREATE TABLE qty (
    p     INTEGER NOT NULL,
    u     INTEGER NOT NULL,
    value REAL    NOT NULL,
    res   INTEGER NOT NULL,
    edge  INTEGER NOT NULL,
    PRIMARY KEY (p, u, value, res)
) WITHOUT ROWID;

-- The dictionary of units.
CREATE TABLE unit (
    u      INTEGER PRIMARY KEY,
    p      INTEGER NOT NULL,
    system TEXT    NOT NULL,
    code   TEXT    NOT NULL,
    unit   TEXT    NOT NULL
);
CREATE INDEX unit_p ON unit (p);

-- What a filter chose at an open job's snapshot.
CREATE TABLE selection (
    job TEXT    NOT NULL,
    rid INTEGER NOT NULL,
    PRIMARY KEY (job, rid)
) WITHOUT ROWID;

-- Who may do a long work in steps, and how far it is: a step under an older token does nothing.
CREATE TABLE fence (
    job    TEXT    PRIMARY KEY,
    token  INTEGER NOT NULL,
    defs   INTEGER NOT NULL,  -- what the work is for: it begins again when this changes
    cursor INTEGER NOT NULL   -- the last rid looked at
) WITHOUT ROWID;
