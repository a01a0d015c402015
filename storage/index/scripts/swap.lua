-- swap.lua: put a rebuilt ranking in the place of the old one.
--
-- KEYS[1]  ranking
-- KEYS[2]  position
-- KEYS[3]  by id
-- KEYS[4]  staging: the rebuilt ranking, with a time to live; absent when it holds nothing
-- KEYS[5]  staging of the order of ids; absent also where all tweets are ranked
-- ARGV[1]  position that the rebuild found ('' for none): if it has moved, somebody else was quicker
-- ARGV[2]  position of the rebuilt ranking, with the number of ranked tweets where only counted ones are
-- ARGV[3]  how many members the rebuilt ranking must have, ARGV[4] the order of ids
--
-- Returns 1 when swapped, 0 when the position had moved, -1 when what is staged is not whole; then nothing is written.
-- Cost: O(1), but freeing the old ranking of m members is O(m), done in the background where the server can.

local ranking, position, by_id = KEYS[1], KEYS[2], KEYS[3]

local at = redis.call('GET', position) or ''
if at ~= ARGV[1] and string.match(at, '^%+%d+ (.*)$') ~= ARGV[1] then
    return 0
end
if redis.call('ZCARD', KEYS[4]) ~= tonumber(ARGV[3]) or redis.call('ZCARD', KEYS[5]) ~= tonumber(ARGV[4]) then
    return -1
end
redis.call('UNLINK', ranking, by_id)
for staging, goal in pairs({[KEYS[4]] = ranking, [KEYS[5]] = by_id}) do
    if redis.call('EXISTS', staging) == 1 then
        redis.call('RENAME', staging, goal)
        redis.call('PERSIST', goal)
    end
end
redis.call('SET', position, ARGV[2])
return 1
