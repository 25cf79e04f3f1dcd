package pool

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"uringhttpd/test/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

// TestPoolReplacesHungWorker: a worker is replaced only while it runs the job, and only once. Close
// does not wait for a replaced worker.
func TestPoolReplacesHungWorker(t *testing.T) {
	hang, begun := make(chan struct{}), make(chan struct{})
	waker, err := NewWaker()
	if err != nil {
		t.Fatal(err)
	}
	defer waker.Close()
	w := New(1, waker)
	awaitFinished := func() {
		for len(w.Finished(nil)) == 0 {
			var count [8]byte
			if _, err := unix.Read(waker.FD(), count[:]); err != nil {
				t.Fatal(err)
			}
		}
	}
	w.Submit(1, func() { close(begun); <-hang })
	<-begun
	w.Submit(2, func() {}) // queued
	if w.Replace(2) {
		t.Error("a worker was replaced for a queued job")
	}
	if !w.Replace(1) || w.Replace(1) {
		t.Error("the worker of a hung job was not replaced exactly once")
	}
	awaitFinished() // job 2, on the new worker
	if w.Replace(2) {
		t.Error("the worker of a finished job was replaced")
	}
	if !w.Close(time.Minute) {
		t.Error("Close waited for a replaced worker")
	}
	close(hang)
	awaitFinished()
}
