-- wrk: a new payment with each request. WOPAY_BENCH_API_KEY holds the key, WOPAY_BENCH_FIRST the first order's number.
-- One thread only: each thread would count by itself.

local order = tonumber(os.getenv("WOPAY_BENCH_FIRST"))
local body = '{"order_id":"bench-%010d","amount":"%s","currency":"USDT","blockchain":"%s",' ..
    '"callback_url":"%s","expires_in":%s}'
local amount, chain = os.getenv("WOPAY_BENCH_AMOUNT"), os.getenv("WOPAY_BENCH_CHAIN")
local callback, expires = os.getenv("WOPAY_BENCH_CALLBACK_URL"), os.getenv("WOPAY_BENCH_EXPIRES_IN")

wrk.method = "POST"
wrk.headers["Authorization"] = "Bearer " .. os.getenv("WOPAY_BENCH_API_KEY")
wrk.headers["Content-Type"] = "application/json"

function request()
    order = order + 1
    return wrk.format(nil, nil, nil, body:format(order, amount, chain, callback, expires))
end

function done(summary, latency, requests)
    local errors = summary.errors
    io.write(string.format(
        '\n{"requests":%d,"seconds":%f,"p50_us":%d,"p99_us":%d,"failed":%d}\n',
        summary.requests, summary.duration / 1e6, latency:percentile(50), latency:percentile(99),
        errors.status + errors.connect + errors.read + errors.write + errors.timeout))
end
