-- What the scripts about DPoP proofs begin with: the server's time, and how their keys are read.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]

-- The text of a key, nil where there is none. What something else has put in its place counts as a
-- text that says nothing.
local function text_of(key)
  local text = redis.pcall('GET', key)
  if type(text) == 'table' then
    -- Any other error than this one is an error still.
    if not string.find(text.err, 'WRONGTYPE', 1, true) then redis.call('GET', key) end
    return ''
  end
  return text or nil
end

-- Used proofs are remembered for so much longer than they have to be: what a clock may be set ahead
-- by since the list began.
local SLACK = 10000000

-- A message is later than another one by so much at the most, or the clock was set ahead meanwhile.
local LATE = 100000

-- The list: `began` says since when it is complete, nil where it has not begun; `run`, on which run
-- of a server; `ahead`, by how much the clock was set ahead while processes looked, and `lost`, by
-- how much of that since the list began. `stepped` says whether that is news.
--
-- The list's own clock is that of the server without `ahead`. Processes read it every two seconds,
-- and know what it shows at most: `expected`. What it shows beyond that, the server's clock was set
-- ahead by, and the list is younger than it looks. After a longer pause used proofs may have come
-- to their end before their time, and also where the clock was set by more than they are kept for
-- longer: the list begins anew.
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
    -- It was set back. When it is set right again, that makes nothing older.
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
