-- One decision of a token bucket, atomic because Redis runs a script on its own.
--
-- The level is kept in whole numbers, so that it cannot drift: each microsecond pours in `limit`
-- drops, and a token is as many drops as the window has microseconds. A full bucket has `limit` tokens.
--
-- KEYS[1]  hash of one client: level (drops) at a time (microseconds of Redis' clock); absent: full
-- ARGV[1]  limit
-- ARGV[2]  window in milliseconds
-- returns  {1 if admitted else 0, whole tokens left, microseconds until there is a token}

local limit = tonumber(ARGV[1])
local token = tonumber(ARGV[2]) * 1000
local full = limit * token
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])

local level = full
local stored = redis.call('HMGET', KEYS[1], 'level', 'at')
if stored[1] then
  -- A clock that was set back pours in nothing, rather than draining the bucket.
  local elapsed = math.max(0, now - tonumber(stored[2]))
  level = math.min(full, tonumber(stored[1]) + elapsed * limit)
end

if level < token then
  return {0, 0, math.ceil((token - level) / limit)}
end

level = level - token
redis.call('HSET', KEYS[1], 'level', level, 'at', now)
-- Once full, a bucket says no more than a missing one.
redis.call('PEXPIRE', KEYS[1], math.ceil((full - level) / limit / 1000))
return {1, math.floor(level / token), 0}
