// Package selftest encrypts with the kernel's crypto drivers, verifies the result and measures it.
//
// It runs in a child process, since a driver may never answer, and a thread that waits for it in the
// kernel cannot be ended. The child writes its answers to standard output, one JSON value in each
// line, so that the parent has those that came before a driver stopped.
package selftest

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"uringhttpd/ktls"
	"uringhttpd/platform/cryptoapi"
)

// Suites are the cipher suites of TLS 1.3 that are tested. One driver serves the first two.
var Suites = []uint16{tls.TLS_AES_128_GCM_SHA256, tls.TLS_AES_256_GCM_SHA384, tls.TLS_CHACHA20_POLY1305_SHA256}

// An Outcome is the result of the test of a cipher suite.
type Outcome string

// Outcomes.
const (
	Right    Outcome = "right"                   // the kernel's records are right
	NotTaken Outcome = "not taken by the kernel" // kernel TLS does not support the suite
	Untested Outcome = "not tested"              // the test could corrupt this kernel's memory
	Wrong    Outcome = "wrong"                   // the records are wrong, or encryption failed
)

// A Result is the outcome of one cipher suite.
type Result struct {
	Cipher  string  `json:"cipher"` // name, as in crypto/tls
	Outcome Outcome `json:"outcome"`
	Driver  string  `json:"driver,omitempty"` // driver that was tested, if Right; "" if /proc/crypto does not show it
	Reason  string  `json:"reason,omitempty"` // cause of any other outcome
}

// String returns one line for a person.
func (r Result) String() string {
	if r.Outcome == Right {
		return fmt.Sprintf("%s: %s: %s", r.Cipher, r.Outcome, r.Driver)
	}
	return fmt.Sprintf("%s: %s: %s", r.Cipher, r.Outcome, r.Reason)
}

const (
	// Time is the limit of a test of all suites. A slow engine on a board that is booting needs
	// some seconds.
	Time = 15 * time.Second
	// driverChanges is how often a test is repeated because the kernel selected another driver
	// meanwhile.
	driverChanges = 3
	// asyncConns is the number of connections that are tested together with the first suite if
	// there is an asynchronous driver.
	asyncConns = 4
)

// A Tester tests cipher suites.
type Tester struct {
	// Untestable returns why a suite must not be tested, else "". It is platform.Untestable, but
	// for tests.
	Untestable func(ctx context.Context, suite uint16) string
}

// Run tests all Suites, and calls report with each result as it comes, from one goroutine.
func (t Tester) Run(ctx context.Context, report func(Result)) {
	mayWait := cryptoapi.MayWait()
	watcher := cryptoapi.OpenWatcher()
	defer watcher.Close()
	results := make(chan Result, len(Suites))
	test := func(suites ...uint16) {
		for _, s := range suites {
			results <- t.test(ctx, s, watcher, mayWait)
		}
	}
	go test(Suites[:2]...)
	go test(Suites[2:]...) // independent of a dead driver of the others
	for range Suites {
		report(<-results)
	}
}

func (t Tester) test(ctx context.Context, suite uint16, watcher *cryptoapi.Watcher, mayWait bool) Result {
	r := Result{Cipher: tls.CipherSuiteName(suite)}
	if why := t.Untestable(ctx, suite); why != "" {
		r.Outcome, r.Reason = Untested, why
		return r
	}
	connections := 1
	if mayWait && suite == Suites[0] {
		connections = asyncConns
	}
	// The kernel may select another driver meanwhile. A template driver only exists after use.
	driver := watcher.Selected(suite).Driver
	var err error
	for range driverChanges {
		before := driver
		err = ktls.SelfTest(ctx, suite, connections)
		if driver = watcher.Selected(suite).Driver; err != nil || driver == before {
			break
		}
	}
	switch {
	case errors.Is(err, errors.ErrUnsupported):
		r.Outcome, r.Reason = NotTaken, err.Error()
	case err != nil:
		r.Outcome, r.Reason = Wrong, err.Error()
	default:
		r.Outcome, r.Driver = Right, driver
	}
	return r
}

// WriteJSON returns a function for Run that writes results for the parent process.
func WriteJSON(w io.Writer) func(Result) {
	e := json.NewEncoder(w)
	return func(r Result) { e.Encode(r) }
}

// WriteText returns a function for Run that writes a line for each result, in the order of Suites.
func WriteText(w io.Writer) func(Result) {
	done := map[string]Result{}
	next := 0
	return func(r Result) {
		done[r.Cipher] = r
		for ; next < len(Suites); next++ {
			r, ok := done[tls.CipherSuiteName(Suites[next])]
			if !ok {
				return
			}
			fmt.Fprintln(w, r)
		}
	}
}
