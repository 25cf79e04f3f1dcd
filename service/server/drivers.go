package server

import (
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"uringhttpd/offload"
	"uringhttpd/platform/cryptoapi"
)

// drivers is the set of tested drivers for kernel TLS. The kernel selects a driver for each
// connection, and neither the socket nor the process can choose. A driver that is registered
// while the service runs (of an engine whose probe was deferred, or of a module) is selected
// from then on, without a test. We therefore check the selected driver before installing
// the keys, and again afterwards, in case another driver was registered meanwhile.
// Connections for which an untested driver would be selected stay in user space until it has
// passed a test.
type drivers struct {
	selected func(suite uint16) cryptoapi.Selection // returns the selected driver; nil: the drivers never change
	tested   atomic.Pointer[[]offload.Driver]       // drivers that passed a test, at the start or later; only the loop changes it
}

// An untestedError is the reason for not using kernel TLS, or no longer, for a connection.
type untestedError struct {
	suite         uint16
	selection     cryptoapi.Selection
	keysInstalled bool
}

func (e *untestedError) Error() string {
	reason := "the driver that the kernel selects is unknown"
	switch {
	case e.selection.Testing:
		reason = "the kernel is testing a driver"
	case e.selection.Driver != "":
		reason = "the kernel selects " + e.selection.Driver + ", which has not been tested"
	case e.selection.Known:
		reason = "the kernel has no driver, or has not instantiated it yet"
	}
	return fmt.Sprintf("%s: %s", tls.CipherSuiteName(e.suite), reason)
}

func (e *untestedError) Is(target error) bool {
	return target == errors.ErrUnsupported && !e.keysInstalled
}

// subject returns the subject of a useful test: the name of a driver, or of the cipher suite
// for which the kernel instantiates a driver. It returns "" if a test is of no use now.
func (e *untestedError) subject() string {
	switch {
	case !e.selection.Known || e.selection.Testing:
		return ""
	case e.selection.Driver == "":
		return tls.CipherSuiteName(e.suite)
	}
	return e.selection.Driver
}

// find returns the driver that encrypts with a cipher suite if kernel TLS is set up now. The
// error is an *untestedError, or another error that wraps errors.ErrUnsupported.
func (d *drivers) find(suite uint16) (offload.Driver, error) {
	var of []offload.Driver
	for _, e := range d.list() {
		if e.Suite == suite {
			of = append(of, e)
		}
	}
	if d.selected == nil && len(of) > 0 {
		return of[0], nil
	}
	var selection cryptoapi.Selection
	if d.selected != nil {
		selection = d.selected(suite)
	}
	if len(of) == 0 && selection.Driver == "" {
		return offload.Driver{}, fmt.Errorf("the kernel does not support %s: %w", tls.CipherSuiteName(suite), errors.ErrUnsupported)
	}
	for _, e := range of {
		if e.Name == selection.Driver && !selection.Testing {
			return e, nil
		}
	}
	return offload.Driver{}, &untestedError{suite: suite, selection: selection}
}

// mayWait reports whether any of a cipher suite's tested drivers is asynchronous. The selected
// driver alone does not tell, because a recent change of priority may not be visible yet.
func (d *drivers) mayWait(suite uint16) bool {
	return slices.ContainsFunc(d.list(), func(e offload.Driver) bool { return e.Suite == suite && e.Async })
}

func (d *drivers) list() []offload.Driver {
	if all := d.tested.Load(); all != nil {
		return *all
	}
	return nil
}

// add adds drivers that passed a test.
func (d *drivers) add(more []offload.Driver) {
	all := slices.Concat(d.list(), more)
	d.tested.Store(&all)
}

// remove removes a driver that failed a later test.
func (d *drivers) remove(driver string) {
	all := slices.DeleteFunc(slices.Clone(d.list()), func(e offload.Driver) bool { return e.Name == driver })
	d.tested.Store(&all)
}

// asynchronous returns the names of the asynchronous drivers, whose callers may have to wait.
func (d *drivers) asynchronous() string {
	return offload.Names(slices.DeleteFunc(slices.Clone(d.list()), func(e offload.Driver) bool { return !e.Async }))
}

// suites returns the cipher suites of asynchronous drivers, or all if there are none.
func (d *drivers) suites() []uint16 {
	var all, async []uint16
	for _, e := range d.list() {
		all = append(all, e.Suite)
		if e.Async {
			async = append(async, e.Suite)
		}
	}
	if async == nil {
		return all
	}
	return async
}

// newDrivers is the state of testing newly registered drivers. There is one test at a time,
// which costs about as much processor time as some handshakes.
type newDrivers struct {
	testing string // subject of the current test; "": no test
	results []offload.TestResult
	err     error                // why there was no test
	refused map[string]bool      // drivers that failed a test
	testAt  map[string]time.Time // by subject: no test before this time
}

func makeNewDrivers(refused []string) newDrivers {
	n := newDrivers{refused: map[string]bool{}, testAt: map[string]time.Time{}}
	for _, driver := range refused {
		n.refused[driver] = true
	}
	return n
}

// testNewDriver starts a test of drivers if a connection has met an untested driver.
func (l *loop) testNewDriver(name string) {
	n := &l.newDrivers
	switch {
	case name == "" || l.examine == nil || n.refused[name]:
		return
	case n.testing != "" || l.engine.testing || l.now.Before(n.testAt[name]): // a later connection will request the test
		return
	case l.engine.dead || l.shared.stopping:
		return
	}
	l.gen.log.Info("testing a new kernel crypto driver", "driver", name)
	n.testing, n.results, n.err = name, nil, nil
	l.engine.testToken++
	l.engine.tester.Submit(l.engine.testToken, func() { n.results, n.err = l.examine(l.proc.lifetime) })
}

// newDriverTested handles the result of that test. A driver that failed is not tested again before a
// restart.
func (l *loop) newDriverTested() {
	n := &l.newDrivers
	name := n.testing
	n.testing = ""
	n.testAt[name] = l.now.Add(engineRetest)
	if l.proc.lifetime.Err() != nil {
		return // the service is ending
	}
	var right []offload.Driver
	known := false
	for _, e := range n.results {
		known = known || e.Name == name && (e.Verified || e.Err != nil) || tls.CipherSuiteName(e.Suite) == name
		switch {
		case e.Name == "":
		case e.Err != nil && n.refused[e.Name]:
		case e.Err != nil:
			n.refused[e.Name] = true
			l.proc.drivers.remove(e.Name) // it may have passed an earlier test
			const text = "kernel crypto driver failed its test: kernel TLS does not use it until a restart"
			l.gen.log.Error(text, "driver", e.Name, "reason", e.Err)
			l.publish(fmt.Sprintf("%s (%s: %v)", text, e.Name, e.Err))
		case e.Verified && !n.refused[e.Name] && !slices.Contains(l.proc.drivers.list(), e.Driver):
			right = append(right, e.Driver)
		}
	}
	if len(right) > 0 {
		l.proc.drivers.add(right)
		const text = "kernel TLS uses a new kernel crypto driver"
		l.gen.log.Info(text, "drivers", offload.Names(right))
		l.publish(fmt.Sprintf("%s (%s)", text, offload.Names(right)))
	}
	if !known {
		l.gen.log.Warn("new kernel crypto driver could not be tested: kernel TLS does not use it", "driver", name, "reason", n.err)
	}
}
