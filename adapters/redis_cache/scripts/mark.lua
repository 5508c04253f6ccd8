-- Begins a pass of the relay, if one is needed: a mark in the way of a pass under way would undo it.
-- KEYS  mark, position, heartbeat    ARGV  the pass's nonce, the mark's life in ms, a heartbeat's life in ms that needs no renewing
-- returns the server's time in ms, the position or '', 1 if the pass may go on, 0 if the heartbeat lives long enough
local position = redis.pcall('GET', KEYS[2])
if type(position) ~= 'string' then
  position = ''
end
local needed = 0
if redis.call('PTTL', KEYS[3]) <= tonumber(ARGV[3]) then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
  needed = 1
end
local now = redis.call('TIME')
return { now[1] * 1000 + math.floor(now[2] / 1000), position, needed }
