package ktls

import (
	"context"
	"crypto/fips140"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"testing"
	"time"
)

// eachSuite runs f for every cipher suite that kernel TLS supports.
func eachSuite(t *testing.T, f func(t *testing.T, id uint16)) {
	for _, s := range Suites() {
		t.Run(s.Name(), func(t *testing.T) { f(t, s.ID) })
	}
}

// A faultyDriver stands for the kernel: it makes records of the data written to it, and changes each
// by fault before it sends it.
type faultyDriver struct {
	t     *testing.T
	k     txKeys
	out   io.Writer
	fault func(record []byte)
}

func (d *faultyDriver) Write(p []byte) (int, error) {
	written := len(p)
	for len(p) > 0 {
		n := min(len(p), maxPlain)
		record := seal(d.t, &d.k, recordApplicationData, p[:n])
		d.fault(record)
		if _, err := d.out.Write(record); err != nil {
			return 0, err
		}
		p = p[n:]
	}
	return written, nil
}

// TestSelfTestFaults: the self-test passes for a driver that is right, and fails for
// one with wrong ciphertext, and for one with the right ciphertext and a wrong tag.
func TestSelfTestFaults(t *testing.T) {
	for _, tc := range []struct {
		name  string
		fault func(record []byte)
		right bool
	}{
		{"none", func([]byte) {}, true},
		{"ciphertext", func(r []byte) { r[5] ^= 1 }, false},
		{"first bit of the tag", func(r []byte) { r[len(r)-tagSize] ^= 0x80 }, false},
		{"last bit of the tag", func(r []byte) { r[len(r)-1] ^= 1 }, false},
		{"tag of zeros", func(r []byte) { clear(r[len(r)-tagSize:]) }, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			eachSuite(t, func(t *testing.T, id uint16) {
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
				defer cancel()
				err := selfTest(ctx, id, func(k *txKeys, out *net.TCPConn) (io.Writer, error) {
					return &faultyDriver{t, *k, out, tc.fault}, nil
				})
				if (err == nil) != tc.right {
					t.Errorf("got %v", err)
				}
				if errors.Is(err, errors.ErrUnsupported) {
					t.Errorf("%v counts as a suite that the kernel does not support", err)
				}
			})
		})
	}
}

// TestSelfTestFIPS: a suite that this program may not compute counts as not supported, and not as a
// failure of the driver.
func TestSelfTestFIPS(t *testing.T) {
	if fips140.Enabled() {
		if _, err := deriveKeys(tls.TLS_CHACHA20_POLY1305_SHA256, make([]byte, 32)); err != nil && !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("got %v, want ErrUnsupported", err)
		}
		return
	}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program, "-test.run=^TestSelfTestFIPS$")
	cmd.Env = append(os.Environ(), "GODEBUG=fips140=only")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
