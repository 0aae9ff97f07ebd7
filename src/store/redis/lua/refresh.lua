-- Uses a refresh token.
--
-- KEYS[1]  the record of its family
-- ARGV     a hash of the family's name (16 bytes), the token's hash (32), a salt (32) and the hash of the successor by it
--          (32); for how many milliseconds a token that was used gives its successor again; how many a family lives without
--          use, or 0; how many a family is remembered that ends here
-- answers  {'next', salt, what the family keeps}, {'reused', session}, or {'unknown'}
--
-- A record: 1 for a family that lives or 0, the hash of its name, when it ends, when a token was used last, the hashes of the
-- current token and of the one before, the salt between them, the length of the session's name, that name, and what is kept.
local HEAD, TIMES = 129, 18
local unpack, pack, sub = struct.unpack, struct.pack, string.sub
local name, presented, salt, successor = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local window, idle, remembered = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])

local record = redis.call('GET', KEYS[1])
if not record or #record < HEAD or sub(record, 2, 17) ~= name then return {'unknown'} end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local ends, used = unpack('<dd', record, TIMES)
local left = ends - now
if left <= 0 then return {'unknown'} end
local current, before = sub(record, 34, 65), sub(record, 66, 97)
local length = unpack('<I2', record, HEAD + 1)
local session = sub(record, HEAD + 3, HEAD + 2 + length)

if sub(record, 1, 1) == '1' then
  local kept = sub(record, HEAD + 3 + length)
  if presented == current then
    record = sub(record, 1, 25) .. pack('<d', now) .. successor .. presented .. salt .. sub(record, HEAD + 1)
    if idle > 0 and idle < left then left = idle end
    redis.call('SET', KEYS[1], record, 'PX', string.format('%.0f', left))
    return {'next', salt, kept}
  end
  if used > 0 and presented == before and now - used < window then
    return {'next', sub(record, 98, HEAD), kept}
  end
  record = '0' .. sub(record, 2, HEAD + 2 + length)
  if remembered < left then left = remembered end
  redis.call('SET', KEYS[1], record, 'PX', string.format('%.0f', left))
end
return {'reused', session}
