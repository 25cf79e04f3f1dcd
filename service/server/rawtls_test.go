package server

import (
	"bytes"
	"crypto/tls"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"uringhttpd/ktls"
	"uringhttpd/test/rawtls"
)

// dialRaw returns a connection whose records the test makes. rawtls supports only
// AES-GCM; see preferAES.
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

// readAnswer reads one response, and reports whether a KeyUpdate came before it.
func readAnswer(t *testing.T, c *rawtls.Client) (updated bool) {
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

// preferAES makes the server select AES-GCM on any processor, for clients of rawtls.
func preferAES(t *testing.T) {
	t.Helper()
	ktls.PreferTLS13(ktls.AESGCM) // of the test's process; no test here looks at the cipher
}

// acceptingKernel accepts all keys, and has nothing pending.
type acceptingKernel struct{ ktls.Kernel }

func (acceptingKernel) SetULP() error { return nil }

func (acceptingKernel) SetTX([]byte) error { return nil }

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
