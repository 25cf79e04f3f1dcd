package leak

import (
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { Main(m) }

// TestEachKindOfLeakIsReported: the error names the leaked resource; await returns nil after its release.
func TestEachKindOfLeakIsReported(t *testing.T) {
	for _, tc := range []struct {
		name string
		leak func(t *testing.T) (release func())
		want string
	}{
		{"descriptor", func(t *testing.T) func() {
			f, err := os.Open("/dev/null")
			if err != nil {
				t.Fatal(err)
			}
			return func() { f.Close() }
		}, "1 descriptors of /dev/null"},
		{"goroutine", func(*testing.T) func() {
			quit, running := make(chan struct{}), make(chan struct{})
			go func() { close(running); <-quit }()
			<-running
			return func() { close(quit) }
		}, "leak.TestEachKindOfLeakIsReported"},
		{"locked memory", func(t *testing.T) func() {
			page := make([]byte, 1<<16)
			if err := unix.Mlock(page); err != nil {
				t.Fatal(err)
			}
			return func() { unix.Munlock(page) }
		}, "VmLck is "},
	} {
		t.Run(tc.name, func(t *testing.T) {
			before, err := take()
			if err != nil {
				t.Fatal(err)
			}
			release := tc.leak(t)
			if err := before.await(0); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q in it", err, tc.want)
			}
			release()
			if err := before.await(10 * time.Second); err != nil {
				t.Errorf("after the release: %v", err)
			}
		})
	}
}
