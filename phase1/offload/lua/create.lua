-- Enter a task, unless another one stands for it.
-- KEYS meta request active idempotency flight
-- ARGV task user kind request ttl_s grace_ms deadline_ms restarts digest idempotency_ttl_s flight_ms leader
if redis.call('EXISTS', KEYS[1]) == 1 then return {0, ARGV[1]} end
if ARGV[9] ~= '' then
  local held = redis.call('HMGET', KEYS[4], 'task', 'digest')
  if held[1] then
    if held[2] == ARGV[9] then return {4, held[1]} end
    return {-12, ''}
  end
end
if ARGV[11] ~= '0' then
  local leader = redis.call('GET', KEYS[5])
  if leader and leader ~= ARGV[12] then return {-13, leader} end
end
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
redis.call('HSET', KEYS[1], 'user', ARGV[2], 'kind', ARGV[3], 'state', 'queued', 'end', '', 'epoch', 0, 'seq', 0,
  'bytes', 0, 'cancel', '', 'dispatch', 1, 'claimed', 0, 'owner', '', 'grace', ARGV[6], 'restarts', ARGV[8],
  'readers', 1, 'deadline', now + ARGV[7], 'created', now, 'started', 0)
redis.call('EXPIRE', KEYS[1], ARGV[5])
redis.call('SET', KEYS[2], ARGV[4], 'EX', ARGV[5])
redis.call('ZADD', KEYS[3], now + ARGV[6], ARGV[1])
if ARGV[9] ~= '' then
  redis.call('HSET', KEYS[4], 'task', ARGV[1], 'digest', ARGV[9])
  redis.call('EXPIRE', KEYS[4], ARGV[10])
end
if ARGV[11] ~= '0' then redis.call('SET', KEYS[5], ARGV[1], 'PX', ARGV[11]) end
return {1, ARGV[1]}
