-- Reads the record of a family of refresh tokens, and the server's clock.
--
-- KEYS[1]  the record
-- ARGV[1]  how many bytes a record has at most
-- answers  {seconds, microseconds, record}; an empty record where it is longer, none where there is
-- none
local time = redis.call('TIME')
local record = redis.pcall('GET', KEYS[1])
-- What something else has put in its place is no record. Any other error is an error still.
if type(record) == 'table' then
  if not string.find(record.err, 'WRONGTYPE', 1, true) then redis.call('GET', KEYS[1]) end
  record = ''
end
if record and #record > tonumber(ARGV[1]) then record = '' end
return {time[1], time[2], record}
