-- The statements of control.db, each under its name. :now and :boot are the store's lease
-- clock, :wall is its wall clock; they are read after BEGIN IMMEDIATE, so that waiting for
-- the file makes no lease shorter.

-- write_mark --
INSERT INTO commit_mark (worker, connection, number) VALUES (:worker, :connection, :number)
    ON CONFLICT DO UPDATE SET number = excluded.number

-- read_mark --
SELECT number FROM commit_mark WHERE worker = :worker AND connection = :connection

-- forget_marks --
DELETE FROM commit_mark WHERE worker IN (SELECT value FROM json_each(:workers))

-- Tenants.

-- tenant --
SELECT id, key FROM tenant WHERE id = :tenant

-- tenants --
SELECT id, key FROM tenant ORDER BY id

-- add_tenant --
-- A key that is taken is an error, never another tenant's.
INSERT INTO tenant (id, key, created_ms) VALUES (:tenant, :key, :wall) ON CONFLICT (id) DO NOTHING

-- The web's side.

-- open_jobs --
SELECT count(*) FROM export_job WHERE tenant = :tenant AND finished_ms IS NULL

-- add_job --
INSERT INTO export_job (id, tenant, status, store, seq, t_ms, created_ms)
VALUES (:job, :tenant, 'accepted', :store, :seq, :t_ms, :wall)
RETURNING num

-- add_request --
INSERT INTO export_request (job, request) VALUES (:num, :request)

-- shown_job --
SELECT * FROM export_shown WHERE id = :job AND tenant = :tenant AND deleted = 0

-- shown_jobs --
SELECT * FROM export_shown WHERE tenant = :tenant AND deleted = 0 ORDER BY num DESC LIMIT :limit

-- shown_jobs_of_all --
SELECT * FROM export_shown WHERE deleted = 0 ORDER BY num DESC LIMIT :limit

-- any_job --
SELECT * FROM export_shown WHERE id = :job

-- plan --
SELECT parts FROM export_plan WHERE job = :num

-- parts --
SELECT number, kind, type, idx, rows, token,
       location, bytes, sha256, coding, stored_bytes, stored_sha256
  FROM export_part WHERE job = :num ORDER BY number

-- part --
SELECT number, kind, type, idx, rows, token,
       location, bytes, sha256, coding, stored_bytes, stored_sha256
  FROM export_part
 WHERE job = (SELECT num FROM export_job
               WHERE id = :job AND tenant = :tenant AND deleted = 0)
   AND kind = :kind AND type = :type AND idx = :index AND location IS NOT NULL

-- cancel --
-- The lease stays: its worker may still be writing, and the janitor must wait for it.
UPDATE export_job
   SET status = 'cancelled', finished_ms = :wall, reason = '',
       not_before = NULL, not_before_boot = NULL
 WHERE id = :job AND tenant = :tenant AND finished_ms IS NULL

-- delete --
UPDATE export_job SET deleted = 1 WHERE id = :job AND tenant = :tenant AND deleted = 0

-- forget_purged --
-- Its files went before: nobody else would come back for the row.
DELETE FROM export_job WHERE id = :job AND deleted = 1 AND purged = 1

-- Leases.

-- holders --
SELECT DISTINCT worker FROM export_job WHERE worker IS NOT NULL

-- claimable --
-- Round robin: the tenant whose last claim is longest ago, then its oldest job. A lease is
-- good up to and including the millisecond in which it expires.
SELECT job.num, job.tenant
  FROM export_job AS job JOIN tenant ON tenant.id = job.tenant
 WHERE job.finished_ms IS NULL
   AND (job.worker IS NULL
        OR job.lease_boot <> :boot OR job.lease_expires < :now
        OR job.worker IN (SELECT value FROM json_each(:dead)))
   AND (job.not_before IS NULL OR job.not_before_boot <> :boot OR job.not_before <= :now)
 ORDER BY tenant.last_claim, job.num
 LIMIT 1

-- claim --
UPDATE export_job
   SET status = 'in-progress', token = token + 1, attempt = attempt + 1,
       worker = :worker, lease_boot = :boot, lease_expires = :expires,
       not_before = NULL, not_before_boot = NULL, reason = ''
 WHERE num = :num
RETURNING id, token, attempt

-- count_claim --
UPDATE tenant SET last_claim = (SELECT max(last_claim) FROM tenant) + 1 WHERE id = :tenant

-- release --
-- Keeps in-progress and gives the attempt back. A cancelled job only loses its lease: its
-- worker says that it writes no more.
UPDATE export_job
   SET worker = NULL, lease_boot = NULL, lease_expires = NULL,
       attempt         = iif(finished_ms IS NULL, attempt - 1, attempt),
       not_before      = iif(finished_ms IS NULL, :not_before, NULL),
       not_before_boot = iif(finished_ms IS NULL, :boot, NULL),
       reason          = iif(finished_ms IS NULL, :reason, '')
 WHERE id = :job AND token = :token AND worker = :worker

-- drop_leases --
UPDATE export_job SET worker = NULL, lease_boot = NULL, lease_expires = NULL
 WHERE worker IN (SELECT value FROM json_each(:workers))

-- The worker's side. Each effect begins with `renew` or is one of the two ends, in the same
-- transaction: no row updated means that the lease is lost.

-- renew --
UPDATE export_job SET lease_boot = :boot, lease_expires = :expires
 WHERE id = :job AND token = :token AND worker = :worker AND status = 'in-progress'
RETURNING num

-- standing --
-- Why an effect was refused, or whether it would be.
SELECT status, deleted, token, worker FROM export_job WHERE id = :job

-- measure_plan --
UPDATE export_job SET parts_total = :parts, bytes_estimate = :bytes WHERE num = :num

-- add_plan --
INSERT INTO export_plan (job, parts) VALUES (:num, :parts)

-- add_part --
-- A plain insert: a conflict is a bug, and must not be swallowed.
INSERT INTO export_part (job, number, kind, type, idx, rows, token,
                         location, bytes, sha256, coding, stored_bytes, stored_sha256)
VALUES (:num, :number, :kind, :type, :index, :rows, :token,
        :location, :bytes, :sha256, :coding, :stored_bytes, :stored_sha256)

-- finish --
-- Only from in-progress, so a cancel wins. The holder's last act: the lease goes with it.
UPDATE export_job
   SET status = 'complete', finished_ms = :wall, expires_ms = :expires_ms,
       worker = NULL, lease_boot = NULL, lease_expires = NULL
 WHERE id = :job AND token = :token AND worker = :worker AND status = 'in-progress'

-- fail --
UPDATE export_job
   SET status = 'error', finished_ms = :wall, issue = :issue,
       worker = NULL, lease_boot = NULL, lease_expires = NULL
 WHERE id = :job AND token = :token AND worker = :worker AND status = 'in-progress'

-- The janitor's side.

-- removable --
-- A worker that holds a lease of an ended job may still be writing its files.
SELECT job.id, job.tenant, tenant.key
  FROM export_job AS job JOIN tenant ON tenant.id = job.tenant
 WHERE job.finished_ms IS NOT NULL AND job.purged = 0
   AND (job.deleted OR job.status <> 'complete' OR job.expires_ms <= :wall)
   AND (job.worker IS NULL
        OR job.lease_boot <> :boot OR job.lease_expires < :now
        OR job.worker IN (SELECT value FROM json_each(:dead)))
 ORDER BY job.num
 LIMIT :limit

-- forget_job --
DELETE FROM export_job WHERE id = :job AND finished_ms IS NOT NULL AND deleted = 1

-- mark_purged --
UPDATE export_job SET purged = 1 WHERE id = :job AND finished_ms IS NOT NULL AND purged = 0
RETURNING num

-- forget_parts --
DELETE FROM export_part WHERE job = :num

-- Works on tenants' stores. Their leases: the statements above, of the other table.

-- open_work --
SELECT id FROM store_work WHERE tenant = :tenant AND kind = :kind AND finished_ms IS NULL

-- add_work --
-- A step of an older work that comes late has a lower token than any of this one's.
INSERT INTO store_work (id, tenant, kind, task, standing, status, created_ms, token)
SELECT :work, :tenant, :kind, :task, :standing, 'accepted', :wall, coalesce(max(token), 0)
  FROM store_work WHERE tenant = :tenant AND kind = :kind

-- forget_works --
DELETE FROM store_work WHERE num IN (
    SELECT num FROM store_work
     WHERE tenant = :tenant AND kind = :kind AND finished_ms IS NOT NULL
     ORDER BY num DESC LIMIT -1 OFFSET :kept)

-- shown_work --
SELECT id, tenant, task, status, standing, created_ms, finished_ms, worker, reason, issue
  FROM store_work WHERE id = :work AND tenant = :tenant

-- save_standing --
UPDATE store_work SET standing = :standing WHERE num = :num

-- cancel_work --
-- The lease stays until its worker gives it up: it may still be at a step.
UPDATE store_work
   SET status = 'cancelled', finished_ms = :wall, reason = '',
       not_before = NULL, not_before_boot = NULL
 WHERE id = :work AND tenant = :tenant AND finished_ms IS NULL

-- end_work --
UPDATE store_work
   SET status = :status, finished_ms = :wall, standing = :standing, issue = :issue,
       worker = NULL, lease_boot = NULL, lease_expires = NULL
 WHERE id = :job AND token = :token AND worker = :worker AND status = 'in-progress'
