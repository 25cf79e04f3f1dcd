package platform

import (
	"errors"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"uringhttpd/uring"
)

// TestSends: this kernel answers, unless its version has the defect; the test leaves nothing, and
// is made once.
func TestSends(t *testing.T) {
	before := descriptors(t)
	tries := 0
	rings := NewRings(func() (*uring.Ring, error) {
		tries++
		return uring.New(8)
	})
	got := rings.Sends()
	r, err := newReport()
	if err != nil {
		t.Fatal(err)
	}
	v, ok := kernelVersion(r.Kernel, r.Build)
	if defective := ok && defects[1].in(v); got != SendsAnswered && !(defective && got == SendsUnanswered) {
		t.Errorf("Linux %s: %q", r.Kernel, got)
	}
	if tries = 0; rings.Sends() != got || tries > 0 {
		t.Errorf("tested again: %d rings", tries)
	}
	if after := descriptors(t); after != before || len(rings.kept) > 0 {
		t.Errorf("%d file descriptors open, want %d as before; %d rings kept", after, before, len(rings.kept))
	}
}

// TestSendsForbidden: where no ring can be made, nothing is known, and a later try may succeed.
func TestSendsForbidden(t *testing.T) {
	forbidden := true
	rings := NewRings(func() (*uring.Ring, error) {
		if forbidden {
			return nil, unix.EPERM
		}
		return uring.New(8)
	})
	if got := rings.Sends(); got != SendsUntested {
		t.Errorf("without a ring: %q", got)
	}
	if forbidden = false; rings.Sends() == SendsUntested {
		t.Error("a test that could not be made was remembered")
	}
}

// TestSendsLeft: a send that never answers ends with the test.
func TestSendsLeft(t *testing.T) {
	before := descriptors(t)
	err := testRings().on(func(ring *uring.Ring) error {
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(pair[0])
		defer unix.Close(pair[1])
		if err := fill(pair[0]); err != nil {
			return err
		}
		// Without MSG_DONTWAIT it waits for room, as with the defect.
		if _, err := ring.Push(uring.Send(pair[0], []byte("x"), unix.MSG_NOSIGNAL).Async(), 1); err != nil {
			return err
		}
		if err := ring.Wait(time.Millisecond, func(uring.Completion) {}); err != nil || ring.InFlight() != 1 {
			return errors.Join(err, errors.New("the send does not wait"))
		}
		return nil
	})
	if after := descriptors(t); err != nil || after != before {
		t.Errorf("%v; %d file descriptors open, want %d as before", err, after, before)
	}
}

// A fakeSender is a kernel whose answer is known.
type fakeSender struct {
	push, wait error
	answers    []int32 // at one call of Wait each; none: never
	waits      int
}

func (f *fakeSender) Push(uring.Op, uint64) (uring.Handle, error) { return 1, f.push }

func (f *fakeSender) Wait(timeout time.Duration, fn func(uring.Completion)) error {
	if f.waits++; f.wait != nil {
		return f.wait
	}
	if f.waits <= len(f.answers) {
		if result := f.answers[f.waits-1]; result != 0 {
			fn(uring.Completion{Result: result})
		}
		return nil // 0: a signal came
	}
	time.Sleep(timeout)
	return nil
}

func TestSendTest(t *testing.T) {
	wrong := errors.New("wrong")
	for _, tt := range []struct {
		name string
		ring fakeSender
		want SendTest
		err  bool
	}{
		{"an answer", fakeSender{answers: []int32{-int32(unix.EAGAIN)}}, SendsAnswered, false},
		{"an answer after a signal", fakeSender{answers: []int32{0, 0, -int32(unix.EAGAIN)}}, SendsAnswered, false},
		{"no answer", fakeSender{}, SendsUnanswered, false},
		{"no answer, but signals", fakeSender{answers: []int32{0, 0}}, SendsUnanswered, false},
		{"sent", fakeSender{answers: []int32{1}}, SendsUntested, true},
		{"another error", fakeSender{answers: []int32{-int32(unix.ECANCELED)}}, SendsUntested, true},
		{"not pushed", fakeSender{push: wrong}, SendsUntested, true},
		{"not waited for", fakeSender{wait: wrong}, SendsUntested, true},
	} {
		got, err := testSend(&tt.ring, -1, 10*time.Millisecond)
		if got != tt.want || (err != nil) != tt.err {
			t.Errorf("%s: %q, %v, want %q, error %t", tt.name, got, err, tt.want, tt.err)
		}
	}
}
