-- Slots of concurrent requests, for consume.lua and renew.lua. The slots of a key are a sorted set,
-- by their ends in milliseconds.

-- How many milliseconds the key outlives its slots.
local KEPT = 7200000

-- How many slots have between half of the span and all of it left. This runs before any slot is
-- taken or renewed. A slot with more left was not renewed since the clock was set back.
--
-- Processes renew their slots before 3/8 of the span are over. If no slot has half of it left, then
-- all of their processes are gone, or the clock was set ahead. So each slot is held for another
-- half, once, in which a live process renews it. Half a millisecond in its end marks this.
local function renewed_of(key, now_ms, span)
  local half = now_ms + math.floor(span / 2)
  local renewed = redis.call('ZCOUNT', key, half, now_ms + span)
  if renewed == 0 then
    local slots = redis.call('ZRANGEBYSCORE', key, '-inf', half, 'WITHSCORES')
    for i = 1, #slots, 2 do
      if tonumber(slots[i + 1]) % 1 == 0 then redis.call('ZADD', key, half + 0.5, slots[i]) end
    end
  end
  return renewed
end
