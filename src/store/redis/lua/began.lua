-- Notes since when the list of used DPoP proofs is complete: it begins anew on a server that is
-- another one, or was started again, since that may lack the last proofs that were used.
--
-- KEYS[1]  the instant in microseconds, and the server's name for this run of it
-- answers  1
local info = redis.pcall('INFO', 'server')
-- A user may not be allowed to ask.
local run = type(info) == 'string' and string.match(info, 'run_id:(%w+)') or ''
local began, known = began_at(KEYS[1])
if not began or (known ~= '' and run ~= '' and known ~= run) then
  redis.call('SET', KEYS[1], string.format('%.0f %s', now, run))
elseif known == '' and run ~= '' then
  redis.call('SET', KEYS[1], string.format('%.0f %s', began, run))
end
return 1
