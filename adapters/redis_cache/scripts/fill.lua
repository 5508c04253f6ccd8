-- Stores what a lease's holder loaded, if nobody wrote meanwhile: every write voids the lease, or the lease is sure to have seen it.
-- KEYS  entry, lease, for each session    ARGV  token, then for each session: value, life in ms
-- returns for each session 1 if stored, 0 if refused
local answers = {}
for i = 1, #KEYS, 2 do
  local entry, lease = KEYS[i], KEYS[i + 1]
  local holder, floor = lease_of(lease)
  local stored = 0
  if holder == ARGV[1] then
    -- Less than the floor was not read from the database's present: from a lagging replica, or after a restore.
    if ARGV[i + 1]:sub(9, 24) >= floor then
      redis.call('SET', entry, ARGV[i + 1], 'PX', ARGV[i + 2])
      stored = 1
    end
    redis.call('DEL', lease)
  end
  answers[#answers + 1] = stored
end
return answers
