-- Keeps a notice for all processes.
--
-- KEYS     what was said, by name; the names by their places; the names by when they are over
-- ARGV     the name, the text ('gone' takes back what was said), for how many milliseconds it
-- holds, how many notices there may be, a place that it has to be behind, and the version of a
-- notice that is published again: nothing is written where the store has that one or a later one
-- answers  the place and the version of what the store has now, for how many microseconds it holds
-- and whether it was written, or 0 where there is no room
--
-- Each change has a place behind all others, so that a reader asks for what is behind the last that
-- it has seen. It is also behind what its writer has read, so that no clock of a new primary puts
-- it before what it answers. What is said anew has its place for its version, too: the later
-- version of a name wins. What is published again gets another place and keeps its version, since
-- it was said no later.
--
-- The field `began` is no notice: it names the list. Where all was lost, and the clock was set
-- back, there may be places before the last that a reader has seen. By the name it knows that it
-- has to read from the beginning.
local said, places, ends = KEYS[1], KEYS[2], KEYS[3]
local name, text, ms, most = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local read, again = tonumber(ARGV[5]), tonumber(ARGV[6])
local call, format = redis.call, string.format
local time = call('TIME')
local now = time[1] * 1000000 + time[2]

for _, gone in ipairs(call('ZRANGEBYSCORE', ends, '-inf', format('%.0f', now), 'LIMIT', 0, 100)) do
  call('HDEL', said, gone)
  call('ZREM', places, gone)
  call('ZREM', ends, gone)
end

-- A place is a time of this clock. What is more than a day ahead is none: it would carry all
-- others beyond what is read. Readers pass over it, too. No end is further away than 401 days.
local highest, latest_end = now + 86400000000, now + 34646400000000
local function score_of(key, most_of)
  local score = tonumber(call('ZSCORE', key, name) or 0)
  return score <= most_of and score or 0
end

local known, at = score_of(ends, latest_end), score_of(places, highest)
local there = call('HMGET', said, name, 'began')
local kept, began = there[1] or '', there[2]
local version = at > 0 and tonumber(string.match(kept, '^%d+ (%d+) ') or 0) or 0
-- A version that lies so far ahead says nothing of what is later.
local is_ahead = again and again > highest
if again and (version >= again or is_ahead and version > 0) then return {at, version, math.max(known - now, 0), 0} end
local till = now + ms * 1000
-- What takes something back lasts at least as long as that: else a process that has missed it could
-- bring it back.
if text == 'gone' then till = math.max(till, known) end
if not call('ZSCORE', places, name) and call('HLEN', said) > most then return 0 end

local newest = call('ZREVRANGEBYSCORE', places, format('%.0f', highest), '-inf', 'WITHSCORES', 'LIMIT', 0, 1)
local place = math.max(now, tonumber(newest[2] or 0) + 1)
if read < highest then place = math.max(place, read + 1) end
version = again and not is_ahead and again or place
call('HSET', said, name, format('%.0f %.0f ', till, version) .. text)
if not began then call('HSET', said, 'began', format('%.0f', place)) end
call('ZADD', places, format('%.0f', place), name)
call('ZADD', ends, format('%.0f', till), name)
-- An end that is none, such as `inf`, can't be waited for.
local latest = call('ZREVRANGEBYSCORE', ends, '(9007199254740992', '-inf', 'WITHSCORES', 'LIMIT', 0, 1)
local last = tonumber(latest[2] or till)
for _, key in ipairs(KEYS) do
  call('PEXPIRE', key, format('%.0f', math.ceil((last - now) / 1000)))
end
return {place, version, till - now, 1}
