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
	"uringhttpd/offload"
	"uringhttpd/service/flow"
	"uringhttpd/test/rawtls"
)

const getRequest = "GET / HTTP/1.1\r\nHost: board\r\n\r\n"

// dialRaw makes a connection whose records the test makes. The server's
// preference, if the processor has AES instructions, is what rawtls knows.
func (ts *testServer) dialRaw(t *testing.T) *rawtls.Client {
	t.Helper()
	conn, err := net.Dial("tcp", ts.tls)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	c, err := rawtls.New(conn, &tls.Config{RootCAs: ts.pool, ServerName: "board"})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// hello is a handler with a short answer.
var hello = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "hello") })

// answer reads one response, and whether a KeyUpdate came before it.
func answer(t *testing.T, c *rawtls.Client) (updated bool) {
	t.Helper()
	var data []byte
	for !bytes.HasSuffix(data, []byte("hello")) {
		contentType, content, err := c.Read()
		switch {
		case err != nil:
			t.Fatalf("%v after %q", err, data)
		case contentType == rawtls.ApplicationData:
			data = append(data, content...)
		case contentType == rawtls.Handshake && content[0] == 24:
			updated = true
		case contentType != rawtls.Handshake:
			t.Fatalf("content type %d", contentType)
		}
	}
	return updated
}

// TestLogTLS: the log says of each connection how it is encrypted, and by whom.
func TestLogTLS(t *testing.T) {
	preferAES(t)
	all := []offload.Driver{{Suite: tls.TLS_AES_128_GCM_SHA256, Name: "gcm-aes-caam", Async: true, Hardware: true}}
	ts := startServer(t, hello, func(o *Options) { o.Drivers = all })
	client, base := ts.client(t, true)
	res, err := client.Get(base + "/")
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	cipher := tls.CipherSuiteName(res.TLS.CipherSuite)
	want := `msg="TLS connection" remote=`
	with := ` version="TLS 1.3" cipher=` + cipher + ` transport="user-space TLS"`
	if log := ts.log.String(); !strings.Contains(log, want) || !strings.Contains(log, with) || strings.Contains(log, "gcm-aes-caam") {
		t.Errorf("no line with %q and %q in\n%s", want, with, log)
	}
	c := &conn{gen: ts.gen, transport: kernel, driver: all[0]}
	c.session, _ = handshaken(t, ts)
	c.secured()
	if log := ts.log.String(); !strings.Contains(log, `transport="kernel TLS" driver=gcm-aes-caam asynchronous=true hardware=true`) {
		t.Errorf("the driver is not named in\n%s", log)
	}
}

// TestBrokenTLS: a client that breaks TLS gets the alert that is due and then the
// end of the stream: at once, as a second request, and together with a request,
// which may be answered before.
func TestBrokenTLS(t *testing.T) {
	preferAES(t)
	ts := startServer(t, hello, nil)
	for _, v := range rawtls.Violations() {
		for _, when := range []string{"first", "after a request", "with a request"} {
			t.Run(v.Name+", "+when, func(t *testing.T) {
				c := ts.dialRaw(t)
				var stream []byte
				if when != "first" {
					stream = c.Seal(rawtls.ApplicationData, []byte(getRequest), 0)
				}
				if when == "after a request" {
					c.Conn.Write(stream)
					stream = nil
					answer(t, c)
				}
				if _, err := c.Conn.Write(append(stream, v.Make(c)...)); err != nil {
					t.Fatal(err)
				}
				data, alert, err := c.ReadAll()
				if err != nil || alert != v.Alert {
					t.Errorf("got alert %d, %v; want alert %d and the end", alert, err, v.Alert)
				}
				if answered := strings.HasSuffix(string(data), "hello"); len(data) > 0 && (!answered || when != "with a request") {
					t.Errorf("got %q", data)
				}
			})
		}
	}
}

// preferAES lets clients of rawtls be served on any processor.
func preferAES(t *testing.T) {
	t.Helper()
	ktls.PreferTLS13(ktls.AESGCM) // of the test's process; no test here looks at the cipher
}

// TestKeyUpdateUser: in user space a client may change its keys, and ask for ours.
func TestKeyUpdateUser(t *testing.T) {
	preferAES(t)
	ts := startServer(t, hello, nil)
	for _, requested := range []bool{false, true} {
		c := ts.dialRaw(t)
		for i := range 3 {
			// In the middle of a request, and between two.
			stream := slices.Concat(c.Seal(rawtls.ApplicationData, []byte(getRequest[:10]), 0), c.KeyUpdate(requested),
				c.Seal(rawtls.ApplicationData, []byte(getRequest[10:]), 100))
			if _, err := c.Conn.Write(stream); err != nil {
				t.Fatal(err)
			}
			if got := answer(t, c); got != requested {
				t.Errorf("requested %v, request %d: our KeyUpdate came: %v", requested, i, got)
			}
		}
		c.Conn.Write(c.Seal(rawtls.Alert, []byte{1, rawtls.CloseNotify}, 0))
		if data, alert, err := c.ReadAll(); err != nil || alert != rawtls.CloseNotify || len(data) > 0 {
			t.Errorf("got %q, alert %d, %v; want close_notify", data, alert, err)
		}
	}
}

// TestClientAlerts: close_notify ends a connection in order, a fatal alert at
// once, without a word.
func TestClientAlerts(t *testing.T) {
	preferAES(t)
	ts := startServer(t, hello, nil)
	for _, tc := range []struct {
		name    string
		alert   []byte
		inOrder bool
	}{
		{"close_notify", []byte{1, rawtls.CloseNotify}, true},
		{"fatal", []byte{2, rawtls.BadRecordMAC}, false},
		{"unknown, as a warning", []byte{1, 200}, false},
	} {
		c := ts.dialRaw(t)
		c.Conn.Write(c.Seal(rawtls.Alert, tc.alert, 0))
		_, alert, err := c.ReadAll()
		switch {
		case tc.inOrder && (err != nil || alert != rawtls.CloseNotify):
			t.Errorf("%s: got alert %d, %v, want close_notify", tc.name, alert, err)
		case !tc.inOrder && (!errors.Is(err, syscall.ECONNRESET) || alert != -1):
			t.Errorf("%s: got alert %d, %v, want a reset", tc.name, alert, err)
		}
	}
}

// TestHalfClose: a client may close its side as soon as it has asked.
func TestHalfClose(t *testing.T) {
	preferAES(t)
	ts := startServer(t, hello, nil)
	for _, sent := range []string{"", getRequest} {
		c := ts.dialRaw(t)
		if sent != "" {
			c.Conn.Write(c.Seal(rawtls.ApplicationData, []byte(sent), 0))
		}
		c.Conn.(*net.TCPConn).CloseWrite()
		data, alert, err := c.ReadAll()
		if err != nil || alert != rawtls.CloseNotify || strings.HasSuffix(string(data), "hello") != (sent != "") {
			t.Errorf("sent %q: got %q, alert %d, %v", sent, data, alert, err)
		}
	}
}

// acceptingKernel takes every key, and has nothing pending.
type acceptingKernel struct{ ktls.Kernel }

func (acceptingKernel) SetULP() error                  { return nil }
func (acceptingKernel) SetTX([]byte) error             { return nil }
func (acceptingKernel) TXSequence(int) (uint64, error) { return 0, nil }
func (acceptingKernel) TCPInfo() (*unix.TCPInfo, error) {
	return &unix.TCPInfo{State: unix.BPF_TCP_ESTABLISHED}, nil
}
func (acceptingKernel) OutQueue() (int, error) { return 0, nil }

// handshaken returns a session after its handshake, and its client.
func handshaken(t *testing.T, ts *testServer) (*ktls.Session, *rawtls.Client) {
	t.Helper()
	session, err := ts.gen.sessions.Session()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(session.Close)
	near, far := net.Pipe()
	t.Cleanup(func() { near.Close(); far.Close() })
	var client *rawtls.Client
	ended := make(chan error, 1)
	go func() {
		var err error
		client, err = rawtls.New(near, &tls.Config{RootCAs: ts.pool, ServerName: "board"})
		ended <- err
	}()
	buf := make([]byte, 16<<10)
	for done, n := false, 0; !done; {
		if done, err = session.Handshake(buf[:n]); err != nil {
			t.Fatal(err)
		}
		if out := session.Output(); len(out) > 0 {
			if _, err := far.Write(out); err != nil {
				t.Fatal(err)
			}
		}
		if !done {
			if n, err = far.Read(buf); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	return session, client
}

// TestLastWord: with the keys in the kernel a client gets the same alerts, sent
// by the kernel, and then FIN; one that asks for a key update gets close_notify.
func TestLastWord(t *testing.T) {
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
			// What is still inside kernel TLS comes before FIN.
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

// refusingSocket is one that the kernel does not take.
type refusingSocket struct {
	scriptedSocket
	err error
}

func (s *refusingSocket) Offload(*ktls.Session) error { return s.err }

// TestRefusedByKernel: a connection that the kernel does not take is served in
// user space, and reset where that is not wanted.
func TestRefusedByKernel(t *testing.T) {
	preferAES(t)
	ts := startServer(t, hello, nil)
	notConnected := &ktls.OffloadError{Option: "TCP_ULP", Err: unix.ENOTCONN} // the client's FIN is in
	for _, tc := range []struct {
		name    string
		err     error // of Offload
		require bool
		takes   uint16
		want    opKind
		reason  string
	}{
		{"half-closed", notConnected, false, tls.TLS_AES_128_GCM_SHA256, opRecv, "kernel TLS not used"},
		{"half-closed, required", notConnected, true, tls.TLS_AES_128_GCM_SHA256, opClose, "tls.kernel is require"},
		{"no such cipher", &ktls.OffloadError{Option: "TLS_TX", Err: unix.ENOENT}, false, tls.TLS_AES_128_GCM_SHA256, opRecv, "no such file"},
		{"not tried", io.ErrUnexpectedEOF, false, tls.TLS_CHACHA20_POLY1305_SHA256, opRecv, "does not support TLS_AES_128_GCM_SHA256"},
		{"taken, and lost", io.ErrUnexpectedEOF, false, tls.TLS_AES_128_GCM_SHA256, opClose, "unexpected EOF"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			env := driveSettings(hello)
			env.gen.log, env.gen.require = ts.gen.log, tc.require
			env.proc.offloads.Store(true)
			env.proc.drivers.add([]offload.Driver{{Suite: tc.takes}})
			session, _ := handshaken(t, ts)
			c := newConn(env, &refusingSocket{err: tc.err}, endpoint{}, session)
			c.input.wire = make([]byte, wireBuffer)
			op := c.offloadSession(time.Now())
			if op.kind != opOffload {
				t.Fatalf("operation %d, want a job", op.kind)
			}
			op.job()
			if op = c.step(event{now: time.Now()}); op.kind != tc.want || op.kind == opRecv && c.transport != user {
				t.Errorf("operation %d, %v; want operation %d", op.kind, c.transport, tc.want)
			}
			ts.awaitLog(t, tc.reason)
		})
	}
}

// TestRecordLimit: a connection ends behind the response with which its keys have made as many
// records as is safe.
func TestRecordLimit(t *testing.T) {
	s := driveSettings(hello)
	c := newConn(s, &scriptedSocket{}, endpoint{}, nil)
	c.startKernelTLS()
	for range flow.MaxRecords - 1 {
		c.flow.CountRecords(flow.MaxRecord)
	}
	for _, tc := range []struct {
		records int // more of them
		closes  bool
	}{{0, false}, {1, true}} {
		c.flow.ChargePush(tc.records*flow.MaxRecord, false)
		c.input.buf = []byte(getRequest)
		c.handle(len(c.input.buf), time.Time{}).job()
		c.handled(event{})
		if c.exchange.close != tc.closes {
			t.Errorf("after %d records: closes %v, want %v", flow.MaxRecords-1+tc.records, c.exchange.close, tc.closes)
		}
		c.dropAnswer()
	}
}
