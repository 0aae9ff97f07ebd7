-- Reads the record of a family of refresh tokens, and the server's clock.
--
-- KEYS[1]  the record
-- ARGV[1]  the maximum number of bytes of a record
-- answers  {seconds, microseconds, record}; an empty record if it is longer, none if it does not
--          exist
local time = redis.call('TIME')
local record = redis.pcall('GET', KEYS[1])
-- A value of another type is not a record. Every other error stays an error.
if type(record) == 'table' then
  if not string.find(record.err, 'WRONGTYPE', 1, true) then redis.call('GET', KEYS[1]) end
  record = ''
end
if record and #record > tonumber(ARGV[1]) then record = '' end
return {time[1], time[2], record}
