-- Judges a request by everything that counts it, and charges all of it or nothing.
--
-- KEYS     one for each subject: an address, a user, a route
-- ARGV[1]  '1' to charge what fits, '0' only to look
-- ARGV[i + 1]  what counts subject i: for each limit its tag, the algorithm and five numbers (see script.rs)
-- answers  the server's time, whether it was admitted, and for each limit whether it fits, its state and its block
--
-- A record is a list of entries: tag, three numbers of state, and when it may be forgotten. An odd tag is a block, of
-- the limit with the even tag below it. All numbers are whole and below 2^53, so arithmetic on doubles is exact.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local charging = ARGV[1] == '1'
local unpack, pack, fmod, floor = struct.unpack, struct.pack, math.fmod, math.floor
local admitted, answers, writes = true, {}, {}

-- Whether older * rest <= room * window, where the products may have 85 bits.
local function fades(older, rest, room, window)
  local low, high = 4194304, older * floor(rest / 4194304)
  local part = older * (rest % low)
  high = high + floor(part / low)
  local limit = room * floor(window / low)
  local limit_part = room * (window % low)
  limit = limit + floor(limit_part / low)
  if high ~= limit then return high < limit end
  return part % low <= limit_part % low
end

for i = 1, #KEYS do
  local record = redis.call('GET', KEYS[i])
  local known, blocks, kept = {}, {}, {}
  if record then
    local at, size = 1, #record
    while at < size do
      local from, tag, a, b, c, till = at
      tag, a, b, c, till, at = unpack('<I4dI4I4d', record, at)
      if till > now then
        if tag % 2 == 1 then blocks[tag - 1] = till else known[tag] = {a, b, c} end
        kept[tag] = {from, at - 1, till}
      end
    end
  end
  local asked, at, fresh = ARGV[i + 1], 1, ''
  local size, last, wrote = #asked, 0, false
  while at < size do
    local tag, kind, p, q, r, s, t
    tag, kind, p, q, r, s, t, at = unpack('<I4BdI4dI4I4', asked, at)
    local state, fits, a, b, c, till, costs = known[tag], true, 0, 0, 0, 0, false
    if kind == 0 then
      -- GCRA: p + q / t is what the request adds, r + s / t the most that the instant may be ahead
      a, b = now, 0
      if state and state[1] >= now then
        a, b = state[1], state[2]
        if a - now > r or (a - now == r and b > s) then a, b = now + r, s end
      end
      costs = p > 0 or q > 0
      local na, nb = a + p, b + q
      if nb >= t then na, nb = na + 1, nb - t end
      fits = not costs or na - now < r or (na - now == r and nb <= s)
      if fits then a, b = na, nb end
      till = a + (b > 0 and 1 or 0)
    else
      -- p is the window, q the cost, s the limit
      local window = (now - fmod(now, p)) / p
      costs = q > 0
      if kind == 1 then
        if state and state[1] >= window then b = state[2] end
        if b > s then b = s end
        fits = b + q <= s
        if fits then b = b + q end
        till = (window + 1) * p
      else
        if state then
          if state[1] == window then b, c = state[2], state[3]
          elseif state[1] > window then c = state[2] + state[3]
          elseif state[1] + 1 == window then b = state[3] end
          if c > s then c = s end
        end
        local rest = p - fmod(now, p)
        fits = not costs or (c + q <= s and fades(b, rest, s - c - q, p))
        if fits then c = c + q end
        till = (window + (c > 0 and 2 or 1)) * p
      end
      a = window
    end
    local blocked = blocks[tag] or 0
    fits = fits and blocked <= now
    admitted = admitted and fits
    answers[#answers + 1] = pack('<BdI4I4d', fits and 1 or 0, a, b, c, blocked)
    if costs then
      fresh = fresh .. pack('<I4dI4I4d', tag, a, b, c, till)
      kept[tag] = nil
      wrote = true
    end
    if till > last then last = till end
  end
  if charging and wrote then
    for _, place in pairs(kept) do
      fresh = fresh .. string.sub(record, place[1], place[2])
      if place[3] > last then last = place[3] end
    end
    writes[#writes + 1] = {KEYS[i], fresh, math.ceil((last - now) / 1000)}
  end
end

if admitted then
  for i = 1, #writes do
    local write = writes[i]
    redis.call('SET', write[1], write[2], 'PX', write[3] > 0 and write[3] or 1)
  end
end
return pack('<dB', now, admitted and 1 or 0) .. table.concat(answers)
