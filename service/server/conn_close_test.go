package server

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"uringhttpd/ktls"
	"uringhttpd/service/flow"
	"uringhttpd/test/rawtls"
)

// TestSlowClientGetsFinalAlert: a client that acknowledges slowly the data before close_notify is
// not reset. A client that acknowledges nothing is.
func TestSlowClientGetsFinalAlert(t *testing.T) {
	ts := startServer(t, http.NotFoundHandler(), nil)
	for _, tc := range []struct {
		name  string
		taken int64 // bytes during one stall_timeout
		want  opKind
	}{{"slow", 100 << 10, opAlert}, {"stalled", 0, opClose}} {
		sock := &scriptedSocket{reading: ktls.Reading{Unacked: 1 << 20, Acked: 1000}}
		c := newConn(ts.environment(), sock, endpoint{}, nil)
		c.startKernelTLS()
		now := time.Now()
		if op := c.finish(now); op.kind != opAlert {
			t.Fatalf("finish asks for %d", op.kind)
		}
		if op := c.step(event{err: unix.EAGAIN, now: now}); op.kind != opWritable {
			t.Fatalf("EAGAIN leads to %d", op.kind)
		}
		sock.reading.Acked += tc.taken
		now = now.Add(ts.gen.stallTimeout)
		op := c.step(event{err: unix.ECANCELED, late: true, now: now})
		if op.kind == opWritable {
			op = c.step(event{now: now}) // room
		}
		if op.kind != tc.want || sock.shutdown {
			t.Errorf("%s: got operation %d, shutdown %v, want operation %d", tc.name, op.kind, sock.shutdown, tc.want)
		}
	}
}

// TestRefusedFinalAlertDoesNotSpin: a socket that refuses close_notify, and has room whenever
// poll(2) is called, is tried again after a pause, and not forever.
func TestRefusedFinalAlertDoesNotSpin(t *testing.T) {
	ts := startServer(t, http.NotFoundHandler(), nil)
	c := newConn(ts.environment(), &scriptedSocket{}, endpoint{}, nil)
	c.startKernelTLS()
	start := time.Now()
	now, waits := start, 0
	op := c.finish(now)
	for steps := 0; op.kind != opClose; steps++ {
		if steps > 10_000 || steps > 10 && waits == 0 {
			t.Fatalf("%d operations and %d pauses in %v, and no end", steps, waits, now.Sub(start))
		}
		switch op.kind {
		case opAlert:
			op = c.step(event{err: unix.EAGAIN, now: now})
		case opWritable:
			op = c.step(event{n: unix.POLLOUT, now: now})
		case opWait:
			waits++
			now = op.deadline
			op = c.step(event{late: true, now: now})
		default:
			t.Fatalf("operation %d", op.kind)
		}
	}
}

// TestUnacknowledgedEndIsReset: a client that does not acknowledge the end of the data is reset,
// however much it sends itself.
func TestUnacknowledgedEndIsReset(t *testing.T) {
	ts := startServer(t, http.NotFoundHandler(), nil)
	for _, tc := range []struct {
		name string
		wait time.Duration // between two receives
		n    int           // bytes of each
	}{{"acknowledges nothing", time.Second, 1}, {"floods", 0, wireBuffer}} {
		t.Run(tc.name, func(t *testing.T) {
			sock := &scriptedSocket{reading: ktls.Reading{Unacked: 1}}
			c := newConn(ts.environment(), sock, endpoint{}, nil)
			now := time.Now()
			op := c.shutdown(now)
			for steps := 0; op.kind == opRecv; steps++ {
				if steps > lingerFlood/wireBuffer+int(ts.gen.stallTimeout/time.Second) {
					t.Fatal("no end")
				}
				now = now.Add(tc.wait)
				op = c.step(event{n: tc.n, now: now})
			}
			if op.kind != opClose || !sock.aborted {
				t.Errorf("operation %d, reset %v; want a close that resets", op.kind, sock.aborted)
			}
		})
	}
}

// TestUnreadInputLosesNoData: a client that has sent more than was read still gets the whole
// response before the connection ends. Its window is small, and it does not read before the server
// has finished, so that TCP holds most of the response then.
func TestUnreadInputLosesNoData(t *testing.T) {
	h := &directory{dir: t.TempDir()}
	want := h.file(t, "f", flow.MinUnsent-(1<<10)) // TCP accepts this although it cannot send it
	ts := startServer(t, h, nil)
	var d net.Dialer
	d.Control = func(_, _ string, c syscall.RawConn) (err error) {
		cerr := c.Control(func(fd uintptr) { err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4096) })
		return errors.Join(cerr, err)
	}
	c, err := d.Dial("tcp", ts.plain)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(30 * time.Second))
	io.WriteString(c, "GET /f HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n"+strings.Repeat("x", 40<<10))
	ts.awaitLog(t, "path=/f")
	talk(t, ts.plain, "GET /none HTTP/1.0\r\n\r\n") // the loop has gone on since
	got, err := io.ReadAll(c)
	if err != nil || !bytes.HasSuffix(got, want) {
		t.Errorf("%d bytes and %v, which do not end with the file's %d", len(got), err, len(want))
	}
}

// TestVanishedClientsReleaseFiles: files and descriptors of clients that have left are released.
func TestVanishedClientsReleaseFiles(t *testing.T) {
	h := &directory{dir: t.TempDir()}
	h.file(t, "f", 32<<20)
	ts := startServer(t, h, func(o *Options) { o.StallTimeout = time.Second })
	before := openFiles(t)
	for i := range 20 {
		addr := ts.plain
		if i%2 == 1 {
			addr = ts.tls
		}
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		if i%2 == 1 {
			tc := tls.Client(c, &tls.Config{RootCAs: ts.pool, ServerName: "board"})
			c.SetDeadline(time.Now().Add(20 * time.Second))
			if i%4 == 1 {
				tc.Handshake()
			}
			defer c.Close()
			io.WriteString(tc, "GET /f HTTP/1.1\r\nHost: b\r\n\r\n")
			c.(*net.TCPConn).SetLinger(0)
			c.Close()
			continue
		}
		io.WriteString(c, "GET /f HTTP/1.1\r\nHost: b\r\n\r\n")
		io.ReadFull(c, make([]byte, 1000))
		if i%4 == 0 {
			c.(*net.TCPConn).SetLinger(0)
			c.Close()
		} else {
			defer c.Close() // stays, and never reads again: stall_timeout
		}
	}
	deadline := time.Now().Add(20 * time.Second)
	for {
		now := openFiles(t)
		if h.held.Load() == 0 && strings.Count(ts.log.String(), "stall_timeout") >= 5 && now <= before+10 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d references to files, %d descriptors, before %d", h.held.Load(), now, before)
		}
		time.Sleep(20 * time.Millisecond) // no event reports a closed descriptor
	}
}

// TestFinalAlertFromKernelTLS: with the keys in the kernel a client gets the same alerts, sent by
// the kernel, and then FIN. A client that requests a key update gets close_notify.
func TestFinalAlertFromKernelTLS(t *testing.T) {
	preferAES(t)
	ts := startServer(t, hello, nil)
	type testCase struct {
		name string
		make func(c *rawtls.Client) []byte
		want []byte
	}
	cases := []testCase{
		{"KeyUpdate requested", func(c *rawtls.Client) []byte { return c.KeyUpdate(true) }, []byte{1, rawtls.CloseNotify}},
		{"KeyUpdate requested, then a request", func(c *rawtls.Client) []byte {
			return slices.Concat(c.KeyUpdate(true), c.Seal(rawtls.ApplicationData, []byte(getRequest), 0))
		}, []byte{1, rawtls.CloseNotify}},
		{"KeyUpdate requested, then a forged record", func(c *rawtls.Client) []byte {
			return slices.Concat(c.KeyUpdate(true), []byte{23, 3, 3, 0, 20}, make([]byte, 20))
		}, []byte{2, rawtls.BadRecordMAC}},
		{"close_notify", func(c *rawtls.Client) []byte {
			return c.Seal(rawtls.Alert, []byte{1, rawtls.CloseNotify}, 0)
		}, []byte{1, rawtls.CloseNotify}},
	}
	for _, v := range rawtls.Violations() {
		cases = append(cases, testCase{v.Name, v.Make, []byte{2, byte(v.Alert)}})
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			session, client := handshaken(t, ts)
			if _, err := session.Offload(acceptingKernel{}); err != nil {
				t.Fatal(err)
			}
			sock := &scriptedSocket{}
			c := newConn(ts.environment(), sock, endpoint{}, session)
			c.startKernelTLS()
			c.input.wire = make([]byte, wireBuffer)
			now := time.Now()
			c.input.since = now
			op := c.nextRequest(now)
			for stream := tc.make(client); op.kind == opRecv && len(stream) > 0; {
				n := copy(op.buf, stream)
				stream = stream[n:]
				op = c.step(event{n: n, now: now})
			}
			if op.kind != opAlert || !bytes.Equal(c.closing.alert.Payload, tc.want) {
				t.Fatalf("operation %d, %v; want an alert to be sent, % d", op.kind, c.closing.alert, tc.want)
			}
			// The data inside kernel TLS is sent before FIN.
			sock.reading.Pending = 24
			if op = c.step(event{n: 2, now: now}); op.kind != opWait || sock.shutdown {
				t.Fatalf("operation %d, FIN %v, with the alert pending", op.kind, sock.shutdown)
			}
			sock.reading.Pending = 0
			if op = c.step(event{late: true, now: now}); op.kind != opRecv || !sock.shutdown {
				t.Errorf("operation %d, FIN %v, want it sent and input discarded", op.kind, sock.shutdown)
			}
		})
	}
}
