-- counts.lua: the counts of some tweets of a partition, with the position they are true for.
--
-- KEYS[1]  ranking
-- KEYS[2]  position
-- ARGV     members, none or more
--
-- Returns {position or '', cardinality, score or '' for each member}.
-- Cost: O(1) for each member.

local ranking = KEYS[1]
local answer = {redis.call('GET', KEYS[2]) or '', redis.call('ZCARD', ranking)}
for i = 1, #ARGV do
    answer[2 + i] = redis.call('ZSCORE', ranking, ARGV[i]) or ''
end
return answer
