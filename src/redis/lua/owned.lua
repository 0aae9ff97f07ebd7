-- Deletes each key with a value of another type: this package did not write it.
--
-- KEYS     a hash and two sorted sets
for i, size in ipairs({'HLEN', 'ZCARD', 'ZCARD'}) do
  local kept = redis.pcall(size, KEYS[i])
  if type(kept) ~= 'number' then
    -- Any other error is raised.
    if not string.find(kept.err, 'WRONGTYPE', 1, true) then redis.call(size, KEYS[i]) end
    redis.call('DEL', KEYS[i])
  end
end
