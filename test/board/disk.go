package board

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"

	"uringhttpd/test/board/pattern"
	"uringhttpd/test/board/wire"
)

// diskModules are the modules for a disk, for its failures, and for its file system.
var diskModules = []string{"virtio_blk", "dm_mod", "dm_delay", "crc32c_generic", "ext4"}

// The names of a disk on a board, under the device mapper and below it.
const (
	diskName   = "disk"
	diskBlock  = "/dev/dm-0"
	diskDevice = "/dev/vda"
)

// MakeDisk writes an image of size bytes with an ext4 file system that holds the files,
// whose names have no directory. It needs mke2fs.
func MakeDisk(ctx context.Context, image string, size int64, files map[string]pattern.Content) error {
	dir, err := os.MkdirTemp(filepath.Dir(image), "disk-")
	if err != nil {
		return fmt.Errorf("board: disk: %w", err)
	}
	defer os.RemoveAll(dir)
	for name, c := range files {
		f, err := os.Create(filepath.Join(dir, name))
		if err != nil {
			return fmt.Errorf("board: disk: %w", err)
		}
		_, err = io.Copy(f, io.NewSectionReader(c, 0, c.Size))
		if err := errors.Join(err, f.Close()); err != nil {
			return fmt.Errorf("board: disk: %w", err)
		}
	}
	// mke2fs is called by its path, since the PATH of some users lacks /sbin.
	cmd := exec.CommandContext(ctx, "/usr/sbin/mke2fs", "-q", "-t", "ext4", "-b", "4096", "-d", dir, image, fmt.Sprintf("%dk", size>>10))
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("board: %q: %w; install e2fsprogs\n%s", cmd.Args, err, out)
	}
	return nil
}

// A Disk is Spec.Disk, mounted at DiskRoot through the device mapper.
type Disk struct {
	m    *Machine
	size int64
}

// MountDisk mounts Spec.Disk, once.
func (m *Machine) MountDisk(ctx context.Context) (*Disk, error) {
	st, err := os.Stat(m.Spec.Disk)
	if err != nil {
		return nil, fmt.Errorf("board: disk: %w", err)
	}
	d := &Disk{m: m, size: st.Size()}
	if err := d.Heal(ctx); err != nil {
		return nil, err
	}
	return d, m.agent.call(ctx, wire.OpMount, wire.Mount{Source: diskBlock, Target: DiskRoot, Type: "ext4", ReadOnly: true}, nil)
}

// Heal makes the disk work normally again.
func (d *Disk) Heal(ctx context.Context) error { return d.set(ctx, d.linear(0, d.size)) }

// Break makes the disk answer EIO for n bytes at off.
func (d *Disk) Break(ctx context.Context, off, n int64) error {
	var table []wire.Target
	if off > 0 {
		table = append(table, d.linear(0, off))
	}
	table = append(table, wire.Target{Start: off, Length: n, Type: "error"})
	if end := off + n; end < d.size {
		table = append(table, d.linear(end, d.size-end))
	}
	return d.set(ctx, table...)
}

// Slow adds so many milliseconds to each read.
func (d *Disk) Slow(ctx context.Context, ms int) error {
	return d.set(ctx, wire.Target{Length: d.size, Type: "delay", Parameters: fmt.Sprintf("%s 0 %d", diskDevice, ms)})
}

// Hang makes the disk hold all requests, or answer those that it has held.
func (d *Disk) Hang(ctx context.Context, hang bool) error {
	return d.m.agent.call(ctx, wire.OpSuspend, wire.Suspend{Name: diskName, Suspended: hang}, nil)
}

// Size returns the size of the disk in bytes.
func (d *Disk) Size() int64 { return d.size }

func (d *Disk) linear(off, n int64) wire.Target {
	const sector = 512
	return wire.Target{Start: off, Length: n, Type: "linear", Parameters: fmt.Sprintf("%s %d", diskDevice, off/sector)}
}

func (d *Disk) set(ctx context.Context, table ...wire.Target) error {
	return d.m.agent.call(ctx, wire.OpMap, wire.Map{Name: diskName, Targets: table}, nil)
}

// Mount mounts a file system of the kernel that is on no device.
func (m *Machine) Mount(ctx context.Context, kind, target string) error {
	return m.agent.call(ctx, wire.OpMount, wire.Mount{Source: kind, Target: target, Type: kind}, nil)
}

// Forget drops the board's caches of files that are on a disk.
func (m *Machine) Forget(ctx context.Context) error { return m.Sysctl(ctx, "vm.drop_caches", "3") }

// Alter changes a file of the board in place: first its size, unless size is negative, then
// the bytes at off.
func (m *Machine) Alter(ctx context.Context, path string, size, off int64, data []byte) error {
	a := wire.Alter{Path: path, Offset: off, Data: data}
	if size >= 0 {
		a.Size = &size
	}
	return m.agent.call(ctx, wire.OpAlter, a, nil)
}
