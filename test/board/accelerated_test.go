//go:build board

package board_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"strings"
	"testing"
	"time"

	"uringhttpd/test/board"
	"uringhttpd/test/board/client"
	"uringhttpd/test/wrong"
)

// An acceleration is what a board's kernel has for the processor's AES instructions or
// vector registers, and the daemon's choice there.
type acceleration struct {
	gcm    string // the driver's name begins so: it depends on QEMU's processor
	marked bool   // the kernel marks it asynchronous
	chaCha string // the same of ChaCha20-Poly1305, which is never marked
	suite  uint16 // the one that tls.cipher: auto prefers
	reason string
}

const (
	hasAES = "AES-GCM is preferred: the processor has AES instructions"
)

var accelerations = map[board.Board]acceleration{
	board.AMD64_612: {"generic-gcm-aesni", true, "rfc7539(chacha20-simd,poly1305-simd)", tls.TLS_AES_128_GCM_SHA256, hasAES},
	board.ARM64_612: {"gcm-aes-ce", false, "rfc7539(chacha20-neon,poly1305-neon)", tls.TLS_AES_128_GCM_SHA256, hasAES},
}

// testAccelerated: a driver that encrypts in its caller is no engine, whatever the
// kernel's mark. It is no reason to prefer AES-GCM, and its sends stay on the loop.
func testAccelerated(ctx context.Context, t *testing.T, m *board.Machine, effort effort) {
	a := accelerations[m.Spec.Board]
	t.Run("doctor", func(t *testing.T) { a.doctor(ctx, t, m) })
	if err := m.MakeFile(ctx, board.Root+cipherFile.path(), cipherFile.content); err != nil {
		t.Fatal(err)
	}
	withCipher(ctx, t, m, "auto", func(t *testing.T, c *cipherTest) {
		c.download(ctx, t, &tls.Config{}, a.suite, 2)
		a.logged(ctx, t, c)
	})
	t.Run("on the loop", func(t *testing.T) {
		if n := engineWorkers(ctx, t, m, ""); n != 0 {
			t.Errorf("io_uring has %d workers for sends, which the loop itself should make", n)
		}
	})
	t.Run("wrong: "+wrong.MarkTrusted.Name, func(t *testing.T) {
		if effort == brief {
			t.Skip("left for make test-all")
		}
		a.wrong(ctx, t, m)
	})
}

// encryptor is as the daemon should describe the driver of gcm(aes).
func (a acceleration) encryptor(m *board.Machine) string {
	how := "synchronous"
	if a.marked {
		how = "synchronous in system calls"
	}
	return fmt.Sprintf("gcm(aes) by %s (%s, tested)", m.Driver, how)
}

func (a acceleration) doctor(ctx context.Context, t *testing.T, m *board.Machine) {
	r := runDoctor(ctx, t, m, fmt.Sprintf(cipherConfig, "auto"))
	t.Logf("%s; %+v", r.Verdict, r.GCM)
	if g := r.GCM[0]; g.Driver != m.Driver || !strings.HasPrefix(g.Driver, a.gcm) || g.Async != a.marked || g.Inline != a.marked || g.Hardware || g.Plain() {
		t.Errorf("the kernel picks %+v, want %+v", g, a)
	}
	chaCha := a.chaCha + " (synchronous, tested)"
	if r.Status != 0 || !strings.Contains(r.Verdict, a.encryptor(m)) || !strings.Contains(r.Verdict, chaCha) || !strings.Contains(r.Verdict, a.reason) {
		t.Errorf("status %d, verdict %q; want 0, and %q, %q, %q in it", r.Status, r.Verdict, a.encryptor(m), chaCha, a.reason)
	}
	for _, c := range r.Ciphers {
		if !c.Usable || !c.Verified {
			t.Errorf("got %+v", c)
		}
	}
	capture(ctx, t, m, m.Spec.Board.String()+"-"+m.Spec.Engine.String())
}

// logged: the daemon says what it has chosen, without a warning.
func (a acceleration) logged(ctx context.Context, t *testing.T, c *cipherTest) {
	t.Helper()
	e, err := c.p.Output(ctx)
	if err != nil {
		t.Fatal(err)
	}
	log := string(e.Stderr)
	for line := range strings.Lines(log) {
		if strings.Contains(line, "is preferred") {
			t.Log(line)
		}
	}
	if !strings.Contains(log, a.encryptor(c.m)) || !strings.Contains(log, a.reason) || strings.Contains(log, "level=WARN") {
		t.Errorf("logged:\n%s\nwant %q and %q, and no warning", log, a.encryptor(c.m), a.reason)
	}
}

// engineWorkers downloads what takes nothing but sends, and returns how many threads
// io_uring has after that: an engine's sends leave the loop.
func engineWorkers(ctx context.Context, t *testing.T, m *board.Machine, program string) (n int) {
	t.Helper()
	if err := m.MakeFile(ctx, board.Root+oneRecordName, oneRecord); err != nil {
		t.Fatal(err)
	}
	p, err := m.StartDaemon(ctx, board.Daemon{Wrong: program})
	if err != nil {
		t.Fatal(err)
	}
	before := tlsTxSw(ctx, t, m)
	const downloads = 16
	r := ways[0].download(ctx, t, m, client.Options{Path: oneRecordName, Content: &oneRecord, Downloads: downloads, Parallel: 4, Timeout: time.Minute})
	u, err := p.Usage(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range u.Threads {
		if strings.HasPrefix(name, "iou-") {
			n++
		}
	}
	if got := tlsTxSw(ctx, t, m) - before; r.Complete != downloads || got != downloads {
		t.Errorf("%+v, %d connections in kernel TLS", r, got)
	}
	if err := p.Stop(ctx); err != nil {
		t.Error(err)
	}
	return n
}

// wrong: a build that takes the kernel's mark for an engine is caught.
func (a acceleration) wrong(ctx context.Context, t *testing.T, m *board.Machine) {
	if !a.marked {
		t.Skip("the kernel does not mark this driver")
	}
	e, err := m.Run(ctx, nil, board.WrongPath(wrong.MarkTrusted.Name), "doctor", "-config", board.ConfigPath)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(e.Stdout), a.encryptor(m)) {
		t.Errorf("doctor does not show it:\n%s", e.Stdout)
	}
	if n := engineWorkers(ctx, t, m, wrong.MarkTrusted.Name); n == 0 {
		t.Error("not caught: io_uring has no workers")
	}
}
