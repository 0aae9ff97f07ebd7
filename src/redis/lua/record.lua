-- The common start of the scripts that count: the server's time, and how a record is read.
--
-- A record is a list of entries: tag, three numbers of state, and an end. The tag of a limit is a
-- multiple of four; the next number is its block, and the one after that a signal, a multiplier of
-- the limit in thousandths. In these two the second number of state is the second of their
-- creation. All numbers are whole and below 2^53, so arithmetic on doubles is exact.
--
-- The clock may be set back. An entry further ahead than any call can have put it is then pulled
-- back, and the correction is stored even if nothing is charged: otherwise the key would be locked
-- until the clock catches up.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local ENTRY, LENGTH = '<I4dI4I4d', 28

-- Whether an entry is valid: it has not ended, and its numbers are ones that these scripts write.
local function counts(a, till)
  return till > now and till - now <= 1125899906842624 and till % 1 == 0
    and a >= 0 and a < 9007199254740992 and a % 1 == 0
end

-- Corrects a block or signal created after now: whether it is one, its end, and its creation. It
-- keeps its intended duration, counted from now.
local function pulled_back(tag, made, till)
  local made_us = made * 1000000
  if tag % 4 == 0 or made_us <= now then return false, till, made end
  return true, now + math.max(0, till - made_us), math.floor(now / 1000000)
end

-- The record of a subject. A value of another type counts as none, and is overwritten.
local function record_of(key)
  local record = redis.pcall('GET', key)
  if type(record) == 'string' then return #record % LENGTH == 0 and record or '' end
  -- Any other error is raised.
  if record and not string.find(record.err, 'WRONGTYPE', 1, true) then redis.call('GET', key) end
  return ''
end

-- A limit under a signal of f thousandths. GCRA takes more or less for a cost, rounded up to a
-- microsecond and capped at everything, so that it may fit once. Windows get a smaller or a larger
-- limit. A cost that never fits stays so.
local function scaled(f, kind, p, q, r, s, t)
  if kind % 16 ~= 0 then return p, q, math.max(1, math.min(4000000000, math.floor(s * f / 1000))) end
  if (p == 0 and q == 0) or p > r or (p == r and q > s) then return p, q, s end
  local whole = p % f
  p = (p - whole) / f * 1000 + math.ceil((whole * 1000 + q * 1000 / t) / f)
  if p >= r then return r, s, s end
  return p, 0, s
end
