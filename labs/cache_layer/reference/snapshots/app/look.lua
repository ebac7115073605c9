-- For each product its entry or, where there is none, the guard under which it may be filled; and Redis' time.
--
-- A guard is "birth newest last": `birth` tells it from the guards of other times, `newest` is the highest
-- transaction known to have written the product (0: none), and `last` is another with each write.
--
-- KEYS     entry and guard of each product, in turn
-- ARGV[1]  a token that no other guard has
-- ARGV[2]  a guard's life in milliseconds, renewed here: it must outlast the load that begins now
-- ARGV[3]  1 to take no notice of entries, as when they cannot be read
-- returns  {{entry} or {nil, guard} for each product, milliseconds}

-- Another type than a string counts as nothing, and SET replaces it.
local function get(key)
  local value = redis.pcall('GET', key)
  return type(value) == 'string' and value
end

local function look(entry_key, guard_key)
  local entry = ARGV[3] ~= '1' and get(entry_key)
  if entry then
    return {entry}
  end
  local guard = get(guard_key)
  if not guard or not string.match(guard, '^%x+ %d+ %x+$') then
    guard = ARGV[1] .. ' 0 0'
  end
  redis.call('SET', guard_key, guard, 'PX', ARGV[2])
  return {false, guard}
end

local found = {}
for i = 1, #KEYS, 2 do
  table.insert(found, look(KEYS[i], KEYS[i + 1]))
end
local time = redis.call('TIME')
return {found, tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)}
