-- Says that a process is alive, and asks how many are. It writes, so it proves that the server
-- takes writes.
--
-- KEYS[1]  the processes, by when they were last heard of
-- ARGV[1]  this process, ARGV[2]  after how many milliseconds of silence one is gone
-- answers  the server's time in microseconds, and how many are alive
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local alive = redis.pcall('ZCARD', KEYS[1])
if type(alive) ~= 'number' then
  -- What something else has put in its place is none. Any other error than this one is an error
  -- still.
  if not string.find(alive.err, 'WRONGTYPE', 1, true) then redis.call('ZCARD', KEYS[1]) end
  redis.call('DEL', KEYS[1])
end
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[2])
-- And those that were heard of before the clock was set back: who is alive writes again.
redis.call('ZREMRANGEBYSCORE', KEYS[1], now + ARGV[2], '+inf')
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return {time[1] * 1000000 + time[2], redis.call('ZCARD', KEYS[1])}
