package ktls

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// benchAhead is the maximum of plaintext bytes in flight on a connection of Bench, about as much
// as a server has inside kernel TLS.
const benchAhead = 192 << 10

// Bench sends AES-GCM records of 16 KiB over loopback connections for the duration d,
// encrypted by the kernel or by this program. It returns the bytes of plaintext that have
// arrived on all connections, and the exact time taken. It does not decrypt the records. With a
// driver that never completes, Bench never returns; the same holds for SelfTest.
func Bench(ctx context.Context, cipherSuite uint16, connections int, kernel bool, d time.Duration) (bytes int64, took time.Duration, err error) {
	streams := make([]*benchStream, connections)
	defer func() {
		for _, s := range streams {
			if s != nil {
				s.in.Close()
				s.out.Close()
			}
		}
	}()
	for i := range streams {
		if streams[i], err = newBenchStream(ctx, cipherSuite, kernel); err != nil {
			return 0, 0, err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	began := time.Now()
	var wait sync.WaitGroup
	errs := make([]error, connections)
	for i, s := range streams {
		wait.Add(2)
		go func() {
			defer wait.Done()
			errs[i] = s.send(ctx)
		}()
		go func() {
			defer wait.Done()
			s.receive()
		}()
	}
	<-ctx.Done()
	took = time.Since(began)
	for _, s := range streams {
		bytes += s.end()
	}
	wait.Wait()
	return bytes, took, errors.Join(errs...)
}

// A benchStream is a connection of Bench.
type benchStream struct {
	in, out *net.TCPConn
	seal    func(dst, plain []byte) []byte // nil if the kernel encrypts

	mu       sync.Mutex
	changed  *sync.Cond
	ended    bool
	sent     int64 // bytes of plaintext
	received int64 // bytes of records
	record   int64 // bytes of a full record
}

func newBenchStream(ctx context.Context, cipherSuite uint16, kernel bool) (*benchStream, error) {
	secret := make([]byte, 32)
	rand.Read(secret)
	k, err := deriveKeys(cipherSuite, secret)
	if err != nil {
		return nil, err
	}
	s := &benchStream{record: maxPlain + k.overhead()}
	s.changed = sync.NewCond(&s.mu)
	if s.in, s.out, err = loopback(ctx); err != nil {
		return nil, fmt.Errorf("ktls: could not connect over the loopback interface: %w", err)
	}
	if !kernel {
		aead, err := newGCM(k.key)
		if err != nil {
			return s, fmt.Errorf("ktls: %w", err)
		}
		head := []byte{recordApplicationData, 3, 3, byte((s.record - 5) >> 8), byte(s.record - 5)}
		s.seal = func(dst, plain []byte) []byte {
			nonce := k.nonce(k.seq)
			k.seq++
			return aead.Seal(append(dst, head...), nonce[:], append(plain, recordApplicationData), head)
		}
		return s, nil
	}
	raw, err := s.out.SyscallConn()
	if err != nil {
		return s, fmt.Errorf("ktls: %w", err)
	}
	cerr := raw.Control(func(fd uintptr) { err = k.install(FD(fd)) })
	return s, errors.Join(cerr, err)
}

// end stops both directions and returns the bytes of plaintext that have arrived.
func (s *benchStream) end() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	s.changed.Broadcast()
	s.in.Close() // also ends a send that waits for free buffer space
	return s.received / s.record * maxPlain
}

func (s *benchStream) receive() {
	buf := make([]byte, 64<<10)
	for {
		n, err := s.in.Read(buf)
		if err != nil {
			return
		}
		s.mu.Lock()
		s.received += int64(n)
		s.changed.Signal()
		s.mu.Unlock()
	}
}

// waitToSend waits until another record may be sent, and reports false once the stream has ended.
func (s *benchStream) waitToSend() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for !s.ended && s.sent-s.received/s.record*maxPlain > benchAhead-maxPlain {
		s.changed.Wait()
	}
	s.sent += maxPlain
	return !s.ended
}

func (s *benchStream) send(ctx context.Context) error {
	plain := make([]byte, maxPlain, maxPlain+1)
	rand.Read(plain)
	raw, err := s.out.SyscallConn()
	if err != nil {
		return fmt.Errorf("ktls: %w", err)
	}
	var sealed []byte
	for s.waitToSend() {
		if s.seal != nil {
			sealed = s.seal(sealed[:0], plain)
			_, err = s.out.Write(sealed)
		} else {
			err = sendMore(raw, plain)
		}
		if err != nil {
			if ctx.Err() != nil {
				return nil // the benchmark is over, and the peer is closed
			}
			return fmt.Errorf("ktls: %w", err)
		}
	}
	return nil
}

// sendMore sends whole records and does not wait for an asynchronous driver, like a
// server that has more to send.
func sendMore(raw syscallConn, p []byte) error {
	var err error
	for len(p) > 0 && err == nil {
		werr := raw.Write(func(fd uintptr) bool {
			var n int
			n, err = unix.SendmsgN(int(fd), p, nil, nil, unix.MSG_MORE|unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
			if err == unix.EAGAIN {
				err = nil
				return false
			}
			if err == nil && n == 0 {
				err = io.ErrShortWrite
			}
			p = p[max(n, 0):]
			return true
		})
		if err == nil {
			err = werr
		}
	}
	return err
}

// syscallConn is the part of syscall.RawConn that sendMore uses.
type syscallConn interface {
	Write(func(fd uintptr) (done bool)) error
}
