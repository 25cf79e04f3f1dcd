package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"uringhttpd/test/board/pattern"
	"uringhttpd/test/board/wire"
)

func TestListensFindsPort(t *testing.T) {
	const table = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:20FB 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1234 1
   1: 0100007F:1F90 0100007F:9C40 01 00000000:00000000 00:00000000 00000000     0        0 1235 1
`
	for port, want := range map[int]bool{8443: true, 8080: false, 22: false} {
		if got := listens(table, port); got != want {
			t.Errorf("port %d: got %t, want %t", port, got, want)
		}
	}
}

func TestLockedAddsPinnedMemory(t *testing.T) {
	got, err := locked("Name:\tsleep\nVmLck:\t       8 kB\nVmPin:\t       4 kB\nVmHWM:\t     16 kB\n")
	if want := int64(12 << 10); err != nil || got != want {
		t.Errorf("got %d, %v, want %d", got, err, want)
	}
	if _, err := locked("VmLck:\tmany kB\n"); err == nil {
		t.Error("a line without a number: no error")
	}
}

func TestUninterruptibleReadsState(t *testing.T) {
	for stat, want := range map[string]bool{"7 (iou-wrk-5) D 1 5 0": true, "7 (uringhttpd) S 1 5 0": false, "": false} {
		if got := uninterruptible(stat); got != want {
			t.Errorf("%q: got %t, want %t", stat, got, want)
		}
	}
}

// TestAttributeIsFound: an attribute is found after others, even if their lengths are no multiple of 4.
func TestAttributeIsFound(t *testing.T) {
	b := appendAttribute(appendAttribute(nil, 1, []byte("tbf\x00x")), 2|0x8000, []byte{7})
	if got := attribute(b, 2); len(b)%4 != 0 || !bytes.Equal(got, []byte{7}) {
		t.Errorf("got %x in %x", got, b)
	}
	for _, broken := range [][]byte{nil, b[:3], {0, 0, 2, 0}, {9, 0, 2, 0, 1}} {
		if got := attribute(broken, 2); got != nil {
			t.Errorf("%x: got %x", broken, got)
		}
	}
}

func TestTailKeepsLastBytes(t *testing.T) {
	var tl tail
	var all []byte
	for i := range 2 * maxOutput / 150 {
		line := bytes.Repeat([]byte{byte(i)}, 150)
		all = append(all, line...)
		if _, err := tl.Write(line); err != nil {
			t.Fatal(err)
		}
	}
	got, dropped := tl.bytes()
	if want := all[len(all)-maxOutput:]; !bytes.Equal(got, want) {
		t.Errorf("kept %d bytes, not the last %d", len(got), len(want))
	}
	if want := int64(len(all) - maxOutput); dropped != want {
		t.Errorf("dropped: got %d, want %d", dropped, want)
	}
}

// TestAppendAttributeAligns: the next attribute is aligned, and the padding is not counted.
func TestAppendAttributeAligns(t *testing.T) {
	got := appendAttribute([]byte{1, 2, 3, 4}, 7, []byte("netem\x00"))
	want := binary.NativeEndian.AppendUint16([]byte{1, 2, 3, 4}, 10)
	want = binary.NativeEndian.AppendUint16(want, 7)
	want = append(want, "netem\x00\x00\x00"...)
	if !bytes.Equal(got, want) {
		t.Errorf("got %x, want %x", got, want)
	}
}

// A session sends requests to a server over a pipe, one at a time.
type session struct {
	t    *testing.T
	c    net.Conn
	in   *json.Decoder
	next uint64
	done chan error
}

func newSession(t *testing.T) *session {
	ours, theirs := net.Pipe()
	s := &session{t: t, c: ours, in: json.NewDecoder(ours), done: make(chan error, 1)}
	go func() { s.done <- serve(theirs) }()
	return s
}

// call sends a request and returns the response.
func (s *session) call(op wire.Op, timeout time.Duration, args any) wire.Response {
	s.t.Helper()
	raw, err := json.Marshal(args)
	if err != nil {
		s.t.Fatal(err)
	}
	s.next++
	if err := json.NewEncoder(s.c).Encode(wire.Request{ID: s.next, Op: op, Timeout: timeout, Args: raw}); err != nil {
		s.t.Fatal(err)
	}
	var resp wire.Response
	if err := s.in.Decode(&resp); err != nil {
		s.t.Fatal(err)
	}
	if resp.ID != s.next {
		s.t.Fatalf("response %d to request %d", resp.ID, s.next)
	}
	return resp
}

// get is call for requests that must succeed.
func get[R any](s *session, op wire.Op, args any) (r R) {
	s.t.Helper()
	resp := s.call(op, time.Minute, args)
	if resp.Error != "" {
		s.t.Fatalf("%s: %s", op, resp.Error)
	}
	if resp.Result != nil {
		if err := json.Unmarshal(resp.Result, &r); err != nil {
			s.t.Fatal(err)
		}
	}
	return r
}

func TestServeAnswersRequests(t *testing.T) {
	s := newSession(t)
	dir := t.TempDir()

	name := filepath.Join(dir, "new", "file")
	get[any](s, wire.OpWrite, wire.Write{Path: name, Mode: 0o600, Data: []byte("one")})
	get[any](s, wire.OpWrite, wire.Write{Path: name, Append: true, Data: []byte(" two")})
	if d := get[wire.Data](s, wire.OpRead, wire.Read{Path: name}); string(d.Data) != "one two" {
		t.Errorf("read back %q", d.Data)
	}

	c := pattern.Content{Seed: 4, Size: 1<<20 + 3, Hole: 1 << 19}
	name = filepath.Join(dir, "pattern")
	get[any](s, wire.OpPattern, wire.Pattern{Path: name, Content: c})
	b, err := os.ReadFile(name)
	if i := c.Diff(b, 0); err != nil || int64(len(b)) != c.Size || i >= 0 {
		t.Errorf("pattern file: %d bytes, first wrong byte %d, %v", len(b), i, err)
	}

	e := get[wire.Exit](s, wire.OpRun, wire.Command{Argv: []string{"/bin/sh", "-c", "echo out; echo $V >&2; exit 3"}, Env: []string{"V=err"}})
	if e.Status != 3 || string(e.Stdout) != "out\n" || string(e.Stderr) != "err\n" {
		t.Errorf("run: %+v", e)
	}

	st := get[wire.Started](s, wire.OpStart, wire.Command{Argv: []string{"/bin/sleep", "60"}})
	if p := get[wire.Process](s, wire.OpProcess, wire.Handle{Handle: st.Handle}); !slices.Equal(p.Threads, []string{"sleep"}) || p.RSS == 0 || len(p.FDs) < 3 {
		t.Errorf("process: %+v", p)
	}
	get[any](s, wire.OpSignal, wire.Signal{Handle: st.Handle, Signal: 9})
	if e := get[wire.Exit](s, wire.OpWait, wire.Handle{Handle: st.Handle}); !e.Exited || e.Signal != 9 {
		t.Errorf("wait: %+v", e)
	}

	tests := []struct {
		name string
		op   wire.Op
		args any
	}{
		{"absent file", wire.OpRead, wire.Read{Path: filepath.Join(dir, "absent")}},
		{"absent program", wire.OpRun, wire.Command{Argv: []string{filepath.Join(dir, "absent")}}},
		{"no program", wire.OpStart, wire.Command{}},
		{"unknown handle", wire.OpWait, wire.Handle{Handle: 99}},
		{"an unknown request", "dance", nil},
		{"wrong arguments", wire.OpRead, 5},
		{"program without an end", wire.OpRun, wire.Command{Argv: []string{"/bin/sh", "-c", "sleep 60"}}},
	}
	for _, tt := range tests {
		if resp := s.call(tt.op, 200*time.Millisecond, tt.args); resp.Error == "" {
			t.Errorf("%s: no error", tt.name)
		}
	}

	get[any](s, wire.OpShutdown, nil)
	if err := <-s.done; err != nil {
		t.Errorf("serve: %v", err)
	}
}

func TestServeReportsHangUp(t *testing.T) {
	s := newSession(t)
	s.c.Close()
	if err := <-s.done; err == nil || err == io.EOF {
		t.Errorf("got %v, want an error about the closed connection", err)
	}
}
