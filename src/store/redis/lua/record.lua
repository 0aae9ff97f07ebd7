-- What the scripts that count begin with: the server's time, and how a record is read.
--
-- A record is a list of entries: tag, three numbers of state, and when it may be forgotten. An odd tag is a block, of
-- the limit with the even tag below it. All numbers are whole and below 2^53, so arithmetic on doubles is exact.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local ENTRY, LENGTH = '<I4dI4I4d', 28

-- Whether an entry is to be read: it is not over, and no script of ours writes other numbers than these.
local function counts(a, till)
  return till > now and till - now <= 1125899906842624 and till % 1 == 0
    and a >= 0 and a < 9007199254740992 and a % 1 == 0
end

-- The record of a subject. What something else has put in its place is none, and is written over.
local function record_of(key)
  local record = redis.pcall('GET', key)
  if type(record) == 'string' then return #record % LENGTH == 0 and record or '' end
  -- Any other error than this one is an error still.
  if record and not string.find(record.err, 'WRONGTYPE', 1, true) then redis.call('GET', key) end
  return ''
end

