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

// A FeatureError says that this kernel, or the rules this process runs under,
// do not give what the ring needs. errors.Is(err, errors.ErrUnsupported) holds.
type FeatureError struct {
	Feature string     // that the ring needs
	Call    string     // the system call that was refused; "" where Errno is 0
	Errno   unix.Errno // of Call; 0 where the kernel tells that it lacks Feature
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
	waiting  bool // Wait is calling its function

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
// (rounded up to a power of two, and clamped at 32768) and four times
// as many completions (at most 65536); more completions than that are kept by the
// kernel until there is room. The error is a *FeatureError where the kernel refuses,
// and os.ErrInvalid for 0 entries.
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
		return &FeatureError{"IORING_REGISTER_PROBE", "io_uring_register", errno}
	}
	for _, op := range required {
		if op.code > pr.lastOp || pr.ops[op.code].flags&opSupported == 0 {
			return &FeatureError{Feature: op.name}
		}
	}
	return nil
}

// restrict has the kernel refuse whatever this package does not offer, and then lets the ring
// work. A filter of system calls (seccomp) does not see what a ring does, and operations exist
// that make sockets and open files.
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
	pushTries = 20                    // before Push gives up on a kernel that takes nothing
	pause     = 10 * time.Millisecond // for a kernel that has no memory for entries
)

var (
	errClosed = fmt.Errorf("uring: %w", os.ErrClosed)
	errNested = errors.New("uring: called by the function that Wait or Close calls for a completion; return from it first")
)

// InFlight is the number of operations pushed and not yet completed.
func (r *Ring) InFlight() int { return r.inFlight }

// Push queues op. The kernel sees it at the next Wait, or now when the queue is
// full. An error says that the kernel takes none of a full queue (EBUSY; a later Push
// may succeed), or that the ring is closed (os.ErrClosed). The token comes back in the
// Completion.
func (r *Ring) Push(op Op, token uint64) (Handle, error) {
	if r.closed() {
		return 0, errClosed
	}
	for try := 0; r.queued == r.sqEntries; try++ {
		if try == pushTries {
			return 0, fmt.Errorf("uring: the submission queue is full and the kernel takes nothing: %w", unix.EBUSY)
		}
		// The first try takes no time. If the kernel has no memory for more
		// entries, each further one waits for the next completion, which frees some.
		// Completions that are there already free nothing.
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

// Wait submits what was pushed, waits until at least one operation completes or
// timeout has passed (negative: no limit), and calls fn for each completion that
// is there. fn may Push; Wait and Close return an error if fn calls them. Wait
// returns nil without a call of fn when the time is up, a signal came, or the kernel
// has had no memory for more entries for some milliseconds: they stay queued, and
// the next call submits them. After Close the error is os.ErrClosed.
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

// available is the number of completions that the kernel has put into the queue.
func (r *Ring) available() uint32 { return atomic.LoadUint32(r.cqTail) - atomic.LoadUint32(r.cqHead) }

// closed also holds for the zero Ring, whose descriptor would be 0.
func (r *Ring) closed() bool { return r.mem == nil }

// submit submits all entries, and waits for one completion, or for a part of timeout
// if the kernel has no memory for the entries.
func (r *Ring) submit(timeout time.Duration) error {
	starved, err := r.enter(r.queued, 1, timeout)
	if err != nil || !starved {
		return err
	}
	// The call has neither waited nor run completion work (io_uring_enter in
	// io_uring/io_uring.c), and a completion may be the only thing that frees memory.
	if timeout < 0 || timeout > pause {
		timeout = pause
	}
	_, err = r.enter(0, 1, timeout)
	return err
}

// enter submits n entries, and waits until want completions are in the queue or
// timeout has passed: negative for no limit, 0 for no wait. The kernel runs the
// deferred completion work here, and only here. enter reports whether the kernel had
// no memory for the entries.
func (r *Ring) enter(n, want uint32, timeout time.Duration) (starved bool, err error) {
	atomic.StoreUint32(r.sqTail, r.tail)
	r.arg = getEventsArg{}
	if timeout == 0 {
		want = 0
	} else if timeout > 0 {
		r.ts = *timespec(timeout)
		r.arg.ts = uint64(uintptr(unsafe.Pointer(&r.ts)))
	}
	// The scheduler is told of each call, since any may take long: an entry, or completion work of
	// one that is in flight, may encrypt some 64 KiB. A raw call saves 20 to 50 ns of 1.5 to 2 µs
	// (BenchmarkEnter, 1 and 4 entries), but while it runs the garbage collector waits for its end.
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
// the kernel may still write to it: keep r for as long as the process lives, or
// call Close again. Once it has freed the ring, Close returns os.ErrClosed.
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
	r.fd = -1 // the number may be another file's from here on
	return errors.Join(errs...)
}
