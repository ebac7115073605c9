#!lua name=sliding_counter_v1
-- A sliding counter as a Redis function: loaded once, kept by Redis, called by name.
-- A change that alters answers gets the next number, so that old and new replicas can run side by side.
--
-- Admissions are counted in windows aligned on Redis' clock. Those of the window before count in
-- proportion to how much of it still lies within the last W. All sums are whole microseconds, times
-- requests where a weight comes in, so no rounding decides.
--
-- keys[1]  hash of one client: window (its number), current, previous (admissions)
-- args[1]  limit
-- args[2]  window in milliseconds
-- returns  {1 if admitted else 0, requests left, microseconds until one would be admitted}

local function read(key, window)
  local stored = redis.call('HMGET', key, 'window', 'current', 'previous')
  local last = tonumber(stored[1])
  if not last then
    return window, 0, 0
  elseif last >= window then -- later than now only if the clock was set back
    return last, tonumber(stored[2]), tonumber(stored[3])
  elseif last == window - 1 then
    return window, 0, tonumber(stored[2])
  end
  return window, 0, 0
end

-- Microseconds after the start of the current window at which `previous` weighs little enough.
local function admitting_from(current, previous, limit, window_us)
  if current >= limit then
    return window_us + 1 -- all of it counts until the next window is a moment old
  end
  return math.floor(window_us - (limit - current) * window_us / previous) + 1
end

local function decide(keys, args)
  local limit = tonumber(args[1])
  local window_us = tonumber(args[2]) * 1000
  local time = redis.call('TIME')
  local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
  local window, current, previous = read(keys[1], math.floor(now / window_us))
  local elapsed = math.max(0, now - window * window_us)

  local weight = previous * (window_us - elapsed)
  if weight >= (limit - current) * window_us then
    return {0, 0, admitting_from(current, previous, limit, window_us) - elapsed}
  end

  current = current + 1
  redis.call('HSET', keys[1], 'window', window, 'current', current, 'previous', previous)
  -- Needed while this window is the current or the previous one.
  redis.call('PEXPIRE', keys[1], math.ceil((2 * window_us - elapsed) / 1000))
  return {1, math.max(0, math.ceil(limit - current - weight / window_us)), 0}
end

redis.register_function('sliding_counter_v1', decide)
