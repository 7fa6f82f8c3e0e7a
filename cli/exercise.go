package cli

import (
	"context"
	"fmt"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"netlab.dev/netlab/exercises"
	"netlab.dev/netlab/internal/engine"
)

// exerciseFlags are those of all verbs of `netlab exercise`.
type exerciseFlags struct {
	dir    *string
	output *format
}

func (a *app) exerciseCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "exercise",
		Short: "Break a lab, find what is wrong with it, mend it",
		Long: "Exercises: a lab that works is broken, its users complain, and you find out why and mend it.\n" +
			"`check` says which paths are not as expected, and not why; `netlab verify`, `netlab trace` and\n" +
			"all other verbs work as always. A solution that takes away more than the fault is none.\n\n" +
			"An exercise is a file NAME.yaml of a folder: --dir, else $NETLAB_EXERCISES, else\n" +
			"scenarios/exercises. docs/exercises.md says how to write one.",
		Example: "  netlab exercise list\n  netlab exercise start policy-wrong-label\n  netlab exercise hint policy-wrong-label\n" +
			"  netlab exercise check policy-wrong-label\n  netlab exercise next policy-wrong-label",
	}
	dir := c.PersistentFlags().String("dir", "", "the `folder` of the exercises")
	offer(c, "dir", directories)
	type verb struct {
		use, short string
		act        func(ctx context.Context, ex exercises.Exercise, shown *progress) (engine.ExerciseStatus, error)
		print      func(engine.ExerciseStatus)
	}
	for _, v := range []verb{
		{"start", "Bring an exercise's lab up, and break it", func(ctx context.Context, ex exercises.Exercise, shown *progress) (engine.ExerciseStatus, error) {
			return a.engine.StartExercise(ctx, ex, shown)
		}, a.printStory},
		{"hint", "Show one more hint; each costs a part of the score", func(_ context.Context, ex exercises.Exercise, _ *progress) (engine.ExerciseStatus, error) {
			return a.engine.HintExercise(ex)
		}, a.printHints},
		{"check", "Say what is still wrong; exit status 1 if something is", func(ctx context.Context, ex exercises.Exercise, shown *progress) (engine.ExerciseStatus, error) {
			return a.engine.CheckExercise(ctx, ex, shown)
		}, a.printCheck},
		{"solve", "Mend the lab, and say what was wrong", func(ctx context.Context, ex exercises.Exercise, shown *progress) (engine.ExerciseStatus, error) {
			return a.engine.SolveExercise(ctx, ex, shown)
		}, func(s engine.ExerciseStatus) { fmt.Fprintln(a.stdout, strings.TrimSpace(s.Solution)) }},
		{"reset", "Bring the lab back to where the exercise starts", func(ctx context.Context, ex exercises.Exercise, shown *progress) (engine.ExerciseStatus, error) {
			return a.engine.ResetExercise(ctx, ex, shown)
		}, a.printStory},
	} {
		sub := &cobra.Command{Use: v.use + " NAME", Short: v.short, Args: between(1, 1)}
		flags := exerciseFlags{dir, outputFlag(sub)}
		sub.RunE = func(cmd *cobra.Command, args []string) error {
			ex, err := a.engine.Exercise(flags.folder(), args[0])
			if err != nil {
				return err
			}
			shown := a.progress()
			status, err := v.act(cmd.Context(), ex, shown)
			shown.Close()
			if err != nil {
				return err
			}
			if err := a.exercised(*flags.output, status, v.print); err != nil {
				return err
			}
			if v.use == "check" && !status.Solved {
				return exitStatus{exitPath}
			}
			return nil
		}
		sub.ValidArgsFunction = a.exerciseNames(flags)
		c.AddCommand(sub)
	}
	c.AddCommand(a.exerciseNext(dir), a.exerciseList(dir), a.exerciseValidate(dir), a.exerciseSchema())
	return c
}

// folder is where the exercises are.
func (f exerciseFlags) folder() string {
	if *f.dir != "" {
		return *f.dir
	}
	if dir := os.Getenv("NETLAB_EXERCISES"); dir != "" {
		return dir
	}
	return "scenarios/exercises"
}

func (a *app) exerciseNames(flags exerciseFlags) cobra.CompletionFunc {
	return func(_ *cobra.Command, args []string, start string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		names, _ := exercises.Names(flags.folder())
		return beginning(start, names), cobra.ShellCompDirectiveNoFileComp
	}
}

// exercised prints what became of an exercise.
func (a *app) exercised(output format, status engine.ExerciseStatus, text func(engine.ExerciseStatus)) error {
	if output == formatJSON {
		return printJSON(a.stdout, status)
	}
	text(status)
	return nil
}

func (a *app) printStory(s engine.ExerciseStatus) {
	fmt.Fprintf(a.stdout, "%s: %s (%d minutes)\n\n%s\n", s.Exercise, s.Title, s.Minutes, strings.TrimSpace(s.Story))
	fmt.Fprintf(a.stderr, "\n  look:  netlab kubectl %s -- get pods -A\n  check: netlab exercise check %s\n  hint:  netlab exercise hint %s\n", s.Lab, s.Exercise, s.Exercise)
}

func (a *app) printHints(s engine.ExerciseStatus) {
	for i, h := range s.Hints {
		fmt.Fprintf(a.stdout, "%d of %d: %s\n", i+1, s.HintsOf, strings.TrimSpace(h))
	}
}

func (a *app) printCheck(s engine.ExerciseStatus) {
	for _, w := range s.Wrong {
		fmt.Fprintf(a.stdout, "✗ %s\n", w)
	}
	took := time.Duration(s.Seconds) * time.Second
	if !s.Solved {
		fmt.Fprintf(a.stdout, "%s is not solved: %s, %s of %d minutes\n", s.Exercise, counting(len(s.Wrong), "path is", "paths are")+" not as expected", took, s.Minutes)
		return
	}
	fmt.Fprintf(a.stdout, "%s is solved: score %d, %s, %s, %s\n\n%s\n", s.Exercise, s.Score, took,
		counting(len(s.Hints), "hint", "hints"), counting(s.Checks, "check before", "checks before"), strings.TrimSpace(s.Solution))
}

func counting(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

func (a *app) exerciseNext(dir *string) *cobra.Command {
	c := &cobra.Command{Use: "next NAME", Short: "Take an exercise back, and start the one after it", Args: between(1, 1)}
	flags := exerciseFlags{dir, outputFlag(c)}
	c.RunE = func(cmd *cobra.Command, args []string) error {
		ex, err := a.engine.Exercise(flags.folder(), args[0])
		if err != nil {
			return err
		}
		shown := a.progress()
		_, status, err := a.engine.NextExercise(cmd.Context(), flags.folder(), ex, shown)
		shown.Close()
		if err != nil {
			return err
		}
		return a.exercised(*flags.output, status, a.printStory)
	}
	c.ValidArgsFunction = a.exerciseNames(flags)
	return c
}

func (a *app) exerciseList(dir *string) *cobra.Command {
	c := &cobra.Command{Use: "list", Short: "List the exercises of a folder, and how far they got", Args: between(0, 0)}
	flags := exerciseFlags{dir, outputFlag(c)}
	c.RunE = func(*cobra.Command, []string) error {
		all, err := a.engine.Exercises(flags.folder())
		if err != nil {
			return err
		}
		rows := []engine.ExerciseStatus{}
		for _, ex := range all {
			status, err := a.engine.ExerciseStatus(ex)
			if err != nil {
				return err
			}
			rows = append(rows, status)
		}
		if *flags.output == formatJSON {
			return printJSON(a.stdout, rows)
		}
		w := tabwriter.NewWriter(a.stdout, 0, 0, 3, ' ', 0)
		fmt.Fprintln(w, "EXERCISE\tCHAPTER\tLAB\tMINUTES\tPHASE\tTITLE")
		for _, s := range rows {
			fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\t%s\n", s.Exercise, s.Chapter, s.Lab, s.Minutes, s.Phase, s.Title)
		}
		return w.Flush()
	}
	return c
}

func (a *app) exerciseValidate(dir *string) *cobra.Command {
	c := &cobra.Command{Use: "validate [NAME]", Short: "Check exercise files, all of the folder without a name", Args: between(0, 1)}
	flags := exerciseFlags{dir: dir}
	c.RunE = func(_ *cobra.Command, args []string) error {
		var all []exercises.Exercise
		var err error
		if len(args) == 0 {
			all, err = a.engine.Exercises(flags.folder())
		} else {
			var ex exercises.Exercise
			ex, err = a.engine.Exercise(flags.folder(), args[0])
			all = append(all, ex)
		}
		if err != nil {
			return err
		}
		for _, ex := range all {
			fmt.Fprintf(a.stdout, "%s is valid\n", ex.Name)
		}
		return nil
	}
	c.ValidArgsFunction = a.exerciseNames(flags)
	return c
}

func (a *app) exerciseSchema() *cobra.Command {
	return &cobra.Command{Use: "schema", Short: "Print the JSON Schema of exercise files", Args: between(0, 0),
		RunE: func(*cobra.Command, []string) error {
			schema, err := exercises.Schema(a.engine.ExerciseKnown())
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(a.stdout, "%s\n", schema)
			return err
		}}
}
