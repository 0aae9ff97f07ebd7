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

-- Since when the list is complete, and on which run of a server; nil where it has not begun.
local function began_at(key)
  local began, run = string.match(text_of(key) or '', '^(%d+) (%w*)$')
  return tonumber(began), run
end

