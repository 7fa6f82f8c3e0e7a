package cli

import (
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// format is the value of -o: how a result is printed.
type format string

const (
	formatText format = "text"
	formatJSON format = "json"

	formatBenchfmt format = "benchfmt" // of measurements
)

// choice is a flag that takes one of a few formats.
type choice struct {
	value   *format
	allowed []format
}

func (c choice) String() string {
	if c.value == nil { // cobra asks the zero choice for its default
		return ""
	}
	return string(*c.value)
}

func (c choice) Type() string { return "format" }

func (c choice) Set(s string) error {
	if !slices.Contains(c.allowed, format(s)) {
		return errors.New("must be " + c.list())
	}
	*c.value = format(s)
	return nil
}

func (c choice) words() []string {
	words := make([]string, len(c.allowed))
	for i, f := range c.allowed {
		words[i] = string(f)
	}
	return words
}

func (c choice) list() string {
	words := c.words()
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

// outputFlag adds -o to a verb, for text, JSON and more formats.
func outputFlag(cmd *cobra.Command, more ...format) *format {
	return formatFlag(cmd, append([]format{formatText, formatJSON}, more...)...)
}

// formatFlag adds -o to a verb for some formats; the first is the default.
func formatFlag(cmd *cobra.Command, allowed ...format) *format {
	value := allowed[0]
	c := choice{&value, allowed}
	cmd.Flags().VarP(c, "output", "o", "print the result as "+c.list())
	offer(cmd, "output", func(_ *cobra.Command, _ []string, start string) ([]string, cobra.ShellCompDirective) {
		return beginning(start, c.words()), cobra.ShellCompDirectiveNoFileComp
	})
	return &value
}

func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}
