-- Writes the heartbeat of a process, and counts the live processes. The write proves that the
-- server takes writes.
--
-- KEYS[1]  the processes, by their last heartbeats
-- ARGV[1]  this process
-- ARGV[2]  the milliseconds without a heartbeat after which a process is gone
-- answers  the server's time in microseconds, and the number of live processes
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local alive = redis.pcall('ZCARD', KEYS[1])
if type(alive) ~= 'number' then
  -- A value of another type is deleted. Any other error is raised.
  if not string.find(alive.err, 'WRONGTYPE', 1, true) then redis.call('ZCARD', KEYS[1]) end
  redis.call('DEL', KEYS[1])
end
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[2])
-- Also removes heartbeats from before the clock was set back: a live process writes again.
redis.call('ZREMRANGEBYSCORE', KEYS[1], now + ARGV[2], '+inf')
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return {time[1] * 1000000 + time[2], redis.call('ZCARD', KEYS[1])}
