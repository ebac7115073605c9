-- Fill entries with what one statement saw, each only if it saw every write that is known of. One step:
-- no write can make itself known in between.
--
-- KEYS     entry and guard of each product, in turn
-- ARGV[1]  the horizon: every transaction before it had ended when the statement's snapshot was taken
-- ARGV     from 2 on, for each product: birth of its guard, entry, and when that ends (milliseconds)

local function may_fill(guard_key, birth)
  local guard = redis.pcall('GET', guard_key)
  if type(guard) ~= 'string' then
    return false -- expired or flushed, and with it what it may have known
  end
  local born, newest = string.match(guard, '^(%x+) (%d+) ')
  return born == birth and tonumber(newest) < tonumber(ARGV[1])
end

for i = 1, #KEYS, 2 do
  local birth, entry, ends_at = unpack(ARGV, 2 + (i - 1) / 2 * 3, 4 + (i - 1) / 2 * 3)
  if may_fill(KEYS[i + 1], birth) then
    redis.call('SET', KEYS[i], entry, 'PXAT', ends_at)
  end
end
