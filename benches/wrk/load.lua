-- What wrk sends, by the arguments after "--", and what it reports: one line of JSON.
--   pipeline N   N requests at a time
--   files N [P]  /files/0 to /files/N-1, picked at random but alike in every run; P requests at a time

function init(args)
   if args[1] == "pipeline" then
      local one = wrk.format()
      -- wrk formats its one request after this: it becomes all N.
      wrk.format = function() return one:rep(tonumber(args[2])) end
   elseif args[1] == "files" then
      local requests, count, at_a_time = {}, tonumber(args[2]), tonumber(args[3] or 1)
      for i = 1, count do requests[i] = wrk.format("GET", "/files/" .. (i - 1)) end
      math.randomseed(1)
      request = function()
         local batch = requests[math.random(count)]
         for _ = 2, at_a_time do batch = batch .. requests[math.random(count)] end
         return batch
      end
   end
end

function done(summary, latency, _)
   local errors = summary.errors
   io.write(string.format(
      '{"requests": %d, "duration_us": %d, "bytes": %d, "status_errors": %d, '
      .. '"connection_errors": %d, "timeouts": %d, "p50_us": %d, "p99_us": %d}\n',
      summary.requests, summary.duration, summary.bytes, errors.status,
      errors.connect + errors.read + errors.write, errors.timeout,
      latency:percentile(50), latency:percentile(99)))
end
