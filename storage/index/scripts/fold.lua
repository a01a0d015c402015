-- fold.lua: apply one batch to a partition's ranking, exactly once.
--
-- KEYS[1]  ranking: sorted set, member = tweet id, score = count_retweet
-- KEYS[2]  position: text of (store, seq, nonce, number of tweets)
-- ARGV[1]  position the batch starts from
-- ARGV[2]  position it ends at
-- ARGV[3]  number of tweets to set, ARGV[4] number to increment; the rest are to be removed
-- ARGV[5..] pairs of score and member to set, members to increment, their increments, members to remove
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

-- Two commands for many tweets: one command for each takes longer than what it does. No other command comes in between.
local function increment(members, gains, count)
    local scores = redis.call('ZMSCORE', ranking, unpack(ARGV, members, members + count - 1))
    local changed = {}
    for i = 1, count do
        if scores[i] then -- else it was deleted, and stays out of the ranking, also when it gains by retweets below it
            changed[#changed + 1] = scores[i] + ARGV[gains + i - 1]
            changed[#changed + 1] = ARGV[members + i - 1]
        end
    end
    if #changed > 0 then
        redis.call('ZADD', ranking, 'XX', unpack(changed))
    end
end

local credited = tonumber(ARGV[4])
for first = 0, credited - 1, 1000 do -- as many as fit on Lua's stack
    increment(next_arg + first, next_arg + credited + first, math.min(1000, credited - first))
end
for i = next_arg + 2 * credited, #ARGV do
    redis.call('ZREM', ranking, ARGV[i])
end
redis.call('SET', position, ARGV[2])
return {1, ARGV[2], redis.call('ZCARD', ranking)}
