-- Keeps a notice for all processes.
--
-- KEYS     the notices by name; the names by their places; the names by their ends
-- ARGV     1. the name
--          2. the text ('gone' removes the notice)
--          3. its lifetime in milliseconds
--          4. the most notices
--          5. a place that the new one must follow
--          6. the version of a notice that is published again: nothing is written if the store has
--             that version or a later one
-- answers  the place and the version of the stored notice, its remaining microseconds, and whether
--          it was written; or 0 if there is no room
--
-- 1. Each change gets a place after all others, so a reader asks for the places after the last one
--    that it has read.
-- 2. The place is also after all that the writer has read. So the clock of a new primary can't put
--    an answer before the notice that it answers.
-- 3. A new notice has its place as its version; the later version of a name wins. A notice that is
--    published again gets a new place but keeps its version, since it is no later.
--
-- The field `began` is no notice: it identifies the list. After the loss of all data, and with a
-- clock that was set back, new places may lie before the last one of a reader. A changed `began`
-- makes the reader start from the beginning.
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

-- A place is a time of this clock. One more than a day ahead is invalid and ignored: otherwise all
-- others would follow it, beyond the reach of readers. Readers skip it, too. No end is further away
-- than 401 days.
local highest, latest_end = now + 86400000000, now + 34646400000000
local function score_of(key, most_of)
  local score = tonumber(call('ZSCORE', key, name) or 0)
  return score <= most_of and score or 0
end

local known, at = score_of(ends, latest_end), score_of(places, highest)
local there = call('HMGET', said, name, 'began')
local kept, began = there[1] or '', there[2]
local version = at > 0 and tonumber(string.match(kept, '^%d+ (%d+) ') or 0) or 0
-- A version that far ahead can't be compared with later ones.
local is_ahead = again and again > highest
if again and (version >= again or is_ahead and version > 0) then return {at, version, math.max(known - now, 0), 0} end
local till = now + ms * 1000
-- A removal lasts at least as long as the removed notice. Otherwise a process that missed it could
-- publish the notice again.
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
-- An invalid end such as `inf` is ignored.
local latest = call('ZREVRANGEBYSCORE', ends, '(9007199254740992', '-inf', 'WITHSCORES', 'LIMIT', 0, 1)
local last = tonumber(latest[2] or till)
for _, key in ipairs(KEYS) do
  call('PEXPIRE', key, format('%.0f', math.ceil((last - now) / 1000)))
end
return {place, version, till - now, 1}
