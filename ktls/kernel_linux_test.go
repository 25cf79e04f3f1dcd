//go:build linux

package ktls

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

// An otherCipher is a kernel that receives the key of a cipher that no kernel has.
type otherCipher struct{ FD }

func (k otherCipher) SetTX(info []byte) error {
	binary.NativeEndian.PutUint16(info[2:], 999)
	return k.FD.SetTX(info)
}

// TestRefusedKey: if the kernel accepts the upper layer protocol and then refuses the key, the
// socket passes bytes through, and the session continues in user space. The boards' tests run it
// on kernels with the tls module.
func TestRefusedKey(t *testing.T) {
	for _, tc := range []struct {
		name   string
		cipher Cipher
		kernel func(fd int) Kernel
	}{
		{"unknown cipher", AESGCM, func(fd int) Kernel { return otherCipher{FD(fd)} }},
		{"ChaCha20, if the kernel lacks it", ChaCha20Poly1305, func(fd int) Kernel { return FD(fd) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			withPreference(t, tc.cipher.suites13())
			cfg, pool := testConfig(t)
			l := newLaptop(t, NewServer(cfg), clientConfig(pool))
			if err := l.handshake(4096); err != nil {
				t.Fatal(err)
			}
			file, err := l.far.(*net.TCPConn).File()
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			_, err = l.sess.Offload(tc.kernel(int(file.Fd())))
			if err == nil {
				t.Log("the kernel accepted the key")
				return
			}
			t.Log(err)
			if !errors.Is(err, errors.ErrUnsupported) {
				t.Fatalf("got %v, want ErrUnsupported", err)
			}
			// Send a record by splice(2), then the rest by send(2) and recv(2).
			if _, err := l.sess.Write([]byte("spliced")); err != nil {
				t.Fatal(err)
			}
			record := l.sess.Output()
			var p [2]int
			if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
				t.Fatal(err)
			}
			defer unix.Close(p[0])
			defer unix.Close(p[1])
			if _, err := unix.Write(p[1], record); err != nil {
				t.Fatal(err)
			}
			if n, err := unix.Splice(p[0], nil, int(file.Fd()), nil, len(record), 0); err != nil || int(n) != len(record) {
				t.Fatalf("splice: %d, %v", n, err)
			}
			got := make([]byte, len("spliced"))
			if _, err := io.ReadFull(l.tls, got); err != nil || string(got) != "spliced" {
				t.Fatalf("client: got %q, %v", got, err)
			}
			exchange(t, l)
		})
	}
}
