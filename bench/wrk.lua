-- Called by bench.load as: wrk ... -s wrk.lua URL [-- COUNT], which asks for {} = 0000 to COUNT - 1 in turn.

function init(args)
   local count = tonumber(args[1])
   if not count then return end
   local requests, turn = {}, 0
   local path = wrk.path
   for number = 0, count - 1 do
      requests[number] = wrk.format(nil, (path:gsub("{}", string.format("%04d", number))))
   end
   request = function()
      turn = (turn + 1) % count
      return requests[turn]
   end
end

-- Milliseconds between the response and the next request of a connection, on average.
local pause = tonumber(os.getenv("WRK_PAUSE"))
if pause then
   function delay() return math.random(0, 2 * pause) end
end

function done(summary, latency, requests)
   local errors = summary.errors
   io.write(string.format(
      '\n{"requests": %d, "microseconds": %d, "bytes": %d, "p50": %d, "p99": %d, ' ..
      '"connect": %d, "read": %d, "write": %d, "status": %d, "timeout": %d}\n',
      summary.requests, summary.duration, summary.bytes, latency:percentile(50), latency:percentile(99),
      errors.connect, errors.read, errors.write, errors.status, errors.timeout))
end
