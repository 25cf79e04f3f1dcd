package pool

import (
	"testing"
	"time"

	"uringhttpd/test/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

// TestReplaceHungWorker: a worker is replaced only while it runs the job, so that no more
// workers end than were started.
func TestReplaceHungWorker(t *testing.T) {
	hang, begun := make(chan struct{}), make(chan struct{})
	w := New(1, nil)
	w.Submit(1, func() { close(begun); <-hang })
	<-begun
	w.Submit(2, func() {}) // waits
	if w.Replace(2) {
		t.Error("the worker of a waiting job was replaced")
	}
	if !w.Replace(1) || w.Replace(1) {
		t.Error("the worker of a hung job was not replaced once")
	}
	for ended := []uint64{}; len(ended) == 0; ended = w.Finished(ended) { // on the new worker
		time.Sleep(time.Millisecond)
	}
	if w.Replace(2) {
		t.Error("the worker of a finished job was replaced")
	}
	if !w.Close(time.Minute) {
		t.Error("Close waited for a replaced worker")
	}
	close(hang)
	for ended := []uint64{}; len(ended) == 0; ended = w.Finished(ended) {
		time.Sleep(time.Millisecond)
	}
}
