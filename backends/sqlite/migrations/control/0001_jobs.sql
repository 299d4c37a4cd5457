-- What all tenants share: the registry, jobs, leases, recorded parts. Never a resource.
-- Times are milliseconds since 1970 UTC (_ms), those of leases milliseconds of one boot.

CREATE TABLE tenant (
    id         TEXT    PRIMARY KEY,
    key        TEXT    NOT NULL UNIQUE,    -- names its file and its outputs; never reused
    created_ms INTEGER NOT NULL,
    last_claim INTEGER NOT NULL DEFAULT 0  -- its place in the round robin: grows at each claim
) STRICT;

-- Narrow, because every renewal rewrites the row: what is wide has tables of its own.
CREATE TABLE export_job (
    num             INTEGER PRIMARY KEY AUTOINCREMENT,  -- order of arrival: clocks may step
    id              TEXT    NOT NULL UNIQUE,
    tenant          TEXT    NOT NULL REFERENCES tenant (id),
    status          TEXT    NOT NULL
        CHECK (status IN ('accepted', 'in-progress', 'complete', 'error', 'cancelled')),
    deleted         INTEGER NOT NULL DEFAULT 0 CHECK (deleted IN (0, 1)),  -- hidden for ever
    purged          INTEGER NOT NULL DEFAULT 0 CHECK (purged IN (0, 1)),   -- files are gone
    store           TEXT    NOT NULL,  -- the snapshot: store, seq, t_ms
    seq             INTEGER NOT NULL,
    t_ms            INTEGER NOT NULL,
    created_ms      INTEGER NOT NULL,
    finished_ms     INTEGER,
    expires_ms      INTEGER,           -- when the files go; set when complete
    token           INTEGER NOT NULL DEFAULT 0,  -- fencing token: grows at every claim
    attempt         INTEGER NOT NULL DEFAULT 0,
    worker          TEXT,              -- holds the lease
    lease_boot      TEXT,              -- a lease of another boot has expired
    lease_expires   INTEGER,
    not_before_boot TEXT,              -- a delay of another boot has passed
    not_before      INTEGER,
    reason          TEXT    NOT NULL DEFAULT '',  -- why an open job is waiting
    issue           TEXT,              -- JSON: why it failed
    parts_total     INTEGER NOT NULL DEFAULT 0,   -- of the plan, so that a poll need not read it
    bytes_estimate  INTEGER NOT NULL DEFAULT 0,

    CHECK ((worker IS NULL) = (lease_boot IS NULL)),
    CHECK ((worker IS NULL) = (lease_expires IS NULL)),
    CHECK ((not_before IS NULL) = (not_before_boot IS NULL)),
    CHECK ((finished_ms IS NOT NULL) = (status IN ('complete', 'error', 'cancelled'))),
    CHECK ((expires_ms IS NOT NULL) = (status = 'complete')),
    CHECK (deleted = 0 OR finished_ms IS NOT NULL)
) STRICT;

CREATE INDEX export_open ON export_job (tenant, num) WHERE finished_ms IS NULL;
CREATE INDEX export_held ON export_job (worker) WHERE worker IS NOT NULL;
CREATE INDEX export_kept ON export_job (num) WHERE finished_ms IS NOT NULL AND purged = 0;
CREATE INDEX export_listed ON export_job (tenant, num) WHERE deleted = 0;

CREATE TABLE export_request (
    job     INTEGER PRIMARY KEY REFERENCES export_job (num) ON DELETE CASCADE,
    request TEXT    NOT NULL  -- JSON
) STRICT;

CREATE TABLE export_plan (
    job   INTEGER PRIMARY KEY REFERENCES export_job (num) ON DELETE CASCADE,
    parts TEXT    NOT NULL  -- JSON
) STRICT;

-- The only truth about which files exist for readers.
CREATE TABLE export_part (
    job           INTEGER NOT NULL REFERENCES export_job (num) ON DELETE CASCADE,
    number        INTEGER NOT NULL,  -- place in the plan
    kind          TEXT    NOT NULL CHECK (kind IN ('output', 'error', 'deleted')),
    type          TEXT    NOT NULL,
    idx           INTEGER NOT NULL,
    rows          INTEGER NOT NULL,
    token         INTEGER NOT NULL,  -- of the lease under which it was written
    location      TEXT,              -- NULL: it had no rows, and there is no file
    bytes         INTEGER,
    sha256        TEXT,
    coding        TEXT,
    stored_bytes  INTEGER,
    stored_sha256 TEXT,
    PRIMARY KEY (job, number),
    UNIQUE (job, kind, type, idx)
) STRICT, WITHOUT ROWID;

-- A job as everybody but a claimer sees it. What is done is derived from the parts, in one
-- pass over them, and never counted up.
CREATE VIEW export_shown AS
SELECT job.num, job.id, job.tenant, tenant.key AS tenant_key, job.status, job.deleted,
       request.request, job.store, job.seq, job.t_ms,
       job.created_ms, job.finished_ms, job.expires_ms, job.attempt, job.token,
       job.reason, job.issue, job.parts_total, job.bytes_estimate,
       (SELECT json_array(count(*), coalesce(sum(part.rows), 0), coalesce(sum(part.bytes), 0))
          FROM export_part AS part WHERE part.job = job.num) AS done
  FROM export_job AS job
  JOIN tenant ON tenant.id = job.tenant
  JOIN export_request AS request ON request.job = job.num;

-- The number of the last transaction that each connection of a worker committed. It goes
-- in with the transaction, so that after a COMMIT that failed its number says whether the
-- transaction happened.
CREATE TABLE commit_mark (
    worker     TEXT    NOT NULL,
    connection TEXT    NOT NULL,
    number     INTEGER NOT NULL,
    PRIMARY KEY (worker, connection)
) STRICT, WITHOUT ROWID;
