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
// step and joins the errors. Links are removed first and explicitly, since a process or a
// socket may keep an unpinned namespace alive. A lab that does not exist is not an error.
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

// linkGroup is the group of all links that netlab creates in a fabric, so that they can
// be removed in one request: removed one by one, each takes about 30 ms, until no packet uses
// it any more.
const linkGroup = 110

// removeLinks removes all links of the fabric. The peers in the machines are removed with
// their ports. What the kernel creates in each new namespace (tunl0, sit0) cannot be removed.
func removeLinks(s *space) error {
	all := nl.NewNetlinkRequest(unix.RTM_DELLINK, unix.NLM_F_ACK)
	all.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
	all.AddData(nl.NewRtAttr(unix.IFLA_GROUP, nl.Uint32Attr(linkGroup)))
	_, err := all.Execute(unix.NETLINK_ROUTE, 0)
	errs := []error{ignoreNotFound(err)}
	left, err := retryDump(s.LinkList)
	errs = append(errs, err)
	for _, l := range left {
		if t := l.Type(); t != "veth" && t != "bridge" {
			continue
		}
		if err := ignoreNotFound(s.LinkDel(l)); err != nil {
			errs = append(errs, fmt.Errorf("remove %s: %w", l.Attrs().Name, err))
		}
	}
	return errors.Join(errs...)
}
