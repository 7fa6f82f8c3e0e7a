package artifacts

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// importImages runs containerd ($1 containerd, $2 ctr, $3 its root) just long enough
// to import the archive on standard input. /run is its own, so that it meets no
// other containerd.
const importImages = startContainerd + importStdin + endContainerd

const startContainerd = `set -e
containerd=$1 ctr=$2 root=$3
mount -t tmpfs tmpfs /run
mkdir /run/containerd
cat >/run/containerd/config.toml <<EOF
version = 4
root = "$root"
state = "/run/containerd"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime",
  "io.containerd.nri.v1.nri", "io.containerd.podsandbox.controller.v1.podsandbox", "io.containerd.internal.v1.tracing"]
EOF
exec 3<&0 </dev/null
"$containerd" --config /run/containerd/config.toml 3<&- &
pid=$!
n=0
until "$ctr" version >/dev/null 2>&1; do
  n=$((n+1)); [ $n -lt 100 ] || { echo "containerd does not answer"; exit 1; }
  kill -0 $pid || { echo "containerd ended"; exit 1; }
  sleep 0.1
done
`

const importStdin = `"$ctr" -n k8s.io images import --local --snapshotter overlayfs - <&3
`

const endContainerd = `kill $pid
wait $pid || true
rm -rf "$root"/*.lock "$root/tmpmounts" "$root/io.containerd.runtime.v2.task" "$root/io.containerd.grpc.v1.introspection"
`

// fillStore returns a containerd root with images. If under is given, the store is a clone of
// that one with the images added.
func (o obtaining) fillStore(ctx context.Context, with importer, pictures []picture, under string) (string, error) {
	i, err := o.storeItem(with, pictures, under)
	if err != nil {
		return "", err
	}
	return o.keep(ctx, i, func(dir string, rec *record) (err error) {
		if pictures[0].self() {
			rec.Self = o.selfHash
		}
		what := "images"
		if len(pictures) == 1 {
			what = pictures[0].ref
		}
		done := o.step("import " + what)
		defer func() { done(err) }()
		if err := refuseOverlay(dir); err != nil {
			return err
		}
		root := filepath.Join(dir, "root")
		if under == "" {
			err = os.Mkdir(root, 0o711)
		} else {
			err = Clone(ctx, filepath.Join(under, "root"), root)
		}
		if err != nil {
			return err
		}
		return o.importInto(ctx, with, pictures, root, o.log(i))
	})
}

func (o obtaining) storeItem(with importer, pictures []picture, under string) (item, error) {
	containerd, err := o.output(containerdBuild)
	if err != nil {
		return item{}, err
	}
	importing, err := containerd.item()
	if err != nil {
		return item{}, err
	}
	if with.over != "" {
		importing.key = with.over
	}
	parts := []any{importing.key, filepath.Base(under), importImages}
	for _, p := range pictures {
		i, err := o.imageItem(p)
		if err != nil {
			return item{}, err
		}
		parts = append(parts, i.key)
	}
	return item{inStores, "images", keyOf(parts...)}, nil
}

// containerdBuild makes the containerd and the ctr that import images.
const containerdBuild = "containerd/containerd"

// importInto imports images into a containerd root.
func (o obtaining) importInto(ctx context.Context, with importer, pictures []picture, root, log string) error {
	var layouts []string
	for _, p := range pictures {
		l, err := o.image(ctx, p)
		if err != nil {
			return err
		}
		layouts = append(layouts, l)
	}
	t := tool{stdin: func() (*os.File, error) { return stream(layouts, root) }, log: log}
	if with.over != "" {
		t.argv = with.inside(root, importImages, "import")
		return t.run(ctx)
	}
	containerd, err := o.output(containerdBuild)
	if err != nil {
		return err
	}
	bin, err := o.build(ctx, containerd)
	if err != nil {
		return err
	}
	t.argv = apart("sh", "-c", importImages, "sh", filepath.Join(bin, "bin", "containerd"), filepath.Join(bin, "bin", "ctr"), root)
	return t.run(ctx)
}

// Clone copies a containerd root by hard links: layers and blobs are immutable, and
// only the databases are copied. To another file system everything is copied, which
// takes seconds and disk, and works.
func Clone(ctx context.Context, from, to string) error {
	err := link(from, to)
	if !errors.Is(err, unix.EXDEV) {
		return err
	}
	if err := os.RemoveAll(to); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "cp", "-a", "--reflink=auto", from, to)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	runtime.LockOSThread() // whose end sends the signal
	defer runtime.UnlockOSThread()
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", commandLine("", cmd.Args), err, out)
	}
	return nil
}

func link(from, to string) error {
	return filepath.WalkDir(from, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, p)
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		switch {
		case d.IsDir():
			return likeDir(p, target)
		case strings.HasSuffix(p, ".db"):
			return copyTree(p, target)
		default:
			return os.Link(p, target)
		}
	})
}

// likeDir makes a directory with the owner, mode and extended attributes of another:
// overlayfs marks the directories of a layer that hide those below by an attribute.
func likeDir(from, to string) error {
	var st unix.Stat_t
	if err := unix.Lstat(from, &st); err != nil {
		return &fs.PathError{Op: "lstat", Path: from, Err: err}
	}
	if err := os.Mkdir(to, 0o700); err != nil {
		return err
	}
	names := make([]byte, 4096)
	n, err := unix.Llistxattr(from, names)
	if err != nil && !errors.Is(err, unix.ENOTSUP) {
		return &fs.PathError{Op: "listxattr", Path: from, Err: err}
	}
	for name := range strings.SplitSeq(string(names[:max(n, 0)]), "\x00") {
		if name == "" {
			continue
		}
		value := make([]byte, 4096)
		n, err := unix.Lgetxattr(from, name, value)
		if err == nil {
			err = unix.Lsetxattr(to, name, value[:n], 0)
		}
		if err != nil {
			return &fs.PathError{Op: "copy attribute " + name, Path: from, Err: err}
		}
	}
	// In this order: a change of owner clears mode bits.
	return errors.Join(os.Lchown(to, int(st.Uid), int(st.Gid)), unix.Chmod(to, st.Mode&0o7777))
}

// refuseOverlay returns a clearer error than containerd's for a store on overlayfs.
func refuseOverlay(dir string) error {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return &fs.PathError{Op: "statfs", Path: dir, Err: err}
	}
	if st.Type == unix.OVERLAYFS_SUPER_MAGIC {
		return onOverlay{dir}
	}
	return nil
}

type onOverlay struct{ dir string }

func (e onOverlay) Error() string {
	return e.dir + " lies on overlayfs, on which containerd cannot make its own overlays"
}
func (e onOverlay) Hint() string {
	return "set NETLAB_CACHE_DIR to a directory on another file system"
}

// unpack returns the directory of an unpacked layer. Its digest is its key.
func (o obtaining) unpack(ctx context.Context, layer string) (string, error) {
	l, err := o.tarLayer(layer)
	if err != nil {
		return "", err
	}
	return o.unpackTar(ctx, l.path, l.digest.Hex)
}

// unpacked is unpack for a layer "component/layer", which is made if it is not cached.
func (o obtaining) unpacked(ctx context.Context, ref string) (string, error) {
	layer, err := o.layer(ctx, ref)
	if err != nil {
		return "", err
	}
	return o.unpack(ctx, layer)
}

// rootfsItem is the place of an unpacked layer, by its digest.
func rootfsItem(digest string) item {
	_, hex, _ := strings.Cut(digest, ":")
	return item{inRootfs, "layer", hex[:min(16, len(hex))]}
}

func (o obtaining) unpackTar(ctx context.Context, path, hex string) (string, error) {
	i := rootfsItem("sha256:" + hex)
	dir, err := o.keep(ctx, i, func(dir string, _ *record) error {
		root := filepath.Join(dir, "root")
		if err := os.Mkdir(root, 0o755); err != nil {
			return err
		}
		t := tool{argv: []string{"tar", "--extract", "--numeric-owner", "--same-permissions", "--same-owner",
			"--xattrs", "--xattrs-include=*", "--directory", root, "--file", path}, log: o.log(i)}
		if err := t.run(ctx); err != nil {
			return err
		}
		return whiteouts(root)
	})
	return filepath.Join(dir, "root"), err
}

// whiteouts turns the whiteouts of an OCI layer into those of overlayfs.
func whiteouts(root string) error {
	return filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		name, marked := strings.CutPrefix(d.Name(), ".wh.")
		if err != nil || !marked {
			return err
		}
		if err := os.Remove(p); err != nil {
			return err
		}
		if d.Name() == ".wh..wh..opq" {
			return unix.Setxattr(filepath.Dir(p), "trusted.overlay.opaque", []byte("y"), 0)
		}
		return unix.Mknod(filepath.Join(filepath.Dir(p), name), unix.S_IFCHR, 0)
	})
}

// lowers unpacks an image, layer by layer: overlay lower directories, the topmost first.
func (o obtaining) lowers(ctx context.Context, imageDir string) ([]string, error) {
	img, _, err := onlyImage(imageDir)
	if err != nil {
		return nil, err
	}
	manifest, err := img.Manifest()
	if err != nil {
		return nil, err
	}
	var dirs []string
	for _, d := range manifest.Layers {
		dir, err := o.unpackTar(ctx, filepath.Join(imageDir, "blobs", "sha256", d.Digest.Hex), d.Digest.Hex)
		if err != nil {
			return nil, err
		}
		dirs = append(dirs, dir)
	}
	slices.Reverse(dirs)
	return dirs, nil
}
