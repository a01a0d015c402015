-- fold.lua: apply one batch to a partition's ranking, exactly once.
--
-- KEYS[1]  ranking: sorted set, member = tweet id, score = count_retweet
-- KEYS[2]  position: text of (store, seq, nonce)
-- ARGV[1]  position the batch starts from
-- ARGV[2]  position it ends at
-- ARGV[3]  number of tweets to set, ARGV[4] number to increment; the rest are to be taken out
-- ARGV[5..] pairs of score and member to set, pairs of increment and member, members to take out
--
-- Returns {1, position, cardinality} when applied, else {0, position, cardinality} with nothing written.
-- Cost: O(n log m) for n members in a ranking of m.

local ranking, position = KEYS[1], KEYS[2]

-- Look before writing: a script that stops half-way is not rolled back.
local at = redis.call('GET', position)
if at ~= ARGV[1] then
    return {0, at, redis.call('ZCARD', ranking)}
end

local next_arg = 5
for _ = 1, tonumber(ARGV[3]) do
    redis.call('ZADD', ranking, ARGV[next_arg], ARGV[next_arg + 1])
    next_arg = next_arg + 2
end
-- XX: an ancestor that was deleted stays out of the ranking, whoever retweets below it.
for _ = 1, tonumber(ARGV[4]) do
    redis.call('ZADD', ranking, 'XX', 'INCR', ARGV[next_arg], ARGV[next_arg + 1])
    next_arg = next_arg + 2
end
for i = next_arg, #ARGV do
    redis.call('ZREM', ranking, ARGV[i])
end
redis.call('SET', position, ARGV[2])
return {1, ARGV[2], redis.call('ZCARD', ranking)}
