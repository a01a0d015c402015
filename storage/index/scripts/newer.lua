-- newer.lua: how many tweets of a partition that have a count above 0 are newer than a tweet.
--
-- KEYS[1]  ranking
-- KEYS[2]  position
-- KEYS[3]  by id
-- ARGV[1]  member
--
-- Returns {position or '', cardinality, number of newer members, 1 when the member is ranked itself, else 0}.
-- Cost: O(log m) in a ranking of m.

local at, cardinality = stand(KEYS[1], KEYS[2], KEYS[3])
local newer = redis.call('ZLEXCOUNT', KEYS[3], '(' .. ARGV[1], '+')
return {at, cardinality, newer, redis.call('ZSCORE', KEYS[1], ARGV[1]) and 1 or 0}
