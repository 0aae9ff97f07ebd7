-- Deletes each key in whose place something else was put: what is in it is none of ours.
--
-- KEYS     a hash and two sorted sets
for i, size in ipairs({'HLEN', 'ZCARD', 'ZCARD'}) do
  local kept = redis.pcall(size, KEYS[i])
  if type(kept) ~= 'number' then
    -- Any other error than this one is an error still.
    if not string.find(kept.err, 'WRONGTYPE', 1, true) then redis.call(size, KEYS[i]) end
    redis.call('DEL', KEYS[i])
  end
end
