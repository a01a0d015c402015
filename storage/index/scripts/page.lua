-- page.lua: a part of a partition's ranking, with the position it is true for.
--
-- KEYS[1]  ranking
-- KEYS[2]  position
-- KEYS[3]  by id
-- ARGV[1]  how many tweets to return, 0 or more
-- ARGV[2], ARGV[3]  score and member of the place after which to start; both '' for the first page
-- ARGV[4..] members of which to say whether they are ranked, none or more
--
-- Returns {position or '', cardinality, number of tweets that rank above the page, {member, score, ...}, {0 or 1, ...}}.
-- Cost: O(log m + n) for n tweets of m; O(log^2 m) more when the place is no longer taken by its tweet.

local ranking = KEYS[1]
local limit, score, member = tonumber(ARGV[1]), ARGV[2], ARGV[3]

-- How many rank at or above (score, member), whether or not that member stands there now.
local function above()
    if member == '' then
        return 0
    end
    local now = redis.call('ZSCORE', ranking, member)
    if now and tonumber(now) == tonumber(score) then
        return redis.call('ZREVRANK', ranking, member) + 1
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
    return low
end

local start = above()
local at, cardinality = stand(ranking, KEYS[2], KEYS[3])
local rows, ranked = {}, {}
if limit > 0 then
    rows = redis.call('ZREVRANGE', ranking, start, start + limit - 1, 'WITHSCORES')
end
for i = 4, #ARGV do
    ranked[i - 3] = redis.call('ZSCORE', ranking, ARGV[i]) and 1 or 0
end
return {at, cardinality, start, rows, ranked}
