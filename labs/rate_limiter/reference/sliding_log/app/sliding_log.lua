-- One decision of a sliding log, atomic because Redis runs a script on its own.
--
-- KEYS[1]  sorted set of one client's admissions; score: when, in microseconds of Redis' clock
-- ARGV[1]  limit
-- ARGV[2]  window in milliseconds
-- ARGV[3]  a name for this request that no other request has
-- returns  {1 if admitted else 0, requests left, microseconds until one would be admitted}

local limit = tonumber(ARGV[1])
local window_us = tonumber(ARGV[2]) * 1000
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])

redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - window_us)
local admitted = redis.call('ZCARD', KEYS[1])

if admitted >= limit then
  local oldest = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
  return {0, 0, tonumber(oldest[2]) + window_us - now}
end

-- The member is the request, not its time: two requests within one microsecond are two entries.
redis.call('ZADD', KEYS[1], now, ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return {1, limit - admitted - 1, 0}
