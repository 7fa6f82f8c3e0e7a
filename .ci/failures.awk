# Prints what the failed tests printed, from the output of `go test -v`.
/^=== (RUN|NAME|CONT) / { test = $3; next }
/^=== / { next }
/^ *--- (PASS|SKIP): / { test = ""; next }
/^ *--- FAIL: / { failed[++n] = $3; test = $3 }
/^(PASS|FAIL|ok|panic:)/ { test = "" }
test != "" { said[test] = said[test] $0 "\n" }
END { for (i = 1; i <= n; i++) printf "%s", said[failed[i]] }
