-- Judges requests, each by all of its limits, and charges all of them or none.
--
-- KEYS     the subjects of all requests in turn (an address, a user, a route), then the keys of
--          their slots
-- ARGV[i]  request i: 1 to charge if it fits or 0 only to look; the number of subjects; for each of
--          them the number of limits, then for each limit its tag, the algorithm and five numbers
--          (see script/mod.rs); and, to the end, its slots of concurrent requests: how many there
--          are, 1 if the limit only watches, the span in milliseconds, and the name
-- answers  the server's time; for each request whether it was admitted; for each of its subjects
--          the limits that fit, as bits, and the length and bytes of the current record; for each
--          slot whether it fits, and how many others are taken
--
-- Nearly always a record has exactly the requested entries, in that order: then no table is built.
local call, unpack, pack, sub, ceil, floor = redis.call, struct.unpack, struct.pack, string.sub, math.ceil, math.floor
local LIMIT, LIMIT_LENGTH = '<I4BdI4dI4I4', 33
local answer, length, subject = {pack('<d', now)}, 1, 0

-- The entries of a record that have not ended, by tag: state, end, and the entry itself. And the
-- corrected ones among them, if any.
local function entries_of(record)
  local entries, fixes = {}, nil
  for from = 1, #record, LENGTH do
    local tag, a, b, c, till = unpack(ENTRY, record, from)
    if counts(a, till) then
      local entry = sub(record, from, from + LENGTH - 1)
      local back
      back, till, b = pulled_back(tag, b, till)
      if back then
        entry = pack(ENTRY, tag, a, b, c, till)
        fixes = fixes or {}
        fixes[tag] = entry
      end
      entries[tag] = {a, b, c, till, entry}
    end
  end
  return entries, fixes
end

-- Replaces entries of a record by tag, and stores it.
local function corrected(key, record, entries)
  local all, last = {}, 0
  for from = 1, #record, LENGTH do
    local tag, a, _, _, till = struct.unpack(ENTRY, record, from)
    local entry = entries[tag]
    if entry then _, _, _, _, till = struct.unpack(ENTRY, entry) end
    if counts(a, till) then
      all[#all + 1] = entry or string.sub(record, from, from + LENGTH - 1)
      if till > last then last = till end
    end
  end
  record = table.concat(all)
  if record == '' then redis.call('DEL', key)
  else redis.call('SET', key, record, 'PX', math.max(1, math.ceil((last - now) / 1000))) end
  return record
end

-- Whether a record has an entry for each limit from `at` on, in that order, and nothing else: no
-- block.
local function is_as_asked(record, limits, asked, at)
  if #record ~= limits * LENGTH then return false end
  for from = 1, #record, LENGTH do
    if sub(record, from, from + 3) ~= sub(asked, at, at + 3) then return false end
    at = at + LIMIT_LENGTH
  end
  return true
end

-- A window of length p with limit s after a cost of q: whether it fits, and the new state.
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
    -- The weighted part of b must leave room: b * rest <= room * p. The products may have 85 bits,
    -- so they are compared in two parts.
    local rest, room, part = p - gone, s - c - q, 4194304
    local low, most = b * (rest % part), room * (p % part)
    local high = b * floor(rest / part) + floor(low / part)
    local top = room * floor(p / part) + floor(most / part)
    fits = high < top or (high == top and low % part <= most % part)
  end
  return fits, window, b, c + q, (window + 2) * p
end

-- How many slots of a key are taken, and whether there are ended ones to remove.
local function taken_of(key, span)
  local now_ms = floor(now / 1000)
  local all = redis.pcall('ZCARD', key)
  if type(all) ~= 'number' then
    -- A value of another type counts as no slots. Any other error is raised.
    if not string.find(all.err, 'WRONGTYPE', 1, true) then call('ZCARD', key) end
    return 0, true
  end
  if all == 0 then return 0, false end
  if renewed_of(key, now_ms, span) == all then return all, false end
  local taken = call('ZCOUNT', key, '(' .. now_ms, '+inf')
  return taken, taken < all
end

local function take(key, span, name, sweeps)
  if sweeps then
    local gone = redis.pcall('ZREMRANGEBYSCORE', key, '-inf', floor(now / 1000))
    if type(gone) ~= 'number' then call('DEL', key) end
  end
  call('ZADD', key, floor(now / 1000) + span, name)
  -- The key outlives its slots: otherwise it would expire at once if the clock is set ahead.
  local kept = span + KEPT
  if call('PTTL', key) < kept - KEPT / 2 then call('PEXPIRE', key, kept) end
end

for request = 1, #ARGV do
  local asked = ARGV[request]
  local charging, subjects, at = unpack('<BB', asked)
  local admitted, writes, first = true, nil, length + 1
  length = first
  for _ = 1, subjects do
    subject = subject + 1
    local record, limits = record_of(KEYS[subject]), 0
    limits, at = unpack('<B', asked, at)
    local entries, fixes
    if record ~= '' and not is_as_asked(record, limits, asked, at) then entries, fixes = entries_of(record) end
    local from, fresh, last, charged, bits, bit = 1, '', 0, false, 0, 1
    for _ = 1, limits do
      local tag, kind, p, q, r, s, t
      tag, kind, p, q, r, s, t, at = unpack(LIMIT, asked, at)

      local a, b, c, till, old, blocked = 0, 0, 0, 0, '', 0
      if entries then
        local entry, block = entries[tag], entries[tag + 1]
        if entry then a, b, c, till, old = entry[1], entry[2], entry[3], entry[4], entry[5] end
        if block then blocked = block[4] end
        local signal = entries[tag + 2]
        if signal and signal[1] > 0 and signal[1] <= 10000 then p, q, s = scaled(signal[1], kind, p, q, r, s, t) end
        entries[tag] = nil
      elseif record ~= '' then
        tag, a, b, c, till = unpack(ENTRY, record, from)
        if counts(a, till) then old = sub(record, from, from + LENGTH - 1) else a, b, c, till = 0, 0, 0, 0 end
        from = from + LENGTH
      end

      local fits, costs, ends, back
      local watching = kind >= 16
      if watching then kind = kind - 16 end
      if kind == 0 then
        -- GCRA: p + q / t is the cost, r + s / t the most that the instant may be ahead
        costs = p > 0 or q > 0
        if a < now then a, b = now, 0
        elseif a - now > r or (a - now == r and b > s) then
          a, b = now + r, s
          back = pack(ENTRY, tag, a, b, 0, b > 0 and a + 1 or a)
        end
        a, b, c = a + p, b + q, 0
        if b >= t then a, b = a + 1, b - t end
        local ahead = a - now
        fits = ahead < r or (ahead == r and b <= s) or not costs
        ends = b > 0 and a + 1 or a
      else
        -- p is the window, q the cost, s the limit
        costs = q > 0
        local known = a
        fits, a, b, c, ends = windowed(kind, p, q, s, a, b, c)
        if known > a then
          back = pack(ENTRY, tag, a, kind == 1 and b - q or b, kind == 1 and 0 or c - q, ends)
        end
      end
      if fits and blocked <= now then bits = bits + bit
      -- A limit that only watches refuses nothing, and does not count a request that does not fit.
      elseif watching then costs = false
      else admitted = false end
      bit = bit + bit
      if back and old ~= '' then
        fixes = fixes or {}
        fixes[tag], old = back, back
        _, _, _, _, till = unpack(ENTRY, back)
      end
      if costs then charged, old, till = true, pack(ENTRY, tag, a, b, c, ends), ends end
      fresh = fresh .. old
      if till > last then last = till end
    end
    if fixes then record = corrected(KEYS[subject], record, fixes) end
    if charged and charging == 1 then
      for _, entry in pairs(entries or {}) do
        fresh = fresh .. entry[5]
        if entry[4] > last then last = entry[4] end
      end
      if not writes then writes = {} end
      local n = #writes
      writes[n + 1], writes[n + 2], writes[n + 3], writes[n + 4] = subject, fresh, last, length + 2
    end
    answer[length + 1], answer[length + 2] = pack('<I4I2', bits, #record), record
    length = length + 2
  end
  local slots
  while at <= #asked do
    subject = subject + 1
    local most, watching, span, name
    most, watching, span, name, at = unpack('<I4BI4c16', asked, at)
    local taken, sweeps = taken_of(KEYS[subject], span)
    if taken < most then
      if not slots then slots = {} end
      slots[#slots + 1] = {KEYS[subject], span, name, sweeps}
    elseif watching == 0 then admitted = false end
    length = length + 1
    answer[length] = pack('<BI4', taken < most and 1 or 0, taken)
  end
  answer[first] = admitted and '\1' or '\0'
  if admitted and slots and charging == 1 then
    for i = 1, #slots do take(slots[i][1], slots[i][2], slots[i][3], slots[i][4]) end
  end
  if admitted and writes then
    for i = 1, #writes, 4 do
      local fresh, left, at = writes[i + 1], ceil((writes[i + 2] - now) / 1000), writes[i + 3]
      call('SET', KEYS[writes[i]], fresh, 'PX', left > 0 and left or 1)
      if #fresh ~= #answer[at] then answer[at - 1] = sub(answer[at - 1], 1, 4) .. pack('<I2', #fresh) end
      answer[at] = fresh
    end
  end
end
return table.concat(answer)
