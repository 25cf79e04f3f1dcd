package platform

import (
	"os"
	"path/filepath"
	"testing"
)

func TestTCPMemory(t *testing.T) {
	const all = 512 << 20
	name := filepath.Join(t.TempDir(), "tcp_mem")
	if got := tcpMemory(name, all); got != all/16 { // as in a namespace
		t.Errorf("without the file: %d, want %d", got, all/16)
	}
	page := int64(os.Getpagesize())
	for _, tt := range []struct {
		text string
		want int64
	}{
		{"5175\t6901\t10350\n", 6901 * page},    // Linux 6.12.95, 512 MiB
		{"8388608 8388608 8388608\n", all / 16}, // bytes, by mistake
		{"1 9223372036854775807 3\n", all / 16},
		{"1 18446744073709551615 3\n", all / 16},
		{"1 -1 3\n", all / 16},
		{"0 0 0\n", all / 16},
		{"", all / 16},
		{"1 2\n", all / 16},
		{"1 x 3\n", all / 16},
	} {
		if err := os.WriteFile(name, []byte(tt.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := tcpMemory(name, all); got != tt.want {
			t.Errorf("%q: %d, want %d", tt.text, got, tt.want)
		}
	}
	if got := TCPMemory(); got < 1<<20 || got > 1<<40 {
		t.Errorf("this machine's: %d", got)
	}
}
