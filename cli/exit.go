package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"netlab.dev/netlab/internal/hint"
	"netlab.dev/netlab/labs"
)

// Exit codes. A command run in a machine gives its own (exitStatus).
const (
	exitOK    = 0 // all paths as expected
	exitPath  = 1 // a path failed or was broken
	exitFault = 2 // the spec, the usage or the machine is at fault
)

// printError prints an error for people and gives the exit code that goes with it.
func printError(w io.Writer, paint painter, err error) int {
	var status exitStatus
	var problems labs.Problems
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &status):
		return status.code // told already, by the verb or by the program it ran
	case errors.As(err, &problems):
		reportProblems(w, problems)
		return exitFault
	case errors.Is(err, context.Canceled):
		fmt.Fprintf(w, "%s interrupted\n", paint.bad("error:"))
		return exitFault
	}
	for _, e := range hint.Split(err) {
		fmt.Fprintf(w, "%s %s\n", paint.bad("error:"), e)
		for _, todo := range hint.Of(e) {
			fmt.Fprintf(w, "%s %s\n", paint.bold("hint:"), todo)
		}
	}
	return exitFault
}

// reportProblems prints the mistakes of a lab file as compilers do, for editors to jump to.
func reportProblems(w io.Writer, problems labs.Problems) {
	fmt.Fprintln(w, problems)
	count := "1 problem"
	if len(problems) > 1 {
		count = fmt.Sprintf("%d problems", len(problems))
	}
	if file := problems[0].File; file != "" {
		count += " in " + file
	}
	fmt.Fprintln(w, count+"; nothing was created")
}

// painterFor colours a stream only where it is a terminal and nobody objects.
func painterFor(w io.Writer) painter {
	return painter{on: width(w) > 0 && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"}
}
