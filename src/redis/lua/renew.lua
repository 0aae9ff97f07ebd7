-- Holds slots of concurrent requests for another span, and takes lost ones again.
--
-- KEYS[1]  the slots of one key, by their ends
-- ARGV[1]  the span in milliseconds
-- ARGV[2]  the names of the slots, 16 bytes each
-- answers  1
local call, key, span, names = redis.call, KEYS[1], tonumber(ARGV[1]), ARGV[2]
local time = call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
-- A value of another type is deleted.
if type(redis.pcall('ZCARD', key)) == 'table' then call('DEL', key) end
-- Slots of other processes that are behind get their extra half span first, since from now on not
-- all slots are behind.
renewed_of(key, now_ms, span)
for from = 1, #names, 16 do call('ZADD', key, now_ms + span, string.sub(names, from, from + 15)) end
if call('PTTL', key) < span + KEPT / 2 then call('PEXPIRE', key, span + KEPT) end
return 1
