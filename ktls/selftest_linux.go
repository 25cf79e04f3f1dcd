package ktls

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
)

// selfTestSizes are the bytes of each write of the self-test, around the size of a record; the last
// makes three records. More would cost a small board more time than its handshakes do.
var selfTestSizes = []int{1, maxPlain - 1, maxPlain, 2*maxPlain + 1}

// maxPlain is the maximum of plaintext bytes in a record: RFC 8446 section 5.1.
const maxPlain = 16 << 10

// SelfTest encrypts with kernel TLS and a cipher suite of TLS 1.3, on several loopback
// connections at the same time, and compares the decrypted data with the data sent.
// Several connections are needed because an asynchronous driver may be right for a
// single connection and mix up two. A driver that fails, or makes wrong ciphertext or
// a wrong tag, is an error. If the kernel does not accept the suite, or no connection
// can be made, errors.Is(err, errors.ErrUnsupported) holds.
//
// With a driver that never completes, SelfTest never returns, even after ctx has ended,
// and its process cannot be killed: run SelfTest in a process of its own.
func SelfTest(ctx context.Context, cipherSuite uint16, connections int) error {
	results := make(chan error, connections)
	for range connections {
		go func() { results <- selfTest(ctx, cipherSuite, offloaded) }()
	}
	var first error
	for range connections {
		if err := <-results; first == nil {
			first = err
		}
	}
	return first
}

// offloaded installs the keys of out in the kernel and returns out.
func offloaded(k *txKeys, out *net.TCPConn) (io.Writer, error) {
	raw, err := out.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("ktls: %w", err)
	}
	cerr := raw.Control(func(fd uintptr) { err = k.install(FD(fd)) })
	return out, errors.Join(cerr, err)
}

// selfTest tests one connection. encrypted returns a writer that seals the data written
// to it in records under k, and sends them on out.
func selfTest(ctx context.Context, cipherSuite uint16, encrypted func(k *txKeys, out *net.TCPConn) (io.Writer, error)) error {
	secret := make([]byte, 32)
	plain := make([]byte, slices.Max(selfTestSizes))
	rand.Read(secret)
	rand.Read(plain)
	k, err := deriveKeys(cipherSuite, secret)
	if err != nil {
		return err
	}
	in, out, err := loopback(ctx)
	if err != nil {
		return fmt.Errorf("ktls: could not connect over the loopback interface: %w (%w)", err, errors.ErrUnsupported)
	}
	defer in.Close()
	defer out.Close()
	w, err := encrypted(k, out)
	if err != nil {
		return err
	}
	var want []byte
	length := 0
	for _, n := range selfTestSizes {
		want = append(want, plain[:n]...)
		length += n + (n+maxPlain-1)/maxPlain*int(k.overhead())
	}
	if deadline, ok := ctx.Deadline(); ok {
		in.SetDeadline(deadline)
		out.SetDeadline(deadline)
	}
	sent := make(chan error, 1)
	go func() {
		for _, n := range selfTestSizes {
			if _, err := w.Write(plain[:n]); err != nil {
				out.Close() // ends ReadFull
				sent <- err
				return
			}
		}
		sent <- nil
	}()
	stream := make([]byte, length)
	n, err := io.ReadFull(in, stream)
	if err = errors.Join(<-sent, err); err != nil {
		return fmt.Errorf("ktls: %d of %d encrypted bytes arrived: %w", n, length, err)
	}
	var got []byte
	for len(stream) > 0 {
		var record []byte
		if record, stream = cutRecord(stream); record == nil {
			return errors.New("ktls: the kernel sent an incomplete record")
		}
		m, ok := k.message(k.seq, record)
		if !ok || m.Type != recordApplicationData {
			return fmt.Errorf("ktls: record %d is encrypted wrongly", k.seq)
		}
		k.seq++
		got = append(got, m.Payload...)
	}
	if !bytes.Equal(got, want) {
		return errors.New("ktls: the decrypted data differs from the data sent")
	}
	return nil
}
