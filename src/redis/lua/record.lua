-- What the scripts that count begin with: the server's time, and how a record is read.
--
-- A record is a list of entries: tag, three numbers of state, and when it may be forgotten. The tag
-- of a limit is a multiple of four; the next number is its block, and the one behind that a signal:
-- how many thousandths of the limit there are. The second number of state of these two is the
-- second in which they were made. All numbers are whole and below 2^53, so arithmetic on doubles is
-- exact.
--
-- The clock may be set back. An entry that lies further ahead than any call can have put it is then
-- pulled back, and the correction is stored, also where nothing is charged: the key would else be
-- locked until the clock has caught up.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local ENTRY, LENGTH = '<I4dI4I4d', 28

-- Whether an entry is to be read: it is not over, and no script of ours writes other numbers than
-- these.
local function counts(a, till)
  return till > now and till - now <= 1125899906842624 and till % 1 == 0
    and a >= 0 and a < 9007199254740992 and a % 1 == 0
end

-- Whether a block or signal was made after now, when it is over, and when it was made: it lasts as
-- long as it was meant to, from now on.
local function pulled_back(tag, made, till)
  local made_us = made * 1000000
  if tag % 4 == 0 or made_us <= now then return false, till, made end
  return true, now + math.max(0, till - made_us), math.floor(now / 1000000)
end

-- The record of a subject. What something else has put in its place is none, and is written over.
local function record_of(key)
  local record = redis.pcall('GET', key)
  if type(record) == 'string' then return #record % LENGTH == 0 and record or '' end
  -- Any other error than this one is an error still.
  if record and not string.find(record.err, 'WRONGTYPE', 1, true) then redis.call('GET', key) end
  return ''
end

-- What a limit is by a signal of f thousandths: GCRA takes more or less for a cost, rounded up to a
-- microsecond and at most everything, so that it may fit once; windows have a smaller or a larger
-- limit. What never fits stays so.
local function scaled(f, kind, p, q, r, s, t)
  if kind % 16 ~= 0 then return p, q, math.max(1, math.min(4000000000, math.floor(s * f / 1000))) end
  if (p == 0 and q == 0) or p > r or (p == r and q > s) then return p, q, s end
  local whole = p % f
  p = (p - whole) / f * 1000 + math.ceil((whole * 1000 + q * 1000 / t) / f)
  if p >= r then return r, s, s end
  return p, 0, s
end
