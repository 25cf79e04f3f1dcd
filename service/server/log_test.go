package server

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
)

// stuckWriter is who reads the log, and does not.
type stuckWriter struct{ entered, leave chan struct{} }

func (w *stuckWriter) Write(p []byte) (int, error) {
	select {
	case w.entered <- struct{}{}:
	default:
	}
	<-w.leave
	return len(p), nil
}

// TestLogStuck: a reader that stands still holds up neither who logs nor the end.
func TestLogStuck(t *testing.T) {
	w := &stuckWriter{entered: make(chan struct{}, 1), leave: make(chan struct{})}
	defer close(w.leave)
	l := NewLog(w)
	log := l.Logger(slog.LevelInfo, nil)
	for range logQueue + 100 {
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
	l := NewLog(&out)
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

func TestClip(t *testing.T) {
	if got := clip(strings.Repeat("x", 1<<20)); len(got) != 1<<10 {
		t.Errorf("%d bytes of a client's text go into the log", len(got))
	}
	if got := clip("/a"); got != "/a" {
		t.Errorf("got %q", got)
	}
}

// logLines is a log for a test.
type logLines struct{ bytes.Buffer }

func (l *logLines) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// has reports whether one line has all of texts.
func (l *logLines) has(texts ...string) bool {
	for line := range strings.Lines(l.String()) {
		all := true
		for _, text := range texts {
			all = all && strings.Contains(line, text)
		}
		if all {
			return true
		}
	}
	return false
}
