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

// A blockedWriter blocks in Write until leave is closed.
type blockedWriter struct{ entered, leave chan struct{} }

func (w *blockedWriter) Write(p []byte) (int, error) {
	select {
	case w.entered <- struct{}{}:
	default:
	}
	<-w.leave
	return len(p), nil
}

// TestBlockedReaderDoesNotBlockLoggers: neither loggers nor Close wait for a reader that does not
// read; lines beyond the queue are dropped.
func TestBlockedReaderDoesNotBlockLoggers(t *testing.T) {
	w := &blockedWriter{entered: make(chan struct{}, 1), leave: make(chan struct{})}
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

// TestLinesHavePrefixAndNoTime: with a prefix, lines have no time; a later line has the number of
// dropped lines.
func TestLinesHavePrefixAndNoTime(t *testing.T) {
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

// TestLoggingAfterCloseIsDropped: logging after Close neither causes a panic nor blocks.
func TestLoggingAfterCloseIsDropped(t *testing.T) {
	l := New(io.Discard)
	log := l.Logger(slog.LevelInfo, nil)
	l.Close()
	for range 2 * queueLines {
		log.Info("late")
	}
}

func TestClipLimitsTo1KiB(t *testing.T) {
	if got := Clip(strings.Repeat("x", 1<<20)); len(got) != 1<<10 {
		t.Errorf("%d bytes, want 1024", len(got))
	}
	if got := Clip("/a"); got != "/a" {
		t.Errorf("got %q", got)
	}
}
