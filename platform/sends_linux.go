package platform

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"uringhttpd/uring"
)

// SendTest is the outcome of a test of io_uring: whether a send on one of its threads
// (IOSQE_ASYNC) that must not wait (MSG_DONTWAIT) answers EAGAIN if there is no room.
type SendTest string

const (
	SendsUntested   SendTest = "" // or the test could not be made
	SendsAnswered   SendTest = "answered"
	SendsUnanswered SendTest = "unanswered"
)

// sendTestTime is how long the answer may take. It comes at once; a thread of the kernel that is
// late on a busy board must not look like the defect.
const sendTestTime = time.Second

// Sends tests sends, unless the outcome is known. It takes sendTestTime on a kernel with the defect.
func (r *Rings) Sends() SendTest {
	r.lock.Lock()
	defer r.lock.Unlock()
	if r.sends != SendsUntested {
		return r.sends
	}
	// An error means that the test could not be made, or that its ring could not be closed. The
	// latter does not change an outcome.
	_ = r.on(func(ring *uring.Ring) (err error) {
		r.sends, err = testSendOn(ring)
		return err
	})
	return r.sends
}

// testSendOn is testSend with a pair of sockets of which one has no room. Nothing of it is in the
// ring at the end, unless the kernel holds on to what has no reason to wait any more.
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
	// A send that waits for room ends by this, and Close of the ring cancels it, too.
	return outcome, errors.Join(err, os.NewSyscallError("shutdown", unix.Shutdown(pair[0], unix.SHUT_RDWR)))
}

// fill sends until there is no room.
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

// A sender is what testSend needs of a ring.
type sender interface {
	Push(op uring.Op, token uint64) (uring.Handle, error)
	Wait(timeout time.Duration, fn func(uring.Completion)) error
}

// testSend sends on a socket without room, and waits for the answer until limit has passed. The
// error says why that is no outcome.
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
		return SendsUntested, fmt.Errorf("platform: a send without room answered %d (%v)", answer.Result, answer.Errno())
	}
	return SendsAnswered, nil
}
