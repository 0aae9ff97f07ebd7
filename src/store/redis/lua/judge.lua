-- Judges requests, each by everything that counts it, and charges all of it or nothing.
--
-- KEYS     the subjects of all requests in turn: an address, a user, a route
-- ARGV[i]  request i: 1 to charge what fits or 0 only to look, how many subjects it has, and for each of them how many
--          limits, then for each limit its tag, the algorithm and five numbers (see script.rs)
-- answers  the server's time, and for each request whether it was admitted, and for each of its subjects which limits
--          fit, as bits, and the record as it is now, with its length before it
--
-- A record is a list of entries: tag, three numbers of state, and when it may be forgotten. An odd tag is a block, of
-- the limit with the even tag below it. All numbers are whole and below 2^53, so arithmetic on doubles is exact.
-- Nearly always a record has just the entries that are asked for, in that order: then no table is made of it.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local call, unpack, pack, sub, ceil = redis.call, struct.unpack, struct.pack, string.sub, math.ceil
local ENTRY, LENGTH, LIMIT = '<I4dI4I4d', 28, '<I4BdI4dI4I4'
local answer, length, subject = {pack('<d', now)}, 1, 0

-- The entries of a record that are not over, by tag: state, end, and the entry itself.
local function entries_of(record)
  local entries = {}
  for from = 1, #record, LENGTH do
    local tag, a, b, c, till = unpack(ENTRY, record, from)
    if till > now then entries[tag] = {a, b, c, till, sub(record, from, from + LENGTH - 1)} end
  end
  return entries
end

-- A window of length p with limit s after a cost of q: whether it fits, and the state with it.
local function windowed(kind, p, q, s, a, b, c)
  local gone = math.fmod(now, p)
  local window = (now - gone) / p
  if kind == 1 then
    b = a >= window and math.min(b, s) or 0
    return b + q <= s, window, b + q, 0, (window + 1) * p
  end
  if a > window then b, c = 0, b + c elseif a + 1 == window then b, c = c, 0 elseif a ~= window then b, c = 0, 0 end
  c = math.min(c, s)
  local fits = q == 0 or c + q <= s
  if fits and q > 0 and b > 0 then
    -- What still counts of b must leave room: b * rest <= room * p. The products may have 85 bits, so they are
    -- compared in two parts.
    local rest, room, part, floor = p - gone, s - c - q, 4194304, math.floor
    local low, most = b * (rest % part), room * (p % part)
    local high = b * floor(rest / part) + floor(low / part)
    local top = room * floor(p / part) + floor(most / part)
    fits = high < top or (high == top and low % part <= most % part)
  end
  return fits, window, b, c + q, (window + 2) * p
end

for request = 1, #ARGV do
  local asked = ARGV[request]
  local charging, subjects, at = unpack('<BB', asked)
  local admitted, writes, first = true, nil, length + 1
  length = first
  for _ = 1, subjects do
    subject = subject + 1
    local record = call('GET', KEYS[subject])
    if not record or #record % LENGTH ~= 0 then record = '' end
    local limits, from, fresh, last, entries, bits, bit = 0, 1, nil, 0, nil, 0, 1
    limits, at = unpack('<B', asked, at)
    for _ = 1, limits do
      local tag, kind, p, q, r, s, t
      tag, kind, p, q, r, s, t, at = unpack(LIMIT, asked, at)

      local known, a, b, c, till, blocked = -1, 0, 0, 0, 0, 0
      if not entries then
        if from < #record then known, a, b, c, till, from = unpack(ENTRY, record, from) end
        -- Only what is laid out as it is asked for can be read on the way.
        if known ~= tag and record ~= '' or q == 0 and p == 0 then entries = entries_of(record) end
      end
      if entries then
        local entry, block = entries[tag], entries[tag + 1]
        a, b, c, till = 0, 0, 0, 0
        if entry then a, b, c, till = entry[1], entry[2], entry[3], entry[4] end
        if block then blocked = block[4] end
      end
      if till <= now then a, b, c = 0, 0, 0 end

      local fits, costs
      if kind == 0 then
        -- GCRA: p + q / t is what the request adds, r + s / t the most that the instant may be ahead
        costs = p > 0 or q > 0
        if a < now then a, b = now, 0 elseif a - now > r or (a - now == r and b > s) then a, b = now + r, s end
        a, b, c = a + p, b + q, 0
        if b >= t then a, b = a + 1, b - t end
        local ahead = a - now
        fits = ahead < r or (ahead == r and b <= s) or not costs
        till = b > 0 and a + 1 or a
      else
        -- p is the window, q the cost, s the limit
        costs = q > 0
        fits, a, b, c, till = windowed(kind, p, q, s, a, b, c)
      end
      if fits and blocked <= now then bits = bits + bit else admitted = false end
      bit = bit + bit
      if costs then
        local entry = pack(ENTRY, tag, a, b, c, till)
        fresh = fresh and fresh .. entry or entry
        if till > last then last = till end
        if entries then entries[tag] = nil end
      end
    end
    if fresh and charging == 1 then
      if not entries and from < #record then
        -- More stands behind what was asked for.
        entries = entries_of(sub(record, from))
      end
      if entries then
        for _, entry in pairs(entries) do
          fresh = fresh .. entry[5]
          if entry[4] > last then last = entry[4] end
        end
      end
      if not writes then writes = {} end
      local n = #writes
      writes[n + 1], writes[n + 2], writes[n + 3], writes[n + 4] = subject, fresh, last, length + 2
    end
    answer[length + 1], answer[length + 2] = pack('<I4I2', bits, #record), record
    length = length + 2
  end
  answer[first] = admitted and '\1' or '\0'
  if admitted and writes then
    for i = 1, #writes, 4 do
      local fresh, left, place = writes[i + 1], ceil((writes[i + 2] - now) / 1000), writes[i + 3]
      call('SET', KEYS[writes[i]], fresh, 'PX', left > 0 and left or 1)
      if #fresh ~= #answer[place] then answer[place - 1] = sub(answer[place - 1], 1, 4) .. pack('<I2', #fresh) end
      answer[place] = fresh
    end
  end
end
return table.concat(answer)
