-- May this owner run it? Of all copies of a message, one may.
-- KEYS meta stream active request | ARGV task dispatch owner max_attempts ttl_s lease_ms channel reset
local m = redis.call('HMGET', KEYS[1], 'epoch', 'seq', 'state', 'cancel', 'dispatch', 'claimed', 'deadline', 'owner')
if not m[1] then return {-4, 0, 0} end
if m[3] == 'done' then return {-1, 0, 0} end
if m[4] == '1' then return {-7, 0, 0} end
if m[5] ~= ARGV[2] then return {-9, 0, 0} end                     -- an older dispatch, delivered late
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
if tonumber(m[6]) >= tonumber(ARGV[2]) then
  if m[8] == ARGV[3] then return {0, tonumber(m[1]), tonumber(m[7]) - now} end -- the reply to our first try was lost
  return {-10, 0, 0}                                              -- the same message, delivered twice
end
if now >= tonumber(m[7]) then return {-11, 0, 0} end
if tonumber(m[1]) >= tonumber(ARGV[4]) then return {-8, 0, 0} end
local epoch = tonumber(m[1]) + 1
redis.call('HSET', KEYS[1], 'epoch', epoch, 'seq', 0, 'claimed', ARGV[2], 'owner', ARGV[3], 'state', 'run',
  'started', now)
redis.call('EXPIRE', KEYS[1], ARGV[5])
redis.call('EXPIRE', KEYS[4], ARGV[5])
redis.call('ZADD', KEYS[3], now + ARGV[6], ARGV[1])
if tonumber(m[2]) > 0 then                                        -- frames of a dead attempt are out: say so
  redis.call('XADD', KEYS[2], epoch .. '-0', 'd', ARGV[8])
  redis.call('EXPIRE', KEYS[2], ARGV[5])
  redis.call('PUBLISH', ARGV[7], epoch .. '-0 ' .. ARGV[8])
end
return {1, epoch, tonumber(m[7]) - now}
