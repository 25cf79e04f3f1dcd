// Package selftest encrypts with the kernel's crypto drivers, verifies the result and measures it.
//
// It runs in a child process, since a driver may never answer, and a thread that waits for it in the
// kernel cannot be ended. The child writes its answers to standard output, one JSON value in each
// line, so that the parent has those that came before a driver stopped.
package selftest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"uringhttpd/ktls"
	"uringhttpd/platform/cryptoapi"
)

// An Outcome is the result of the test of a cipher suite.
type Outcome string

// Outcomes, as the JSON output has them.
const (
	Right       Outcome = "right"                   // the kernel's records are right
	Unsupported Outcome = "not taken by the kernel" // kernel TLS does not support the suite
	Untested    Outcome = "not tested"              // the test could corrupt this kernel's memory
	Wrong       Outcome = "wrong"                   // the records are wrong, or encryption failed
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
	outcome, detail := string(r.Outcome), r.Reason
	switch r.Outcome {
	case Right:
		detail = r.Driver
	case Unsupported:
		outcome = "not supported by the kernel"
	}
	return fmt.Sprintf("%s: %s: %s", r.Cipher, outcome, detail)
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

// Run tests all of ktls.Suites, and calls report with each result as it comes, from one goroutine.
func (t Tester) Run(ctx context.Context, report func(Result)) {
	mayWait := cryptoapi.MayWait()
	watcher := cryptoapi.OpenWatcher()
	defer watcher.Close()
	suites := ktls.Suites()
	results := make(chan Result, len(suites))
	of := map[ktls.Cipher][]ktls.Suite{}
	for _, s := range suites {
		of[s.Cipher] = append(of[s.Cipher], s)
	}
	for _, same := range of {
		go func() { // one driver serves all of these; if it is dead, the other ciphers are tested nevertheless
			for _, s := range same {
				results <- t.test(ctx, s, watcher, mayWait)
			}
		}()
	}
	for range suites {
		report(<-results)
	}
}

func (t Tester) test(ctx context.Context, suite ktls.Suite, watcher *cryptoapi.Watcher, mayWait bool) Result {
	r := Result{Cipher: suite.Name()}
	if why := t.Untestable(ctx, suite.ID); why != "" {
		r.Outcome, r.Reason = Untested, why
		return r
	}
	connections := 1
	if mayWait && suite.ID == ktls.AESGCM.Suite() {
		connections = asyncConns
	}
	// The kernel may select another driver meanwhile. A template driver only exists after use.
	driver := watcher.Selected(suite.ID).Driver
	var err error
	for range driverChanges {
		before := driver
		err = ktls.SelfTest(ctx, suite.ID, connections)
		if driver = watcher.Selected(suite.ID).Driver; err != nil || driver == before {
			break
		}
	}
	switch {
	case errors.Is(err, errors.ErrUnsupported):
		r.Outcome, r.Reason = Unsupported, err.Error()
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

// WriteText returns a function for Run that writes a line for each result, in the order of
// ktls.Suites.
func WriteText(w io.Writer) func(Result) {
	suites, done := ktls.Suites(), map[string]Result{}
	next := 0
	return func(r Result) {
		done[r.Cipher] = r
		for ; next < len(suites); next++ {
			r, ok := done[suites[next].Name()]
			if !ok {
				return
			}
			fmt.Fprintln(w, r)
		}
	}
}
