package uring

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A FeatureError says that this kernel, or the rules this process runs under,
// do not give what the ring needs. errors.Is(err, errors.ErrUnsupported) holds.
type FeatureError struct {
	Feature string     // what was asked for
	Errno   unix.Errno // what the kernel answered; 0 where it did not answer but lacks a feature bit
}

func (e *FeatureError) Error() string {
	if e.Errno == 0 {
		return "uring: the kernel does not have " + e.Feature
	}
	return fmt.Sprintf("uring: %s: %v", e.Feature, e.Errno)
}

func (e *FeatureError) Is(target error) bool { return target == errors.ErrUnsupported }

func (e *FeatureError) Unwrap() error {
	if e.Errno == 0 {
		return nil
	}
	return e.Errno
}

// A Handle names an operation between Push and its completion.
type Handle uint64

// A Completion is the end of one operation.
type Completion struct {
	Token  uint64 // as given to Push
	Result int32  // what the system call would return; a negated errno on failure
	Flags  uint32 // IORING_CQE_F_*
}

// Errno returns the error of a failed operation, else 0.
func (c Completion) Errno() unix.Errno {
	if c.Result < 0 {
		return unix.Errno(-c.Result)
	}
	return 0
}

// slot is what the Ring remembers of an operation in flight.
type slot struct {
	token uint64
	hold  unsafe.Pointer
	next  int32  // the next free slot; used only while this one is free
	gen   uint32 // grows at each use, so that an old Handle never names a new operation
}

// A Ring is one io_uring. See the package's comment for its rules.
type Ring struct {
	fd   int
	mem  []byte // both rings: IORING_FEAT_SINGLE_MMAP
	sqes []byte

	sqHead, sqTail, sqFlags *uint32 // shared with the kernel
	cqHead, cqTail          *uint32
	sqMask, cqMask          uint32
	sqEntries               uint32
	cqBase                  unsafe.Pointer

	tail   uint32 // entries written, of which the kernel knows *sqTail
	queued uint32 // entries written and not yet taken by the kernel

	slots    []slot
	free     int32 // head of the list of free slots, -1 at its end
	inFlight int

	arg getEventsArg
	ts  kernelTimespec
}

// required lists the operations this package offers; New fails without one.
var required = [...]struct {
	code uint8
	name string
}{
	{opPollAdd, "IORING_OP_POLL_ADD"}, {opSendMsg, "IORING_OP_SENDMSG"}, {opTimeout, "IORING_OP_TIMEOUT"},
	{opAccept, "IORING_OP_ACCEPT"}, {opAsyncCancel, "IORING_OP_ASYNC_CANCEL"}, {opClose, "IORING_OP_CLOSE"},
	{opRead, "IORING_OP_READ"}, {opSend, "IORING_OP_SEND"}, {opRecv, "IORING_OP_RECV"}, {opSplice, "IORING_OP_SPLICE"},
}

// New makes a ring with room for entries operations between two calls of Wait
// (the kernel rounds up to a power of two, and clamps at 32768) and four times
// as many completions; more completions than that are kept by the kernel until
// there is room. The error is a *FeatureError where the kernel refuses.
func New(entries uint32) (*Ring, error) {
	p := params{
		flags:     setupCQSize | setupClamp | setupSubmitAll | setupSingleIssuer | setupDeferTaskrun,
		cqEntries: 4 * entries,
	}
	fd, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, uintptr(entries), uintptr(unsafe.Pointer(&p)), 0)
	switch errno {
	case 0:
	case unix.EINVAL:
		return nil, &FeatureError{"IORING_SETUP_SINGLE_ISSUER and IORING_SETUP_DEFER_TASKRUN (Linux 6.1)", errno}
	case unix.ENOSYS, unix.EPERM, unix.EACCES:
		return nil, &FeatureError{"io_uring_setup", errno}
	default: // ENOMEM, EMFILE, ENFILE: nothing is missing but room
		return nil, fmt.Errorf("uring: %w", os.NewSyscallError("io_uring_setup", errno))
	}
	r := &Ring{fd: int(fd), free: -1}
	unix.CloseOnExec(r.fd)
	if err := r.open(&p); err != nil {
		r.release()
		return nil, err
	}
	return r, nil
}

// open maps the rings of p and checks that the operations are there.
func (r *Ring) open(p *params) error {
	if missing := uint32(featSingleMmap|featNoDrop|featExtArg) &^ p.features; missing != 0 {
		return &FeatureError{Feature: fmt.Sprintf("the io_uring features %#x", missing)}
	}
	if err := r.probe(); err != nil {
		return err
	}
	var err error
	size := max(p.sqOff.array+p.sqEntries*4, p.cqOff.cqes+p.cqEntries*uint32(unsafe.Sizeof(cqe{})))
	const prot, flags = unix.PROT_READ | unix.PROT_WRITE, unix.MAP_SHARED | unix.MAP_POPULATE
	if r.mem, err = unix.Mmap(r.fd, offSQRing, int(size), prot, flags); err != nil {
		return fmt.Errorf("uring: %w", os.NewSyscallError("mmap", err))
	}
	if r.sqes, err = unix.Mmap(r.fd, offSQEs, int(p.sqEntries)*int(unsafe.Sizeof(sqe{})), prot, flags); err != nil {
		return fmt.Errorf("uring: %w", os.NewSyscallError("mmap", err))
	}
	r.sqHead, r.sqTail, r.sqFlags = r.word(p.sqOff.head), r.word(p.sqOff.tail), r.word(p.sqOff.flags)
	r.cqHead, r.cqTail = r.word(p.cqOff.head), r.word(p.cqOff.tail)
	r.sqMask, r.cqMask = *r.word(p.sqOff.ringMask), *r.word(p.cqOff.ringMask)
	r.sqEntries = p.sqEntries
	r.cqBase = unsafe.Pointer(&r.mem[p.cqOff.cqes])
	for i := uint32(0); i < p.sqEntries; i++ { // entry i of the queue is always entry i of the table
		*r.word(p.sqOff.array + 4*i) = i
	}
	r.tail = atomic.LoadUint32(r.sqTail)
	return nil
}

func (r *Ring) word(off uint32) *uint32 { return (*uint32)(unsafe.Pointer(&r.mem[off])) }

func (r *Ring) probe() error {
	var pr probe
	_, _, errno := unix.Syscall6(unix.SYS_IO_URING_REGISTER, uintptr(r.fd), registerProbe,
		uintptr(unsafe.Pointer(&pr)), uintptr(len(pr.ops)), 0, 0)
	if errno != 0 {
		return &FeatureError{"IORING_REGISTER_PROBE", errno}
	}
	for _, op := range required {
		if op.code > pr.lastOp || pr.ops[op.code].flags&opSupported == 0 {
			return &FeatureError{Feature: op.name}
		}
	}
	return nil
}

const (
	pushTries  = 20 // before Push gives up on a kernel that takes nothing
	pushPause  = 10 * time.Millisecond
	rawEntries = 4 // submitted at most by a call that the scheduler is not told of
)

// InFlight is the number of operations pushed and not yet completed.
func (r *Ring) InFlight() int { return r.inFlight }

// Push queues op. The kernel sees it at the next Wait, or now when the queue is
// full; an error can only come of that. The token comes back in the Completion.
func (r *Ring) Push(op Op, token uint64) (Handle, error) {
	for try := 0; r.queued == r.sqEntries; try++ {
		if try == pushTries {
			return 0, fmt.Errorf("uring: the submission queue is full and the kernel takes nothing: %w", unix.EBUSY)
		}
		// The first try takes no time. If the kernel has no memory for more
		// entries, the others give it some.
		if err := r.enter(time.Duration(try) * pushPause); err != nil {
			return 0, err
		}
	}
	i := r.free
	if i < 0 {
		i = int32(len(r.slots))
		r.slots = append(r.slots, slot{})
	} else {
		r.free = r.slots[i].next
	}
	s := &r.slots[i]
	s.token, s.hold = token, op.hold
	s.gen++
	h := Handle(uint64(s.gen)<<32 | uint64(uint32(i)))
	e := (*sqe)(unsafe.Pointer(&r.sqes[uintptr(r.tail&r.sqMask)*unsafe.Sizeof(sqe{})]))
	*e = op.sqe
	e.userData = uint64(h)
	r.tail++
	r.queued++
	r.inFlight++
	return h, nil
}

// Wait submits what was pushed, waits until at least one operation completes or
// timeout has passed (negative: no limit), and calls fn for each completion that
// is there. fn may Push. Wait returns nil without a call of fn when the time is
// up or a signal came.
func (r *Ring) Wait(timeout time.Duration, fn func(Completion)) error {
	if !r.ready() {
		if err := r.enter(timeout); err != nil {
			return err
		}
	} else if r.queued > 0 || atomic.LoadUint32(r.sqFlags)&sqCQOverflow != 0 {
		if err := r.enter(0); err != nil {
			return err
		}
	}
	// Only what is there now: completions that fn's own operations bring wait
	// for the next call, so one busy client cannot hold the loop here.
	tail := atomic.LoadUint32(r.cqTail)
	for head := atomic.LoadUint32(r.cqHead); head != tail; {
		e := *(*cqe)(unsafe.Add(r.cqBase, uintptr(head&r.cqMask)*unsafe.Sizeof(cqe{})))
		head++
		atomic.StoreUint32(r.cqHead, head)
		fn(r.complete(e))
	}
	return nil
}

func (r *Ring) ready() bool { return atomic.LoadUint32(r.cqTail) != atomic.LoadUint32(r.cqHead) }

// enter submits and waits. The kernel runs the deferred completion work here,
// and only here.
func (r *Ring) enter(timeout time.Duration) error {
	atomic.StoreUint32(r.sqTail, r.tail)
	r.arg = getEventsArg{}
	want := uintptr(1)
	if timeout == 0 {
		want = 0
	} else if timeout > 0 {
		r.ts = *timespec(timeout)
		r.arg.ts = uint64(uintptr(unsafe.Pointer(&r.ts)))
	}
	// A raw call is cheaper, but the scheduler does not know of it, and the
	// garbage collector waits for its end: only for what is short. Each entry
	// may encrypt some 64 KiB.
	call := unix.Syscall6
	if want == 0 && r.queued <= rawEntries {
		call = unix.RawSyscall6
	}
	_, _, errno := call(unix.SYS_IO_URING_ENTER, uintptr(r.fd), uintptr(r.queued), want,
		enterGetEvents|enterExtArg, uintptr(unsafe.Pointer(&r.arg)), unsafe.Sizeof(r.arg))
	r.queued = r.tail - atomic.LoadUint32(r.sqHead)
	switch errno {
	case 0, unix.ETIME, unix.EINTR, unix.EAGAIN, unix.EBUSY:
		return nil
	}
	return fmt.Errorf("uring: %w", os.NewSyscallError("io_uring_enter", errno))
}

// complete frees the slot of e.
func (r *Ring) complete(e cqe) Completion {
	i := uint32(e.userData)
	s := &r.slots[i]
	if s.gen != uint32(e.userData>>32) {
		panic("uring: completion of an operation that is not in flight")
	}
	c := Completion{Token: s.token, Result: e.res, Flags: e.flags}
	s.hold, s.token = nil, 0
	s.gen++
	s.next, r.free = r.free, int32(i)
	r.inFlight--
	return c
}

// closeTime is how long Close waits for operations that it cancelled.
const closeTime = 5 * time.Second

// Close cancels what is in flight, waits for it, and frees the ring. It calls fn
// for each completion: an accept or a close may have succeeded. If an
// operation does not end in five seconds (a disk that hangs), Close returns an
// error and the ring and the memory of that operation stay as they are, since
// the kernel may still write to it: keep r for as long as the process lives.
func (r *Ring) Close(fn func(Completion)) error {
	if r.inFlight > 0 {
		if _, err := r.Push(Op{sqe: sqe{opcode: opAsyncCancel, fd: -1, opFlags: cancelAll | cancelAny}}, 0); err != nil {
			return err
		}
		for end := time.Now().Add(closeTime); r.inFlight > 0; {
			left := time.Until(end)
			if left <= 0 {
				return fmt.Errorf("uring: %d operations did not end when cancelled: %w", r.inFlight, os.ErrDeadlineExceeded)
			}
			if err := r.Wait(left, fn); err != nil {
				return err
			}
		}
	}
	return r.release()
}

func (r *Ring) release() error {
	var errs []error
	for _, m := range [][]byte{r.sqes, r.mem} {
		if m != nil {
			errs = append(errs, os.NewSyscallError("munmap", unix.Munmap(m)))
		}
	}
	r.sqes, r.mem = nil, nil
	errs = append(errs, os.NewSyscallError("close", unix.Close(r.fd)))
	return errors.Join(errs...)
}
