//go:build linux

package ktls

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"slices"
	"testing"

	"uringhttpd/test/rawtls"
)

// handedOver returns a session whose keys are installed in a kernel that the test stands for, and
// a client that makes its records by hand.
func handedOver(t *testing.T) (*Session, *rawtls.Client) {
	t.Helper()
	withPreference(t, AESGCM.suites13()) // which rawtls knows
	cfg, pool := testConfig(t)
	sess, err := NewServer(cfg).Session()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sess.Close)
	near, far := socketPair(t)
	type result struct {
		c   *rawtls.Client
		err error
	}
	made := make(chan result, 1)
	go func() {
		c, err := rawtls.New(near, clientConfig(pool))
		made <- result{c, err}
	}()
	buf := make([]byte, 16<<10)
	for done, n := false, 0; !done; {
		if done, err = sess.Handshake(buf[:n]); err != nil {
			t.Fatal(err)
		}
		if _, err := far.Write(sess.Output()); err != nil {
			t.Fatal(err)
		}
		if !done {
			if n, err = far.Read(buf); err != nil {
				t.Fatal(err)
			}
		}
	}
	r := <-made
	if r.err != nil {
		t.Fatal(r.err)
	}
	sess.captureOwn()
	return sess, r.c
}

// readAll reads until the session needs more input or has ended. It returns the data, the messages
// to send, and the error.
func readAll(sess *Session) (data string, wants []Message, err error) {
	buf := make([]byte, 20<<10)
	for err == nil {
		var n int
		n, err = sess.Read(buf)
		data += string(buf[:n])
		for m, ok := sess.Message(); ok; m, ok = sess.Message() {
			wants = append(wants, m)
		}
	}
	return data, wants, err
}

// TestViolationsAfterOffload: an offloaded session returns the alert for each violation of TLS.
func TestViolationsAfterOffload(t *testing.T) {
	for _, v := range rawtls.Violations() {
		t.Run(v.Name, func(t *testing.T) {
			sess, client := handedOver(t)
			sess.Feed(v.Make(client))
			_, wants, err := readAll(sess)
			if err == nil || err == ErrWouldBlock || err == io.EOF {
				t.Errorf("got %v, want an error", err)
			}
			if len(wants) != 1 || !wants[0].IsAlert() || int(wants[0].Payload[1]) != v.Alert || wants[0].Payload[0] != 2 {
				t.Errorf("messages %v, want the fatal alert %v", wants, tls.AlertError(v.Alert))
			}
			if out := sess.Output(); len(out) > 0 {
				t.Errorf("%d bytes of output, too", len(out))
			}
		})
	}
}

// TestClientRecordsAfterOffload: an offloaded session handles all records that a client may send at
// any time.
func TestClientRecordsAfterOffload(t *testing.T) {
	const get = "GET / HTTP/1.1\r\n"
	data := func(c *rawtls.Client, s string) []byte { return c.Seal(rawtls.ApplicationData, []byte(s), 0) }
	alert := func(c *rawtls.Client, level, description byte) []byte {
		return c.Seal(rawtls.Alert, []byte{level, description}, 0)
	}
	const (
		keyUpdate = "KeyUpdate"
		badMAC    = "tls: bad record MAC"
	)
	for _, tc := range []struct {
		name  string
		make  func(c *rawtls.Client) []byte
		data  string
		wants []string
		err   error // errors.Is; nil: any that ends the connection
	}{
		{"nothing", func(c *rawtls.Client) []byte { return nil }, "", nil, ErrWouldBlock},
		{"a padded record of the largest size", func(c *rawtls.Client) []byte {
			return c.Seal(rawtls.ApplicationData, []byte(get), rawtls.MaxContent-len(get))
		}, get, nil, ErrWouldBlock},
		{"many small records", func(c *rawtls.Client) []byte {
			var all []byte
			for _, b := range get {
				all = slices.Concat(all, c.Seal(rawtls.ApplicationData, nil, 3), data(c, string(b)))
			}
			return all
		}, get, nil, ErrWouldBlock},
		{"the first half of a record", func(c *rawtls.Client) []byte { return data(c, get)[:20] }, "", nil, ErrWouldBlock},
		{"KeyUpdate, not requested", func(c *rawtls.Client) []byte {
			return slices.Concat(c.KeyUpdate(false), data(c, get))
		}, get, nil, ErrWouldBlock},
		{"KeyUpdate, requested", func(c *rawtls.Client) []byte {
			return slices.Concat(data(c, get), c.KeyUpdate(true), data(c, get))
		}, get + get, []string{keyUpdate}, ErrWouldBlock},
		{"KeyUpdate in two records", func(c *rawtls.Client) []byte {
			return slices.Concat(c.Seal(rawtls.Handshake, []byte{24, 0}, 0), c.Seal(rawtls.Handshake, []byte{0, 1, 1}, 5))
		}, "", []string{keyUpdate}, ErrWouldBlock},
		{"three times KeyUpdate, requested", func(c *rawtls.Client) []byte {
			return slices.Concat(c.KeyUpdate(true), c.KeyUpdate(true), c.KeyUpdate(true), data(c, get))
		}, get, []string{keyUpdate, keyUpdate, keyUpdate}, ErrWouldBlock},
		{"KeyUpdate, requested, and a record under the old keys", func(c *rawtls.Client) []byte {
			old := *c
			update := c.KeyUpdate(true)
			return slices.Concat(update, data(&old, get))
		}, "", []string{keyUpdate, badMAC}, nil},
		{"close_notify", func(c *rawtls.Client) []byte {
			return slices.Concat(data(c, get), alert(c, 1, rawtls.CloseNotify))
		}, get, nil, io.EOF},
		{"data after close_notify", func(c *rawtls.Client) []byte {
			return slices.Concat(alert(c, 1, rawtls.CloseNotify), data(c, get))
		}, "", nil, io.EOF},
		{"user_canceled, close_notify", func(c *rawtls.Client) []byte {
			return slices.Concat(data(c, get), alert(c, 1, rawtls.UserCanceled), alert(c, 1, rawtls.CloseNotify))
		}, get, nil, io.EOF},
		{"fatal alert", func(c *rawtls.Client) []byte { return alert(c, 2, 80) }, "", nil, nil},
		// RFC 8446 section 6: an error alert is fatal, whatever its level.
		{"unknown alert with the level of a warning", func(c *rawtls.Client) []byte { return alert(c, 1, 200) }, "", nil, nil},
	} {
		if tc.name == "user_canceled, close_notify" && !rawtls.Go126 {
			tc.err = nil
		}
		for _, step := range []int{1 << 20, 1} {
			t.Run(tc.name, func(t *testing.T) {
				sess, client := handedOver(t)
				var data string
				var wants []Message
				err := error(ErrWouldBlock)
				stream := tc.make(client)
				for first := true; first || len(stream) > 0 && err == ErrWouldBlock; first = false {
					n := min(step, len(stream))
					sess.Feed(stream[:n])
					stream = stream[n:]
					d, w, e := readAll(sess)
					data, wants, err = data+d, append(wants, w...), e
				}
				var names []string
				for _, m := range wants {
					names = append(names, m.String())
				}
				if data != tc.data || !slices.Equal(names, tc.wants) {
					t.Errorf("got %q and the messages %q, want %q and %q", data, names, tc.data, tc.wants)
				}
				if ended := err != ErrWouldBlock && err != io.EOF; tc.err == nil && !ended || tc.err != nil && !errors.Is(err, tc.err) {
					t.Errorf("ends with %v, want %v", err, tc.err)
				}
			})
		}
	}
}

// TestViolationInUserSpace: a session of TLS 1.2 that is not offloaded sends its alert in Output.
func TestViolationInUserSpace(t *testing.T) {
	cfg, pool := testConfig(t)
	l := newLaptop(t, NewServer(cfg), &tls.Config{RootCAs: pool, ServerName: "board", MaxVersion: tls.VersionTLS12})
	if err := l.handshake(4096); err != nil {
		t.Fatal(err)
	}
	l.sess.Feed([]byte{rawtls.ApplicationData, 3, 3, 0xff, 0xff})
	if _, err := l.sess.Read(make([]byte, 16)); err == nil || err == ErrWouldBlock {
		t.Errorf("got %v, want an error", err)
	}
	if _, ok := l.sess.Message(); ok {
		t.Error("a message for the kernel to send")
	}
	if _, err := l.far.Write(l.sess.Output()); err != nil {
		t.Fatal(err)
	}
	var op *net.OpError
	if _, err := l.tls.Read(make([]byte, 1)); !errors.As(err, &op) || op.Err.Error() != tls.AlertError(rawtls.RecordOverflow).Error() {
		t.Errorf("client: got %v, want record_overflow", err)
	}
}

// TestNoOutputAfterOffload: once the kernel has the keys, a session makes no output of its own.
func TestNoOutputAfterOffload(t *testing.T) {
	cfg, pool := testConfig(t)
	l := newLaptop(t, NewServer(cfg), clientConfig(pool))
	if err := l.handshake(4096); err != nil {
		t.Fatal(err)
	}
	l.sess.captureOwn()
	if _, err := l.sess.Write([]byte("x")); err == nil {
		t.Error("Write: no error")
	}
	if err := l.sess.CloseNotify(); err == nil {
		t.Error("CloseNotify: no error")
	}
	l.sess.Feed([]byte{recordApplicationData, 3, 3, 0, 17, 21: 7})
	if _, err := l.sess.Read(make([]byte, 16)); err == nil || err == ErrWouldBlock {
		t.Errorf("Read of a forged record: got %v, want an error", err)
	}
	if out := l.sess.Output(); len(out) > 0 {
		t.Errorf("%d bytes of output after the keys were installed", len(out))
	}
}
