// Package journal writes the log of the service. Lines of log/slog pass through a queue, so that a
// reader that does not read never blocks the service. For systemd's journal they have the prefixes
// of sd-daemon(3).
//
// It does not rotate, filter or store logs. To debug missing lines, search the log for
// msg="log lines dropped": it has the number of lines that found the queue full.
package journal

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

const queueLines = 1024 // lines that may wait for a slow reader

// A Log writes the lines of slog.Loggers on its own goroutine and never blocks a logger. If the queue
// of 1024 lines is full, lines are dropped; a later line has their number.
type Log struct {
	lines   chan []byte
	dropped atomic.Uint32
	closing chan struct{} // closed by Close
	done    chan struct{} // closed after the last write
}

// New starts a Log that writes to w. Close stops its goroutine.
func New(w io.Writer) *Log {
	l := &Log{lines: make(chan []byte, queueLines), closing: make(chan struct{}), done: make(chan struct{})}
	go l.write(w)
	return l
}

// write writes queued lines until Close, and then those queued before it.
func (l *Log) write(w io.Writer) {
	defer close(l.done)
	one := func(line []byte) {
		w.Write(line)
		if n := l.dropped.Swap(0); n > 0 {
			fmt.Fprintf(w, "level=WARN msg=\"log lines dropped\" lines=%d\n", n)
		}
	}
	for {
		select {
		case line := <-l.lines:
			one(line)
			continue
		case <-l.closing:
		}
		for {
			select {
			case line := <-l.lines:
				one(line)
			default:
				return
			}
		}
	}
}

// Write queues a copy of line, or drops it if the queue is full. It never returns an error.
func (l *Log) Write(line []byte) (int, error) {
	select {
	case l.lines <- bytes.Clone(line):
	default:
		l.dropped.Add(1)
	}
	return len(line), nil
}

// closeTime is how long Close waits for a slow reader.
const closeTime = time.Second

// Close writes the queued lines, as many as the reader accepts within a second. It may be called
// once. Lines logged later, for example by a worker that hung in a file system or a crypto driver,
// are dropped.
func (l *Log) Close() {
	close(l.closing)
	select {
	case <-l.done:
	case <-time.After(closeTime):
	}
}

// Logger returns a logger for records of level and above. If prefix is not nil, each line starts with
// prefix of its level, and has no time, since the journal adds one.
func (l *Log) Logger(level slog.Level, prefix func(slog.Level) string) *slog.Logger {
	if prefix == nil {
		return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: level}))
	}
	h := &prefixHandler{mu: new(sync.Mutex), buf: new(bytes.Buffer), out: l, prefix: prefix}
	h.text = slog.NewTextHandler(h.buf, &slog.HandlerOptions{Level: level, ReplaceAttr: withoutTime})
	return slog.New(h)
}

func withoutTime(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && a.Key == slog.TimeKey {
		return slog.Attr{}
	}
	return a
}

// prefixHandler writes a prefix before each line of a text handler.
type prefixHandler struct {
	mu     *sync.Mutex
	buf    *bytes.Buffer
	text   slog.Handler // writes to buf
	out    io.Writer
	prefix func(slog.Level) string
}

func (h *prefixHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.text.Enabled(ctx, level)
}

func (h *prefixHandler) Handle(ctx context.Context, r slog.Record) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.buf.Reset()
	h.buf.WriteString(h.prefix(r.Level))
	if err := h.text.Handle(ctx, r); err != nil {
		return err
	}
	_, err := h.out.Write(h.buf.Bytes())
	return err
}

func (h *prefixHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	c := *h
	c.text = h.text.WithAttrs(attrs)
	return &c
}

func (h *prefixHandler) WithGroup(name string) slog.Handler {
	c := *h
	c.text = h.text.WithGroup(name)
	return &c
}

// Clip returns at most the first 1 KiB of s, a text from a client, for use in a log line.
func Clip(s string) string { return s[:min(len(s), 1<<10)] }
