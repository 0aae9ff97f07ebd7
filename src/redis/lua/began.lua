-- Notes since when the list of used DPoP proofs is complete, and when the clock was last read. The
-- list begins anew on another server and after a restart, since the last used proofs may be lost.
--
-- KEYS[1]  the list, see proofs.lua
-- ARGV[1]  the latest expected time of the list's clock, in microseconds; empty if unknown
-- answers  the time of the list's clock
local info = redis.pcall('INFO', 'server')
-- The user may lack the permission for INFO.
local run = type(info) == 'string' and string.match(info, 'run_id:(%w+)') or ''
local list = list_of(KEYS[1], ARGV[1])
local known = list.run or ''
if not list.began or (known ~= '' and run ~= '' and known ~= run) then list.began = now end
if run ~= '' then list.run = run end
note(KEYS[1], list)
return now - list.ahead
