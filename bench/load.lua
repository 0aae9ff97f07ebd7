-- Prepared POST requests, taken in turn, so that every user and body comes round. The file named in
-- the first argument has one request per line: the token, a blank, the body.
local prepared, at = {}, 0

function init(args)
  for line in io.lines(args[1]) do
    local token, body = line:match("^(%S+) (.*)$")
    prepared[#prepared + 1] = wrk.format("POST", "/v1/users", {
      ["Authorization"] = "Bearer " .. token,
      ["Content-Type"] = "application/json",
      ["Accept"] = "application/json",
      ["Origin"] = "https://app.example.com",
      ["User-Agent"] = "keepstone-bench",
    }, body)
  end
end

function request()
  at = at % #prepared + 1
  return prepared[at]
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    'RESULT {"requests":%d,"seconds":%.6f,"refused":%d,"failed":%d,"p50":%.3f,"p99":%.3f}\n',
    summary.requests, summary.duration / 1e6, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
