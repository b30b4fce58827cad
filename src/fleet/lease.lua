-- One gateway's slice of one budget in one window, as one step. Amounts are whole millionths of a dollar.
-- KEYS: epoch, awaited, account, pressed, fence
-- ARGV: epoch id, gateway, limit, used (settled and held), claim (what is kept in any case), need (wanted on top), parts (how many
--       gateways, 0: nothing to spare), what time it is (ms), for how long to keep the account (s), its name,
--       the gateway's connection (what an earlier one left unanswered may still come, and must not count any more)
-- Answers: what became of it, the slice, what the others have used, what they have to spare.
if redis.call('HGET', KEYS[1], 'id') ~= ARGV[1] or redis.call('GET', KEYS[5]) ~= ARGV[11] then
  return {'epoch', '0', '0', '0'}
end
local function text(amount) return string.format('%.0f', amount) end
local own, own_used = 'g:' .. ARGV[2], 'u:' .. ARGV[2]
local limit, used, claim, need = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local parts, now = tonumber(ARGV[7]), tonumber(ARGV[8])
local others, others_used, based = 0, 0, false
local fields = redis.call('HGETALL', KEYS[3])
for at = 1, #fields, 2 do
  local name, value = fields[at], tonumber(fields[at + 1])
  local kind = string.sub(name, 1, 2)
  if name == 'base' then based = true
  elseif kind == 'g:' and name ~= own then others = others + value
  elseif kind == 'u:' and name ~= own_used then others_used = others_used + value end
end
local state, slice = 'ok', claim
if not based then
  state = 'base'
elseif redis.call('SCARD', KEYS[2]) > 0 then
  -- Somebody who may hold a slice has not said so in this epoch: it may even be handed out to by a server that this one took over
  -- from, so that no window is safe, not even one that began since.
  state = 'awaited'
else
  local room = math.max(limit - others - claim, 0)
  local extra = math.min(need, room)
  if parts > 0 then
    local fair = math.floor((room + claim - used) / (4 * parts))
    extra = math.max(extra, math.min(room, fair - (claim - used)))
  end
  slice = claim + math.max(extra, 0)
  -- Somebody lacks what others have to spare, or the limit was made smaller than what was handed out under the one before.
  if need > extra and others > others_used or others + claim > limit and others + claim > others_used + used then
    redis.call('ZADD', KEYS[4], now + 2000, ARGV[10])
  end
end
redis.call('HSET', KEYS[3], own, text(slice), own_used, text(used))
redis.call('EXPIRE', KEYS[3], ARGV[9])
return {state, text(slice), text(others_used), text(others - others_used)}
