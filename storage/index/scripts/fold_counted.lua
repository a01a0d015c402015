-- fold_counted.lua: apply one batch, exactly once, to a ranking that holds only tweets with a count above 0.
--
-- KEYS[1]  ranking: sorted set, member = tweet id, score = count_retweet
-- KEYS[2]  position: text of (number of ranked tweets, store, seq, nonce)
-- KEYS[3]  by id: the same members, all scores 0
-- ARGV[1]  position the batch starts from, ARGV[2] position it ends at, both without that number
-- ARGV[3]  number of tweets to set, ARGV[4] to increment or, when not ranked, to rank, ARGV[5] to increment when ranked;
--          the rest are to be taken out
-- ARGV[6..] pairs of score and member to set, two times pairs of increment and member, members to take out
--
-- Returns {1, position, cardinality} when applied, else {0, position, cardinality} with nothing written.
-- Cost: O(n log m) for n members in a ranking of m.

local ranking, position, by_id = KEYS[1], KEYS[2], KEYS[3]

-- Look before writing: a script that stops half-way is not rolled back.
local at, cardinality = stand(ranking, position, by_id)
local kept, place = string.match(at, '^%+(%d+) (.*)$')
if place ~= ARGV[1] then
    return {0, at, cardinality}
end

local before = redis.call('ZCARD', ranking)
local next_arg = 6

local function take_out(member)
    redis.call('ZREM', ranking, member)
    redis.call('ZREM', by_id, member)
end

for _ = 1, tonumber(ARGV[3]) do
    redis.call('ZADD', ranking, ARGV[next_arg], ARGV[next_arg + 1])
    redis.call('ZADD', by_id, 0, ARGV[next_arg + 1])
    next_arg = next_arg + 2
end
for _ = 1, tonumber(ARGV[4]) do
    redis.call('ZADD', ranking, 'INCR', ARGV[next_arg], ARGV[next_arg + 1])
    redis.call('ZADD', by_id, 0, ARGV[next_arg + 1])
    next_arg = next_arg + 2
end
-- XX: an ancestor that was deleted stays out of the ranking, whoever retweets below it.
for _ = 1, tonumber(ARGV[5]) do
    local score = redis.call('ZADD', ranking, 'XX', 'INCR', ARGV[next_arg], ARGV[next_arg + 1])
    if score and tonumber(score) == 0 then
        take_out(ARGV[next_arg + 1])
    end
    next_arg = next_arg + 2
end
for i = next_arg, #ARGV do
    take_out(ARGV[i])
end

-- What changed, not what is there: a member that got lost is missed from now on, too.
kept = tonumber(kept) + redis.call('ZCARD', ranking) - before
redis.call('SET', position, string.format('+%.0f %s', kept, ARGV[2]))
return {1, stand(ranking, position, by_id)}
