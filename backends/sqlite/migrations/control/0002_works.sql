-- Long works on tenants' stores: reindexing, pruning. Their leases are those of exports, and the
-- columns of a lease have the same names, so that the same statements give and take both.
CREATE TABLE store_work (
    num             INTEGER PRIMARY KEY AUTOINCREMENT,  -- order of arrival
    id              TEXT    NOT NULL UNIQUE,
    tenant          TEXT    NOT NULL REFERENCES tenant (id),
    kind            TEXT    NOT NULL CHECK (kind IN ('reindex', 'prune')),
    task            TEXT    NOT NULL,               -- JSON: what exactly
    standing        TEXT    NOT NULL,               -- JSON: how far it is
    status          TEXT    NOT NULL
        CHECK (status IN ('accepted', 'in-progress', 'complete', 'error', 'cancelled')),
    deleted         INTEGER NOT NULL GENERATED ALWAYS AS (0) VIRTUAL,  -- none is ever hidden
    created_ms      INTEGER NOT NULL,
    finished_ms     INTEGER,
    -- Grows at every claim, and from one work of a tenant's to the next of its kind.
    token           INTEGER NOT NULL,
    attempt         INTEGER NOT NULL DEFAULT 0,
    worker          TEXT,              -- holds the lease
    lease_boot      TEXT,              -- a lease of another boot has expired
    lease_expires   INTEGER,
    not_before_boot TEXT,              -- a delay of another boot has passed
    not_before      INTEGER,
    reason          TEXT    NOT NULL DEFAULT '',  -- why an open work is waiting
    issue           TEXT,              -- JSON: why it failed

    CHECK ((worker IS NULL) = (lease_boot IS NULL)),
    CHECK ((worker IS NULL) = (lease_expires IS NULL)),
    CHECK ((not_before IS NULL) = (not_before_boot IS NULL)),
    CHECK ((finished_ms IS NOT NULL) = (status IN ('complete', 'error', 'cancelled')))
) STRICT;

-- One of a kind is open for a tenant.
CREATE UNIQUE INDEX work_open ON store_work (tenant, kind) WHERE finished_ms IS NULL;
CREATE INDEX work_held ON store_work (worker) WHERE worker IS NOT NULL;
CREATE INDEX work_kind ON store_work (tenant, kind, num);
