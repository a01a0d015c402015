-- acquire.lua: take the lease to rebuild a partition, and remove what an earlier rebuild left.
--
-- KEYS[1]  lease of the partition
-- KEYS[2]  staging
-- ARGV[1]  token of the lease, ARGV[2] its time to live in milliseconds
--
-- Returns 1, or 0 while another holds the lease; then nothing is written. A lease without a time to live is not held:
-- what copied the keys has lost the time, and it would never end.
-- Cost: O(1), but freeing m staged members is O(m), done in the background where the server can.

if redis.call('PTTL', KEYS[1]) >= 0 then
    return 0
end
redis.call('UNLINK', KEYS[2])
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
