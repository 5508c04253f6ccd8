-- Shared by the scripts; prepended to each. Only headers are read here: a payload through Lua costs more than it is worth.

-- The header of an entry, or '' if the key holds nothing, something foreign or another type.
local function header_of(key)
  local header = redis.pcall('GETRANGE', key, 0, 63)
  if type(header) ~= 'string' or #header ~= 64 or header:sub(1, 5) ~= 'EMGA\1' then
    return ''
  end
  return header
end

-- A lease key's value: the holder's token (32 hex digits; zeros: nobody holds it), then the floor (16 hex digits): a version that was in the
-- database before the lease can have been given, so that whoever loads under it sees that version or a newer one.
local NOBODY = string.rep('0', 32)
local NO_FLOOR = string.rep('0', 16)

-- The token and the floor of a lease; NOBODY and NO_FLOOR if there is none, or something foreign.
local function lease_of(key)
  local value = redis.pcall('GET', key)
  if type(value) ~= 'string' or #value ~= 48 then
    return NOBODY, NO_FLOOR
  end
  return value:sub(1, 32), value:sub(33)
end

-- Drops what is older than `version` (16 hex digits; '' for anything at all), and whatever is no entry; voids the lease, so that whoever loads
-- now stores nothing, unless it is sure to load that version. The version stays as the floor of the next lease, for `floor_ms`: the relay
-- tells of every write once more, and must not void the lease of who came after it.
local function invalidate(entry, lease, version, floor_ms)
  local header = header_of(entry)
  if header == '' or version == '' or header:sub(9, 24) < version then
    redis.call('UNLINK', entry)
  end
  if version == '' then
    redis.call('DEL', lease)
    return
  end
  local holder, floor = lease_of(lease)
  if floor < version then
    redis.call('SET', lease, NOBODY .. version, 'PX', floor_ms)
  elseif holder == NOBODY then
    redis.call('PEXPIRE', lease, floor_ms)
  end
end
