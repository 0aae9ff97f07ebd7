-- Reads the record of a family of refresh tokens, and the server's clock.
--
-- KEYS[1]  the record
-- ARGV[1]  how many bytes a record has at most
-- answers  {seconds, microseconds, record}; an empty record where it is longer, none where there is none
local time = redis.call('TIME')
local record = redis.call('GET', KEYS[1])
if record and #record > tonumber(ARGV[1]) then record = '' end
return {time[1], time[2], record}
