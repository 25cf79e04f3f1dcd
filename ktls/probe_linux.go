package ktls

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"
)

// connectTime limits making the connection of Probe.
const connectTime = 5 * time.Second

// Probe sets kernel TLS up with a suite and a random key, at one end of a loopback connection of
// this program, and closes the connection. It sends nothing, and needs no privilege. If the kernel
// refuses, the error is an *OffloadError; any other error means that no connection could be made.
//
// Setting the key waits for the kernel's self-test of a new crypto driver, about a minute at most
// even after ctx has ended, and forever if the driver's engine is dead.
func Probe(ctx context.Context, suite Suite) error {
	ctx, cancel := context.WithTimeout(ctx, connectTime)
	defer cancel()
	k := txKeys{suite: suite, version: tls13Version, key: make([]byte, suite.keySize)}
	rand.Read(k.key)
	rand.Read(k.iv[:])
	in, out, err := loopback(ctx)
	if err != nil {
		return fmt.Errorf("ktls: %w", err)
	}
	defer in.Close()
	defer out.Close()
	raw, err := out.SyscallConn()
	if err != nil {
		return fmt.Errorf("ktls: %w", err)
	}
	cerr := raw.Control(func(fd uintptr) { err = k.install(FD(fd)) })
	return errors.Join(cerr, err)
}
