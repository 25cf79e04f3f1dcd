package platform

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"uringhttpd/uring"
)

// SendTest is the outcome of a test of io_uring: whether a non-blocking send (MSG_DONTWAIT) on a
// worker thread (IOSQE_ASYNC) completes with EAGAIN if the socket's buffer is full.
type SendTest string

const (
	SendsUntested   SendTest = "" // not tested, or the test could not run
	SendsAnswered   SendTest = "answered"
	SendsUnanswered SendTest = "unanswered"
)

// sendTestTime is how long the completion may take. It normally comes at once; the time is long so
// that a worker thread that is late on a busy board does not look like the defect.
const sendTestTime = time.Second

// Sends returns the outcome of the test of sends, and runs the test if the outcome is not known. The
// test takes sendTestTime on a kernel with the defect.
func (r *Rings) Sends() SendTest {
	r.lock.Lock()
	defer r.lock.Unlock()
	if r.sends != SendsUntested {
		return r.sends
	}
	// An error means that the test could not run, or that its ring could not be closed. The latter
	// does not change the outcome.
	_ = r.on(func(ring *uring.Ring) (err error) {
		r.sends, err = testSendOn(ring)
		return err
	})
	return r.sends
}

// testSendOn runs testSend on a socket pair with a full send buffer. At its end the ring has no
// operation in flight, unless the kernel keeps a send that no longer has a reason to wait.
func testSendOn(ring *uring.Ring) (SendTest, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return SendsUntested, os.NewSyscallError("socketpair", err)
	}
	defer unix.Close(pair[0])
	defer unix.Close(pair[1])
	if err := fill(pair[0]); err != nil {
		return SendsUntested, err
	}
	outcome, err := testSend(ring, pair[0], sendTestTime)
	// The shutdown ends a send that waits for room; closing the ring cancels it too.
	return outcome, errors.Join(err, os.NewSyscallError("shutdown", unix.Shutdown(pair[0], unix.SHUT_RDWR)))
}

// fill sends until the socket's buffer is full.
func fill(fd int) error {
	block := make([]byte, 4096)
	for {
		err := unix.Send(fd, block, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return nil
		case err != nil && !errors.Is(err, unix.EINTR):
			return os.NewSyscallError("send", err)
		}
	}
}

// A sender is the part of a ring that testSend uses.
type sender interface {
	Push(op uring.Op, token uint64) (uring.Handle, error)
	Wait(timeout time.Duration, fn func(uring.Completion)) error
}

// testSend sends on a socket with a full buffer, and waits for the completion until limit has
// passed. The error says why the test has no outcome.
func testSend(ring sender, fd int, limit time.Duration) (SendTest, error) {
	if _, err := ring.Push(uring.Send(fd, []byte("x"), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL).Async(), 1); err != nil {
		return SendsUntested, err
	}
	var answer *uring.Completion
	for end := time.Now().Add(limit); answer == nil; {
		left := time.Until(end)
		if left <= 0 {
			return SendsUnanswered, nil
		}
		if err := ring.Wait(left, func(c uring.Completion) { answer = &c }); err != nil {
			return SendsUntested, err
		}
	}
	if answer.Errno() != unix.EAGAIN {
		return SendsUntested, fmt.Errorf("platform: a send to a full socket completed with %d (%v)", answer.Result, answer.Errno())
	}
	return SendsAnswered, nil
}
