-- drop.lua: remove a partition, whatever its keys hold.
--
-- KEYS[1]  ranking
-- KEYS[2]  position
--
-- Returns how many of them there were.
-- Cost: O(1), but freeing a ranking of m members is O(m), done in the background where the server can.

return redis.call('UNLINK', KEYS[1], KEYS[2])
