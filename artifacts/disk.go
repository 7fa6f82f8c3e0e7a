package artifacts

import (
	"context"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"netlab.dev/netlab/components"
)

// rootModules lead to the root disk, and to entropy and the network.
var rootModules = []string{"crc32c_generic", "virtio_pci", "virtio_blk", "ext4", "virtio_rng", "virtio_net"}

// makeRoot makes an ext4 image ($1) of overlay layers ($2) with a containerd root ($3)
// and netlab ($4) in it; $5 is a directory to work in. The inode tables are written now,
// so that no guest has to. Large files that are the same (Kubernetes' program is in the
// node image and in two layers of images) become one file with several names: a machine
// reads it once, and an emulated one translates it once for all processes.
const makeRoot = `set -e
image=$1 lower=$2 store=$3 self=$4 dir=$5
mkdir "$dir/mnt" "$dir/upper" "$dir/work"
cp -al "$store" "$dir/store"
mount -t overlay -o "lowerdir=$lower,upperdir=$dir/upper,workdir=$dir/work" overlay "$dir/mnt"
mkdir -p "$dir/mnt/var/lib/containerd" "$dir/mnt/usr/local/bin"
cp "$self" "$dir/mnt/usr/local/bin/netlab"
rm -rf "$dir/mnt/boot"/*

large() { find "$1" -xdev -type f -size +4096k -printf '%s %p\n'; }
once=
size=0
large "$dir/store" | sort -n | while read -r bytes file; do
  if [ "$bytes" = "$size" ] && cmp -s "$once" "$file"; then ln -f "$once" "$file"; continue; fi
  size=$bytes once=$file
  echo "$size $once"
done >"$dir/once"
large "$dir/mnt" | while read -r bytes file; do
  while read -r size once; do
    if [ "$bytes" = "$size" ] && cmp -s "$once" "$file"; then mount --bind "$once" "$file"; break; fi
  done <"$dir/once"
done

mount --bind "$dir/store" "$dir/mnt/var/lib/containerd"
kib=$(du -sk "$dir/mnt" | cut -f1)
mke2fs -q -F -t ext4 -b 4096 -i 16384 -m 0 -L netlab -E lazy_itable_init=0,lazy_journal_init=0 -J size=32 -d "$dir/mnt" "$image" $((kib * 112 / 100 + 131072))k
`

// disk returns what virtual machines boot from. The component has the kernel in a layer
// "kernel" and the initramfs's first program in a build "stage1".
func (o obtaining) disk(ctx context.Context, k components.Component, artifacts components.Artifacts) (components.Disk, error) {
	kernel, err := o.unpacked(ctx, k.Name+"/kernel")
	if err != nil {
		return components.Disk{}, err
	}
	stage1, err := o.output(k.Name + "/stage1")
	if err != nil {
		return components.Disk{}, err
	}
	built, err := o.build(ctx, stage1)
	if err != nil {
		return components.Disk{}, err
	}
	// The kernel's layer is over the Debian base that both share.
	lower := slices.Insert(slices.Clone(artifacts.Rootfs), len(artifacts.Rootfs)-1, kernel)
	i := item{inDisks, "guest", keyOf(lower, artifacts.Store, o.selfHash, filepath.Base(built), makeRoot, rootModules)}
	dir, err := o.keep(ctx, i, func(dir string, rec *record) (err error) {
		done := o.step("make the disk of virtual machines")
		defer func() { done(err) }()
		rec.Self = o.selfHash
		found, err := filepath.Glob(filepath.Join(kernel, "boot", "vmlinuz-*"))
		if err != nil || len(found) != 1 {
			return fmt.Errorf("expected one kernel in %s/boot, found %v", kernel, found)
		}
		if err := linkOrCopy(found[0], filepath.Join(dir, "kernel")); err != nil {
			return err
		}
		release := strings.TrimPrefix(filepath.Base(found[0]), "vmlinuz-")
		if err := writeInitrd(filepath.Join(dir, "initrd"), filepath.Join(built, "bin", "stage1"), filepath.Join(kernel, "usr", "lib", "modules", release)); err != nil {
			return fmt.Errorf("make the initramfs: %w", err)
		}
		scratch := filepath.Join(dir, "scratch")
		if err := os.Mkdir(scratch, 0o755); err != nil {
			return err
		}
		t := tool{argv: apart("sh", "-c", makeRoot, "sh", filepath.Join(dir, "root.img"), strings.Join(lower, ":"), artifacts.Store, o.selfPath, scratch), log: o.log(i)}
		if err := t.run(ctx); err != nil {
			return err
		}
		return os.RemoveAll(scratch)
	})
	if err != nil {
		return components.Disk{}, err
	}
	return components.Disk{Kernel: filepath.Join(dir, "kernel"), Initrd: filepath.Join(dir, "initrd"), Root: filepath.Join(dir, "root.img")}, nil
}

// writeInitrd packs a first program and the modules it loads.
func writeInitrd(to, first, modules string) error {
	order, err := loadOrder(modules, rootModules)
	if err != nil {
		return err
	}
	w := &cpio{}
	for _, d := range []string{"dev", "modules"} {
		w.dir(d)
	}
	// The kernel opens it for its first program before anything is mounted.
	w.device("dev/console", 5, 1)
	data, err := os.ReadFile(first)
	if err != nil {
		return err
	}
	w.file("init", 0o755, data)
	var names []string
	for _, m := range order {
		data, err := os.ReadFile(filepath.Join(modules, m))
		if err != nil {
			return err
		}
		names = append(names, path.Base(m))
		w.file("modules/"+path.Base(m), 0o644, data)
	}
	w.file("modules/order", 0o644, []byte(strings.Join(names, "\n")+"\n"))
	return os.WriteFile(to, w.bytes(), 0o644)
}

// loadOrder returns the files of modules, below their directory, each after those it requires.
// Built-in modules are left out.
func loadOrder(dir string, wanted []string) ([]string, error) {
	text, err := os.ReadFile(filepath.Join(dir, "modules.dep"))
	if err != nil {
		return nil, err
	}
	builtin, err := os.ReadFile(filepath.Join(dir, "modules.builtin"))
	if err != nil {
		return nil, err
	}
	files, needs := map[string]string{}, map[string][]string{}
	for line := range strings.Lines(string(text)) {
		file, deps, _ := strings.Cut(strings.TrimSpace(line), ":")
		name := moduleName(file)
		files[name] = file
		for _, d := range strings.Fields(deps) {
			needs[name] = append(needs[name], moduleName(d))
		}
	}
	inKernel := map[string]bool{}
	for line := range strings.Lines(string(builtin)) {
		inKernel[moduleName(strings.TrimSpace(line))] = true
	}
	var order []string
	seen := map[string]bool{}
	var add func(name string) error
	add = func(name string) error {
		if seen[name] || inKernel[name] {
			return nil
		}
		seen[name] = true
		for _, d := range needs[name] {
			if err := add(d); err != nil {
				return err
			}
		}
		if files[name] == "" {
			return fmt.Errorf("kernel module %s not found", name)
		}
		order = append(order, files[name])
		return nil
	}
	for _, name := range wanted {
		if err := add(name); err != nil {
			return nil, err
		}
	}
	return order, nil
}

// moduleName normalizes a name: to the kernel, - and _ are the same.
func moduleName(file string) string {
	name, _, _ := strings.Cut(path.Base(file), ".ko")
	return strings.ReplaceAll(name, "-", "_")
}
