package files

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// ticking is a kernel whose clock of stamps moves only when it is told to, and
// that stamps one file with it.
type ticking struct {
	t       *testing.T
	name    string // of the file
	granule time.Duration
	clock   time.Time
	stamp   moment
	waits   int
	during  func() // a wait, before time passes
	behind  func() // an examination, right after it
}

func newTicking(t *testing.T, dir string, granule time.Duration) *ticking {
	return &ticking{t: t, name: filepath.Join(dir, "x.bin"), granule: granule, clock: time.Unix(1_700_000_000, 500_000_000)}
}

// write overwrites the file in place, and stamps it.
func (k *ticking) write(content string) {
	k.t.Helper()
	f, err := os.OpenFile(k.name, os.O_WRONLY|os.O_CREATE, 0o644)
	must(k.t, err)
	_, err = f.WriteString(content)
	must(k.t, errors.Join(err, f.Close()))
	at := k.clock
	if k.granule > time.Second/10 {
		at = at.Truncate(k.granule)
	}
	k.stamp = moment{at.Unix(), uint32(at.Nanosecond())}
}

func (k *ticking) system() system {
	s := kernel()
	s.now = func() time.Time { return k.clock }
	s.identify = func(fd int) (identity, error) {
		stat, err := identify(fd, "", unix.AT_EMPTY_PATH)
		if stat.isRegular() {
			stat.modified, stat.changed = k.stamp, k.stamp
		}
		if behind := k.behind; behind != nil {
			k.behind = nil
			behind()
		}
		return stat, err
	}
	s.identifyNow = s.identify
	s.wait = func(_ context.Context, d time.Duration) error {
		k.waits++
		if during := k.during; during != nil {
			k.during = nil
			during()
		}
		k.clock = k.clock.Add(d)
		return nil
	}
	return s
}

func (k *ticking) handler(t *testing.T) *handler {
	root, err := os.OpenRoot(filepath.Dir(k.name))
	must(t, err)
	t.Cleanup(func() { root.Close() })
	return newHandler(root, Options{}, k.system())
}

const contentA, contentB, contentC = "AAAAAAAAAA", "BBBBBBBBBB", "CCCCCCCCCC"

// TestTwoWritesInOneTick: an entity tag never names two contents, and no response
// is a mixture, though the file's stamps are the same for two of them.
func TestTwoWritesInOneTick(t *testing.T) {
	for _, granule := range []time.Duration{tick, longTick} {
		for _, when := range []string{"while it is waited", "after it was examined"} {
			t.Run(fmt.Sprint(granule, " ", when), func(t *testing.T) {
				k := newTicking(t, t.TempDir(), granule)
				h := k.handler(t)
				k.write(contentA)
				other := func() { k.write(contentB) } // in the same tick
				switch when {
				case "while it is waited":
					k.during = other
				case "after it was examined":
					k.behind = func() {
						other()
						k.clock = k.clock.Add(2 * granule) // the handler was held up
					}
				}
				named := map[string]string{} // content by tag
				get := func() {
					t.Helper()
					w := do(t, h, request("GET", "/x.bin"))
					tag, body := tagOf(w.Header()), w.Body.String()
					if before, ok := named[tag]; w.Code != 200 || ok && before != body {
						t.Errorf("status %d; the tag %s names %q and %q", w.Code, tag, before, body)
					}
					named[tag] = body
				}
				get()
				if k.during != nil || k.behind != nil {
					k.during, k.behind = nil, nil
					other()
				}
				get()
				k.clock = k.clock.Add(2 * granule)
				k.write(contentC)
				get()
				if len(named) < 2 {
					t.Errorf("named %q", named)
				}
			})
		}
	}
}

// TestNoMixtureInOneTick: a change in the tick in which the file was written and
// opened is seen when it is examined again.
func TestNoMixtureInOneTick(t *testing.T) {
	for _, granule := range []time.Duration{tick, longTick} {
		k := newTicking(t, t.TempDir(), granule)
		k.write(contentA)
		f, _, err := k.handler(t).open(request("GET", "/x.bin").WithContext(t.Context()), "x.bin", true)
		must(t, err)
		defer f.Release()
		got := make([]byte, len(contentA))
		_, err = f.ReadAt(got[:5], 0)
		must(t, err)
		k.write(contentB) // at once
		_, err = f.ReadAt(got[5:], 5)
		must(t, err)
		if err := f.Unchanged(); err == nil {
			t.Errorf("granule %v: %q, and unchanged", granule, got)
		}
	}
}

// TestWrittenForever: a file that is written all the time is not waited for
// forever.
func TestWrittenForever(t *testing.T) {
	k := newTicking(t, t.TempDir(), tick)
	h := k.handler(t)
	k.write(contentA)
	h.system.wait = func(ctx context.Context, d time.Duration) error {
		defer k.write(contentB)
		return k.system().wait(ctx, d)
	}
	w := do(t, h, request("GET", "/x.bin"))
	if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") != "2" || tagOf(w.Header()) != "" {
		t.Errorf("%d, %v", w.Code, w.Header())
	}
	if want := "the file is being written; try again later\n"; w.Body.String() != want {
		t.Errorf("got %q, want %q", w.Body, want)
	}
	if k.waits != maxSettles {
		t.Errorf("waited %d times, want %d", k.waits, maxSettles)
	}
	h.system.wait = k.system().wait
	if w := do(t, h, request("GET", "/x.bin")); w.Code != 200 || w.Body.String() != contentB {
		t.Errorf("afterwards: %d, %q", w.Code, w.Body)
	}
}

func TestUnsettled(t *testing.T) {
	now := time.Unix(1_700_000_000, 500_000_000)
	at := func(d time.Duration) moment {
		s := now.Add(d)
		return moment{s.Unix(), uint32(s.Nanosecond())}
	}
	whole := moment{now.Unix(), 0}
	for _, test := range []struct {
		name              string
		modified, changed moment
		want              time.Duration
	}{
		{"old", at(-time.Hour), at(-time.Hour), 0},
		{"a tick old", at(-tick), at(-tick), 0},
		{"almost", at(-tick), at(-tick + 1), 1},
		{"young content", at(-time.Millisecond), at(-time.Hour), tick - time.Millisecond},
		{"young inode", at(-time.Hour), at(-time.Millisecond), tick - time.Millisecond},
		{"now", at(0), at(0), tick},
		{"ahead of the coarse clock", at(time.Millisecond), at(time.Millisecond), tick + time.Millisecond},
		{"from the future", at(time.Hour), at(time.Hour), 0},
		{"from the far future", moment{1 << 60, 0}, moment{1 << 60, 1}, 0},
		{"from the far past", moment{-1 << 60, 0}, moment{-1 << 60, 0}, 0},
		{"whole seconds", whole, whole, longTick - 500*time.Millisecond},
		{"whole seconds, old", moment{whole.seconds - 2, 0}, moment{whole.seconds - 2, 0}, 0},
		{"only mtime is whole", whole, at(-time.Hour), 0},
	} {
		if got := (identity{modified: test.modified, changed: test.changed}).unsettled(now); got != test.want {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
	}
}

// TestStampsClock: the clock that is read is the one that this kernel stamps with.
func TestStampsClock(t *testing.T) {
	name := filepath.Join(t.TempDir(), "x")
	for range 100 {
		before := coarseTime()
		must(t, os.WriteFile(name, nil, 0o644))
		must(t, os.Chmod(name, 0o600)) // ctime for certain
		stat, err := identify(unix.AT_FDCWD, name, 0)
		must(t, err)
		if c := stat.changed.time(); c.Before(before) || c.After(time.Now()) {
			t.Fatalf("stamp %v, the clock before it %v", c, before)
		}
	}
}

// TestWaitEnds: a wait ends with its request.
func TestWaitEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := wait(ctx, time.Hour); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	must(t, wait(t.Context(), 1))

	k := newTicking(t, t.TempDir(), tick)
	k.write(contentA)
	h := k.handler(t)
	h.system.wait = func(ctx context.Context, _ time.Duration) error { return wait(ctx, time.Hour) }
	w := httptest.NewRecorder()
	h.ServeHTTP(w, request("GET", "/x.bin").WithContext(ctx))
	if w.Code != http.StatusServiceUnavailable {
		t.Errorf("status %d", w.Code)
	}
}

// TestFewSlowWaits: only so many requests wait for whole seconds at a time.
func TestFewSlowWaits(t *testing.T) {
	k := newTicking(t, t.TempDir(), longTick)
	k.write(contentA)
	h := k.handler(t)
	waiting, enough := make(chan struct{}), make(chan struct{})
	h.system.wait = func(context.Context, time.Duration) error {
		waiting <- struct{}{}
		<-enough
		return context.Canceled
	}
	done := make(chan struct{})
	for range maxSlow {
		go func() {
			h.ServeHTTP(httptest.NewRecorder(), request("GET", "/x.bin"))
			done <- struct{}{}
		}()
		select {
		case <-waiting:
		case <-done:
			t.Fatal("a request has not waited")
		}
	}
	if w := do(t, h, request("GET", "/x.bin")); w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") != "2" {
		t.Errorf("one more: %d", w.Code)
	}
	close(enough)
	for range maxSlow {
		<-done
	}
	h.system.wait = k.system().wait
	if w := do(t, h, request("GET", "/x.bin")); w.Code != 200 {
		t.Errorf("afterwards: %d", w.Code)
	}
}
