package journal

import (
	"bytes"
	"io"
	"log/slog"
	"strings"
	"testing"

	"uringhttpd/test/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

// stuckWriter is a log reader that blocks until leave is closed.
type stuckWriter struct{ entered, leave chan struct{} }

func (w *stuckWriter) Write(p []byte) (int, error) {
	select {
	case w.entered <- struct{}{}:
	default:
	}
	<-w.leave
	return len(p), nil
}

// TestLogStuck: a reader that stands still blocks neither loggers nor Close.
func TestLogStuck(t *testing.T) {
	w := &stuckWriter{entered: make(chan struct{}, 1), leave: make(chan struct{})}
	defer close(w.leave)
	l := New(w)
	log := l.Logger(slog.LevelInfo, nil)
	for range queueLines + 100 {
		log.Info("line")
	}
	<-w.entered
	if n := l.dropped.Load(); n < 90 {
		t.Errorf("%d lines dropped of %d above the queue", n, 100)
	}
	l.Close()
}

func TestLogLines(t *testing.T) {
	var out bytes.Buffer
	l := New(&out)
	l.dropped.Store(3)
	log := l.Logger(slog.LevelInfo, func(level slog.Level) string { return "<" + level.String() + ">" })
	log.Debug("not shown")
	log.With("a", 1).WithGroup("g").Warn("shown", "b", 2)
	l.Close()
	want := "<WARN>level=WARN msg=shown a=1 g.b=2\nlevel=WARN msg=\"log lines dropped\" lines=3\n"
	if out.String() != want {
		t.Errorf("got  %q\nwant %q", out.String(), want)
	}
}

// TestLogAfterClose: logging after Close neither panics nor blocks.
func TestLogAfterClose(t *testing.T) {
	l := New(io.Discard)
	log := l.Logger(slog.LevelInfo, nil)
	l.Close()
	for range 2 * queueLines {
		log.Info("late")
	}
}

func TestClip(t *testing.T) {
	if got := Clip(strings.Repeat("x", 1<<20)); len(got) != 1<<10 {
		t.Errorf("%d bytes of a client's text go into the log", len(got))
	}
	if got := Clip("/a"); got != "/a" {
		t.Errorf("got %q", got)
	}
}
