-- Judges requests with a single GCRA limit: a shorter consume.lua for this case. Nearly all limits
-- are of this kind, and this takes half of the server's time.
--
-- KEYS     the subject of each request
-- ARGV[i]  request i as consume.lua reads it, with one subject and one limit
-- answers  as consume.lua does
local call, unpack, pack, sub = redis.call, struct.unpack, struct.pack, string.sub
local ceil, max = math.ceil, math.max
local answer, length = {pack('<d', now)}, 1

for i = 1, #KEYS do
  local charging, _, _, tag, _, p, q, r, s, t = unpack('<BBBI4BdI4dI4I4', ARGV[i])
  local record = record_of(KEYS[i])
  local a, b, last, blocked, others, back = now, 0, 0, false, '', false
  for from = 1, #record, LENGTH do
    local known, x, y, z, till = unpack(ENTRY, record, from)
    if counts(x, till) then
      if known == tag then
        if x >= now then a, b = x, y end
      else
        local entry = sub(record, from, from + LENGTH - 1)
        local ahead, over, made = pulled_back(known, y, till)
        if ahead then back, till, entry = true, over, pack(ENTRY, known, x, made, z, over) end
        blocked = blocked or known == tag + 1
        if known == tag + 2 and x > 0 and x <= 10000 then p, q = scaled(x, 0, p, q, r, s, t) end
        others = others .. entry
        if till > last then last = till end
      end
    end
  end
  -- p + q / t is the cost, r + s / t the most that the instant may be ahead.
  if a - now > r or (a - now == r and b > s) then back, a, b = true, now + r, s end
  local wa, wb = a + p, b + q
  if wb >= t then wa, wb = wa + 1, wb - t end
  local costs, ahead = p > 0 or q > 0, wa - now
  local fits = not blocked and (ahead < r or (ahead == r and wb <= s) or not costs)
  local charged = fits and costs and charging == 1
  if charged or back then
    if charged then a, b = wa, wb end
    local till = b > 0 and a + 1 or a
    if till > last then last = till end
    record = pack(ENTRY, tag, a, b, 0, till) .. others
    call('SET', KEYS[i], record, 'PX', max(1, ceil((last - now) / 1000)))
  end
  answer[length + 1], answer[length + 2] = pack('<BI4I2', fits and 1 or 0, fits and 1 or 0, #record), record
  length = length + 2
end
return table.concat(answer)
