package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"netlab.dev/netlab/internal/hint"
)

// many stands for no limit of between.
const many = 1 << 30

// between accepts from least to most arguments. Its errors carry the verb's usage.
func between(least, most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		n := len(args)
		switch {
		case n >= least && n <= most:
			return nil
		case n == 0 && least > 0:
			return usageError(cmd, fmt.Errorf("%s requires %s", cmd.Name(), wanted(cmd)))
		case n < least && most == many:
			return usageError(cmd, fmt.Errorf("%s requires at least %s, received %d", cmd.Name(), counted(least), n))
		case n < least:
			return usageError(cmd, fmt.Errorf("%s requires %s, received %d", cmd.Name(), counted(least), n))
		case most == 0:
			return usageError(cmd, fmt.Errorf("%s accepts no arguments, received %d", cmd.Name(), n))
		case least < most:
			return usageError(cmd, fmt.Errorf("%s accepts at most %s, received %d", cmd.Name(), counted(most), n))
		}
		return usageError(cmd, fmt.Errorf("%s accepts %s, received %d", cmd.Name(), counted(most), n))
	}
}

func counted(n int) string {
	if n == 1 {
		return "1 argument"
	}
	return fmt.Sprintf("%d arguments", n)
}

// wanted lists the required arguments of a verb's usage line.
func wanted(cmd *cobra.Command) string {
	named := map[string]string{"LAB": "a lab", "FILE": "a lab file", "LAB|FILE": "a lab or a lab file", "FILE...": "a lab file", "BUNDLE": "a bundle",
		"MACHINE": "a machine", "MACHINE...": "a machine", "MACHINE[:NIC]...": "a machine", "SETTING...": "a setting", "NAME": "a name", "COMMAND": "a command", "ARG...": "arguments", "IMAGE.tar": "an image archive", "FROM": "where from", "TO": "where to"}
	var words []string
	for _, word := range strings.Fields(cmd.Use)[1:] {
		if strings.HasPrefix(word, "[") {
			break
		}
		if word != "--" {
			words = append(words, named[word])
		}
	}
	last := len(words) - 1
	if last < 1 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:last], ", ") + " and " + words[last]
}

// usageError adds the verb's usage as a hint.
func usageError(cmd *cobra.Command, err error) error {
	return hint.With(err, fmt.Sprintf("usage: %s; see --help", strings.TrimSuffix(cmd.UseLine(), " [flags]")))
}
