-- The lease is over: once more, or the end.
-- KEYS meta stream active request
-- ARGV task max_dispatches max_attempts channel ttl_s cancelled late queued_too_long lost
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local lease = redis.call('ZSCORE', KEYS[3], ARGV[1])
if not lease or tonumber(lease) > now then return {0, 0, ''} end  -- renewed, or another reaper was first
local m = redis.call('HMGET', KEYS[1], 'state', 'epoch', 'seq', 'dispatch', 'cancel', 'deadline', 'claimed',
  'restarts', 'grace')
if not m[1] or m[1] == 'done' then
  redis.call('ZREM', KEYS[3], ARGV[1])
  return {0, 0, ''}
end
local data, how = nil, nil
if m[5] == '1' then
  data, how = ARGV[6], 'cancelled'
elseif now >= tonumber(m[6]) then
  data, how = ARGV[7], 'timeout'
elseif tonumber(m[4]) >= tonumber(ARGV[2]) or tonumber(m[2]) >= tonumber(ARGV[3]) then
  if m[7] == '0' then data, how = ARGV[8], 'failed' else data, how = ARGV[9], 'lost' end
elseif tonumber(m[3]) > 0 and m[8] ~= '1' then
  data, how = ARGV[9], 'lost'
end
if data then
  local epoch = tonumber(m[2]) + 1
  redis.call('XADD', KEYS[2], epoch .. '-0', 'd', data)
  redis.call('HSET', KEYS[1], 'state', 'done', 'end', how, 'epoch', epoch, 'seq', 0)
  redis.call('EXPIRE', KEYS[2], ARGV[5])
  redis.call('EXPIRE', KEYS[1], ARGV[5])
  redis.call('ZREM', KEYS[3], ARGV[1])
  redis.call('DEL', KEYS[4])
  redis.call('PUBLISH', ARGV[4], epoch .. '-0 ' .. data)
  return {2, 0, ''}
end
local dispatch = redis.call('HINCRBY', KEYS[1], 'dispatch', 1)
redis.call('ZADD', KEYS[3], now + m[9], ARGV[1])
return {3, dispatch, ''}
