package uring

// This file holds the whole kernel ABI that this package uses, of
// include/uapi/linux/io_uring.h. Sizes and offsets are checked by abi_linux_test.go on
// every architecture; every field is placed so that the layout is the same where a
// uint64 aligns to 4 bytes (GOARCH=arm, 386) and where it aligns to 8.

// Operation codes, enum io_uring_op.
const (
	opPollAdd     = 6  // IORING_OP_POLL_ADD
	opSendMsg     = 9  // IORING_OP_SENDMSG
	opTimeout     = 11 // IORING_OP_TIMEOUT
	opAccept      = 13 // IORING_OP_ACCEPT
	opAsyncCancel = 14 // IORING_OP_ASYNC_CANCEL
	opClose       = 19 // IORING_OP_CLOSE
	opRead        = 22 // IORING_OP_READ
	opSend        = 26 // IORING_OP_SEND
	opRecv        = 27 // IORING_OP_RECV
	opSplice      = 30 // IORING_OP_SPLICE
)

const (
	sqeAsync = 1 << 4 // IOSQE_ASYNC

	setupCQSize       = 1 << 3  // IORING_SETUP_CQSIZE
	setupClamp        = 1 << 4  // IORING_SETUP_CLAMP
	setupDisabled     = 1 << 6  // IORING_SETUP_R_DISABLED, Linux 5.10
	setupSubmitAll    = 1 << 7  // IORING_SETUP_SUBMIT_ALL
	setupSingleIssuer = 1 << 12 // IORING_SETUP_SINGLE_ISSUER, Linux 6.0
	setupDeferTaskrun = 1 << 13 // IORING_SETUP_DEFER_TASKRUN, Linux 6.1

	featSingleMmap = 1 << 0 // IORING_FEAT_SINGLE_MMAP
	featNoDrop     = 1 << 1 // IORING_FEAT_NODROP
	featExtArg     = 1 << 8 // IORING_FEAT_EXT_ARG

	maxEntries = 32768 // IORING_MAX_ENTRIES, in io_uring/io_uring.c

	enterGetEvents = 1 << 0 // IORING_ENTER_GETEVENTS
	enterExtArg    = 1 << 3 // IORING_ENTER_EXT_ARG

	sqCQOverflow = 1 << 1 // IORING_SQ_CQ_OVERFLOW, in the flags of the submission ring

	recvPollFirst = 1 << 0 // IORING_RECVSEND_POLL_FIRST, Linux 5.19

	cancelAll = 1 << 0 // IORING_ASYNC_CANCEL_ALL, Linux 5.19
	cancelAny = 1 << 2 // IORING_ASYNC_CANCEL_ANY, Linux 5.19

	offSQRing = 0          // IORING_OFF_SQ_RING
	offSQEs   = 0x10000000 // IORING_OFF_SQES

	registerProbe        = 8      // IORING_REGISTER_PROBE
	registerRestrictions = 11     // IORING_REGISTER_RESTRICTIONS, Linux 5.10
	registerEnable       = 12     // IORING_REGISTER_ENABLE_RINGS, Linux 5.10
	registerMaxWorkers   = 19     // IORING_REGISTER_IOWQ_MAX_WORKERS, Linux 5.15
	opSupported          = 1 << 0 // IO_URING_OP_SUPPORTED

	allowRegister = 0 // IORING_RESTRICTION_REGISTER_OP
	allowOp       = 1 // IORING_RESTRICTION_SQE_OP
	allowFlags    = 2 // IORING_RESTRICTION_SQE_FLAGS_ALLOWED
)

// sqe is struct io_uring_sqe, 64 bytes. Its fields are named after the union members
// that the operations here use.
type sqe struct {
	opcode     uint8
	flags      uint8
	ioprio     uint16
	fd         int32
	off        uint64 // off, addr2
	addr       uint64 // addr, splice_off_in
	len        uint32
	opFlags    uint32 // rw_flags, msg_flags, poll32_events, accept_flags, cancel_flags, splice_flags, timeout_flags
	userData   uint64
	bufIndex   uint16
	personal   uint16
	spliceFdIn int32 // splice_fd_in, file_index
	addr3      uint64
	pad        uint64
}

// cqe is struct io_uring_cqe, 16 bytes.
type cqe struct {
	userData uint64
	res      int32
	flags    uint32
}

// restriction is struct io_uring_restriction, 16 bytes.
type restriction struct {
	opcode uint16 // allowRegister, allowOp or allowFlags
	what   uint8  // register_op, sqe_op, sqe_flags
	_      uint8
	_      [3]uint32
}

// sqRingOffsets is struct io_sqring_offsets, 40 bytes.
type sqRingOffsets struct {
	head, tail, ringMask, ringEntries, flags, dropped, array, resv1 uint32
	userAddr                                                        uint64
}

// cqRingOffsets is struct io_cqring_offsets, 40 bytes.
type cqRingOffsets struct {
	head, tail, ringMask, ringEntries, overflow, cqes, flags, resv1 uint32
	userAddr                                                        uint64
}

// params is struct io_uring_params, 120 bytes.
type params struct {
	sqEntries, cqEntries, flags, sqThreadCPU, sqThreadIdle, features, wqFd uint32
	resv                                                                   [3]uint32
	sqOff                                                                  sqRingOffsets
	cqOff                                                                  cqRingOffsets
}

// getEventsArg is struct io_uring_getevents_arg, 24 bytes.
type getEventsArg struct {
	sigmask     uint64
	sigmaskSize uint32
	pad         uint32
	ts          uint64
}

// kernelTimespec is struct __kernel_timespec, 16 bytes on all architectures.
type kernelTimespec struct {
	sec  int64
	nsec int64
}

// maxWorkers is the argument of IORING_REGISTER_IOWQ_MAX_WORKERS: two __u32, for
// enum io_wq_type's IO_WQ_BOUND and IO_WQ_UNBOUND. 0 leaves a limit unchanged.
type maxWorkers [2]uint32

// probe is struct io_uring_probe with room for 64 struct io_uring_probe_op.
type probe struct {
	lastOp uint8
	opsLen uint8
	resv   uint16
	resv2  [3]uint32
	ops    [64]probeOp
}

// probeOp is struct io_uring_probe_op, 8 bytes.
type probeOp struct {
	op    uint8
	resv  uint8
	flags uint16
	resv2 uint32
}
