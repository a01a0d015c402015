-- server.lua: whether a partition's ranking was built in the server process that has it now.
--
-- KEYS[1]  server: run_id of the process that the ranking was built in
-- ARGV[1]  1 to take the ranking as built in this one, else 0
--
-- Returns 1 or 0. Raises where INFO is forbidden.
-- Cost: O(1), some 20 us for INFO.

local run_id = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
if ARGV[1] == '1' then
    redis.call('SET', KEYS[1], run_id)
    return 1
end
return redis.pcall('GET', KEYS[1]) == run_id and 1 or 0
