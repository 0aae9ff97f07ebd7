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
-- unnoticed.
local SLACK = 10000000

-- Since when the list is complete, and on which run of a server; nil where it has not begun.
-- Processes note every two seconds when the clock was read last. After a longer pause it may have
-- been set ahead, and used proofs have come to their end before their time: the list begins anew.
local function began_at(key)
  local began, run, seen = string.match(text_of(key) or '', '^(%d+) (%w*) ?(%d*)$')
  began, seen = tonumber(began), tonumber(seen)
  if began and (began > now or (seen and now - seen > SLACK)) then began = now end
  return began, run
end

local function note(key, began, run)
  redis.call('SET', key, string.format('%.0f %s %.0f', began, run or '', now))
end

