-- Changes the counts of one subject outside a check: `guard.limits`, and costs given back after a
-- response.
--
-- KEYS[1]  the subject
-- ARGV[1]  'charge' takes a cost even if it does not fit, 'refund' gives one back, 'block' refuses
--          for a time, 'reset' forgets the use and the block, 'signal' scales limits for a time
-- ARGV[2]  the limits, as consume.lua reads them
-- ARGV[3]  the duration of a block or a signal, in microseconds
-- ARGV[4]  the multiplier of a signal, in thousandths
-- answers  as consume.lua does, for one request that was admitted
local action, asked, span = ARGV[1], ARGV[2], tonumber(ARGV[3])
local unpack, pack, fmod = struct.unpack, struct.pack, math.fmod
local record = record_of(KEYS[1])
local states, tills = {}, {}
local second = math.floor(now / 1000000)

local at = 1
while at < #record do
  local tag, a, b, c, till
  tag, a, b, c, till, at = unpack(ENTRY, record, at)
  if counts(a, till) then
    local _, over, made = pulled_back(tag, b, till)
    states[tag], tills[tag] = {a, made, c}, over
  end
end

-- Caps an instant at r + s / t ahead of now.
local function clamped(a, b, r, s)
  if a - now > r or (a - now == r and b > s) then return now + r, s end
  return a, b
end

-- The state after `sign` times the cost of a limit, and its end.
local function moved(state, sign, kind, p, q, r, s, t)
  if kind == 0 then
    local a, b = now, 0
    if state and state[1] >= now then a, b = clamped(state[1], state[2], r, s) end
    a, b = a + sign * p, b + sign * q
    if b >= t then a, b = a + 1, b - t elseif b < 0 then a, b = a - 1, b + t end
    if a < now then a, b = now, 0 end
    a, b = clamped(a, b, r, s)
    return {a, b, 0}, a + (b > 0 and 1 or 0)
  end
  local window, b, c = (now - fmod(now, p)) / p, 0, 0
  if kind == 1 then
    if state and state[1] >= window then b = state[2] end
    b = math.max(0, math.min(s, b + sign * q))
    return {window, b, 0}, b > 0 and (window + 1) * p or now
  end
  if state then
    if state[1] == window then b, c = state[2], state[3]
    elseif state[1] > window then c = state[2] + state[3]
    elseif state[1] + 1 == window then b = state[3] end
  end
  c = c + sign * q
  if c < 0 then b, c = math.max(0, b + c), 0 end
  c = math.min(s, c)
  return {window, b, c}, (c > 0 and window + 2 or b > 0 and window + 1 or 0) * p
end

at = 1
while at < #asked do
  local tag, kind, p, q, r, s, t
  tag, kind, p, q, r, s, t, at = unpack('<I4BdI4dI4I4', asked, at)
  kind = kind % 16
  if action == 'reset' then
    states[tag], states[tag + 1] = nil, nil
  elseif action == 'signal' then
    local factor = tonumber(ARGV[4])
    states[tag + 2], tills[tag + 2] = factor ~= 1000 and {factor, second, 0} or nil, now + span
  elseif action == 'block' then
    states[tag + 1], tills[tag + 1] = {0, second, 0}, now + span
  else
    states[tag], tills[tag] = moved(states[tag], action == 'charge' and 1 or -1, kind, p, q, r, s, t)
  end
end

local fresh, last = {}, 0
for tag, state in pairs(states) do
  local till = tills[tag]
  if till > now then
    fresh[#fresh + 1] = pack(ENTRY, tag, state[1], state[2], state[3], till)
    if till > last then last = till end
  end
end
record = table.concat(fresh)
if record ~= '' then
  redis.call('SET', KEYS[1], record, 'PX', math.max(1, math.ceil((last - now) / 1000)))
else
  redis.call('DEL', KEYS[1])
end
return pack('<dBI4I2', now, 1, 4294967295, #record) .. record
