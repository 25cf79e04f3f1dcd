package board

import (
	"context"
	"encoding/binary"
	"errors"

	"uringhttpd/test/board/wire"
)

// QueueModules are the kernel modules that TokenBucket and FairQueue need.
var QueueModules = []string{"sch_tbf", "sch_fq"}

// loopback is the device that has the queue. Its packets of usually 64 KiB would not fit into
// a small bucket; with a queue, packets have the size of Ethernet's.
const (
	loopback    = "lo"
	loopbackMTU = "/sys/class/net/" + loopback + "/mtu"
)

// TokenBucket limits the loopback device to rate bytes a second, and drops packets while more
// than limit bytes wait (tc-tbf(8)).
func (m *Machine) TokenBucket(ctx context.Context, rate, limit uint32) error {
	// struct tc_tbf_qopt and its attributes in linux/pkt_sched.h.
	const (
		parameters, burst = 1, 6
		ethernet          = 1
		bucket            = 20 << 10 // larger packets are sent in segments
	)
	e := binary.LittleEndian // on all boards
	qopt := make([]byte, 36)
	qopt[1] = ethernet
	e.PutUint32(qopt[8:], rate)
	e.PutUint32(qopt[24:], limit)
	return m.queue(ctx, "tbf", attribute(parameters, qopt), attribute(burst, e.AppendUint32(nil, bucket)))
}

// FairQueue limits each connection over the loopback device to rate bytes a second, and drops
// its packets while more than limit of them wait (tc-fq(8)).
func (m *Machine) FairQueue(ctx context.Context, rate, limit uint32) error {
	const flowLimit, flowRate = 2, 7 // TCA_FQ_FLOW_PLIMIT, TCA_FQ_FLOW_MAX_RATE
	e := binary.LittleEndian
	return m.queue(ctx, "fq", attribute(flowLimit, e.AppendUint32(nil, limit)), attribute(flowRate, e.AppendUint32(nil, rate)))
}

// NoQueue removes the queue.
func (m *Machine) NoQueue(ctx context.Context) error {
	return errors.Join(
		m.agent.call(ctx, wire.OpQueue, wire.Queue{Device: loopback}, nil),
		m.WriteFile(ctx, loopbackMTU, []byte("65536"), 0o644),
	)
}

// Dropped returns how many packets the queue has dropped.
func (m *Machine) Dropped(ctx context.Context) (int64, error) {
	var d wire.Dropped
	err := m.agent.call(ctx, wire.OpDropped, wire.Queue{Device: loopback}, &d)
	return d.Packets, err
}

func (m *Machine) queue(ctx context.Context, kind string, options ...[]byte) error {
	q := wire.Queue{Device: loopback, Kind: kind}
	for _, o := range options {
		q.Options = append(q.Options, o...)
	}
	if err := m.WriteFile(ctx, loopbackMTU, []byte("1500"), 0o644); err != nil {
		return err
	}
	return m.agent.call(ctx, wire.OpQueue, q, nil)
}

// attribute makes a netlink attribute from a value whose size is a multiple of 4.
func attribute(kind uint16, value []byte) []byte {
	b := binary.LittleEndian.AppendUint16(nil, uint16(4+len(value)))
	return append(binary.LittleEndian.AppendUint16(b, kind), value...)
}
