-- One gateway's slice of one limit (requests or tokens a minute, requests at once), as one step.
-- KEYS: account, pressed
-- ARGV: gateway, limit, used, claim (what is kept in any case), need (wanted on top), parts (how many gateways, 0: nothing to spare),
--       what time it is (ms), the account's name
-- Answers: the slice, what the others have to spare. A gateway that was not heard of for a minute has nothing any more: by then what
-- it took has come back.
local function text(amount) return string.format('%.0f', amount) end
local own = ARGV[1]
local limit, used, claim, need = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local parts, now = tonumber(ARGV[6]), tonumber(ARGV[7])
local others, spare, born = 0, 0, nil
local fields = redis.call('HGETALL', KEYS[1])
for at = 1, #fields, 2 do
  local name, value = fields[at], fields[at + 1]
  if name == 'born' then
    born = tonumber(value)
  elseif name ~= own then
    local slice, has_used, heard = string.match(value, '^(%d+) (%d+) (%d+)$')
    if now - tonumber(heard) > 60000 then
      redis.call('HDEL', KEYS[1], name)
    else
      others = others + tonumber(slice)
      spare = spare + math.max(tonumber(slice) - tonumber(has_used), 0)
    end
  end
end
if not born then
  born = now
  redis.call('HSET', KEYS[1], 'born', text(now))
end
local room = math.max(limit - others - claim, 0)
if now - born < 2000 then
  -- The others may have slices that are not known here yet.
  room = math.min(room, math.max(math.floor(limit / math.max(parts, 1)) - claim, 0))
end
local extra = math.min(need, room)
if parts > 0 then
  local fair = math.floor((room + claim - used) / (2 * parts))
  extra = math.max(extra, math.min(room, fair - (claim - used)))
end
local slice = claim + math.max(extra, 0)
if need > extra and spare > 0 then redis.call('ZADD', KEYS[2], now + 2000, ARGV[8]) end
redis.call('HSET', KEYS[1], own, text(slice) .. ' ' .. text(used) .. ' ' .. text(now))
redis.call('EXPIRE', KEYS[1], 120)
return {text(slice), text(spare)}
