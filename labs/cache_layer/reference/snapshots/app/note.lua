-- Make a write known that has been committed: no entry of before remains, and none will be filled.
--
-- KEYS[1]  entry
-- KEYS[2]  guard
-- ARGV[1]  the write's transaction
-- ARGV[2]  a token that no other guard and no other write has
-- ARGV[3]  a guard's life in milliseconds

local guard = redis.pcall('GET', KEYS[2])
local birth, newest = string.match(type(guard) == 'string' and guard or '', '^(%x+) (%d+) ')
-- Whoever began first need not have committed first.
if not newest or tonumber(newest) < tonumber(ARGV[1]) then
  newest = ARGV[1]
end
redis.call('SET', KEYS[2], (birth or ARGV[2]) .. ' ' .. newest .. ' ' .. ARGV[2], 'PX', ARGV[3])
redis.call('DEL', KEYS[1])
