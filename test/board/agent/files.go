package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"uringhttpd/test/board/wire"
)

func writeFile(a wire.Write) error {
	if err := os.MkdirAll(filepath.Dir(a.Path), 0o755); err != nil {
		return err
	}
	flags := os.O_WRONLY | os.O_CREATE | os.O_TRUNC
	if a.Append {
		flags = os.O_WRONLY | os.O_APPEND
	}
	f, err := os.OpenFile(a.Path, flags, os.FileMode(a.Mode))
	if err != nil {
		return err
	}
	_, err = f.Write(a.Data)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}

// alterFile changes a file in place: its size, then bytes within it.
func alterFile(a wire.Alter) error {
	f, err := os.OpenFile(a.Path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	if a.Size != nil {
		err = f.Truncate(*a.Size)
	}
	if err == nil && len(a.Data) > 0 {
		_, err = f.WriteAt(a.Data, a.Offset)
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}

// writePattern makes the file under another name and renames it, so that no reader sees a
// part of it.
func writePattern(ctx context.Context, a wire.Pattern) error {
	if err := os.MkdirAll(filepath.Dir(a.Path), 0o755); err != nil {
		return err
	}
	tmp := a.Path + ".part"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	c := a.Content
	if err := f.Truncate(c.Size); err != nil {
		return err
	}
	hole := min(c.Hole, c.Size)
	src := io.NewSectionReader(c, hole, c.Size-hole)
	buf := make([]byte, 256<<10)
	for off := hole; off < c.Size; {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("%s: at byte %d of %d: %w", a.Path, off, c.Size, err)
		}
		n, err := src.Read(buf)
		if err != nil {
			return err
		}
		if _, err := f.WriteAt(buf[:n], off); err != nil {
			return err
		}
		off += int64(n)
	}
	return os.Rename(tmp, a.Path)
}

// readFile reads to the end rather than to the size: files of /proc have no size.
func readFile(a wire.Read) (any, error) {
	f, err := os.Open(a.Path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, wire.MaxData+1))
	if err != nil {
		return nil, err
	}
	if len(b) > wire.MaxData {
		return nil, fmt.Errorf("%s: more than %d bytes; fetch it over the network", a.Path, wire.MaxData)
	}
	return wire.Data{Data: b}, nil
}

// listening returns once a TCP socket listens on port. There is no event for that, so it
// polls /proc/net/tcp.
func listening(ctx context.Context, port int) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		for _, name := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
			b, err := os.ReadFile(name)
			if err != nil && !os.IsNotExist(err) {
				return err
			}
			if listens(string(b), port) {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("nothing listens on port %d: %w", port, ctx.Err())
		case <-tick.C:
		}
	}
}

// listens reads the table of /proc/net/tcp (Documentation/networking/proc_net_tcp.rst).
func listens(table string, port int) bool {
	const stateListen = "0A" // TCP_LISTEN of include/net/tcp_states.h
	for line := range strings.Lines(table) {
		f := strings.Fields(line)
		if len(f) < 4 || f[3] != stateListen {
			continue
		}
		_, hexPort, _ := strings.Cut(f[1], ":")
		if n, err := strconv.ParseUint(hexPort, 16, 16); err == nil && int(n) == port {
			return true
		}
	}
	return false
}

// process returns the resources of the process of a job.
func (s *server) process(a wire.Handle) (any, error) {
	j, err := s.job(a.Handle)
	if err != nil {
		return nil, err
	}
	dir := fmt.Sprintf("/proc/%d", j.cmd.Process.Pid)
	fds, err := os.ReadDir(dir + "/fd")
	if err != nil {
		return nil, err
	}
	var p wire.Process
	for _, fd := range fds {
		target, err := os.Readlink(filepath.Join(dir, "fd", fd.Name()))
		if err != nil {
			continue // closed meanwhile
		}
		p.FDs = append(p.FDs, fd.Name()+" "+target)
	}
	threads, err := os.ReadDir(dir + "/task")
	if err != nil {
		return nil, err
	}
	for _, thread := range threads {
		name, err := os.ReadFile(filepath.Join(dir, "task", thread.Name(), "comm"))
		if err != nil {
			continue // ended meanwhile
		}
		p.Threads = append(p.Threads, strings.TrimSpace(string(name)))
		stat, err := os.ReadFile(filepath.Join(dir, "task", thread.Name(), "stat"))
		if err != nil || !strings.HasPrefix(string(name), "iou-") && !uninterruptible(string(stat)) {
			continue
		}
		if stack, err := os.ReadFile(filepath.Join(dir, "task", thread.Name(), "stack")); err == nil {
			if len(stack) == 0 { // as on 32-bit ARM with more than one possible processor
				where, err := os.ReadFile(filepath.Join(dir, "task", thread.Name(), "wchan"))
				if err != nil {
					continue
				}
				stack = fmt.Appendf(nil, "[<0>] %s\n", where)
			}
			// The number of its sleeps distinguishes an idle thread from a used one, and its ID shows its age.
			p.Workers = append(p.Workers, fmt.Sprintf("%s%s%s, thread %s", name, stack, sleeps(filepath.Join(dir, "task", thread.Name())), thread.Name()))
		}
	}
	status, err := os.ReadFile(dir + "/status")
	if err != nil {
		return nil, err
	}
	if p.Locked, err = locked(string(status)); err != nil {
		return nil, err
	}
	statm, err := os.ReadFile(dir + "/statm")
	if err != nil {
		return nil, err
	}
	if f := strings.Fields(string(statm)); len(f) > 1 {
		pages, err := strconv.ParseInt(f[1], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("%s/statm: %w", dir, err)
		}
		p.RSS = pages * int64(os.Getpagesize())
	}
	return p, nil
}

// uninterruptible reports whether a thread waits in the kernel where no signal reaches it,
// by its /proc/PID/task/TID/stat.
func uninterruptible(stat string) bool {
	_, rest, _ := strings.Cut(stat, ") ") // after the name
	return strings.HasPrefix(rest, "D")
}

// locked returns the sum of the locked and the pinned memory in /proc/PID/status, in bytes.
func locked(status string) (int64, error) {
	var sum int64
	for line := range strings.Lines(status) {
		f := strings.Fields(line)
		if len(f) != 3 || f[0] != "VmLck:" && f[0] != "VmPin:" {
			continue
		}
		n, err := strconv.ParseInt(f[1], 10, 64)
		if err != nil || f[2] != "kB" {
			return 0, fmt.Errorf("status: line %q is not a number of kB", line)
		}
		sum += n << 10
	}
	return sum, nil
}

// sleeps returns the line of a thread's status that counts its sleeps (proc(5)).
func sleeps(dir string) string {
	status, err := os.ReadFile(filepath.Join(dir, "status"))
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(status)) {
		if strings.HasPrefix(line, "voluntary_ctxt_switches") {
			return strings.TrimSpace(line)
		}
	}
	return ""
}
