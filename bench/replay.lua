-- replay.lua: for wrk; send the requests of a file in their order, again and again.
--
--   wrk -s replay.lua URL -- FILE
--
-- Each line of FILE: method, path, If-None-Match, body, with tabs between; the last two may be empty. The requests are
-- built before the run, so that the client does next to nothing for each. Prints one line of JSON; latencies in
-- microseconds. `status` counts the answers of 400 and more.

local requests, at = {}, 0

function init(arguments)
    for line in io.lines(arguments[1]) do
        local method, path, tag, body = line:match('^([^\t]*)\t([^\t]*)\t([^\t]*)\t(.*)$')
        local headers = {}
        if tag ~= '' then
            headers['If-None-Match'] = tag
        end
        if body == '' then
            body = nil
        else
            headers['Content-Type'] = 'application/json'
        end
        requests[#requests + 1] = wrk.format(method, path, headers, body)
    end
    -- Runs follow each other: not all are to begin with the same requests.
    math.randomseed(os.time())
    at = math.random(#requests)
end

function request()
    at = at % #requests + 1
    return requests[at]
end

function done(summary, latency)
    local errors = summary.errors
    io.write(string.format(
        '{"requests":%d,"duration_us":%d,"bytes":%d,"p50_us":%d,"p99_us":%d,"status":%d,"socket":%d}\n',
        summary.requests, summary.duration, summary.bytes, latency:percentile(50), latency:percentile(99),
        errors.status, errors.connect + errors.read + errors.write + errors.timeout
    ))
end
