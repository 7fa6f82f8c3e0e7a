package cli

import (
	"fmt"

	"github.com/spf13/cobra"
)

func (a *app) lockCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "lock FILE...",
		Short: "Write the versions and digests of a lab's software next to its file, for `up` to use",
		Long: "Write FILE.lock: the version of every component and the digest and source of every image, layer,\n" +
			"build and chart of the lab. What the cache lacks is obtained first. With a lock next to the file,\n" +
			"`up` and `plan` use exactly that, or list what differs and stop before anything is created. Run\n" +
			"it again to lock what the file gives now.",
		Example: "  netlab lock lab.yaml\n  git add lab.yaml lab.yaml.lock",
		Args:    between(1, many),
		RunE: func(cmd *cobra.Command, args []string) error {
			unlocked := *a
			unlocked.engine = a.engine.Unlocked()
			files, sets, err := unlocked.resolveAll(args)
			if err != nil {
				return err
			}
			shown := a.progress()
			defer shown.Close()
			for n, file := range files {
				locked, err := a.engine.Lock(cmd.Context(), file, buildVersion().Version, sets[n], shown)
				if err != nil {
					return err
				}
				switch {
				case locked.Fresh:
					fmt.Fprintf(a.stdout, "%s: %d entries\n", locked.File, locked.Entries)
				case len(locked.Changed) == 0:
					fmt.Fprintf(a.stdout, "%s: %d entries, as before\n", locked.File, locked.Entries)
				default:
					fmt.Fprintf(a.stdout, "%s: %d entries; compared with the earlier lock\n", locked.File, locked.Entries)
					for _, line := range locked.Changed {
						fmt.Fprintln(a.stdout, "  "+line)
					}
				}
			}
			return nil
		},
	}
}
