package server

import (
	"crypto/tls"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"uringhttpd/test/rawtls"
)

// TestBadRecordMACIsLogged: a client's bad_record_mac alert is logged once, with the client and the
// driver, whenever it arrives. Other alerts are not logged.
func TestBadRecordMACIsLogged(t *testing.T) {
	preferAES(t)
	h := &directory{dir: t.TempDir()}
	h.file(t, "large", 32<<20)
	for _, tt := range []struct {
		name    string
		request string
		do      func(t *testing.T, c *rawtls.Client, alert []byte)
	}{
		{"between requests", "GET /none HTTP/1.1\r\nHost: board\r\n\r\n", func(t *testing.T, c *rawtls.Client, alert []byte) {
			c.Read()
			c.Conn.Write(alert)
			c.ReadAll()
		}},
		{"amid a response, then a reset", "GET /large HTTP/1.1\r\nHost: board\r\n\r\n", func(t *testing.T, c *rawtls.Client, alert []byte) {
			c.Read()
			c.Conn.Write(alert)
			c.Conn.(*net.TCPConn).SetLinger(0)
			c.Conn.Close()
		}},
		{"behind close_notify", "GET /none HTTP/1.0\r\n\r\n", func(t *testing.T, c *rawtls.Client, alert []byte) {
			if _, alert, err := c.ReadAll(); err != nil || alert != rawtls.CloseNotify {
				t.Errorf("alert %d, %v, want close_notify", alert, err)
			}
			c.Conn.Write(alert)
		}},
	} {
		// Several times: whether a daemon sees the reset or the alert first is a race.
		for _, alert := range []byte{rawtls.BadRecordMAC, rawtls.BadRecordMAC, rawtls.BadRecordMAC, rawtls.BadRecordMAC, 80} {
			t.Run(tt.name+", "+tls.AlertError(alert).Error(), func(t *testing.T) {
				ts := startServer(t, h, nil)
				c := ts.dialRaw(t)
				c.Conn.Write(c.Seal(rawtls.ApplicationData, []byte(tt.request), 0))
				tt.do(t, c, c.Seal(rawtls.Alert, []byte{2, alert}, 0))
				c.Conn.Close()
				ts.Shutdown()
				select {
				case err := <-ts.ended:
					ts.ended <- err
				case <-time.After(20 * time.Second):
					t.Fatal("Run does not end")
				}
				var lines []string
				for line := range strings.Lines(ts.log.String()) {
					if strings.Contains(line, "client reported bad_record_mac") {
						lines = append(lines, line)
					}
				}
				if alert != rawtls.BadRecordMAC {
					if len(lines) > 0 {
						t.Errorf("logged: %q", lines)
					}
					return
				}
				if len(lines) != 1 {
					t.Fatalf("logged: %q, want one line", lines)
				}
				for _, want := range []string{"level=WARN", "remote=" + c.Conn.LocalAddr().String(), "cipher=" + tls.CipherSuiteName(c.Suite), `transport="user-space TLS"`} {
					if !strings.Contains(lines[0], want) {
						t.Errorf("logged: %s; it lacks %s", lines[0], want)
					}
				}
			})
		}
	}
}

// TestAlertEndsTransfer: a fatal alert during a response ends the response soon, although the
// client continues to receive. Requests that a client sends ahead, and its close_notify, do not.
func TestAlertEndsTransfer(t *testing.T) {
	preferAES(t)
	const size = 256 << 20
	h := &directory{dir: t.TempDir()}
	f, err := os.Create(filepath.Join(h.dir, "large"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	const get = "GET /large HTTP/1.1\r\nHost: board\r\n"
	for _, tc := range []struct {
		name  string
		say   func(c *rawtls.Client) []byte
		whole int // responses; 0: the first is cut
	}{
		{"fatal alert", func(c *rawtls.Client) []byte { return c.Seal(rawtls.Alert, []byte{2, 80}, 0) }, 0},
		{"request sent ahead", func(c *rawtls.Client) []byte {
			return c.Seal(rawtls.ApplicationData, []byte("GET /none HTTP/1.0\r\n\r\n"), 0)
		}, 2},
		{"close_notify", func(c *rawtls.Client) []byte { return c.Seal(rawtls.Alert, []byte{1, rawtls.CloseNotify}, 0) }, 1},
	} {
		ts := startServer(t, h, nil)
		c := ts.dialRaw(t)
		c.Conn.Write(c.Seal(rawtls.ApplicationData, []byte(get+"\r\n"), 0))
		received := 0
		said := false
		for {
			kind, content, err := c.Read()
			if err != nil || kind == rawtls.Alert {
				break
			}
			if received += len(content); !said && received > 1<<20 {
				said = true
				c.Conn.Write(tc.say(c))
			}
		}
		switch {
		case tc.whole == 0 && received > size/4:
			t.Errorf("%s: %d bytes arrived after the alert, which should have ended the response", tc.name, received)
		case tc.whole > 0 && received < size:
			t.Errorf("%s: %d bytes", tc.name, received)
		}
		c.Conn.Close()
		ts.awaitLog(t, "path=/large")
		for line := range strings.Lines(ts.log.String()) {
			if strings.Contains(line, "level=WARN") {
				t.Errorf("%s: %s", tc.name, line)
			}
		}
		if n := strings.Count(ts.log.String(), "msg=request "); n != tc.whole {
			t.Errorf("%s: %d responses, want %d", tc.name, n, tc.whole)
		}
	}
}
