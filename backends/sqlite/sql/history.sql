-- newest_rids --
-- Of one type, newest first: those not replaced before some time.
SELECT rid FROM version WHERE rid BETWEEN ?1 AND ?2 AND sup > ?3 ORDER BY rid DESC LIMIT ?4

-- versions_at --
SELECT v.rid, v.id, v.ver, v.upd_ms, v.flags, v.body
FROM json_each(?1) AS wanted JOIN version AS v ON v.rid = wanted.value

-- versions_of --
-- Of one resource, newest first.
SELECT v.rid, v.id, v.ver, v.upd_ms, v.flags, v.body
FROM versions AS i JOIN version AS v ON v.rid = i.rid
WHERE i.type = ?1 AND i.id = ?2 AND i.rid BETWEEN ?3 AND ?4 AND v.sup > ?5
ORDER BY i.ver DESC LIMIT ?6

-- count_of --
SELECT count(*) FROM versions AS i JOIN version AS v ON v.rid = i.rid
WHERE i.type = ?1 AND i.id = ?2 AND i.rid BETWEEN ?3 AND ?4 AND v.sup > ?5

-- count_all --
-- Without a bound in time nothing has to be looked at.
SELECT total FROM resource_type WHERE type_id = ?1

-- count_between --
-- The small table of ids, not the bodies'.
SELECT count(*) FROM versions WHERE type = ?1 AND rid BETWEEN ?2 AND ?3

-- count_current --
-- Those of which the next version came after a rid, or never.
SELECT count(*) FROM (
    SELECT rid, lead(rid) OVER (PARTITION BY id ORDER BY ver) AS next
    FROM versions WHERE type = ?1
)
WHERE rid BETWEEN ?2 AND ?3 AND (next IS NULL OR next > ?4)
