-- Keeps a preview of a session's signals, unless the session was just erased.
-- KEYS: 1 the session's previews (a hash), 2 its mark of erasure.
-- ARGV: 1 the preview's key, 2 the preview, 3 milliseconds that the hash lives, 4 how many previews it may hold.
-- Returns 1 if it is kept, 0 if not.
if redis.call('EXISTS', KEYS[2]) == 1 then
  return 0
end
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 and redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[4]) then
  -- Any will do: what is missed is made again. Keys are digests, so the order in which a hash tells them is as good as chance.
  redis.call('HDEL', KEYS[1], redis.call('HKEYS', KEYS[1])[1])
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
