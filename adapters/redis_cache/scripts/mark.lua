-- Begins a pass of the relay.
-- KEYS  mark, position, heartbeat    ARGV  the pass's nonce, the mark's life in ms
-- returns the server's time in ms, the position or '', the heartbeat's remaining life in ms (-2: none)
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
local position = redis.pcall('GET', KEYS[2])
if type(position) ~= 'string' then
  position = ''
end
local now = redis.call('TIME')
return { now[1] * 1000 + math.floor(now[2] / 1000), position, redis.call('PTTL', KEYS[3]) }
