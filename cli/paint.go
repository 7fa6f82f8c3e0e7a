package cli

// painter colours text for a terminal, and leaves it alone elsewhere.
type painter struct{ on bool }

func (p painter) good(s string) string { return p.sgr("32", s) }
func (p painter) bad(s string) string  { return p.sgr("31", s) }
func (p painter) warn(s string) string { return p.sgr("33", s) }
func (p painter) bold(s string) string { return p.sgr("1", s) }

func (p painter) sgr(code, s string) string {
	if !p.on {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}
