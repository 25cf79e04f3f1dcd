//go:build linux

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

// A FeatureError means that a feature that the ring needs is missing in this kernel, or
// forbidden to this process. errors.Is(err, errors.ErrUnsupported) holds.
type FeatureError struct {
	Feature string     // the missing feature
	Call    string     // system call that failed; "" if Errno is 0
	Errno   unix.Errno // error of Call; 0 if the kernel reports that it lacks Feature
}

func (e *FeatureError) Error() string {
	if e.Errno == 0 {
		return "uring: the kernel does not have " + e.Feature
	}
	return fmt.Sprintf("uring: no %s: %s: %v", e.Feature, e.Call, e.Errno)
}

func (e *FeatureError) Is(target error) bool { return target == errors.ErrUnsupported }

func (e *FeatureError) Unwrap() error {
	if e.Errno == 0 {
		return nil
	}
	return e.Errno
}

// A Handle identifies an operation between Push and its completion.
type Handle uint64

// A Completion is the result of an operation.
type Completion struct {
	Token  uint64 // as passed to Push
	Result int32  // return value of the equivalent system call; a negated errno on failure
	Flags  uint32 // IORING_CQE_F_*
}

// Errno returns the error of a failed operation, and 0 otherwise.
func (c Completion) Errno() unix.Errno {
	if c.Result < 0 {
		return unix.Errno(-c.Result)
	}
	return 0
}

// slot is the Ring's state of an operation in flight.
type slot struct {
	token uint64
	hold  unsafe.Pointer
	next  int32  // next free slot; used only while this slot is free
	gen   uint32 // incremented at each use, so that an old Handle never identifies a new operation
}

// A Ring is an io_uring. The package comment states its rules on threads and memory.
type Ring struct {
	fd   int
	mem  []byte // both rings: IORING_FEAT_SINGLE_MMAP
	sqes []byte

	sqHead, sqTail, sqFlags *uint32 // shared with the kernel
	cqHead, cqTail          *uint32
	sqMask, cqMask          uint32
	sqEntries               uint32
	cqBase                  unsafe.Pointer

	tail   uint32 // entries written, of which *sqTail are published to the kernel
	queued uint32 // entries written and not yet consumed by the kernel

	slots    []slot
	free     int32 // head of the list of free slots; -1 if it is empty
	inFlight int
	waiting  bool // Wait is calling its fn

	arg getEventsArg
	ts  kernelTimespec
}

// required lists the operations that this package offers; New fails if any is missing.
var required = [...]struct {
	code uint8
	name string
}{
	{opPollAdd, "IORING_OP_POLL_ADD"}, {opSendMsg, "IORING_OP_SENDMSG"}, {opTimeout, "IORING_OP_TIMEOUT"},
	{opAccept, "IORING_OP_ACCEPT"}, {opAsyncCancel, "IORING_OP_ASYNC_CANCEL"}, {opClose, "IORING_OP_CLOSE"},
	{opRead, "IORING_OP_READ"}, {opSend, "IORING_OP_SEND"}, {opRecv, "IORING_OP_RECV"}, {opSplice, "IORING_OP_SPLICE"},
}

// New makes a ring with room for entries operations between two calls of Wait (rounded
// up to a power of two, and clamped at 32768) and four times as many completions (at
// most 65536). The kernel keeps further completions until there is room. The error is a
// *FeatureError if the kernel refuses the ring, and wraps os.ErrInvalid for 0 entries.
func New(entries uint32) (*Ring, error) {
	if entries == 0 {
		return nil, fmt.Errorf("uring: a ring needs at least 1 entry: %w", os.ErrInvalid)
	}
	entries = min(entries, maxEntries)
	p := params{
		flags:     setupCQSize | setupClamp | setupSubmitAll | setupSingleIssuer | setupDeferTaskrun | setupDisabled,
		cqEntries: 4 * entries,
	}
	fd, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, uintptr(entries), uintptr(unsafe.Pointer(&p)), 0)
	switch errno {
	case 0:
	case unix.EINVAL:
		return nil, &FeatureError{"IORING_SETUP_SINGLE_ISSUER and IORING_SETUP_DEFER_TASKRUN (Linux 6.1)", "io_uring_setup", errno}
	case unix.ENOSYS, unix.EPERM, unix.EACCES:
		return nil, &FeatureError{"io_uring", "io_uring_setup", errno}
	default: // such as ENOMEM, EMFILE and ENFILE: out of resources, but no feature is missing
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

// open checks that the features and operations exist, restricts the ring, and maps the
// rings of p.
func (r *Ring) open(p *params) error {
	if missing := uint32(featSingleMmap|featNoDrop|featExtArg) &^ p.features; missing != 0 {
		return &FeatureError{Feature: fmt.Sprintf("the io_uring features %#x", missing)}
	}
	if err := r.probe(); err != nil {
		return err
	}
	if err := r.restrict(); err != nil {
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
	for i := uint32(0); i < p.sqEntries; i++ { // index i of the queue always refers to entry i of the table
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
		return &FeatureError{"IORING_REGISTER_PROBE", "io_uring_register", errno}
	}
	for _, op := range required {
		if op.code > pr.lastOp || pr.ops[op.code].flags&opSupported == 0 {
			return &FeatureError{Feature: op.name}
		}
	}
	return nil
}

// restrict makes the kernel refuse all operations that this package does not offer, and then
// enables the ring. A system call filter (seccomp) does not see the operations of a ring, and some
// of them make sockets and open files.
func (r *Ring) restrict() error {
	allowed := []restriction{{opcode: allowRegister, what: registerMaxWorkers}, {opcode: allowFlags, what: sqeAsync}}
	for _, op := range required {
		allowed = append(allowed, restriction{opcode: allowOp, what: op.code})
	}
	_, _, errno := unix.Syscall6(unix.SYS_IO_URING_REGISTER, uintptr(r.fd), registerRestrictions,
		uintptr(unsafe.Pointer(&allowed[0])), uintptr(len(allowed)), 0, 0)
	if errno != 0 {
		return &FeatureError{"IORING_REGISTER_RESTRICTIONS", "io_uring_register", errno}
	}
	if _, _, errno = unix.Syscall6(unix.SYS_IO_URING_REGISTER, uintptr(r.fd), registerEnable, 0, 0, 0, 0); errno != 0 {
		return &FeatureError{"IORING_REGISTER_ENABLE_RINGS", "io_uring_register", errno}
	}
	return nil
}

const (
	pushTries = 20                    // attempts of Push to submit a full queue
	pause     = 10 * time.Millisecond // wait while the kernel has no memory for entries
)

var (
	errClosed = fmt.Errorf("uring: %w", os.ErrClosed)
	errNested = errors.New("uring: called by the function that Wait or Close calls for a completion; return from it first")
)

// InFlight returns the number of operations pushed and not yet completed.
func (r *Ring) InFlight() int { return r.inFlight }

// Push queues op. The next Wait submits it to the kernel; if the queue is full, Push
// submits the queue first. The error wraps EBUSY if the kernel accepts no entry of a full
// queue (a later Push may succeed), and os.ErrClosed if the ring is closed. The Completion
// returns token.
func (r *Ring) Push(op Op, token uint64) (Handle, error) {
	if r.closed() {
		return 0, errClosed
	}
	for try := 0; r.queued == r.sqEntries; try++ {
		if try == pushTries {
			return 0, fmt.Errorf("uring: the submission queue is full and the kernel accepts no entry: %w", unix.EBUSY)
		}
		// The first try does not wait. If the kernel has no memory for more entries,
		// each further try waits for the next completion, which frees some. Completions
		// that are already in the queue free nothing.
		starved, err := r.enter(r.queued, 0, 0)
		if err == nil && starved {
			_, err = r.enter(0, r.available()+1, time.Duration(try)*pause)
		}
		if err != nil {
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

// Wait submits the pushed operations, waits until at least one operation completes or
// timeout has passed (negative: no limit), and calls fn for each completion in the
// queue. fn may call Push; Wait and Close return an error if fn calls them. Wait returns
// nil without a call of fn if the timeout has passed, if a signal was received, or if the
// kernel has had no memory for more entries for some milliseconds: these stay queued, and
// the next call submits them. After Close the error wraps os.ErrClosed.
func (r *Ring) Wait(timeout time.Duration, fn func(Completion)) error {
	if r.closed() {
		return errClosed
	}
	if r.waiting {
		return errNested
	}
	if r.available() == 0 {
		if err := r.submit(timeout); err != nil {
			return err
		}
	} else if r.queued > 0 || atomic.LoadUint32(r.sqFlags)&sqCQOverflow != 0 {
		if err := r.submit(0); err != nil {
			return err
		}
	}
	r.waiting = true
	defer func() { r.waiting = false }()
	// Handle only the completions present now. Completions of operations that fn pushes
	// wait for the next call, so a busy client cannot hold the loop here.
	tail := atomic.LoadUint32(r.cqTail)
	for head := atomic.LoadUint32(r.cqHead); head != tail; {
		e := *(*cqe)(unsafe.Add(r.cqBase, uintptr(head&r.cqMask)*unsafe.Sizeof(cqe{})))
		head++
		atomic.StoreUint32(r.cqHead, head)
		fn(r.complete(e))
	}
	return nil
}

// available returns the number of completions in the queue.
func (r *Ring) available() uint32 { return atomic.LoadUint32(r.cqTail) - atomic.LoadUint32(r.cqHead) }

// closed reports whether the ring is closed. It is also true for the zero Ring, whose
// descriptor would be 0.
func (r *Ring) closed() bool { return r.mem == nil }

// submit submits all entries and waits for a completion until timeout has passed. If the
// kernel has no memory for the entries, it waits at most for pause.
func (r *Ring) submit(timeout time.Duration) error {
	starved, err := r.enter(r.queued, 1, timeout)
	if err != nil || !starved {
		return err
	}
	// The call has neither waited nor run completion work (io_uring_enter in
	// io_uring/io_uring.c), and perhaps only a completion frees memory.
	if timeout < 0 || timeout > pause {
		timeout = pause
	}
	_, err = r.enter(0, 1, timeout)
	return err
}

// enter submits n entries, and waits until want completions are in the queue or
// timeout has passed (negative: no limit; 0: no wait). The kernel runs the deferred
// completion work here, and only here. starved reports whether the kernel had no memory
// for the entries.
func (r *Ring) enter(n, want uint32, timeout time.Duration) (starved bool, err error) {
	atomic.StoreUint32(r.sqTail, r.tail)
	r.arg = getEventsArg{}
	if timeout == 0 {
		want = 0
	} else if timeout > 0 {
		r.ts = *timespec(timeout)
		r.arg.ts = uint64(uintptr(unsafe.Pointer(&r.ts)))
	}
	// The call is not a raw system call, so that the Go scheduler knows of it, since any call may
	// take long: an entry, or the completion work of an operation in flight, may encrypt some
	// 64 KiB. A raw call would save 20 to 50 ns of 1.5 to 2 µs (BenchmarkEnter, 1 and 4 entries),
	// but the garbage collector would have to wait for its end.
	_, _, errno := unix.Syscall6(unix.SYS_IO_URING_ENTER, uintptr(r.fd), uintptr(n), uintptr(want),
		enterGetEvents|enterExtArg, uintptr(unsafe.Pointer(&r.arg)), unsafe.Sizeof(r.arg))
	r.queued = r.tail - atomic.LoadUint32(r.sqHead)
	switch errno {
	case 0, unix.ETIME, unix.EINTR:
		return false, nil
	case unix.EAGAIN, unix.EBUSY:
		return true, nil
	}
	return false, fmt.Errorf("uring: %w", os.NewSyscallError("io_uring_enter", errno))
}

// complete frees the slot of e and returns its Completion.
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

// closeTime is how long Close waits for the operations that it cancels.
const closeTime = 5 * time.Second

// Close cancels the operations in flight, waits for them, and frees the ring. It calls
// fn for each completion, since an accept or a close may have succeeded. If an operation
// does not end within five seconds (a disk that hangs), Close returns an error that wraps
// os.ErrDeadlineExceeded, and keeps the ring and the memory of that operation, since the
// kernel may still write to it: keep r until the process ends, or call Close again. After
// Close has freed the ring, further calls return an error that wraps os.ErrClosed.
func (r *Ring) Close(fn func(Completion)) error {
	if r.closed() {
		return errClosed
	}
	if r.waiting {
		return errNested
	}
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
	r.fd = -1 // another file may get the same descriptor from here on
	return errors.Join(errs...)
}
