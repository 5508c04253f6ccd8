-- Gives leases back unused.
-- KEYS  lease, …    ARGV  token    returns how many were still held
local released = 0
for i = 1, #KEYS do
  if lease_of(KEYS[i]) == ARGV[1] then
    released = released + redis.call('DEL', KEYS[i])
  end
end
return released
