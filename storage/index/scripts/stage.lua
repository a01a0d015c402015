-- stage.lua: add counts to the ranking that a rebuild stages, and renew its lease; or give the lease back.
--
-- KEYS[1]   lease of the partition
-- KEYS[2]   staging
-- ARGV[1]   token of the lease
-- ARGV[2]   time to live of the lease in milliseconds, 0 to give it back and to remove what is staged
-- ARGV[3]   time to live of the staging key
-- ARGV[4..] pairs of score and member, none or more
--
-- Returns how many members are staged, or -1 when the lease is another's; then nothing is written.
-- Cost: O(n log m) for n pairs and m staged members; freeing them is done in the background where the server can.

local lease, staging = KEYS[1], KEYS[2]

if redis.call('GET', lease) ~= ARGV[1] then
    return -1
end
if ARGV[2] == '0' then
    redis.call('UNLINK', staging, lease)
    return 0
end
-- The members first: a script that has written once is not refused memory any more (Redis 7, Valkey 7.2 to 9).
for first = 4, #ARGV, 2000 do -- as many as fit on Lua's stack
    redis.call('ZADD', staging, unpack(ARGV, first, math.min(first + 1999, #ARGV)))
end
redis.call('PEXPIRE', staging, ARGV[3])
redis.call('PEXPIRE', lease, ARGV[2])
return redis.call('ZCARD', staging)
