-- Notes since when the list of used DPoP proofs is complete: it begins anew on a server that is
-- another one, or was started again, since that may lack the last proofs that were used. And notes
-- when the clock was read last.
--
-- KEYS[1]  the instant in microseconds, the server's name for this run of it, and the last reading
-- answers  1
local info = redis.pcall('INFO', 'server')
-- A user may not be allowed to ask.
local run = type(info) == 'string' and string.match(info, 'run_id:(%w+)') or ''
local began, known = began_at(KEYS[1])
if not began or (known ~= '' and run ~= '' and known ~= run) then began = now end
note(KEYS[1], began, run ~= '' and run or known)
return 1
