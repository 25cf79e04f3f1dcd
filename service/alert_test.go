package service

import (
	"crypto/tls"
	"net"
	"strings"
	"testing"
	"time"

	"uringhttpd/test/rawtls"
)

// TestBadRecordMAC: a client that says that it cannot open a record is logged, once,
// with who it was and what encrypted for it, whenever it says so; other alerts are
// nobody's business.
func TestBadRecordMAC(t *testing.T) {
	preferAES(t)
	h := &folder{dir: t.TempDir()}
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
		for _, alert := range []byte{rawtls.BadRecordMAC, 80} {
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
					if strings.Contains(line, "could not open a record") {
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
