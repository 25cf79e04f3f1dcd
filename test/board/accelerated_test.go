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

// An acceleration is the kernel code of a board for the processor's AES instructions or
// vector registers, with the choice that the daemon makes because of it.
type acceleration struct {
	gcm    string // the driver's name begins with this; the rest depends on QEMU's processor
	how    string // the daemon's word for it
	chaCha string // the driver of ChaCha20-Poly1305, which is synchronous
	suite  uint16 // the suite that tls.cipher: auto prefers
	reason string
}

const (
	inline   = "synchronous in system calls"
	hasAES   = "AES-GCM is preferred: the processor has AES instructions"
	lacksAES = "ChaCha20-Poly1305 is preferred: neither an engine nor AES instructions would compute AES-GCM"
)

var accelerations = map[board.Board]acceleration{
	board.AMD64_612: {"generic-gcm-aesni", inline, "rfc7539(chacha20-simd,poly1305-simd)", tls.TLS_AES_128_GCM_SHA256, hasAES},
	board.ARM64_612: {"gcm-aes-ce", "synchronous", "rfc7539(chacha20-neon,poly1305-neon)", tls.TLS_AES_128_GCM_SHA256, hasAES},
	// At its first use, ghash-ce makes a cryptd of its own with a higher priority. The kernel
	// has only scalar code for ChaCha20, which is the faster code on a Cortex-A7.
	board.ARMv7_612: {"gcm_base(ctr-aes-neonbs,cryptd(ghash-ce-sync))", "asynchronous", "rfc7539(chacha20-arm,poly1305-neon)", tls.TLS_CHACHA20_POLY1305_SHA256, lacksAES},
}

// testAccelerated: the code for the processor does not count as an engine, even if the kernel
// marks it asynchronous. AES-GCM is not preferred because of it, and its sends stay on the
// loop, unless a kernel thread computes for it.
func testAccelerated(ctx context.Context, t *testing.T, m *board.Machine, effort effort) {
	a := accelerations[m.Spec.Board]
	if err := m.MakeFile(ctx, board.Root+cipherFile.path(), cipherFile.content); err != nil {
		t.Fatal(err)
	}
	a.test(ctx, t, m, effort)
	if a.how == "asynchronous" {
		const hash = "ghash_arm_ce"
		t.Run("without "+hash, func(t *testing.T) {
			eventually(ctx, t, "unused hash", func() bool { return m.UnloadModule(ctx, hash) == nil })
			a.gcm, a.how = "gcm_base(ctr-aes-neonbs,ghash-generic)", inline
			a.test(ctx, t, m, effort)
		})
	}
}

func (a acceleration) test(ctx context.Context, t *testing.T, m *board.Machine, effort effort) {
	t.Run("doctor", func(t *testing.T) { a.gcm = a.doctor(ctx, t, m) })
	withCipher(ctx, t, m, "auto", func(t *testing.T, c *cipherTest) {
		c.download(ctx, t, &tls.Config{}, a.suite, 2)
		a.logged(ctx, t, c)
	})
	t.Run("workers", func(t *testing.T) {
		if n := engineWorkers(ctx, t, m, ""); (n > 0) != (a.how == "asynchronous") {
			t.Errorf("io_uring has %d workers for the sends of a driver that is %s", n, a.how)
		}
	})
	if a.how == inline {
		t.Run("wrong: "+wrong.MarkTrusted.Name, func(t *testing.T) {
			if effort == brief {
				t.Skip("left for make test-all")
			}
			a.wrong(ctx, t, m)
		})
	}
}

// encryptor is the daemon's description of the driver of gcm(aes).
func (a acceleration) encryptor() string {
	return fmt.Sprintf("gcm(aes) by %s (%s, tested)", a.gcm, a.how)
}

// doctor checks the report of doctor, and returns the driver's name.
func (a acceleration) doctor(ctx context.Context, t *testing.T, m *board.Machine) string {
	r := runDoctor(ctx, t, m, fmt.Sprintf(cipherConfig, "auto"))
	t.Logf("%s; %+v", r.Verdict, r.GCM)
	g := r.GCM[0]
	if !strings.HasPrefix(g.Driver, a.gcm) || g.Async != (a.how != "synchronous") || g.Inline != (a.how == inline) || g.Deferred != (a.how == "asynchronous") || g.Hardware {
		t.Errorf("the kernel selects %+v, want %+v", g, a)
	}
	a.gcm = g.Driver
	chaCha := a.chaCha + " (synchronous, tested)"
	if r.Status != 0 || !strings.Contains(r.Verdict, a.encryptor()) || !strings.Contains(r.Verdict, chaCha) || !strings.Contains(r.Verdict, a.reason) {
		t.Errorf("status %d, verdict %q; want 0, and %q, %q, %q in it", r.Status, r.Verdict, a.encryptor(), chaCha, a.reason)
	}
	for _, c := range r.Ciphers {
		if !c.Usable || !c.Verified {
			t.Errorf("got %+v", c)
		}
	}
	capture(ctx, t, m, m.Spec.Board.String()+"-"+m.Spec.Engine.String()+"-"+strings.ReplaceAll(a.how, " ", "-"))
	return g.Driver
}

// logged: the daemon logs its choice, without a warning.
func (a acceleration) logged(ctx context.Context, t *testing.T, c *cipherTest) {
	t.Helper()
	e, err := c.p.Output(ctx)
	if err != nil {
		t.Fatal(err)
	}
	_, because, _ := strings.Cut(a.reason, " is preferred: ")
	if log := string(e.Stderr); !strings.Contains(log, a.encryptor()) || !strings.Contains(log, "preferred_because=\""+because+"\"") || strings.Contains(log, "level=WARN") {
		t.Errorf("logged:\n%s\nwant %q and %q, and no warning", log, a.encryptor(), a.reason)
	}
}

// engineWorkers makes downloads by a client that does not read, and returns the number of
// io_uring threads after that: the sends of an engine leave the loop.
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

// wrong: a mutant that takes the kernel's mark for an engine is caught.
func (a acceleration) wrong(ctx context.Context, t *testing.T, m *board.Machine) {
	e, err := m.Run(ctx, nil, board.WrongPath(wrong.MarkTrusted.Name), "doctor", "-config", board.ConfigPath)
	if err != nil {
		t.Fatal(err)
	}
	if out := string(e.Stdout); !strings.Contains(out, a.gcm) || strings.Contains(out, a.encryptor()) || a.reason == lacksAES && strings.Contains(out, a.reason) {
		t.Errorf("doctor does not report it:\n%s", out)
	}
	if n := engineWorkers(ctx, t, m, wrong.MarkTrusted.Name); n == 0 {
		t.Error("not caught: io_uring has no workers")
	}
}
