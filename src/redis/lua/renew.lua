-- Holds slots of requests under way for another span, and takes again those that were lost.
--
-- KEYS[1]  the slots of one key, by when they come free
-- ARGV[1]  the span in milliseconds, ARGV[2] the names of the slots, 16 bytes each
-- answers  1
local call, key, span, names = redis.call, KEYS[1], tonumber(ARGV[1]), ARGV[2]
local time = call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
-- What something else has put in its place is none.
if type(redis.pcall('ZCARD', key)) == 'table' then call('DEL', key) end
-- Those of others are held while they are behind, too: from now on some are not.
renewed_of(key, now_ms, span)
for from = 1, #names, 16 do call('ZADD', key, now_ms + span, string.sub(names, from, from + 15)) end
if call('PTTL', key) < span + KEPT / 2 then call('PEXPIRE', key, span + KEPT) end
return 1
