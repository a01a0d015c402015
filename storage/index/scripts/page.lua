-- page.lua: a part of a partition's ranking, with the position it is true for.
--
-- KEYS[1]  ranking
-- KEYS[2]  position
-- ARGV[1]  how many tweets to return, 0 or more
-- ARGV[2], ARGV[3]  score and member of the place after which to start; both '' for the first page
--
-- Returns {position or '', cardinality, number of tweets that rank above the page, 1 when the member stands at that
-- very place, else 0, {member, score, ...}}.
-- Cost: O(log m + n) for n tweets of m; O(log^2 m) more when the place is no longer taken by its tweet.

local ranking = KEYS[1]
local limit, score, member = tonumber(ARGV[1]), ARGV[2], ARGV[3]

-- How many rank at or above (score, member), and 1 if that member stands there now, else 0.
local function above()
    if member == '' then
        return 0, 0
    end
    local now = redis.call('ZSCORE', ranking, member)
    if now and tonumber(now) == tonumber(score) then
        return redis.call('ZREVRANK', ranking, member) + 1, 1
    end
    -- Those of equal score stand together, members falling: find the first that is smaller than ours.
    local low = redis.call('ZCOUNT', ranking, '(' .. score, '+inf')
    local high = redis.call('ZCOUNT', ranking, score, '+inf')
    while low < high do
        local middle = math.floor((low + high) / 2)
        if redis.call('ZREVRANGE', ranking, middle, middle)[1] < member then
            high = middle
        else
            low = middle + 1
        end
    end
    return low, 0
end

local start, is_taken = above()
local rows = {}
if limit > 0 then
    rows = redis.call('ZREVRANGE', ranking, start, start + limit - 1, 'WITHSCORES')
end
return {redis.call('GET', KEYS[2]) or '', redis.call('ZCARD', ranking), start, is_taken, rows}
