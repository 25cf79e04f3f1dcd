package server

import (
	"context"
	"log/slog"
	"time"
)

// Some log lines can be caused by any client, at any rate. The first line of a kind is
// written at once, and after that one line a minute, with the number of suppressed lines, so
// that a client cannot fill the journal or hide other lines in it. Metrics count every event,
// and with log.level debug all lines are written.

// A lineKind is a kind of log line that clients can cause.
type lineKind uint8

const (
	lineAccept    lineKind = iota // a connection cannot be accepted
	lineRecord                    // a client rejects a record (alert.go)
	lineCutOff                    // a response is cut off because its client acknowledges no data
	lineHandshake                 // a TLS handshake fails
	lineKinds
)

// lineInterval is the time between two lines of a kind.
const lineInterval = time.Minute

// limitedLines holds the state of each kind. Only the loop uses it.
type limitedLines [lineKinds]limitedLine

type limitedLine struct {
	recent     bool // a line was written less than lineInterval ago
	until      time.Time
	suppressed int // lines suppressed since then
	level      slog.Level
	text       string // of the last suppressed line
	attrs      []slog.Attr
}

// logLimited writes a line of a kind, or counts it and writes it at level debug only.
func (s *loopState) logLimited(log *slog.Logger, kind lineKind, level slog.Level, text string, attrs ...slog.Attr) {
	r := &s.limitedLines[kind]
	if r.recent {
		log.LogAttrs(context.Background(), slog.LevelDebug, text, attrs...)
		r.suppressed++
		r.level, r.text, r.attrs = level, text, attrs
		return
	}
	r.recent = true
	log.LogAttrs(context.Background(), level, text, attrs...)
}

// logSuppressed writes the last suppressed line of each kind, with the number of suppressed
// lines, after lineInterval.
func (l *loop) logSuppressed() {
	for i := range l.shared.limitedLines {
		switch r := &l.shared.limitedLines[i]; {
		case !r.recent:
			continue
		case r.until.IsZero():
		case l.now.Before(r.until):
			continue
		case r.suppressed == 0:
			*r = limitedLine{}
			continue
		default:
			l.gen.log.LogAttrs(context.Background(), r.level, r.text, append(r.attrs, slog.Int("repeated", r.suppressed))...)
			*r = limitedLine{recent: true}
		}
		l.shared.limitedLines[i].until = l.now.Add(lineInterval)
		l.deadlines.set(&slot{heapIndex: -1}, l.shared.limitedLines[i].until) // to wake the loop then
	}
}
