-- Stands where the library of this name would be: the global rate limit does not work in this build.
return {
  new = function() return nil, "global_throttle is not in this build" end,
}
