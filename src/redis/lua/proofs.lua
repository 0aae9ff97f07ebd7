-- The common start of the scripts about DPoP proofs: the server's time, and how their keys are
-- read.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]

-- The text of a key, nil if there is none. A value of another type counts as an empty text.
local function text_of(key)
  local text = redis.pcall('GET', key)
  if type(text) == 'table' then
    -- Any other error is raised.
    if not string.find(text.err, 'WRONGTYPE', 1, true) then redis.call('GET', key) end
    return ''
  end
  return text or nil
end

-- How much longer than necessary used proofs are kept, in microseconds. The clock may be set ahead
-- by up to this since the list began.
local SLACK = 10000000

-- The most that the delays of two messages differ, in microseconds. A larger step means that the
-- clock was set ahead.
local LATE = 100000

-- The fields of the list:
--
-- - `began`: since when it is complete, nil if it has not begun
-- - `run`: the run id of its server
-- - `ahead`: how far the clock was set ahead while processes observed it
-- - `lost`: how much of that was since the list began
-- - `stepped`: whether this read found a new step
--
-- The list's own clock is the server's clock minus `ahead`. Processes read it every two seconds, so
-- they can bound it: `expected`. Anything beyond that bound is a step of the server's clock, and
-- the list is younger by it. The list begins anew after a longer pause, or if the clock was set by
-- more than the slack: used proofs may have expired too early.
local function list_of(key, expected)
  local began, run, seen, ahead, lost =
    string.match(text_of(key) or '', '^(%d+) (%w*) ?(%d*) ?(%-?%d*) ?(%d*)$')
  began, seen, expected = tonumber(began), tonumber(seen), tonumber(expected)
  local list = {run = run, ahead = tonumber(ahead) or 0, lost = tonumber(lost) or 0}
  local step = expected and now - list.ahead - expected or 0
  list.stepped = step > LATE
  if list.stepped then
    list.ahead, list.lost = list.ahead + step, list.lost + step
    if began then began = math.min(now, began + step) end
  end
  if began and began > now then
    -- The clock was set back. Setting it right again must make nothing older.
    list.ahead, began = list.ahead - (began - now), now
  end
  if began and (list.lost > SLACK or seen and now - seen > SLACK) then began = now end
  list.began = began
  return list
end

local function note(key, list)
  if list.began == now then list.lost = 0 end
  local text = '%.0f %s %.0f %.0f %.0f'
  redis.call('SET', key, string.format(text, list.began, list.run or '', now, list.ahead, list.lost))
end
