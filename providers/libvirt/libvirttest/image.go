package libvirttest

import (
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"netlab.dev/netlab/providers/command"
)

// CloudImage is a disk in format qcow2, and its checksum in hexadecimal.
type CloudImage struct{ File, SHA512 string }

// makeImage creates a cloud image's partitions in a directory ($1) from Debian's packages: boot.img,
// with syslinux, kernel and initramfs, and root.img. It has little more than
// what a Node requires of cloud-init: each cloud-init module takes an emulated machine a second.
const makeImage = `set -e
cd "$1"
export LC_ALL=C.UTF-8 SOURCE_DATE_EPOCH=0 TMPDIR="$PWD"
mmdebstrap --mode=root --variant=minbase --format=directory --hook-dir=/usr/share/mmdebstrap/hooks/maybe-merged-usr \
  --dpkgopt=path-exclude=/usr/share/doc/* --dpkgopt=path-exclude=/usr/share/man/* --dpkgopt=path-exclude=/usr/share/locale/* \
  --dpkgopt=force-unsafe-io --aptopt='APT::Install-Recommends "false"' \
  --include=usr-is-merged,systemd,systemd-sysv,udev,kmod,iproute2,cloud-init,openssh-server,linux-image-cloud-amd64,initramfs-tools,syslinux,syslinux-common,mtools,dosfstools \
  --essential-hook='mkdir -p "$1/etc/initramfs-tools/conf.d" "$1/usr/share/initramfs-tools/modules.d"' \
  --essential-hook='echo MODULES=list >"$1/etc/initramfs-tools/conf.d/few"' \
  --essential-hook='printf "%s\n" virtio_pci virtio_blk ext4 crc32c_generic >"$1/usr/share/initramfs-tools/modules.d/few"' \
  bookworm root
cat >root/etc/cloud/cloud.cfg.d/90_image.cfg <<EOF
datasource_list: [NoCloud, None]
system_info: {network: {renderers: [networkd]}}
cloud_init_modules: [write-files, set_hostname, update_hostname, update_etc_hosts, users-groups, ssh]
cloud_config_modules: [runcmd]
cloud_final_modules: [scripts-user]
EOF
# networkd waits 12 seconds for a router's advertisement, which no router of a lab sends.
for nic in eth0 eth1; do
  mkdir root/etc/systemd/network/10-cloud-init-$nic.network.d
  printf '[Network]\nIPv6AcceptRA=no\n' >root/etc/systemd/network/10-cloud-init-$nic.network.d/static.conf
done
echo '/dev/vda2 / ext4 defaults 0 1' >root/etc/fstab
: >root/etc/machine-id
rm -f root/etc/hostname root/etc/ssh/ssh_host_*
chroot root systemctl -q enable systemd-networkd ssh
chroot root systemctl -q mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer e2scrub_reap.service systemd-pstore.service
cat >root/tmp/syslinux.cfg <<EOF
default linux
label linux
  kernel vmlinuz
  append initrd=initrd.img root=/dev/vda2 ro console=ttyS0 net.ifnames=0 mitigations=off tsc=reliable highres=off loglevel=4 systemd.show_status=1
EOF
mount -t proc proc root/proc # syslinux names its files by it
chroot root env -u TMPDIR sh -e <<EOF
cd /tmp
mkfs.fat -C -F 16 -h 2048 boot.img 65536 >/dev/null
syslinux --install boot.img
mcopy -i boot.img /boot/vmlinuz-* ::vmlinuz
mcopy -i boot.img /boot/initrd.img-* ::initrd.img
mcopy -i boot.img syslinux.cfg ::syslinux.cfg
EOF
umount root/proc
cp root/usr/lib/syslinux/mbr/mbr.bin .
mv root/tmp/boot.img .
rm -rf root/tmp/* root/boot/initrd.img-* root/var/cache/apt/* root/var/lib/apt/lists/*
mke2fs -q -F -t ext4 -b 4096 -m 0 -E lazy_itable_init=0,lazy_journal_init=0 -J size=16 -d root root.img 1536m
rm -rf root
`

// imageLimit bounds building the image.
const imageLimit = 10 * time.Minute

// NewImage returns a Debian cloud image, built once and kept in netlab's cache: published images
// cannot be downloaded where tests run.
func NewImage(t testing.TB) CloudImage {
	t.Helper()
	cache := os.Getenv("NETLAB_CACHE_DIR")
	if cache == "" {
		dir, err := os.UserCacheDir()
		if err != nil {
			t.Fatal(err)
		}
		cache = filepath.Join(dir, "netlab")
	}
	key := sha256.Sum256([]byte(makeImage))
	dir := filepath.Join(cache, "test-images", hex.EncodeToString(key[:8]))
	made := CloudImage{File: filepath.Join(dir, "image.qcow2")}
	sum, err := os.ReadFile(filepath.Join(dir, "sha512"))
	if err != nil {
		// Keep only one: remove those of earlier tests.
		if err := errors.Join(os.RemoveAll(filepath.Dir(dir)), os.MkdirAll(filepath.Dir(dir), 0o755)); err != nil {
			t.Fatal(err)
		}
		partial, err := os.MkdirTemp(filepath.Dir(dir), "partial")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(partial)
		began := time.Now()
		if sum, err = writeImage(t, partial); err != nil {
			t.Fatalf("make a cloud image: %v", err)
		}
		t.Logf("made a cloud image in %s", time.Since(began).Round(time.Second))
		if err := os.Rename(partial, dir); err != nil {
			t.Fatal(err)
		}
	}
	made.SHA512 = string(sum)
	return made
}

// writeImage creates image.qcow2 in a directory, and the file sha512, whose content it returns.
func writeImage(t testing.TB, dir string) (sum []byte, err error) {
	ctx, cancel := context.WithTimeout(t.Context(), imageLimit)
	defer cancel()
	run := func(argv ...string) error {
		_, err := command.Run(exec.CommandContext(ctx, argv[0], argv[1:]...))
		return err
	}
	if err := run("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", makeImage, "sh", dir); err != nil {
		return nil, err
	}
	path := func(name string) string { return filepath.Join(dir, name) }
	if err := join(path("disk.img"), path("mbr.bin"), path("boot.img"), path("root.img")); err != nil {
		return nil, err
	}
	if err := run("qemu-img", "convert", "-O", "qcow2", path("disk.img"), path("image.qcow2")); err != nil {
		return nil, err
	}
	for _, name := range []string{"disk.img", "mbr.bin", "boot.img", "root.img"} {
		if err := os.Remove(path(name)); err != nil {
			return nil, err
		}
	}
	f, err := os.Open(path("image.qcow2"))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	h := sha512.New()
	if _, err := io.Copy(h, f); err != nil {
		return nil, err
	}
	sum = []byte(hex.EncodeToString(h.Sum(nil)))
	return sum, os.WriteFile(path("sha512"), sum, 0o644)
}

// join creates a disk from partitions, the first of which is bootable: a master boot record with its
// code, then each partition aligned to a MiB.
func join(disk, code string, partitions ...string) error {
	const sector, mib = 512, 1 << 20
	record := make([]byte, sector)
	boot, err := os.ReadFile(code)
	if err != nil {
		return err
	}
	copy(record[:440], boot)
	copy(record[510:], "\x55\xaa")
	at := int64(mib)
	for i, name := range partitions {
		info, err := os.Stat(name)
		if err != nil {
			return err
		}
		entry := record[446+16*i : 446+16*(i+1)]
		copy(entry[1:4], "\xfe\xff\xff") // beyond CHS: LBA is used
		copy(entry[5:8], "\xfe\xff\xff")
		entry[4] = 0x83 // Linux
		if i == 0 {
			entry[0], entry[4] = 0x80, 0x0e // bootable; FAT 16
		}
		binary.LittleEndian.PutUint32(entry[8:], uint32(at/sector))
		binary.LittleEndian.PutUint32(entry[12:], uint32(info.Size()/sector))
		if _, err := command.Run(exec.Command("dd", "if="+name, "of="+disk, "bs=1M", "conv=notrunc,sparse", fmt.Sprintf("seek=%d", at/mib))); err != nil {
			return err
		}
		at += (info.Size() + mib - 1) / mib * mib
	}
	out, err := os.OpenFile(disk, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = out.WriteAt(record, 0)
	return errors.Join(err, out.Truncate(at), out.Close())
}
