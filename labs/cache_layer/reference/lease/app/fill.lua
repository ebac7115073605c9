-- Fill an entry, if the lease under which it was loaded still stands. One step: no write can come in between.
--
-- The entry's life is counted from when the lease was taken out, which was before the load: however long
-- load and fill took, nobody is shown what was true longer ago than that.
--
-- KEYS[1]  entry
-- KEYS[2]  lease
-- ARGV[1]  token of the lease
-- ARGV[2]  a lease's life in milliseconds
-- ARGV[3]  the entry
-- ARGV[4]  its life in milliseconds

local lease = redis.pcall('GET', KEYS[2])
if lease ~= ARGV[1] then
  return 0
end

local left = tonumber(ARGV[4]) - (tonumber(ARGV[2]) - redis.call('PTTL', KEYS[2]))
if left > 0 then
  redis.call('SET', KEYS[1], ARGV[3], 'PX', left)
end
redis.call('DEL', KEYS[2])
return 1
