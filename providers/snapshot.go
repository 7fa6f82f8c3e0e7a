package providers

import (
	"context"
	"time"

	"netlab.dev/netlab/topology"
)

// Snapshotter is a Provider that can put a whole lab back to how it was: memory and disks
// of all its Nodes at one moment. Outside hosts have nothing to put back.
type Snapshotter interface {
	// Save keeps a lab that runs under a name, and lets it go on.
	Save(ctx context.Context, plan topology.Plan, dir, name string) error
	// Restore puts the lab back to a snapshot, whatever it does now.
	Restore(ctx context.Context, plan topology.Plan, dir, name string) error
	// Snapshots lists a lab's, the oldest first.
	Snapshots(dir string) ([]Snapshot, error)
}

// Snapshot is one that was saved.
type Snapshot struct {
	Name    string    `json:"name"`
	Created time.Time `json:"created"`
	Bytes   int64     `json:"bytes"` // of memory that was written out
}
