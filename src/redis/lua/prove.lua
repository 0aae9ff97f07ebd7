-- Uses a DPoP proof up, once.
--
-- KEYS[1]  the list of used proofs, see proofs.lua
-- KEYS[2]  the proof
-- KEYS[3]  how many proofs its key has used, and until when they count
-- ARGV[1]  the age of the proof, in microseconds
-- ARGV[2]  how long a proof is remembered, in milliseconds
-- ARGV[3]  the most proofs of one key
-- ARGV[4]  as ARGV[1] of began.lua
-- answers  1 it is used now, 0 it was used before, 2 it is older than the list, 3 its key has used
--          too many
--
-- Ages are compared, not clocks: the caller's clock may differ from the server's.
local age, kept, most = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])

local list = list_of(KEYS[1], ARGV[4])
-- The list is gone, or the clock was set.
if not list.began or list.began == now or list.stepped then
  list.began = list.began or now
  note(KEYS[1], list)
end
if text_of(KEYS[2]) then return 0 end
if age > now - list.began then return 2 end

local used, till = string.match(text_of(KEYS[3]) or '', '^(%d+) (%d+)$')
used, till = tonumber(used or 0), tonumber(till or 0)
if till <= now or till > now + kept * 1000 then used, till = 0, now + kept * 1000 end
if used >= most then return 3 end
redis.call('SET', KEYS[3], string.format('%.0f %.0f', used + 1, till), 'PX', math.ceil((till - now) / 1000))
redis.call('SET', KEYS[2], '', 'PX', kept)
return 1
