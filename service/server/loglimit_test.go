package server

import (
	"bytes"
	"log/slog"
	"testing"
	"time"
)

// TestRepeatedLinesAreLimited: the first line of a kind is written at once, then one line a minute
// with the number of suppressed lines and the last reason, then none.
func TestRepeatedLinesAreLimited(t *testing.T) {
	var out bytes.Buffer
	withoutTime := func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) == 0 && a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}
	e := newEngineLoop(t, 0)
	e.gen.log = slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{ReplaceAttr: withoutTime}))
	warn := func(n int) { e.shared.logLimited(e.gen.log, lineAccept, slog.LevelWarn, "w", slog.Int("n", n)) }
	turn := func(d time.Duration) { e.now = e.now.Add(d); e.logSuppressed() }
	for n := range 5 {
		warn(n)
		turn(0)
	}
	e.shared.logLimited(e.gen.log, lineRecord, slog.LevelWarn, "other")
	turn(lineInterval - 1)
	turn(1)
	warn(5)
	turn(lineInterval)
	turn(lineInterval)
	warn(6)
	turn(0)
	want := "level=WARN msg=w n=0\nlevel=WARN msg=other\nlevel=WARN msg=w n=4 repeated=4\nlevel=WARN msg=w n=5 repeated=1\nlevel=WARN msg=w n=6\n"
	if out.String() != want {
		t.Errorf("got  %q\nwant %q", out.String(), want)
	}
	if e.deadlines.next(e.now) < 0 {
		t.Error("nothing wakes the loop for the next line")
	}
}
