-- Stands where the library of this name would be: resolving ExternalName backends does not work in this build.
return { TYPE_A = 1, TYPE_AAAA = 28,
  new = function() return nil, "dns.resolver is not in this build" end,
}
