-- create_staging --
-- A batch on its way in. Lives in the write connection's memory.
CREATE TEMP TABLE IF NOT EXISTS stage (
    slot     INTEGER PRIMARY KEY,  -- its rid if all rows are written; keeps their order
    rid      INTEGER NOT NULL,     -- that it will have
    id       TEXT    NOT NULL,
    head     INTEGER NOT NULL,     -- where the head begins in the batch's bytes, from 1
    head_len INTEGER NOT NULL,
    tail_len INTEGER NOT NULL,     -- the tail follows the head
    prev     INTEGER,              -- rid of the version that is there
    res      INTEGER,              -- number of the resource, if there is one
    ver      INTEGER NOT NULL DEFAULT 0,  -- number of that version
    live     INTEGER NOT NULL DEFAULT 0,  -- 1 if that version is no deletion
    same     INTEGER NOT NULL DEFAULT 0   -- 1 if it is equal: nothing is to be written
)

-- clear_stage --
DELETE FROM temp.stage

-- stage_type --
-- All rows of one type at once. A row is text of fixed widths, ten, eight and eight
-- digits and the id: taking it apart costs half of what nested JSON does.
INSERT INTO temp.stage (slot, rid, id, head, head_len, tail_len, prev)
SELECT slot, slot, id, head, head_len, tail_len,
    (SELECT i.rid FROM versions AS i
     WHERE i.type = ?1 AND i.id = line.id ORDER BY i.ver DESC LIMIT 1)
FROM (
    SELECT (?1 << 40) | (?2 + key + 1) AS slot,
        substr(value, 27) AS id,
        CAST(substr(value, 1, 10) AS INTEGER) AS head,
        CAST(substr(value, 11, 8) AS INTEGER) AS head_len,
        CAST(substr(value, 19, 8) AS INTEGER) AS tail_len
    FROM json_each(?3)
) AS line

-- find_resources --
UPDATE temp.stage SET res = (
    SELECT coalesce(i.res, i.rid) FROM versions AS i
    WHERE i.type = stage.slot >> 40 AND i.id = stage.id ORDER BY i.ver DESC LIMIT 1
) WHERE prev IS NOT NULL

-- compare --
-- Equal but for versionId and lastUpdated means: equal when put together with those of
-- the version that is there. 41 is the length of what stands around the version number.
UPDATE temp.stage
SET ver = v.ver,
    live = NOT (v.flags & 1),
    same = CASE
        WHEN v.flags & 1 THEN 0
        WHEN length(v.body) <> head_len + tail_len + length(v.ver) + 41 THEN 0
        ELSE v.body = CAST(
            substr(?1, head, head_len) || v.ver || '","lastUpdated":"'
            || strftime('%Y-%m-%dT%H:%M:%S', v.upd_ms / 1000, 'unixepoch')
            || printf('.%03dZ', v.upd_ms % 1000)
            || substr(?1, head + head_len, tail_len) AS BLOB)
    END
FROM version AS v
WHERE v.rid = stage.prev

-- close_ranks --
-- Some rows are not written: the others take numbers without a gap.
UPDATE temp.stage SET rid = ranked.rid
FROM (
    SELECT slot, ((slot >> 40) << 40) | (?1 + row_number() OVER (ORDER BY slot)) AS rid
    FROM temp.stage WHERE NOT same
) AS ranked
WHERE ranked.slot = stage.slot

-- insert_bodies --
-- In rid order, so that pages fill one after the other. Concatenation makes text of
-- blobs without looking at them, and the cast turns it back.
INSERT INTO version (rid, id, ver, upd_ms, sup, prev, body)
SELECT rid, id, ver + 1, ?2, 1 << 62, prev,
    CAST(substr(?1, head, head_len) || (ver + 1) || '","lastUpdated":"' || ?3
        || substr(?1, head + head_len, tail_len) AS BLOB)
FROM temp.stage WHERE NOT same ORDER BY slot

-- insert_index --
-- In key order: neighbours share a page.
INSERT INTO versions (type, id, ver, rid, res)
SELECT rid >> 40, id, ver + 1, rid, res FROM temp.stage WHERE NOT same ORDER BY rid >> 40, id

-- written_rids --
SELECT rid FROM temp.stage ORDER BY slot & ((1 << 40) - 1)

-- written --
-- What the index has to be told, in order: where nothing was there before, where there was a
-- deletion, and with the old body where a live resource was replaced.
SELECT s.rid, s.same, coalesce(s.res, s.rid), l.defs, v.body
FROM temp.stage AS s
LEFT JOIN main.version AS v ON v.rid = s.prev AND s.live AND NOT s.same
LEFT JOIN main.live AS l ON l.res = s.res
ORDER BY s.slot & ((1 << 40) - 1)

-- supersede --
-- 2^61 + seq of the successor, eight bytes as before: the row stays where it is.
UPDATE version SET sup = (1 << 61) + (stage.rid & ((1 << 40) - 1))
FROM temp.stage WHERE version.rid = stage.prev AND NOT stage.same

-- outcome --
SELECT count(*) FILTER (WHERE NOT same AND NOT live), count(*) FILTER (WHERE NOT same AND live),
    count(*) FILTER (WHERE same)
FROM temp.stage

-- count_live --
UPDATE resource_type SET live = live + fresh.n, total = total + fresh.written
FROM (SELECT rid >> 40 AS type, count(*) FILTER (WHERE NOT live) AS n, count(*) AS written
      FROM temp.stage WHERE NOT same GROUP BY 1) AS fresh
WHERE type_id = fresh.type

-- insert_extents --
-- A long run describes itself. It begins where the extent before ends, if no row lies
-- between: so a plan has no gap to look into. Short runs are left to the planner.
INSERT INTO extent (type, first_rid, last_rid, rows, bytes, upd_min, upd_max)
SELECT type,
    CASE WHEN EXISTS (SELECT 1 FROM version WHERE rid >= open AND rid < first) THEN first
        ELSE open END,
    last, rows, bytes, ?1, ?1
FROM (
    SELECT type, first, last, rows, bytes,
        coalesce(
            (SELECT e.last_rid + 1 FROM extent AS e
             WHERE e.type = run.type ORDER BY e.first_rid DESC LIMIT 1),
            type << 40) AS open
    FROM (
        SELECT rid >> 40 AS type, min(rid) AS first, max(rid) AS last, count(*) AS rows,
            sum(head_len + tail_len + 43) AS bytes
        FROM temp.stage WHERE NOT same GROUP BY rid >> 40
    ) AS run
    WHERE rows >= ?2 OR bytes >= ?3
)
