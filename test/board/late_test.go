//go:build board

package board_test

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"uringhttpd/platform/cryptoapi"
	"uringhttpd/test/board"
	"uringhttpd/test/caamsim"
)

// testLate: the engine appears while the daemon runs, as on a board whose drivers are probed
// late. Connections avoid it until its test has passed, and then work with it, however slow it
// is; an engine that fails the test gets none. When it is removed, the kernel's own code is used.
func testLate(ctx context.Context, t *testing.T, m *board.Machine, effort effort) {
	l := &late{dead: newDead(ctx, t, m)}
	l.unload(ctx, t)
	defer l.load(ctx, t) // for the tests after this test

	l.start(ctx, t)
	l.downloads(ctx, t, "before the engine is there", true)
	l.load(ctx, t)
	l.downloads(ctx, t, "the engine is there", false)
	l.loggedOnce(ctx, t, `msg="kernel TLS uses a new kernel crypto driver" drivers="gcm(aes) by gcm-aes-caam (hardware, asynchronous, tested)"`)
	before := counters(ctx, t, m)
	tune(ctx, t, m, "delay_us=2000", "distribution=exponential", "depth=2") // until the module is unloaded
	l.downloads(ctx, t, "the engine was tested", true)
	downloads := 16
	if effort != brief {
		downloads = 96
	}
	r, err := board.RunSharp(ctx, m, board.SharpOptions{Process: l.p, Downloads: downloads})
	if err != nil || r.Complete != downloads {
		t.Errorf("sharp: %+v, %v", r, err)
	}
	if c := counters(ctx, t, m); c["requests"] <= before["requests"] {
		t.Errorf("the engine got no request: %v, before %v", c, before)
	}
	l.unload(ctx, t)
	l.downloads(ctx, t, "the engine has gone", true)
	// Template instances disappear with a component, and the kernel makes them again on request.
	eventually(ctx, t, "unused component", func() bool { return m.UnloadModule(ctx, "ghash_generic") == nil })
	if err := m.LoadModule(ctx, "ghash_generic"); err != nil {
		t.Fatal(err)
	}
	eventually(ctx, t, "new instance of a template driver", func() bool {
		before := l.inKernel(ctx, t)
		l.downloads(ctx, t, "parts have gone and come", false)
		return l.inKernel(ctx, t) > before
	})
	l.stop(ctx, t)

	l.start(ctx, t)
	l.load(ctx, t)
	if err := m.WriteFile(ctx, caamsim.Parameters+"corrupt_every", []byte("1"), 0o644); err != nil {
		t.Fatal(err)
	}
	l.downloads(ctx, t, "a wrong engine is there", false)
	l.loggedOnce(ctx, t, "kernel crypto driver failed its test")
	l.serves(ctx, t, "after the test of the wrong engine")
	l.unload(ctx, t)
	l.downloads(ctx, t, "the wrong engine has gone", true)
	l.stop(ctx, t)
}

// late is a daemon whose engine appears and disappears.
type late struct{ *dead }

func (l *late) start(ctx context.Context, t *testing.T) {
	t.Helper()
	var err error
	if l.p, err = l.m.StartDaemon(ctx, board.Daemon{Config: autoConfig}); err != nil {
		t.Fatal(err)
	}
}

func (l *late) stop(ctx context.Context, t *testing.T) {
	t.Helper()
	if err := l.p.Stop(ctx); err != nil {
		t.Error(err)
	}
}

// load loads the engine, which the kernel then tests.
func (l *late) load(ctx context.Context, t *testing.T) {
	t.Helper()
	if err := l.m.LoadModule(ctx, caamsim.Name); err != nil {
		t.Fatal(err)
	}
	eventually(ctx, t, "engine tested by the kernel", func() bool {
		text, err := l.m.ReadFile(ctx, "/proc/crypto")
		if err != nil {
			t.Fatal(err)
		}
		all, err := cryptoapi.Parse(bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		return slices.ContainsFunc(all, func(a cryptoapi.Algorithm) bool {
			return a.Driver == caamsim.Driver && a.Type == "aead" && a.SelfTest == "passed"
		})
	})
}

// unload removes the engine, once the kernel has freed its users.
func (l *late) unload(ctx context.Context, t *testing.T) {
	t.Helper()
	eventually(ctx, t, "unused engine", func() bool { return l.m.UnloadModule(ctx, caamsim.Name) == nil })
}

// inKernel returns how many responses were sent over kernel TLS.
func (l *late) inKernel(ctx context.Context, t *testing.T) (n int) {
	t.Helper()
	const name = "\nuringhttpd_responses_total{transport=\"kernel\"} "
	_, value, _ := strings.Cut(l.metrics(ctx, t), name)
	if _, err := fmt.Sscan(value, &n); err != nil {
		t.Fatalf("%s: %v in %.50q", name, err, value)
	}
	return n
}

// downloads makes some downloads at once, which must all be complete, and in kernel TLS if
// inKernel is true.
func (l *late) downloads(ctx context.Context, t *testing.T, when string, inKernel bool) {
	t.Helper()
	stat := tlsTxSw(ctx, t, l.m)
	const n = 6
	if r := l.short().download(ctx, t, board.TLSPort, n, 0, time.Minute); r.Complete != n {
		t.Errorf("%s: %+v", when, r)
	}
	// A test of the engine has connections of its own.
	if got := tlsTxSw(ctx, t, l.m) - stat; inKernel && got != n {
		t.Errorf("%s: %d connections in kernel TLS, want %d", when, got, n)
	}
	e, err := l.p.Output(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(e.Stderr), "client reported bad_record_mac") {
		t.Errorf("%s: a client got wrong data:\n%s", when, e.Stderr)
	}
}

// loggedOnce waits until the daemon has logged text, which it must do once.
func (l *late) loggedOnce(ctx context.Context, t *testing.T, text string) {
	t.Helper()
	eventually(ctx, t, text, func() bool {
		e, err := l.p.Output(ctx)
		if err != nil {
			t.Fatal(err)
		}
		n := strings.Count(string(e.Stderr), text)
		if n > 1 {
			t.Errorf("logged %d times: %s", n, text)
		}
		return n > 0
	})
}
