-- What the books say that gateways spent which hold no slice here counts as theirs: an account is handed out of only then.
-- KEYS: epoch, account    ARGV: epoch id, then gateway and amount in turn
if redis.call('HGET', KEYS[1], 'id') ~= ARGV[1] then return 0 end
for at = 2, #ARGV, 2 do
  if redis.call('HSETNX', KEYS[2], 'g:' .. ARGV[at], ARGV[at + 1]) == 1 then
    redis.call('HSET', KEYS[2], 'u:' .. ARGV[at], ARGV[at + 1])
  end
end
redis.call('HSET', KEYS[2], 'base', '1')
return 1
