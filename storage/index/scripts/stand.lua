-- stand.lua: where a partition stands. It is put before those scripts whose answers begin with that.
--
-- The text of a position is `store seq nonce`. Where only counted tweets are ranked, those with a count above 0, it is
-- `+number store seq nonce` with the number of them, and a second sorted set holds the same members with scores of 0: in
-- the order of ids.

-- The text of the position, '' for none, and the cardinality of the ranking; of two sets that of one that is not right.
local function stand(ranking, position, by_id)
    local at = redis.call('GET', position) or ''
    local cardinality = redis.call('ZCARD', ranking)
    -- 43 is a '+'; a look at one byte is ten times as quick as a pattern.
    if string.byte(at) == 43 and cardinality == tonumber(string.match(at, '^%+(%d+) ')) then
        cardinality = redis.call('ZCARD', by_id)
    end
    return at, cardinality
end
