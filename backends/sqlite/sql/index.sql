-- give_secret --
UPDATE meta SET secret = ?1, made_for = ?2 WHERE secret = x''

-- set_made_for --
UPDATE meta SET made_for = ?1

-- set_generation --
UPDATE meta SET defs = ?1

-- complete_if_empty --
-- In a store without resources the index is complete as it is.
UPDATE meta SET indexed = defs WHERE NOT EXISTS (SELECT 1 FROM version)

-- completeness --
-- Whether the index was ever made, and whether some path came later.
SELECT indexed > 0, EXISTS (SELECT 1 FROM path WHERE since > indexed) FROM meta

-- incomplete_paths --
SELECT name FROM path WHERE since > (SELECT indexed FROM meta)

-- own_parameters --
-- From the versions, not from the index, which may have to be made by them.
SELECT body FROM version
WHERE rid BETWEEN ?1 << 40 AND ((?1 + 1) << 40) - 1 AND sup = 1 << 62 AND NOT flags & 1
ORDER BY rid

-- add_path --
INSERT INTO path (name, since) VALUES (?1, ?2)

-- forget_path --
DELETE FROM path WHERE name = ?1

-- find_live --
SELECT rid, defs FROM live WHERE res = ?1

-- insert_live --
INSERT OR REPLACE INTO live (res, rid, tkey, defs) VALUES (?, ?, ?, ?)

-- move_live --
UPDATE live SET rid = ?2, defs = ?3 WHERE res = ?1

-- delete_live --
DELETE FROM live WHERE res = ?1

-- insert_tok --
-- An index that holds a row already, which should not be, is no reason to refuse a write.
INSERT OR IGNORE INTO tok (k, res) VALUES (?, ?)

-- delete_tok --
DELETE FROM tok WHERE k = ? AND res = ?

-- insert_term --
INSERT OR IGNORE INTO term (k, p, system, code) VALUES (?, ?, ?, ?)

-- insert_ref --
INSERT OR IGNORE INTO ref (p, target, res) VALUES (?, ?, ?)

-- delete_ref --
DELETE FROM ref WHERE p = ? AND target = ? AND res = ?

-- insert_fwd --
INSERT OR IGNORE INTO fwd (res, p, target) VALUES (?, ?, ?)

-- delete_fwd --
DELETE FROM fwd WHERE res = ? AND p = ? AND target = ?

-- insert_str --
INSERT OR REPLACE INTO str (p, value, res, exact, edge) VALUES (?, ?, ?, ?, ?)

-- delete_str --
DELETE FROM str WHERE p = ? AND value = ? AND res = ? AND exact = ?

-- insert_dat --
INSERT OR REPLACE INTO dat (p, lo, hi, res, edge) VALUES (?, ?, ?, ?, ?)

-- delete_dat --
DELETE FROM dat WHERE p = ? AND lo = ? AND hi = ? AND res = ?

-- insert_num --
INSERT OR REPLACE INTO num (p, value, res, edge) VALUES (?, ?, ?, ?)

-- delete_num --
DELETE FROM num WHERE p = ? AND value = ? AND res = ?

-- insert_qty --
INSERT OR REPLACE INTO qty (p, u, value, res, edge) VALUES (?, ?, ?, ?, ?)

-- delete_qty --
DELETE FROM qty WHERE p = ? AND u = ? AND value = ? AND res = ?

-- insert_unit --
INSERT OR IGNORE INTO unit (u, p, system, code, unit) VALUES (?, ?, ?, ?, ?)
