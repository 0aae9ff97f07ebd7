-- Keeps a notice for all processes.
--
-- KEYS     what was said, by name; the names by when that was; the names by when it is over
-- ARGV     the name, the text ('gone' takes back what was said), for how many milliseconds it
--          holds, how many notices there may be, the newest version that the process has read, and
--          the version of a notice that is published again: nothing is written where the store has
--          that one or a later one
-- answers  the version and the end of what the store has now and whether it was written, or 0 where
--          there is no room
--
-- Each change has a version above all others, so that a reader asks for what is above the last that
-- it has seen. It is also above what its writer has read, so that no clock of a new primary puts it
-- before what it answers.
local said, versions, ends = KEYS[1], KEYS[2], KEYS[3]
local name, text, ms, most = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local read, again = tonumber(ARGV[5]), tonumber(ARGV[6])
local call, format = redis.call, string.format
local time = call('TIME')
local now = time[1] * 1000000 + time[2]

for _, gone in ipairs(call('ZRANGEBYSCORE', ends, '-inf', format('%.0f', now), 'LIMIT', 0, 100)) do
  call('HDEL', said, gone)
  call('ZREM', versions, gone)
  call('ZREM', ends, gone)
end

-- A version is a time of this clock. What is more than a day ahead is none: it would carry all
-- others beyond what is read. Readers pass over it, too. No end is further away than 401 days.
local highest, latest_end = now + 86400000000, now + 34646400000000
local function score_of(key, most_of)
  local score = tonumber(call('ZSCORE', key, name) or 0)
  return score <= most_of and score or 0
end

local known, at = score_of(ends, latest_end), score_of(versions, highest)
if again and at >= again then return {at, known, 0} end
local till = now + ms * 1000
-- What takes something back lasts at least as long as that: else a process that has missed it could
-- bring it back.
if text == 'gone' then till = math.max(till, known) end
if not call('ZSCORE', versions, name) and call('HLEN', said) >= most then return 0 end

local newest = call('ZREVRANGEBYSCORE', versions, format('%.0f', highest), '-inf', 'WITHSCORES', 'LIMIT', 0, 1)
local version = math.max(now, tonumber(newest[2] or 0) + 1)
if read < highest then version = math.max(version, read + 1) end
call('HSET', said, name, format('%.0f ', till) .. text)
call('ZADD', versions, format('%.0f', version), name)
call('ZADD', ends, format('%.0f', till), name)
-- An end that is none, such as `inf`, can't be waited for.
local latest = call('ZREVRANGEBYSCORE', ends, '(9007199254740992', '-inf', 'WITHSCORES', 'LIMIT', 0, 1)
local last = tonumber(latest[2] or till)
for _, key in ipairs(KEYS) do
  call('PEXPIRE', key, format('%.0f', math.ceil((last - now) / 1000)))
end
return {version, till, 1}
