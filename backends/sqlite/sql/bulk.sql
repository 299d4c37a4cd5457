-- find_pin --
SELECT (SELECT store FROM meta), seq, t_ms FROM snapshot WHERE job = ?1

-- insert_pin --
INSERT INTO snapshot (job, seq, t_ms, boot, lease_ms) VALUES (?1, ?2, ?3, ?4, ?5)

-- delete_pin --
DELETE FROM snapshot WHERE job = ?1

-- pins --
SELECT job, (SELECT store FROM meta), seq, t_ms, boot, lease_ms FROM snapshot ORDER BY job

-- types --
SELECT name, type_id FROM resource_type ORDER BY name

-- extents --
-- Of one type, as far as they begin up to a rid. They do not overlap.
SELECT first_rid, last_rid, rows, bytes, upd_min, upd_max FROM extent
WHERE type = ?1 AND first_rid <= ?2 ORDER BY first_rid

-- measure --
-- What lies between two rids, in runs of about ?4 bytes, looking at ?3 rows. Reads no
-- long body. Counted twice: all rows, for an extent, and those that match, for the plan.
SELECT min(rid), max(rid), count(*), sum(size), min(upd_ms), max(upd_ms),
    sum(matches), sum(size * matches)
FROM (
    SELECT rid, size, upd_ms, matches,
        sum(size) OVER (ORDER BY rid ROWS UNBOUNDED PRECEDING) / ?4 AS run
    FROM (
        SELECT rid, upd_ms, coalesce(length(body) + 1, 0) AS size,
            sup > ?5 AND NOT flags & 1 AND upd_ms > ?6 AND upd_ms <= ?7 AS matches
        FROM version WHERE rid BETWEEN ?1 AND ?2 ORDER BY rid LIMIT ?3
    )
)
GROUP BY run ORDER BY run

-- seal --
-- Make a run an extent, unless somebody did so for a part of it: they must not overlap.
INSERT INTO extent (type, first_rid, last_rid, rows, bytes, upd_min, upd_max)
SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7
WHERE coalesce(
    (SELECT last_rid FROM extent WHERE type = ?1 AND first_rid <= ?3
     ORDER BY first_rid DESC LIMIT 1), 0) < ?2

-- lines --
-- A batch: the bodies of those of the next ?3 rows that match, put together by the
-- database. Looking at a bounded number of rows bounds the time, however few match.
SELECT max(rid), count(*), count(line), CAST(group_concat(line, char(10)) AS BLOB)
FROM (
    SELECT rid, CASE WHEN sup > ?4 AND NOT flags & 1 AND upd_ms > ?5 AND upd_ms <= ?6
        THEN body END AS line
    FROM version WHERE rid BETWEEN ?1 AND ?2 ORDER BY rid LIMIT ?3
)

-- lines_unfiltered --
-- As lines, for an export without `_since` and `_until`, where nearly every row matches:
-- the next ?3 rows that match, which takes an eighth less time than looking at each.
SELECT max(rid), count(*), CAST(group_concat(body, char(10)) AS BLOB)
FROM (
    SELECT rid, body FROM version
    WHERE rid BETWEEN ?1 AND ?2 AND sup > ?4 AND NOT flags & 1 ORDER BY rid LIMIT ?3
)

-- lines_fitting --
-- How many of the next ?3 rows fit into ?7 bytes. Reads no long body.
SELECT count(*) FROM (
    SELECT sum(size) OVER (ORDER BY rid ROWS UNBOUNDED PRECEDING) AS total
    FROM (
        SELECT rid, CASE WHEN sup > ?4 AND NOT flags & 1 AND upd_ms > ?5 AND upd_ms <= ?6
            THEN length(body) + 1 ELSE 0 END AS size
        FROM version WHERE rid BETWEEN ?1 AND ?2 ORDER BY rid LIMIT ?3
    )
) WHERE total <= ?7

-- first_rid --
SELECT min(rid) FROM version WHERE rid BETWEEN ?1 AND ?2
