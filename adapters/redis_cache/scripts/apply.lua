-- Ends a pass of the relay: applies the changes, moves the position and renews the heartbeat, or does none of it.
-- KEYS  mark, position, heartbeat, then entry, lease for each changed session
-- ARGV  nonce, position expected, new position, epoch (8 bytes), heartbeat's end in ms since 1970 by this server's clock, floors' life in ms,
--       then for each session its version (16 hex digits)
-- returns 1, or 0 if another pass began or the position moved, which includes that this server lost part of its history
if redis.pcall('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
local position = redis.pcall('GET', KEYS[2])
if type(position) ~= 'string' then
  position = ''
end
if position ~= ARGV[2] then
  return 0
end
for i = 4, #KEYS, 2 do
  invalidate(KEYS[i], KEYS[i + 1], ARGV[6 + (i - 2) / 2], ARGV[6])
end
redis.call('SET', KEYS[2], ARGV[3])
redis.call('SET', KEYS[3], ARGV[4], 'PXAT', ARGV[5])
redis.call('DEL', KEYS[1])
return 1
