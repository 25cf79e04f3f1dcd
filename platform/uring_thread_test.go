package platform

import (
	"os/exec"
	"strings"
	"testing"
)

// TestRingThreadEnds: a probe's ring is never made on the main thread, where io_uring's idle
// workers would stay for the life of the process.
func TestRingThreadEnds(t *testing.T) {
	out, err := exec.Command("go", "run", "./testdata/mainthread").CombinedOutput()
	if got := strings.TrimSpace(string(out)); err != nil || got != "0" {
		t.Errorf("rings made on the main thread: got %s, %v, want 0", got, err)
	}
}
