-- Replaces the record of a family of refresh tokens, unless another caller changed it first.
--
-- KEYS[1]  the record
-- ARGV     the seal of the record that was read (its last 32 bytes), the new record, and its
--          lifetime in milliseconds
-- answers  1, or 0 if the record is gone or is another one
local record = redis.call('GET', KEYS[1])
if not record or string.sub(record, -32) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
