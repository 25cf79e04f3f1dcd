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

// ticking replaces the clock of the file timestamps. The clock advances only during waits, and
// the timestamps of one file come from it.
type ticking struct {
	t       *testing.T
	name    string // of the file
	granule time.Duration
	clock   time.Time
	written moment // mtime and ctime of the file
	waits   int
	during  func() // runs once in a wait, before the clock advances
	after   func() // runs once after an identify
}

func newTicking(t *testing.T, dir string, granule time.Duration) *ticking {
	return &ticking{t: t, name: filepath.Join(dir, "x.bin"), granule: granule, clock: time.Unix(1_700_000_000, 500_000_000)}
}

// write overwrites the file in place, and sets its timestamps from the clock.
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
	k.written = moment{at.Unix(), uint32(at.Nanosecond())}
}

func (k *ticking) system() system {
	s := kernel()
	s.now = func() time.Time { return k.clock }
	s.identify = func(fd int) (identity, error) {
		stat, err := identify(fd, "", unix.AT_EMPTY_PATH)
		if stat.isRegular() {
			stat.modified, stat.changed = k.written, k.written
		}
		if after := k.after; after != nil {
			k.after = nil
			after()
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

// TestTagNeverNamesTwoContents: two contents with the same timestamps are never served under one
// entity tag, and no response mixes them.
func TestTagNeverNamesTwoContents(t *testing.T) {
	for _, granule := range []time.Duration{tick, longTick} {
		for _, when := range []string{"during the wait", "after identify"} {
			t.Run(fmt.Sprint(granule, " ", when), func(t *testing.T) {
				k := newTicking(t, t.TempDir(), granule)
				h := k.handler(t)
				k.write(contentA)
				other := func() { k.write(contentB) } // in the same tick
				switch when {
				case "during the wait":
					k.during = other
				case "after identify":
					k.after = func() {
						other()
						k.clock = k.clock.Add(2 * granule) // the handler was delayed
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
				if k.during != nil || k.after != nil {
					k.during, k.after = nil, nil
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

// TestChangeInTheOpeningTickIsDetected: a write right after the file was opened gets other
// timestamps, since open has waited for the end of the tick.
func TestChangeInTheOpeningTickIsDetected(t *testing.T) {
	for _, granule := range []time.Duration{tick, longTick} {
		k := newTicking(t, t.TempDir(), granule)
		k.write(contentA)
		f, _, err := k.handler(t).open(callerOf(request("GET", "/x.bin").WithContext(t.Context())), "x.bin", true)
		must(t, err)
		defer f.Release()
		got := make([]byte, len(contentA))
		_, err = f.ReadAt(got[:5], 0)
		must(t, err)
		k.write(contentB) // without a wait
		_, err = f.ReadAt(got[5:], 5)
		must(t, err)
		if err := f.Unchanged(); err == nil {
			t.Errorf("granule %v: read %q, and no change is reported", granule, got)
		}
	}
}

// TestEndlessWritesCause503: the handler waits at most maxSettles times for a file that keeps
// changing.
func TestEndlessWritesCause503(t *testing.T) {
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

// TestTimestampsSettleAfterOneTick: the time after which no other change can have the same
// timestamps.
func TestTimestampsSettleAfterOneTick(t *testing.T) {
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
		{"in the future", at(time.Hour), at(time.Hour), 0},
		{"in the far future", moment{1 << 60, 0}, moment{1 << 60, 1}, 0},
		{"in the far past", moment{-1 << 60, 0}, moment{-1 << 60, 0}, 0},
		{"whole seconds", whole, whole, longTick - 500*time.Millisecond},
		{"whole seconds, old", moment{whole.seconds - 2, 0}, moment{whole.seconds - 2, 0}, 0},
		{"only mtime is whole", whole, at(-time.Hour), 0},
	} {
		if got := (identity{modified: test.modified, changed: test.changed}).unsettled(now); got != test.want {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
	}
}

// TestCoarseTimeIsTheTimestampClock: no ctime of a new file is before coarseTime or after the time
// of day.
func TestCoarseTimeIsTheTimestampClock(t *testing.T) {
	name := filepath.Join(t.TempDir(), "x")
	for range 100 {
		before := coarseTime()
		must(t, os.WriteFile(name, nil, 0o644))
		must(t, os.Chmod(name, 0o600)) // sets ctime
		stat, err := identify(unix.AT_FDCWD, name, 0)
		must(t, err)
		if c := stat.changed.time(); c.Before(before) || c.After(time.Now()) {
			t.Fatalf("ctime %v, coarseTime before it %v", c, before)
		}
	}
}

// TestWaitEndsWithTheRequest: a wait ends when the context of the request is cancelled.
func TestWaitEndsWithTheRequest(t *testing.T) {
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

// TestSlowWaitsAreLimited: at most maxSlow requests wait for whole seconds; the next one gets a 503.
func TestSlowWaitsAreLimited(t *testing.T) {
	k := newTicking(t, t.TempDir(), longTick)
	k.write(contentA)
	h := k.handler(t)
	waiting, proceed := make(chan struct{}), make(chan struct{})
	h.system.wait = func(context.Context, time.Duration) error {
		waiting <- struct{}{}
		<-proceed
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
			t.Fatal("a request did not wait")
		}
	}
	if w := do(t, h, request("GET", "/x.bin")); w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") != "2" {
		t.Errorf("one more: %d", w.Code)
	}
	close(proceed)
	for range maxSlow {
		<-done
	}
	h.system.wait = k.system().wait
	if w := do(t, h, request("GET", "/x.bin")); w.Code != 200 {
		t.Errorf("afterwards: %d", w.Code)
	}
}
