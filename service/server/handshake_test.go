package server

import (
	"bytes"
	"crypto/tls"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"uringhttpd/ktls"
	"uringhttpd/offload"
)

// TestSlowHandshakeTimesOut: a handshake of which one more byte always arrives ends at
// header_timeout.
func TestSlowHandshakeTimesOut(t *testing.T) {
	ts := startServer(t, http.NotFoundHandler(), nil)
	session, err := ts.gen.sessions.Session()
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	c := newConn(ts.environment(), &scriptedSocket{}, endpoint{}, session)
	now := time.Now()
	op := c.start(now)
	for _, at := range []time.Duration{1, ts.gen.headerTimeout - 1, ts.gen.headerTimeout + 1} {
		if op.kind != opRecv {
			t.Fatalf("operation %d before %v", op.kind, at)
		}
		op = c.step(event{n: copy(op.buf, []byte{22}), now: now.Add(at)})
		if op.kind != opHandshake {
			t.Fatalf("operation %d, want the handshake to be computed", op.kind)
		}
		op.job()
		op = c.step(event{now: now.Add(at)})
	}
	if op.kind != opClose {
		t.Errorf("operation %d after header_timeout, want the end", op.kind)
	}
}

// TestHandshakesDelayNobodyElse: queued handshakes, however many, do not delay other connections
// that need workers.
func TestHandshakesDelayNobodyElse(t *testing.T) {
	h := &directory{dir: t.TempDir()}
	want := h.file(t, "f", 1<<20)
	turn := make(chan struct{})
	ts := startServer(t, h, func(o *Options) {
		o.TLS.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
			<-turn
			return nil, nil
		}
	})
	handshakes := make(chan error)
	const clients = 40 // more than there are workers of any kind
	for range clients {
		c := ts.dial(t, true).(*tls.Conn)
		go func() { handshakes <- c.Handshake() }()
	}
	c := ts.dial(t, false)
	c.SetDeadline(time.Now().Add(5 * time.Second))
	io.WriteString(c, "GET /f HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n")
	got, err := io.ReadAll(c)
	if err != nil || !bytes.HasSuffix(got, want) {
		t.Errorf("beside %d handshakes: %d bytes, %v", clients, len(got), err)
	}
	close(turn)
	for range clients {
		if err := <-handshakes; err != nil {
			t.Error(err)
		}
	}
}

// TestHTTPOnTLSPortGetsNoHTTP: a client that sends HTTP to the TLS port gets no HTTP response.
func TestHTTPOnTLSPortGetsNoHTTP(t *testing.T) {
	ts := startServer(t, http.NotFoundHandler(), nil)
	if got := talk(t, ts.tls, "GET / HTTP/1.1\r\nHost: b\r\n\r\n"); strings.Contains(got, "HTTP") {
		t.Errorf("got %q", got)
	}
}

// TestTLSConnectionIsLogged: the log has the version, the cipher and the driver of each TLS
// connection.
func TestTLSConnectionIsLogged(t *testing.T) {
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

// refusingSocket is a socket for which the kernel refuses kernel TLS.
type refusingSocket struct {
	scriptedSocket
	err error
}

func (s *refusingSocket) Offload(*ktls.Session) error { return s.err }

// TestRefusedOffloadFallsBack: a connection that the kernel refuses is served in user space, or
// reset if kernel TLS is required.
func TestRefusedOffloadFallsBack(t *testing.T) {
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
