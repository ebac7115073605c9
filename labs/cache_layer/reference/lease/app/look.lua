-- The entry of a product or, where there is none, the lease under which it may be filled.
--
-- The first who misses takes the lease out, all others until it ends are told the same one. A write removes it.
--
-- KEYS[1]  entry
-- KEYS[2]  lease
-- ARGV[1]  a token that no other lease has
-- ARGV[2]  a lease's life in milliseconds
-- ARGV[3]  an entry that the caller cannot read and takes for none
-- returns  {entry} or {nil, token of the lease}

-- Whatever was put there: another type than a string counts as nothing, and SET replaces it.
local function get(key)
  local value = redis.pcall('GET', key)
  return type(value) == 'string' and value
end

local entry = get(KEYS[1])
if entry and entry ~= ARGV[3] then
  return {entry}
end

local lease = get(KEYS[2])
if not lease or redis.call('PTTL', KEYS[2]) < 0 then
  lease = ARGV[1]
  redis.call('SET', KEYS[2], lease, 'PX', ARGV[2])
end
return {false, lease}
