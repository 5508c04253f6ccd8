-- Stores what a lease's holder loaded, if nobody wrote meanwhile: every write voids the lease.
-- KEYS  entry, lease, for each session    ARGV  token, then for each session: value, life in ms
-- returns for each session 1 if stored, 0 if refused
local answers = {}
for i = 1, #KEYS, 2 do
  local entry, lease = KEYS[i], KEYS[i + 1]
  if redis.pcall('GET', lease) == ARGV[1] then
    redis.call('SET', entry, ARGV[i + 1], 'PX', ARGV[i + 2])
    redis.call('DEL', lease)
    answers[#answers + 1] = 1
  else
    answers[#answers + 1] = 0
  end
end
return answers
