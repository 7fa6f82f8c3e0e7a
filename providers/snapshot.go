package providers

import (
	"context"
	"time"

	"netlab.dev/netlab/topology"
)

// Snapshotter is a Provider that can restore a lab: memory and disks of all its Nodes at one
// moment. Outside hosts have nothing to restore.
type Snapshotter interface {
	// Save takes a named snapshot of a running lab, which then continues.
	Save(ctx context.Context, plan topology.Plan, dir, name string) error
	// Restore restores a snapshot, whatever the current state of the lab.
	Restore(ctx context.Context, plan topology.Plan, dir, name string) error
	// Snapshots lists the snapshots of a lab, the oldest first.
	Snapshots(dir string) ([]Snapshot, error)
}

// Snapshot describes a saved snapshot.
type Snapshot struct {
	Name    string    `json:"name"`
	Created time.Time `json:"created"`
	Bytes   int64     `json:"bytes"` // of saved memory
}
