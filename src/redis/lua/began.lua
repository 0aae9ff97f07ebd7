-- Notes since when the list of used DPoP proofs is complete: it begins anew on a server that is
-- another one, or was started again, since that may lack the last proofs that were used. And notes
-- when the clock was read last.
--
-- KEYS[1]  the list, see proofs.lua
-- ARGV[1]  what the list's clock shows at most by now, in microseconds; nothing where that is
-- unknown answers  what it shows
local info = redis.pcall('INFO', 'server')
-- A user may not be allowed to ask.
local run = type(info) == 'string' and string.match(info, 'run_id:(%w+)') or ''
local list = list_of(KEYS[1], ARGV[1])
local known = list.run or ''
if not list.began or (known ~= '' and run ~= '' and known ~= run) then list.began = now end
if run ~= '' then list.run = run end
note(KEYS[1], list)
return now - list.ahead
