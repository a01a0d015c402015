-- swap.lua: put a rebuilt ranking in the place of the old one.
--
-- KEYS[1]  ranking
-- KEYS[2]  position
-- KEYS[3]  server
-- KEYS[4]  lease of the partition
-- KEYS[5]  staging: the rebuilt ranking, with a time to live; absent when it holds nothing
-- ARGV[1]  position that the rebuild found, '' for none
-- ARGV[2]  position of the rebuilt ranking
-- ARGV[3]  how many members the rebuilt ranking must have
-- ARGV[4]  token of the lease, which begins with the run_id of the server process that the rebuild began in
--
-- Returns 1 when swapped, 0 when the position has moved, -1 when what is staged is not complete, -2 when the lease is
-- another's; unless 1, nothing is written.
-- Cost: O(1), but freeing the old ranking of m members is O(m), done in the background where the server can.

local ranking, position, staging = KEYS[1], KEYS[2], KEYS[5]

-- Look before writing: a script that stops half-way is not rolled back. After its first write, which needs no memory, it
-- is not refused any more, for want of memory or because the server became a replica (Redis 7, Valkey 7.2 to 9).
if redis.call('GET', KEYS[4]) ~= ARGV[4] then
    return -2
end
if (redis.call('GET', position) or '') ~= ARGV[1] then
    return 0
end
if redis.call('ZCARD', staging) ~= tonumber(ARGV[3]) then
    return -1
end
redis.call('UNLINK', ranking)
if redis.call('EXISTS', staging) == 1 then
    redis.call('RENAME', staging, ranking)
    redis.call('PERSIST', ranking)
end
redis.call('SET', position, ARGV[2])
redis.call('SET', KEYS[3], string.match(ARGV[4], '^%x*'))
return 1
