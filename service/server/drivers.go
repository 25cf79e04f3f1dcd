package server

import (
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"uringhttpd/offload"
	"uringhttpd/platform"
)

// drivers are who encrypts for kernel TLS. The kernel picks one for each connection, and
// neither the socket nor the process can choose. A driver that comes while the service
// runs, of an engine whose probe was put off or of a module, is picked from then on, and
// nobody knows whether it is right. So it is looked up who would be picked, before the
// keys are handed over and, since that and the coming of a driver may overlap, behind
// that. Connections for which a driver would be picked that was not tested stay in user
// space until it is.
type drivers struct {
	picked func(suite uint16) platform.Pick // nil: as at the start
	tested atomic.Pointer[[]offload.Driver] // at the start, and since; only the loop changes it
}

// An untestedError is why a connection is not, or not any more, the kernel's.
type untestedError struct {
	suite uint16
	pick  platform.Pick
	taken bool // the kernel has the keys already
}

func (e *untestedError) Error() string {
	what := "it cannot be seen who encrypts in the kernel"
	switch {
	case e.pick.Testing:
		what = "the kernel tests a driver"
	case e.pick.Driver != "":
		what = "the kernel picks " + e.pick.Driver + ", which is not tested"
	case e.pick.Seen:
		what = "the kernel has no driver, or has not made it yet"
	}
	return fmt.Sprintf("%s: %s", tls.CipherSuiteName(e.suite), what)
}

func (e *untestedError) Is(target error) bool { return target == errors.ErrUnsupported && !e.taken }

// newcomer names what a test would find out about: a driver, or who the kernel makes for
// a cipher suite; "" if a test is of no use now.
func (e *untestedError) newcomer() string {
	switch {
	case !e.pick.Seen || e.pick.Testing:
		return ""
	case e.pick.Driver == "":
		return tls.CipherSuiteName(e.suite)
	}
	return e.pick.Driver
}

// find returns who encrypts with a cipher suite if kernel TLS is set up now. The error is an
// *untestedError, or another that wraps errors.ErrUnsupported.
func (d *drivers) find(suite uint16) (offload.Driver, error) {
	var of []offload.Driver
	for _, e := range d.list() {
		if e.Suite == suite {
			of = append(of, e)
		}
	}
	if d.picked == nil && len(of) > 0 {
		return of[0], nil
	}
	var pick platform.Pick
	if d.picked != nil {
		pick = d.picked(suite)
	}
	if len(of) == 0 && pick.Driver == "" {
		return offload.Driver{}, fmt.Errorf("the kernel does not take %s: %w", tls.CipherSuiteName(suite), errors.ErrUnsupported)
	}
	for _, e := range of {
		if e.Name == pick.Driver && !pick.Testing {
			return e, nil
		}
	}
	return offload.Driver{}, &untestedError{suite: suite, pick: pick}
}

// mayWait tells whether one of a cipher suite's drivers is asynchronous. That one was given
// priority a moment ago may not be seen yet.
func (d *drivers) mayWait(suite uint16) bool {
	return slices.ContainsFunc(d.list(), func(e offload.Driver) bool { return e.Suite == suite && e.Async })
}

func (d *drivers) list() []offload.Driver {
	if all := d.tested.Load(); all != nil {
		return *all
	}
	return nil
}

// add takes drivers that were tested and right.
func (d *drivers) add(more []offload.Driver) {
	all := slices.Concat(d.list(), more)
	d.tested.Store(&all)
}

// remove takes a driver out that was found wrong since.
func (d *drivers) remove(driver string) {
	all := slices.DeleteFunc(slices.Clone(d.list()), func(e offload.Driver) bool { return e.Name == driver })
	d.tested.Store(&all)
}

// asynchronous names those that may keep their callers waiting.
func (d *drivers) asynchronous() string {
	return offload.Names(slices.DeleteFunc(slices.Clone(d.list()), func(e offload.Driver) bool { return !e.Async }))
}

// suites are those of asynchronous drivers; all, if there are none.
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

// newcomers are drivers that come. There is one test at a time, which costs a processor about as
// much as some handshakes.
type newcomers struct {
	testing string // for whose sake; "": none
	found   []offload.TestResult
	err     error                // why there was no test
	refused map[string]bool      // drivers that were wrong
	testAt  map[string]time.Time // no test for its sake before that
}

func newNewcomers(refused []string) newcomers {
	n := newcomers{refused: map[string]bool{}, testAt: map[string]time.Time{}}
	for _, driver := range refused {
		n.refused[driver] = true
	}
	return n
}

// examineNewcomer has drivers tested, since one was picked for a connection that was not.
func (l *loop) examineNewcomer(name string) {
	n := &l.newcomers
	switch {
	case name == "" || l.examine == nil || n.refused[name]:
		return
	case n.testing != "" || l.engine.testing || l.now.Before(n.testAt[name]): // a later connection will ask
		return
	case l.engine.dead || l.state.stopping:
		return
	}
	l.gen.log.Info("the kernel has another driver for a cipher: it is tested before kernel TLS is used with it", "driver", name)
	n.testing, n.found, n.err = name, nil, nil
	l.engine.test++
	l.engine.tester.Submit(l.engine.test, func() { n.found, n.err = l.examine(l.proc.lifetime) })
}

// examined takes the outcome of that test. A driver that was wrong is not tested again: a
// restart does that.
func (l *loop) examined() {
	n := &l.newcomers
	name := n.testing
	n.testing = ""
	n.testAt[name] = l.now.Add(engineRetest)
	if l.proc.lifetime.Err() != nil {
		return // nobody waits for it any more
	}
	var right []offload.Driver
	known := false
	for _, e := range n.found {
		known = known || e.Name == name && (e.Verified || e.Err != nil) || tls.CipherSuiteName(e.Suite) == name
		switch {
		case e.Name == "":
		case e.Err != nil && !n.refused[e.Name]:
			n.refused[e.Name] = true
			l.proc.drivers.remove(e.Name) // perhaps it was right once
			text := "a driver was tested, and is wrong: where the kernel picks it, kernel TLS is not used, until a restart finds it right"
			l.gen.log.Error(text, "driver", e.Name, "reason", e.Err)
			l.tell(fmt.Sprintf("%s (%s: %v)", text, e.Name, e.Err))
		case e.Err == nil && e.Verified && !slices.Contains(l.proc.drivers.list(), e.Driver):
			right = append(right, e.Driver)
		}
	}
	if len(right) > 0 {
		l.proc.drivers.add(right)
		text := "kernel TLS is used with another driver, too: " + offload.Names(right)
		l.gen.log.Info(text)
		l.tell(text)
	}
	if !known {
		l.gen.log.Warn("a driver that has come could not be tested, and is not used until it is", "driver", name, "reason", n.err)
	}
}
