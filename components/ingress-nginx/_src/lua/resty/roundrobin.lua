-- Smooth weighted round robin: every find() raises each node by its weight, picks the
-- highest, and lowers that one by the sum of weights.
--   new(nodes) of id → weight, find() → id, reinit(nodes)
local _M = {}
local mt = { __index = _M }

local function load(self, nodes)
  self.nodes, self.ids, self.current, self.total = nodes, {}, {}, 0
  for id, weight in pairs(nodes) do
    self.ids[#self.ids + 1] = id
    self.current[id] = 0
    self.total = self.total + weight
  end
  table.sort(self.ids)
  -- A start of its own for every worker: they would all begin with the same node.
  for _ = 1, math.random(0, #self.ids) do self:find() end
end

function _M.new(_, nodes)
  local self = setmetatable({}, mt)
  load(self, nodes)
  return self
end

function _M.reinit(self, nodes)
  load(self, nodes)
end

function _M.find(self)
  local best, highest
  for _, id in ipairs(self.ids) do
    local value = self.current[id] + self.nodes[id]
    self.current[id] = value
    if not highest or value > highest then best, highest = id, value end
  end
  if best then self.current[best] = highest - self.total end
  return best
end

return _M
