package platform

import (
	"os"
	"path/filepath"
	"testing"
)

func TestTCPMemory(t *testing.T) {
	name := filepath.Join(t.TempDir(), "tcp_mem")
	unseen, err := tcpMemory(name) // as in a namespace
	if err != nil {
		t.Fatal(err)
	}
	if unseen < 1<<20 || unseen > 1<<40 {
		t.Errorf("%d bytes without the file", unseen)
	}
	page := int64(os.Getpagesize())
	for _, tt := range []struct {
		text string
		want int64 // 0: an error
	}{
		{"5175\t6901\t10350\n", 6901 * page}, // Linux 6.12.95, 512 MiB
		{"1 4611686018427387 3\n", 4611686018427387 * page},
		{"", 0},
		{"1 2\n", 0},
		{"1 x 3\n", 0},
	} {
		if err := os.WriteFile(name, []byte(tt.text), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := tcpMemory(name)
		if got != tt.want || (err == nil) != (tt.want != 0) {
			t.Errorf("%q: %d, %v; want %d", tt.text, got, err, tt.want)
		}
	}
}
