package platform

import (
	"testing"
	"time"
)

func TestCPUTime(t *testing.T) {
	got, err := parseCPUTime("cpu  100 20 30 99999 8888 4 1 777 0 0")
	if want := 1550 * time.Millisecond; err != nil || got != want {
		t.Errorf("got %v, %v; want %v", got, err, want)
	}
	for _, line := range []string{"", "cpu0 1 2 3 4 5 6 7", "cpu 1 2 3", "cpu 1 x 3 4 5 6 7"} {
		if _, err := parseCPUTime(line); err == nil {
			t.Errorf("%q: no error", line)
		}
	}
	first, err := CPUTime()
	if err != nil || first <= 0 {
		t.Errorf("this machine: %v, %v", first, err)
	}
}
