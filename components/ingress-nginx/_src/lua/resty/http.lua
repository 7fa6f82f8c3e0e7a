-- Stands where the library of this name would be: OCSP stapling does not work in this build.
return {
  new = function() return nil, "http is not in this build" end,
}
