//go:build board

package board_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"uringhttpd/test/board"
	"uringhttpd/test/board/client"
	"uringhttpd/test/board/pattern"
)

// aDownload is a file, or a range of a file if length is not 0.
type aDownload struct {
	name           string
	content        pattern.Content
	offset, length int64
}

// downloads have sizes around the units of a transfer, and one is a range whose offset has
// more than 32 bits: 5 GiB, all a hole except the last 3 MiB.
var downloads = []aDownload{
	{name: "empty", content: pattern.Content{Seed: 1}},
	{name: "one-byte", content: pattern.Content{Seed: 2, Size: 1}},
	{name: "one-record", content: pattern.Content{Seed: 3, Size: 16 << 10}},
	{name: "odd", content: pattern.Content{Seed: 4, Size: 1<<20 + 1}},
	{name: "large", content: pattern.Content{Seed: 5, Size: 8 << 20}},
	{name: "sparse", content: pattern.Content{Seed: 6, Size: 5 << 30, Hole: 5<<30 - 3<<20}, offset: 5<<30 - 4<<20 + 5, length: 3<<20 + 7},
}

func (d aDownload) path() string { return "/" + d.name + ".bin" }

// want returns the digest of the expected data.
func (d aDownload) want() string {
	if d.length > 0 {
		return d.content.SHA256(d.offset, d.length)
	}
	return d.content.SHA256(0, d.content.Size)
}

// testDownloads fetches every file from the host, by curl and by package client, and checks
// the bytes, the use of kernel TLS, and the daemon's resources afterwards.
func testDownloads(ctx context.Context, t *testing.T, m *board.Machine) {
	for _, d := range downloads {
		if err := m.MakeFile(ctx, board.Root+d.path(), d.content); err != nil {
			t.Fatal(err)
		}
	}
	p, err := m.StartDaemon(ctx, board.Daemon{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if t.Failed() {
			e, err := p.Output(ctx)
			t.Logf("daemon (%v): %s", err, e.Stderr)
			_ = p.Signal(ctx, syscall.SIGKILL) // the daemon may have ended; the next test needs its ports
		}
	}()
	addr, err := m.Forward(ctx, board.TLSPort)
	if err != nil {
		t.Fatal(err)
	}
	roots, err := m.Roots()
	if err != nil {
		t.Fatal(err)
	}
	atStart, txSw := held(ctx, t, p), tlsTxSw(ctx, t, m)

	curl := curler{addr: addr, roots: filepath.Join(t.TempDir(), "roots.pem")}
	if err := os.WriteFile(curl.roots, roots, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, d := range downloads {
		t.Run("curl/"+d.name, func(t *testing.T) { curl.download(ctx, t, d) })
	}
	const other = 1 // number of downloads with another cipher than usual
	t.Run("curl/AES-256-GCM", func(t *testing.T) {
		curl.download(ctx, t, downloads[3], "--tls13-ciphers", "TLS_AES_256_GCM_SHA384")
	})
	// Pipes and open files may be kept for later, sockets may not. Either count may be one too
	// high: the first may include a listener's copy on its way to the ring, the second the
	// last connection. A leak would add one per connection.
	afterCurl := awaitHeld(ctx, t, p, func(h map[string]int) bool { return h["socket"] <= atStart["socket"] })

	for _, d := range downloads {
		t.Run("client/"+d.name, func(t *testing.T) {
			r, err := client.Run(ctx, client.Options{
				Address: addr, Path: d.path(), Roots: roots, Content: &d.content, Offset: d.offset, Length: d.length,
			})
			if err != nil {
				t.Fatal(err)
			}
			if r.Complete != 1 || r.SHA256 != d.want() || r.Ends["close_notify"] != 1 {
				t.Errorf("got %+v, want a complete download of sha256 %s and close_notify", r, d.want())
			}
		})
	}
	awaitHeld(ctx, t, p, func(h map[string]int) bool {
		for kind, n := range h {
			if n > afterCurl[kind] {
				return false
			}
		}
		return true
	})

	if got, want := tlsTxSw(ctx, t, m)-txSw, int64(2*len(downloads)+other); got != want {
		t.Errorf("kernel TLS was enabled %d times for %d connections", got, want)
	}
	stopCtx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if err := p.Stop(stopCtx); err != nil {
		t.Errorf("SIGTERM without transfers in flight: %v", err)
	}
}

// A curler runs the host's curl with the name in the certificate.
type curler struct {
	addr, roots string
}

// download fetches d; options are added to curl's.
func (c curler) download(ctx context.Context, t *testing.T, d aDownload, options ...string) {
	host, port, err := net.SplitHostPort(c.addr)
	if err != nil {
		t.Fatal(err)
	}
	args := []string{
		"--silent", "--show-error", "--fail", "--tlsv1.3", "--max-time", "120", "--noproxy", "*",
		"--cacert", c.roots, "--resolve", "localhost:" + port + ":" + host,
	}
	args = append(args, options...)
	if d.length > 0 {
		args = append(args, "--range", fmt.Sprintf("%d-%d", d.offset, d.offset+d.length-1))
	}
	cmd := exec.CommandContext(ctx, "curl", append(args, "https://localhost:"+port+d.path())...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	body, err := cmd.Output()
	if err != nil {
		t.Fatalf("curl: %v: %s (install curl if it is absent)", err, stderr.String())
	}
	sum := sha256.Sum256(body)
	if got := hex.EncodeToString(sum[:]); got != d.want() {
		t.Errorf("%d bytes, first wrong byte at %d; sha256 %s, want %s", len(body), d.content.Diff(body, d.offset), got, d.want())
	}
}

// held returns the daemon's descriptors, counted by kind.
func held(ctx context.Context, t *testing.T, p *board.Process) map[string]int {
	t.Helper()
	u, err := p.Usage(ctx)
	if err != nil {
		t.Fatal(err)
	}
	h := map[string]int{}
	for _, fd := range u.FDs {
		_, target, _ := strings.Cut(fd, " ")
		kind, _, _ := strings.Cut(target, ":[")
		h[kind]++
	}
	return h
}

// awaitHeld polls the daemon's descriptors until they are as wanted: the daemon closes
// connections some time after the client, and no event announces that.
func awaitHeld(ctx context.Context, t *testing.T, p *board.Process, ok func(map[string]int) bool) map[string]int {
	t.Helper()
	deadline := time.NewTimer(30 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		h := held(ctx, t, p)
		if ok(h) {
			return h
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("the daemon keeps descriptors: %v", h)
		}
	}
}
