package artifacts

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"netlab.dev/netlab/components"
)

// debian installs packages and returns their directory: a whole root file system, or the
// changes if they were installed over another layer.
func (o obtaining) debian(ctx context.Context, d components.Debian, i item, dir string) (string, error) {
	if d.Over != "" {
		return o.debianOver(ctx, d, i, dir)
	}
	if _, err := exec.LookPath("mmdebstrap"); err != nil {
		return "", missing{"mmdebstrap", "mmdebstrap", "makes " + i.name}
	}
	root := filepath.Join(dir, "root")
	argv := apart("mmdebstrap", "--mode=root", "--variant=minbase", "--format=directory",
		// usr-is-merged instead of the tool that merges, which brings all of perl.
		"--hook-dir=/usr/share/mmdebstrap/hooks/maybe-merged-usr",
		"--include=usr-is-merged,"+strings.Join(d.Packages, ","))
	for _, pattern := range d.Exclude {
		argv = append(argv, "--dpkgopt=path-exclude="+pattern)
	}
	t := tool{argv: append(argv, d.Suite, root), log: o.log(i),
		env: []string{"SOURCE_DATE_EPOCH=0", "LC_ALL=C.UTF-8", "TMPDIR=" + dir}}
	if err := t.run(ctx); err != nil {
		return "", err
	}
	// The host's own, at the time of the build.
	for _, f := range []string{"etc/hostname", "etc/resolv.conf"} {
		if err := os.RemoveAll(filepath.Join(root, f)); err != nil {
			return "", err
		}
	}
	return root, nil
}

// installOver runs apt inside an overlay ($1 upper, $2 work, $3 mount point, $4 lower
// directories, the rest packages). Its lists and caches are on tmpfs, so that the
// upper directory gets only what was installed.
const installOver = `set -e
upper=$1 work=$2 root=$3 lower=$4; shift 4
mount -t overlay -o "lowerdir=$lower,upperdir=$upper,workdir=$work" overlay "$root"
mount -t proc proc "$root/proc"
for d in dev run tmp var/lib/apt/lists var/cache/apt var/log; do mount -t tmpfs -o mode=1777 tmpfs "$root/$d"; done
mkdir -p "$root/var/cache/apt/archives/partial" "$root/var/lib/apt/lists/partial"
for d in null zero full random urandom; do : >"$root/dev/$d"; mount --bind "/dev/$d" "$root/dev/$d"; done
printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d" # start no daemon
chmod +x "$root/usr/sbin/policy-rc.d"
cp -L /etc/resolv.conf "$root/etc/resolv.conf"
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8
chroot "$root" apt-get -q update
chroot "$root" apt-get -q -y -o APT::Sandbox::User=root --no-install-recommends install "$@"
rm -f "$root/etc/resolv.conf" "$root/usr/sbin/policy-rc.d" "$root/var/cache/debconf/"*-old "$root/var/lib/dpkg/"*-old "$root/var/cache/ldconfig/aux-cache"
`

func (o obtaining) debianOver(ctx context.Context, d components.Debian, i item, dir string) (string, error) {
	lower, err := o.unpacked(ctx, d.Over)
	if err != nil {
		return "", err
	}
	argv := append([]string{}, "sh", "-c", installOver, "sh")
	for _, sub := range []string{"root", "work", "mnt"} {
		p := filepath.Join(dir, sub)
		if err := os.Mkdir(p, 0o755); err != nil {
			return "", err
		}
		argv = append(argv, p)
	}
	t := tool{argv: append(append(apart(argv...), lower), d.Packages...), log: o.log(i)}
	if err := t.run(ctx); err != nil {
		return "", fmt.Errorf("install over %s: %w", d.Over, err)
	}
	for _, sub := range []string{"work", "mnt"} {
		if err := os.RemoveAll(filepath.Join(dir, sub)); err != nil {
			return "", err
		}
	}
	return filepath.Join(dir, "root"), nil
}
