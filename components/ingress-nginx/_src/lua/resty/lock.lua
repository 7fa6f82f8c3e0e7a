-- A lock in a shared dictionary.
--   new(dictionary, {timeout, exptime, step} in seconds), lock(key) → seconds waited |
--   nil, reason; unlock() → 1 | nil, reason
local _M = {}
local mt = { __index = _M }

function _M.new(_, name, opts)
  local dict = ngx.shared[name]
  if not dict then return nil, "dictionary not found" end
  opts = opts or {}
  return setmetatable({
    dict = dict,
    timeout = opts.timeout or 5,
    exptime = opts.exptime or 30,
    step = opts.step or 0.001,
  }, mt)
end

function _M.lock(self, key)
  if self.key then return nil, "locked" end
  local waited = 0
  while true do
    local ok, err = self.dict:add(key, true, self.exptime)
    if ok then
      self.key = key
      return waited
    end
    if err ~= "exists" then return nil, err end
    if waited >= self.timeout then return nil, "timeout" end
    ngx.sleep(self.step)
    waited = waited + self.step
  end
end

function _M.unlock(self)
  if not self.key then return nil, "unlocked" end
  self.dict:delete(self.key)
  self.key = nil
  return 1
end

return _M
