package server

import (
	"io"
	"runtime"
	"testing"
)

// TestBuffersAreReused: a download over TLS in user space allocates less than its size. A new
// buffer for each chunk, and one for its records, would be twice its size. (With the race detector,
// sync.Pool forgets a quarter of them.)
func TestBuffersAreReused(t *testing.T) {
	const size = 32 << 20
	h := &directory{dir: t.TempDir()}
	h.file(t, "f", size)
	c := startServer(t, h, nil).dial(t, true)
	io.WriteString(c, "GET /f HTTP/1.1\r\nHost: b\r\n\r\n")
	buf := make([]byte, 64<<10)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for n := 0; n < size; {
		m, err := c.Read(buf)
		if n += m; err != nil {
			t.Fatal(err)
		}
	}
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > size {
		t.Errorf("%d MiB were allocated for a download of %d MiB", got>>20, size>>20)
	} else {
		t.Logf("%d MiB were allocated", got>>20)
	}
}
