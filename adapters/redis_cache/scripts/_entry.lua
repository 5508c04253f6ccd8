-- Shared by the scripts; prepended to each. Only headers are read here: a payload through Lua costs more than it is worth.

-- The header of an entry, or '' if the key holds nothing, something foreign or another type.
local function header_of(key)
  local header = redis.pcall('GETRANGE', key, 0, 63)
  if type(header) ~= 'string' or #header ~= 64 or header:sub(1, 5) ~= 'EMGA\1' then
    return ''
  end
  return header
end

-- Drops what is older than `version` (16 hex digits; '' for anything at all), and whatever is no entry; voids the lease, so that whoever loads
-- now stores nothing.
local function invalidate(entry, lease, version)
  local header = header_of(entry)
  if header == '' or version == '' or header:sub(9, 24) < version then
    redis.call('UNLINK', entry)
  end
  redis.call('DEL', lease)
end
