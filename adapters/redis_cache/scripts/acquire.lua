-- Who loads which session.
-- KEYS  entry, lease, for each session
-- ARGV  token (32 hex digits), lease in ms, epoch (8 bytes), then for each session the version wanted (16 hex digits)
-- returns for each session: the lease's floor (16 hex digits: load it and fill), 'hit' (it is there: read again), 'busy' (another is loading)
local answers = {}
for i = 1, #KEYS, 2 do
  local entry, lease = KEYS[i], KEYS[i + 1]
  local header = header_of(entry)
  local holder, floor = lease_of(lease)
  if header ~= '' and header:sub(41, 48) == ARGV[3] and header:sub(9, 24) >= ARGV[3 + (i + 1) / 2] then
    answers[#answers + 1] = 'hit'
  elseif holder == NOBODY or redis.call('PTTL', lease) == -1 then
    -- Leases end by themselves; a key here that does not is none of ours, and would keep everybody waiting for good.
    redis.call('SET', lease, ARGV[1] .. floor, 'PX', ARGV[2])
    answers[#answers + 1] = floor
  else
    answers[#answers + 1] = 'busy'
  end
end
return answers
