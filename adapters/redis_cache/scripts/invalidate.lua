-- A write was committed: what is older must not be read from here any more.
-- KEYS  entry, lease, for each session    ARGV  floor's life in ms, for each session its new version (16 hex digits; '' to drop any entry)
-- returns 1
for i = 1, #KEYS, 2 do
  invalidate(KEYS[i], KEYS[i + 1], ARGV[1 + (i + 1) / 2], ARGV[1])
end
return 1
