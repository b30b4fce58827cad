-- Which run of which server this is. What another run left may be older than what was handed out since, so it begins anew: nothing
-- is handed out until every gateway that may hold a slice has said so.
-- KEYS: epoch, awaited of the new id    ARGV: the server's run, a new id, what time it is (ms), then the gateways that may hold slices
local known = redis.call('HMGET', KEYS[1], 'run', 'id')
if known[1] == ARGV[1] and known[2] then return {known[2], 0} end
if #ARGV < 4 then return {'', 0} end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'run', ARGV[1], 'id', ARGV[2], 'born', ARGV[3])
for at = 4, #ARGV do redis.call('SADD', KEYS[2], ARGV[at]) end
return {ARGV[2], 1}
