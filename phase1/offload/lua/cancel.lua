-- Ask its owner to stop; close it when nobody has it.
-- KEYS meta stream active request | ARGV task user channel control ttl_s cancelled
local m = redis.call('HMGET', KEYS[1], 'user', 'state', 'epoch', 'dispatch', 'claimed', 'readers')
if not m[1] or m[1] ~= ARGV[2] then return {-4, 0, ''} end        -- unknown and not yours look the same
if m[2] == 'done' then return {0, 0, ''} end
if tonumber(m[6]) > 1 then
  redis.call('HINCRBY', KEYS[1], 'readers', -1)
  return {5, 0, ''}
end
redis.call('HSET', KEYS[1], 'cancel', '1')
if tonumber(m[5]) < tonumber(m[4]) then
  local epoch = tonumber(m[3]) + 1                                -- a new one: should an owner wake up, it is fenced
  redis.call('XADD', KEYS[2], epoch .. '-0', 'd', ARGV[6])
  redis.call('HSET', KEYS[1], 'state', 'done', 'end', 'cancelled', 'epoch', epoch, 'seq', 0)
  redis.call('EXPIRE', KEYS[2], ARGV[5])
  redis.call('EXPIRE', KEYS[1], ARGV[5])
  redis.call('ZREM', KEYS[3], ARGV[1])
  redis.call('DEL', KEYS[4])
  redis.call('PUBLISH', ARGV[3], epoch .. '-0 ' .. ARGV[6])
  return {2, 0, ''}
end
redis.call('PUBLISH', ARGV[4], ARGV[1])
return {1, 0, ''}
