package fabric

import (
	"context"
	"errors"
	"fmt"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"netlab.dev/netlab/labs"
)

// Delete removes every namespace and link of the lab, found by name. It tries each
// step and joins the errors. Links go first and by hand: a process or a socket may
// keep a namespace alive that has lost its name. Deleting what is not there is no error.
func Delete(ctx context.Context, lab labs.Name) error {
	if err := lab.Check(); err != nil {
		return err
	}
	unlock, err := lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	names, err := pins(lab)
	errs := []error{err}
	if pinned(Name(lab, "")) {
		errs = append(errs, Enter(lab, "", func() error { return withSpace(removeLinks) }))
	}
	errs = append(errs, withSpace(func(own *space) error { return removeHostEnd(own, lab) }))
	for _, name := range names {
		errs = append(errs, unpin(name))
	}
	return errors.Join(append(errs, releaseDir())...)
}

// linkGroup is the group of all links that netlab makes in a fabric, so that they can
// be removed in one request: removed one by one, each waits some 30 ms for the kernel
// to be sure that no packet still uses it.
const linkGroup = 110

// removeLinks empties the fabric. The ends inside the machines go with their ports.
// What the kernel itself puts into each new namespace (tunl0, sit0) cannot be removed.
func removeLinks(s *space) error {
	all := nl.NewNetlinkRequest(unix.RTM_DELLINK, unix.NLM_F_ACK)
	all.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
	all.AddData(nl.NewRtAttr(unix.IFLA_GROUP, nl.Uint32Attr(linkGroup)))
	_, err := all.Execute(unix.NETLINK_ROUTE, 0)
	errs := []error{gone(err)}
	left, err := retryDump(s.LinkList)
	errs = append(errs, err)
	for _, l := range left {
		if t := l.Type(); t != "veth" && t != "bridge" {
			continue
		}
		if err := gone(s.LinkDel(l)); err != nil {
			errs = append(errs, fmt.Errorf("remove %s: %w", l.Attrs().Name, err))
		}
	}
	return errors.Join(errs...)
}
