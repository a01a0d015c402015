-- release.lua: give the lease of a partition back, and remove what was staged under it.
--
-- KEYS[1]  lease of the partition
-- KEYS[2]  staging
-- ARGV[1]  token of the lease
--
-- Returns 1, or 0 when the lease is another's; then nothing is written.
-- Cost: O(1), but freeing m staged members is O(m), done in the background where the server can.

if redis.call('GET', KEYS[1]) ~= ARGV[1] then
    return 0
end
redis.call('UNLINK', KEYS[2], KEYS[1])
return 1
