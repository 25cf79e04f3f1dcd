package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"golang.org/x/sys/unix"

	"uringhttpd/test/board/wire"
)

// From include/uapi/linux/pkt_sched.h.
const (
	netemLatency64  = 10     // TCA_NETEM_LATENCY64, ns
	netemJitter64   = 11     // TCA_NETEM_JITTER64, ns
	netemQueueLimit = 10_000 // packets
)

// netem gives a device a queue that drops and delays packets, or removes it.
func netem(a wire.Netem) error {
	if a.Loss == 0 && a.Delay == 0 {
		err := setQueue(wire.Queue{Device: a.Device})
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EINVAL) { // there is no such queue
			return nil
		}
		return err
	}
	native := binary.NativeEndian
	// struct tc_netem_qopt: latency, limit, loss, gap, duplicate, jitter.
	options := native.AppendUint32(nil, 0)
	options = native.AppendUint32(options, netemQueueLimit)
	options = native.AppendUint32(options, uint32(a.Loss*math.MaxUint32))
	options = append(options, make([]byte, 3*4)...)
	options = appendAttribute(options, netemLatency64, native.AppendUint64(nil, uint64(a.Delay.Nanoseconds())))
	options = appendAttribute(options, netemJitter64, native.AppendUint64(nil, uint64(a.Jitter.Nanoseconds())))
	if err := setQueue(wire.Queue{Device: a.Device, Kind: "netem", Options: options}); err != nil {
		return fmt.Errorf("%w; is sch_netem loaded?", err)
	}
	return nil
}
