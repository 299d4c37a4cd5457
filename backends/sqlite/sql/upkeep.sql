-- take_fence --
-- Where the work was left, unless it is for other definitions now.
INSERT INTO fence (job, token, defs, cursor) VALUES (?1, ?2, ?3, 0)
ON CONFLICT (job) DO UPDATE SET token = ?2,
    cursor = CASE defs WHEN ?3 THEN cursor ELSE 0 END, defs = ?3

-- find_fence --
SELECT token, defs, cursor FROM fence WHERE job = ?1

-- move_fence --
UPDATE fence SET defs = ?2, cursor = ?3 WHERE job = ?1

-- close_fence --
-- For no definitions: the row stays, so that a late beginning under an old token is refused.
UPDATE fence SET defs = 0, cursor = 0 WHERE job = ?1

-- note_complete --
UPDATE meta SET indexed = ?1

-- next_sizes --
-- What comes next, without its bodies.
SELECT rid, coalesce(length(body), 0) FROM version WHERE rid > ?1 ORDER BY rid LIMIT ?2

-- next_current --
-- What is current between two rids and not indexed by this generation.
SELECT v.rid, coalesce(i.res, i.rid), t.name, v.id, v.body
FROM version AS v
JOIN versions AS i ON i.type = v.rid >> 40 AND i.id = v.id AND i.ver = v.ver
JOIN resource_type AS t ON t.type_id = v.rid >> 40
LEFT JOIN live AS l ON l.rid = v.rid
WHERE v.rid > ?1 AND v.rid <= ?2 AND v.sup = 1 << 62 AND NOT v.flags & 1 AND l.defs IS NOT ?3
ORDER BY v.rid

-- still_current --
-- Those of them that nobody has written since.
SELECT v.rid FROM json_each(?1) AS wanted
JOIN version AS v ON v.rid = wanted.value
LEFT JOIN live AS l ON l.rid = v.rid
WHERE v.sup = 1 << 62 AND l.defs IS NOT ?2

-- clear_live --
DELETE FROM live

-- clear_tok --
DELETE FROM tok

-- clear_ref --
DELETE FROM ref

-- clear_fwd --
DELETE FROM fwd

-- clear_str --
DELETE FROM str

-- clear_dat --
DELETE FROM dat

-- clear_num --
DELETE FROM num

-- clear_qty --
DELETE FROM qty

-- next_ids --
-- Resources in the order of the table, each with how many versions there are.
SELECT type, id, count(*) FROM versions WHERE (type, id) > (?1, ?2)
GROUP BY type, id ORDER BY type, id LIMIT ?3

-- superseded --
-- Of these resources: versions beyond the newest ?3, replaced before ?2, that no pin shows.
SELECT type, id, ver, rid
FROM (
    SELECT i.type, i.id, i.ver, i.rid,
        row_number() OVER newest AS place, lag(i.rid) OVER newest AS successor
    FROM json_each(?1) AS wanted
    JOIN versions AS i ON i.type = wanted.value ->> 0 AND i.id = wanted.value ->> 1
    WINDOW newest AS (PARTITION BY i.type, i.id ORDER BY i.ver DESC)
) AS old
WHERE place > ?3
    AND (SELECT upd_ms FROM version WHERE rid = successor) < ?2
    AND NOT EXISTS (
        SELECT 1 FROM snapshot AS pin, version AS v
        WHERE v.rid = old.rid AND NOT v.flags & 1
            AND v.rid & ((1 << 40) - 1) <= pin.seq AND v.sup > (1 << 61) + pin.seq)
LIMIT ?4

-- delete_versions --
DELETE FROM version WHERE rid IN (SELECT value FROM json_each(?1)) RETURNING rid >> 40

-- delete_version_keys --
DELETE FROM versions WHERE type = ?1 AND id = ?2 AND ver = ?3

-- uncount_version --
UPDATE resource_type SET total = total - ?2 WHERE type_id = ?1

-- type_name --
SELECT name FROM resource_type WHERE type_id = ?1
