package board

import (
	"slices"
	"testing"
)

func TestNumberFindsNameInLine(t *testing.T) {
	const text = "sockets: used 5\nTCP: inuse 3 orphan 0 tw 1 alloc 4 mem 17\nMemAvailable:     402312 kB\n"
	for _, tc := range []struct {
		title, name string
		want        int64
		ok          bool
	}{
		{"TCP:", "mem", 17, true},
		{"MemAvailable:", "", 402312, true},
		{"TCP:", "memory", 0, false},
		{"UDP:", "mem", 0, false},
		{"MemAvailable:", "kB", 0, false},
	} {
		if got, err := number(text, tc.title, tc.name); got != tc.want || (err == nil) != tc.ok {
			t.Errorf("%s %s: got %d, %v", tc.title, tc.name, got, err)
		}
	}
}

func TestParseTCPReadsSendQueues(t *testing.T) {
	const table = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:20FB 00000000:0000 0A 00000000:00000003 00:00000000 00000000     0        0 5010 1 000000008f3c2e5b 100 0 0 10 0
   1: 0F02000A:20FB 010200C0:9C46 01 0020F000:00000000 01:0000001F 00000000     0        0 5031 4 00000000b0b63f27 24 0 0 10 -1
`
	got, err := parseTCP(table)
	if want := []sendQueue{{0x20fb, 0x20f000}}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
	for _, bad := range []string{"titles\nshort line\n", "titles\n 1: 0F02000A:20FB 0:0 01 x:0 y\n"} {
		if _, err := parseTCP(bad); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
}
