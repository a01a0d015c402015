-- swap.lua: put a rebuilt ranking in the place of the old one.
--
-- KEYS[1]  ranking
-- KEYS[2]  position
-- KEYS[3]  staging: the rebuilt ranking, with a time to live; absent when it holds nothing
-- ARGV[1]  position that the rebuild found ('' for none): if it has moved, somebody else was quicker
-- ARGV[2]  position of the rebuilt ranking
-- ARGV[3]  how many members the rebuilt ranking must have
--
-- Returns 1 when swapped, 0 when the position had moved, -1 when what is staged is not whole; then nothing is written.
-- Cost: O(1), but freeing the old ranking of m members is O(m), done in the background where the server can.

local ranking, position, staging = KEYS[1], KEYS[2], KEYS[3]

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
return 1
