-- check.lua: the counts of some tweets of a partition whose ranking is kept in two orders, held against each other.
--
-- KEYS[1]  ranking
-- KEYS[2]  position
-- KEYS[3]  by id
-- ARGV     members, none or more
--
-- Returns {position or '', cardinality, score or '' for each member}; the score is -1 for a member that is in one of the
-- two alone, or has a score that cannot be.
-- Cost: O(1) for each member.

local ranking, by_id = KEYS[1], KEYS[3]
local answer = {stand(ranking, KEYS[2], by_id)}
for i = 1, #ARGV do
    local score, listed = redis.call('ZSCORE', ranking, ARGV[i]), redis.call('ZSCORE', by_id, ARGV[i])
    if score and listed and tonumber(score) > 0 and tonumber(listed) == 0 then
        answer[2 + i] = score
    else
        answer[2 + i] = (score or listed) and '-1' or ''
    end
end
return answer
