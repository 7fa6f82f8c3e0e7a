// Package shell writes commands so that a POSIX shell reads them back the same: in errors
// and reports, for a reader to paste, and for sshd, which passes them to a shell.
package shell

import "strings"

// special holds the characters that are not themselves in a POSIX shell's word (XCU 2.2).
const special = " \t\r\n\"'`$&|;<>()*?[]#~!{}\\"

// Join writes the words of a command, quoted where they need it.
func Join(words ...string) string {
	quoted := make([]string, len(words))
	for i, word := range words {
		quoted[i] = word
		if word == "" || strings.ContainsAny(word, special) || i == 0 && strings.Contains(word, "=") { // a program, not an assignment
			quoted[i] = "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
		}
	}
	return strings.Join(quoted, " ")
}
