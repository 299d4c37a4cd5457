-- current --
SELECT v.ver, v.upd_ms, v.flags, v.body
FROM versions AS i JOIN version AS v ON v.rid = i.rid
WHERE i.type = (SELECT type_id FROM resource_type WHERE name = ?1) AND i.id = ?2
ORDER BY i.ver DESC LIMIT 1

-- find_newest --
-- Where the newest version lies, and the resource's number. In two steps, as most of what is
-- written is new: a third of the time of a join that finds nothing.
SELECT rid, coalesce(res, rid) FROM versions WHERE type = ?1 AND id = ?2
ORDER BY ver DESC LIMIT 1

-- newest --
-- With the generation that its index rows were made by: none, if it is deleted or not indexed.
SELECT ver, upd_ms, flags, body, (SELECT defs FROM live WHERE res = ?2)
FROM version WHERE rid = ?1

-- numbered --
SELECT v.ver, v.upd_ms, v.flags, v.body
FROM versions AS i JOIN version AS v ON v.rid = i.rid
WHERE i.type = (SELECT type_id FROM resource_type WHERE name = ?1) AND i.id = ?2 AND i.ver = ?3

-- facts --
SELECT store, seq, cut_ms, last_ms, (SELECT count(*) FROM snapshot) FROM meta

-- live --
SELECT name, live FROM resource_type WHERE live > 0 ORDER BY name

-- insert_version --
INSERT INTO version (rid, id, ver, upd_ms, sup, prev, flags, body)
VALUES (?1, ?2, ?3, ?4, 1 << 62, ?5, ?6, ?7)

-- insert_index --
INSERT INTO versions (type, id, ver, rid, res) VALUES (?1, ?2, ?3, ?4, ?5)

-- supersede --
UPDATE version SET sup = (1 << 61) + ?2 WHERE rid = ?1

-- count_version --
UPDATE resource_type SET live = live + ?2, total = total + 1 WHERE type_id = ?1
