-- Keeps a notice for all processes.
--
-- KEYS     what was said, by name; the names by when that was; the names by when it is over
-- ARGV     the name, the text ('gone' takes back what was said), for how many milliseconds it holds, and how many notices
--          there may be
-- answers  1, or 0 where there is no room
--
-- Each change has a version above all others, so that a reader asks for what is above the last that it has seen.
local said, versions, ends = KEYS[1], KEYS[2], KEYS[3]
local name, text = ARGV[1], ARGV[2]
local call, format = redis.call, string.format
local time = call('TIME')
local now = time[1] * 1000000 + time[2]

for _, gone in ipairs(call('ZRANGEBYSCORE', ends, '-inf', format('%.0f', now), 'LIMIT', 0, 100)) do
  call('HDEL', said, gone)
  call('ZREM', versions, gone)
  call('ZREM', ends, gone)
end

local till = now + tonumber(ARGV[3]) * 1000
local known = tonumber(call('ZSCORE', ends, name) or 0)
if text == 'gone' then
  if known <= now then return 1 end
  till = known
elseif known == 0 and call('HLEN', said) >= tonumber(ARGV[4]) then
  return 0
end

-- A version is a time of this clock. What is more than a day ahead is none: it would carry all
-- others beyond what is read. Readers pass over it, too.
local highest = format('%.0f', now + 86400000000)
local newest = call('ZREVRANGEBYSCORE', versions, highest, '-inf', 'WITHSCORES', 'LIMIT', 0, 1)
local version = math.max(now, tonumber(newest[2] or 0) + 1)
call('HSET', said, name, format('%.0f ', till) .. text)
call('ZADD', versions, format('%.0f', version), name)
call('ZADD', ends, format('%.0f', till), name)
-- An end that is none, such as `inf`, can't be waited for.
local latest = call('ZREVRANGEBYSCORE', ends, '(9007199254740992', '-inf', 'WITHSCORES', 'LIMIT', 0, 1)
local last = tonumber(latest[2] or till)
for _, key in ipairs(KEYS) do
  call('PEXPIRE', key, format('%.0f', math.ceil((last - now) / 1000)))
end
return 1
