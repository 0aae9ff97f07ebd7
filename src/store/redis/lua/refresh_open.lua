-- Begins a family of refresh tokens; the one that its session had before ends. See refresh.lua for the record.
--
-- KEYS[1]  its record
-- ARGV     a hash of its name (16 bytes), the hash of its first token (32), for how many milliseconds it lives, and for how
--          many without use, or 0; the session's name, and what is kept
-- answers  1
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local left, idle, session = tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5]
local record = '1' .. ARGV[1] .. struct.pack('<dd', now + left, 0) .. ARGV[2] .. string.rep('\0', 64)
  .. struct.pack('<I2', #session) .. session .. ARGV[6]
if idle > 0 and idle < left then left = idle end
redis.call('SET', KEYS[1], record, 'PX', string.format('%.0f', left))
return 1
