package files

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// place is the state of a file's names, and the ctime that belongs to it.
type place struct {
	changed moment
	links   uint32
	path    string // from the kernel, see descriptorPath; "" if unknown
	other   bool   // another number of links was seen with the same ctime, within one tick
}

// doubt is how long a change of ctime may stay without explanation. File systems set ctime
// before or after the number of links, and the kernel changes the path after both, so a check
// in between finds one change without the other.
const doubt = 20 * time.Millisecond

// Unchanged returns nil if the file still has the bytes that it had when it was opened, else
// an error that names the attributes that changed. The bytes are taken to be the same if
// device, inode, size, mtime and ctime are the same. A ctime that changed together with the
// number of links, or with the path of the open file, is accepted: the file was replaced by a
// rename, renamed, removed, or got or lost a hard link, and none of that touches its bytes.
// The next call compares with the new state. A change of ctime alone is a change of the file:
// a write whose mtime was set back, or new permissions.
//
// Unchanged may wait for the file system, or for the network that it is on, and some
// milliseconds if ctime alone has changed. See the package comment, Validators, for changes
// that it cannot detect.
func (f *File) Unchanged() error {
	for {
		decided, err := f.check(f.system.identify)
		if decided || err != nil {
			return err
		}
		if err := f.system.wait(context.Background(), doubt/4); err != nil {
			return err
		}
	}
}

// UnchangedNow is Unchanged with the attributes that the kernel has in memory. It never waits:
// for a file on a network file system its result may be seconds old, and it reports a change
// of ctime alone only if an earlier call saw that change some milliseconds before.
func (f *File) UnchangedNow() error {
	_, err := f.check(f.system.identifyNow)
	return err
}

// Check is Unchanged without its waits for an explanation of ctime: if decided is false, the
// caller must call again some milliseconds later. If mayBlock is false, it uses the attributes in
// memory like UnchangedNow, and does not wait for the file system either.
func (f *File) Check(mayBlock bool) (decided bool, err error) {
	if mayBlock {
		return f.check(f.system.identify)
	}
	return f.check(f.system.identifyNow)
}

// check returns an error if the file has changed. If decided is false, so far only ctime has
// changed.
func (f *File) check(identify func(fd int) (identity, error)) (decided bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now, err := identify(f.fd)
	if err != nil {
		return false, fmt.Errorf("files: %s: %w", f.name, err)
	}
	changes := f.stat.changes(now)
	if now.changed != f.accepted.changed {
		if len(changes) == 0 {
			switch moved, err := f.moved(now, identify); {
			case err != nil:
				return false, fmt.Errorf("files: %s: %w", f.name, err)
			case moved:
				return true, nil
			case f.doubted.IsZero():
				f.doubted = time.Now()
				return false, nil
			case time.Since(f.doubted) < doubt:
				return false, nil
			}
		}
		changes = append(changes, "ctime was "+f.accepted.changed.String()+", is "+now.changed.String())
	}
	if len(changes) == 0 {
		f.accepted.other = f.accepted.other || now.links != f.accepted.links
		return true, nil
	}
	return true, fmt.Errorf("files: %s changed since it was opened: %s", f.name, strings.Join(changes, ", "))
}

// moved reports whether a change of the file's names explains the ctime of now, and if so
// accepts the new names. The caller holds f.mu.
func (f *File) moved(now identity, identify func(fd int) (identity, error)) (bool, error) {
	const maxTries = 4 // a file that is renamed all the time
	for range maxTries {
		path := f.accepted.path
		if path != "" {
			if p := f.system.path(f.fd); p != "" {
				path = p
			}
		}
		// A rename after the first identify would leave a path that belongs to a later
		// ctime, and the next call would not know the reason for that ctime.
		again, err := identify(f.fd)
		if err != nil {
			return false, err
		}
		if again != now {
			if len(f.stat.changes(again)) > 0 {
				return false, nil
			}
			now = again
			continue
		}
		if now.links == f.accepted.links && !f.accepted.other && path == f.accepted.path {
			return false, nil
		}
		f.accepted = place{changed: now.changed, links: now.links, path: path}
		f.doubted = time.Time{}
		return true, nil
	}
	return false, nil
}
