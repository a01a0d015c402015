-- acquire.lua: take the lease to rebuild a partition, and remove what an earlier rebuild left.
--
-- KEYS[1]  lease of the partition
-- KEYS[2]  staging
-- ARGV[1]  random part of the token, ARGV[2] time to live of the lease in milliseconds
--
-- Returns the token of the lease, which begins with the run_id of the server process, '' where INFO is forbidden; or
-- false while another holds the lease; then nothing is written. A lease that another server process granted is not held:
-- with the embedded server its holder has died. One without a time to live is not held either: what copied the keys
-- has lost the time, and it would never end.
-- Cost: O(1), but freeing m staged members is O(m), done in the background where the server can.

local server = redis.pcall('INFO', 'server')
local run_id = type(server) == 'string' and string.match(server, 'run_id:(%x+)') or ''
local held = redis.pcall('GET', KEYS[1])

if redis.call('PTTL', KEYS[1]) >= 0 and type(held) == 'string' and string.sub(held, 1, #run_id) == run_id then
    return false
end
local token = run_id .. ' ' .. ARGV[1]
redis.call('UNLINK', KEYS[2])
redis.call('SET', KEYS[1], token, 'PX', ARGV[2])
return token
