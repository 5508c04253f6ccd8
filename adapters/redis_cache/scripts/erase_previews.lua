-- Erases all previews of a session's signals, and marks the session, so that nobody who is making one now keeps it.
-- KEYS: 1 the session's previews (a hash), 2 its mark of erasure.
-- ARGV: 1 milliseconds that the mark lasts: longer than making a preview may take.
-- Returns 1.
redis.call('DEL', KEYS[1])
redis.call('SET', KEYS[2], '', 'PX', ARGV[1])
return 1
