package files

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

var (
	cacheSeed  = flag.Uint64("cache.seed", 0, "first seed of TestRandomChangesAreSeen; 0: the time")
	cacheSeeds = flag.Int("cache.seeds", 6, "number of seeds of TestRandomChangesAreSeen")
)

// A wild is a random sequence of changes of a small tree.
type wild struct {
	*cached
	*rand.Rand
	log []string
}

var wildNames = []string{"a", "b", "index.html"}

// path returns a random path of up to 3 names.
func (w *wild) path() string {
	p := w.dir
	for range 1 + w.IntN(3) {
		p = filepath.Join(p, wildNames[w.IntN(len(wildNames))])
	}
	return p
}

// change makes a random change. Most changes of names that do not exist fail.
func (w *wild) change() {
	p, q := w.path(), w.path()
	content := fmt.Sprint(w.IntN(1 << 30))
	var err error
	op := []string{"replace", "replace", "write", "append", "truncate", "remove", "remove tree", "mkdir", "mkdir", "rename", "exchange", "link",
		"symlink", "symlink", "chmod", "touch", "cycle"}[w.IntN(17)]
	switch op {
	case "replace":
		err = errors.Join(os.WriteFile(p+".new", []byte(content), 0o644), os.Rename(p+".new", p))
	case "write":
		err = writeAt(p, content[:1])
	case "append":
		if f, e := os.OpenFile(p, os.O_WRONLY|os.O_APPEND, 0); e == nil {
			_, err = f.WriteString(content)
			f.Close()
		}
	case "truncate":
		err = os.Truncate(p, int64(w.IntN(3)))
	case "remove":
		err = os.Remove(p)
	case "remove tree":
		err = os.RemoveAll(p)
	case "mkdir":
		err = os.Mkdir(p, 0o755)
	case "rename":
		err = os.Rename(p, q)
	case "exchange":
		err = unix.Renameat2(unix.AT_FDCWD, p, unix.AT_FDCWD, q, unix.RENAME_EXCHANGE)
	case "link":
		err = os.Link(p, q)
	case "symlink":
		target := wildNames[w.IntN(3)]
		if w.IntN(2) == 0 {
			target += "/" + wildNames[w.IntN(3)]
		}
		err = os.Symlink(target, p)
	case "chmod":
		err = os.Chmod(p, []os.FileMode{0o755, 0o644, 0o700}[w.IntN(3)])
	case "touch":
		err = os.Chtimes(p, time.Time{}, time.Unix(int64(w.IntN(3)), 0))
	case "cycle": // away and back
		err = errors.Join(os.Rename(p, p+".away"), os.Rename(p+".away", p))
	}
	if err == nil {
		w.log = append(w.log, fmt.Sprint(op, " ", p, " ", q))
	}
}

// target returns a random target of a request.
func (w *wild) target() string {
	p := ""
	for range 1 + w.IntN(3) {
		p += "/" + wildNames[w.IntN(len(wildNames))]
	}
	if w.IntN(4) == 0 {
		p += "/"
	}
	return p
}

// TestRandomChangesAreSeen: after random changes, some of them during a preparation, and an Update,
// each answer of the cache is the handler's.
func TestRandomChangesAreSeen(t *testing.T) {
	first := *cacheSeed
	if first == 0 {
		first = uint64(time.Now().UnixNano())
	}
	for seed := first; seed < first+uint64(*cacheSeeds); seed++ {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "root")
			must(t, os.Mkdir(dir, 0o755))
			w := &wild{newCached(t, dir, CacheLimits{Entries: 10, Bytes: 1 << 20, Body: 5}), rand.New(rand.NewPCG(seed, 2)), nil}
			answers := 0
			for range 150 {
				w.tick()
				for range w.IntN(3) {
					w.change()
				}
				w.offset.Add(int64(2 * retry))
				for range 3 {
					if job := w.Prepare(pathOf(w.head("GET", w.target()))); job != nil {
						reached := w.steps(w.IntN(60), func() {
							w.tick()
							w.change()
							if w.IntN(2) == 0 {
								w.Update()
							}
						})
						job()
						reached()
						w.Update()
					}
				}
				w.Update()
				for range 40 {
					if w.same(w.head("GET", w.target()), false) {
						answers++
					}
				}
				if t.Failed() {
					t.Fatalf("-cache.seed %d, after %q", seed, w.log[max(0, len(w.log)-10):])
				}
			}
			if answers == 0 {
				t.Error("the cache answered nothing")
			}
		})
	}
}
