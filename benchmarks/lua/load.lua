-- One kind of request for wrk, from the environment; the figures come out as one line of JSON.
-- METHOD, PATH, TYPE: the request line and Content-Type. BODY: a file's name. CLOSE: "1" for a connection each.
-- DEPTH: how many requests are sent in one go.
local method = os.getenv("METHOD") or "GET"
local depth = tonumber(os.getenv("DEPTH") or "1")
wrk.method = method
if os.getenv("TYPE") and os.getenv("TYPE") ~= "" then wrk.headers["Content-Type"] = os.getenv("TYPE") end
if os.getenv("CLOSE") == "1" then wrk.headers["Connection"] = "close" end
if os.getenv("BODY") and os.getenv("BODY") ~= "" then
   local file = assert(io.open(os.getenv("BODY"), "rb"))
   wrk.body = file:read("*a")
   file:close()
end

local bytes
function init(args)
   bytes = string.rep(wrk.format(), depth)
end

function request()
   return bytes
end

function done(summary, latency, requests)
   local errors = summary.errors
   io.write(string.format(
      'RESULT {"requests": %d, "duration_us": %d, "bytes": %d, "failed": %d, "not_2xx": %d, ' ..
      '"p50_us": %d, "p99_us": %d, "p999_us": %d}\n',
      summary.requests, summary.duration, summary.bytes,
      errors.connect + errors.read + errors.write + errors.timeout, errors.status,
      latency:percentile(50), latency:percentile(99), latency:percentile(99.9)))
end
