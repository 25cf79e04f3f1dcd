//go:build linux

package ktls

import (
	"io"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestMeterOfPlainSocket: on a plain socket nothing is ever pending. Bytes that the client has not
// received are Unacked, and all bytes are Acked at the end.
func TestMeterOfPlainSocket(t *testing.T) {
	client, server := socketPair(t)
	file, err := server.(*net.TCPConn).File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	fd := int(file.Fd())

	m, err := NewMeter(FD(fd))
	if err != nil {
		t.Fatal(err)
	}
	total := 0
	for buf := make([]byte, 64<<10); ; { // until the client's window and our buffer are full
		n, err := unix.SendmsgN(fd, buf, nil, nil, unix.MSG_DONTWAIT)
		if err == unix.EAGAIN {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		m.Sent(n)
		total += n
	}
	r, err := m.Read()
	if err != nil {
		t.Fatal(err)
	}
	if r.Pending != 0 || r.Unacked == 0 || r.Acked+r.Unacked < int64(total) {
		t.Errorf("after %d bytes to a client that does not read: %+v", total, r)
	}
	go io.Copy(io.Discard, client)
	for end := time.Now().Add(20 * time.Second); r.Unacked > 0; {
		if r, err = m.Read(); err != nil || time.Now().After(end) {
			t.Fatalf("%+v, %v", r, err)
		}
	}
	// An acknowledgement between the calls of the last reading overstates it.
	if r, err = m.Read(); err != nil || r.Pending != 0 || r.Acked < int64(total) {
		t.Errorf("after the client read %d bytes: %+v", total, r)
	}
	client.Close()
	server.Close() // with nothing unread both ways, so the connection ends in order
}

// TestMeterWithoutConnection: a socket without a connection has no meter.
func TestMeterWithoutConnection(t *testing.T) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if _, err := NewMeter(FD(fd)); err == nil {
		t.Error("a meter on a socket without a connection")
	}
}

// A lateAck is a Kernel in which the client acknowledges the queue between a TCP_INFO and the
// SIOCOUTQ that follows it, once unless asked is reset.
type lateAck struct {
	FD
	acked, queued int
	asked         bool
}

func (k *lateAck) TCPInfo() (*unix.TCPInfo, error) {
	info := &unix.TCPInfo{State: 1, Bytes_acked: uint64(k.acked)}
	if !k.asked {
		k.asked = true
		k.acked, k.queued = k.acked+k.queued, 0
	}
	return info, nil
}

func (k *lateAck) OutQueue() (int, error) { return k.queued, nil }

// TestMeterBase: an acknowledgement while the meter starts does not make Pending too small later.
func TestMeterBase(t *testing.T) {
	m, err := NewMeter(&lateAck{acked: 1000, queued: 250})
	if err != nil {
		t.Fatal(err)
	}
	m.Sent(100) // into kernel TLS: TCP has nothing of it
	if r, err := m.Read(); err != nil || r.Pending != 100 {
		t.Errorf("got %+v, %v; want 100 pending", r, err)
	}
}

// TestMeterLateAckIsNotPending: bytes that the client acknowledges within a reading are known to
// have reached TCP, and do not count as pending again.
func TestMeterLateAckIsNotPending(t *testing.T) {
	k := &lateAck{acked: 1000, asked: true}
	m, err := NewMeter(k)
	if err != nil {
		t.Fatal(err)
	}
	m.Sent(300)
	k.queued = 250
	if r, err := m.Read(); err != nil || r.Pending != 50 {
		t.Fatalf("got %+v, %v; want 50 pending", r, err)
	}
	k.asked = false
	m.Sent(20)
	if r, err := m.Read(); err != nil || r.Pending != 70 {
		t.Errorf("while the client acknowledges: got %+v, %v; want 70 pending", r, err)
	}
	if r, err := m.Read(); err != nil || r.Pending != 70 {
		t.Errorf("afterwards: got %+v, %v; want 70 pending", r, err)
	}
}
