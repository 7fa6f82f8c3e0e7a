package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"netlab.dev/netlab/internal/hint"
	"netlab.dev/netlab/labs"
)

// Exit codes. A command that ran in a machine passes its exit status on (exitStatus).
const (
	exitOK    = 0 // all paths as expected
	exitPath  = 1 // a path failed or was broken
	exitFault = 2 // any other error: the lab file, the usage or the machine
)

// printError prints an error with its hints and returns the exit code for it.
func printError(w io.Writer, paint painter, err error) int {
	var status exitStatus
	var problems labs.Problems
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &status):
		return status.code // already printed, by the verb or by the program it ran
	case errors.As(err, &problems):
		reportProblems(w, problems)
		return exitFault
	case errors.Is(err, syscall.EPIPE):
		return exitFault // nobody reads any more
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

// reportProblems prints the problems of a lab file as FILE:LINE, as compilers do.
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

// painterFor colours a stream only where it is a terminal and neither NO_COLOR nor TERM=dumb is set.
func painterFor(w io.Writer) painter {
	return painter{on: width(w) > 0 && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"}
}
